//! The locks that a run holds: when each was renewed, and which of them are lost.
//!
//! It only remembers; [`super::renew`] renews them. What a lock says to others is judged in [`crate::lease`].

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Cause, Failure, Refusal, Warning};
use crate::name::ServerName;
use crate::sync::lock;

/// The locks that a run holds.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<BTreeMap<ServerName, Lease>>,
    phase: Mutex<String>,
}

#[derive(Debug)]
struct Lease {
    renewed: Instant,
    under_way: bool,
    worried: bool,
    lost: Option<String>,
}

impl Leases {
    /// Notes that the run holds the server's lock: from now on it is renewed.
    pub fn taken(&self, server: &ServerName) {
        let lease = Lease { renewed: Instant::now(), under_way: false, worried: false, lost: None };
        lock(&self.held).insert(server.clone(), lease);
    }

    /// Notes that the lock is about to be released.
    ///
    /// It is not renewed any more, and its absence is no loss.
    pub fn released(&self, server: &ServerName) {
        lock(&self.held).remove(server);
    }

    /// Says what the run does, for others to read.
    pub fn phase(&self, phase: String) {
        *lock(&self.phase) = phase;
    }

    /// What the run does.
    pub(super) fn said_phase(&self) -> String {
        lock(&self.phase).clone()
    }

    /// What the server said when the lock was gone; `None`: as far as is known it is held.
    pub fn lost(&self, server: &ServerName) -> Option<String> {
        lock(&self.held).get(server).and_then(|lease| lease.lost.clone())
    }

    /// The servers whose lock is to be renewed now.
    pub(super) fn due(&self) -> Vec<ServerName> {
        let mut held = lock(&self.held);
        let due = held.iter_mut().filter(|(_, lease)| lease.lost.is_none() && !lease.under_way);
        due.map(|(server, lease)| {
            lease.under_way = true;
            server.clone()
        })
        .collect()
    }

    /// Records how a renewal ended; returns a warning where there is one.
    pub(super) fn ended(
        &self,
        server: &ServerName,
        began: Instant,
        end: Result<(), Failure>,
        length: Duration,
    ) -> Option<Warning> {
        let mut held = lock(&self.held);
        // Released meanwhile: then it is no wonder that the lock is gone.
        let lease = held.get_mut(server)?;
        lease.under_way = false;
        match end {
            Ok(()) => {
                lease.renewed = began;
                lease.worried = false;
                None
            }
            Err(Failure { cause: Cause::Refused { code: Refusal::LockLost, detail }, .. }) => {
                lease.lost = Some(detail.clone());
                Some(Warning::LockLost { detail })
            }
            Err(failure) => {
                let silent = lease.renewed.elapsed();
                if lease.worried || silent < length / 2 {
                    return None;
                }
                lease.worried = true;
                let (seconds, lease) = (silent.as_secs(), length.as_secs());
                Some(Warning::NotRenewed { seconds, lease, failure: Box::new(failure) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::RENEWALS;

    const LEASE: Duration = Duration::from_secs(60);

    fn failed(code: Refusal) -> Result<(), Failure> {
        Err(Cause::Refused { code, detail: "why".into() }.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_renewal_is_repeated_and_told_once_when_half_the_lease_is_over() {
        let (leases, server) = (Leases::default(), ServerName("web1".into()));
        leases.taken(&server);
        let mut told = Vec::new();
        for _ in 0..6 {
            tokio::time::advance(LEASE / RENEWALS).await;
            assert_eq!(leases.due(), std::slice::from_ref(&server));
            assert!(leases.due().is_empty(), "one at a time");
            told.extend(leases.ended(&server, Instant::now(), failed(Refusal::Channel), LEASE));
        }
        assert!(matches!(told.as_slice(), [Warning::NotRenewed { seconds: 30, lease: 60, .. }]), "{told:?}");
        assert_eq!(leases.due().len(), 1);
        assert_eq!(leases.ended(&server, Instant::now(), Ok(()), LEASE), None);
        // Once it has worked again, the next time is worth a word.
        tokio::time::advance(LEASE).await;
        leases.due();
        assert!(leases.ended(&server, Instant::now(), failed(Refusal::Channel), LEASE).is_some());
        assert_eq!(leases.lost(&server), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_gone_is_told_once_and_not_asked_for_again() {
        let (leases, server) = (Leases::default(), ServerName("web1".into()));
        leases.taken(&server);
        leases.due();
        let told = leases.ended(&server, Instant::now(), failed(Refusal::LockLost), LEASE);
        assert_eq!(told, Some(Warning::LockLost { detail: "why".into() }));
        assert_eq!(leases.lost(&server).as_deref(), Some("why"));
        assert!(leases.due().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_meets_a_released_lock_says_nothing() {
        let (leases, server) = (Leases::default(), ServerName("web1".into()));
        leases.taken(&server);
        leases.due();
        leases.released(&server);
        assert_eq!(leases.ended(&server, Instant::now(), failed(Refusal::LockLost), LEASE), None);
        assert_eq!(leases.lost(&server), None);
    }
}
