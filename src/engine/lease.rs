//! Keeping the run's locks alive: each is renewed several times within its lease, beside whatever else the run does.
//!
//! A renewal that fails is repeated, and told when the lease may run out; a lock that is gone ends all work on its server.
//! What a lock says to others is judged in [`crate::lease`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::call::How;
use super::remote::{Execution, execute};
use super::{Running, lock};
use crate::event::{Cause, Event, Failure, Place, Warning};
use crate::lease::RENEWALS;
use crate::name::ServerName;
use crate::remote::{Answer, calls};
use crate::ssh::Link;

/// How a server ends what it says of a lost lock that nobody has taken since.
const NOBODYS: &str = "held by nobody";

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

    /// Notes that the lock is about to be released: it is not renewed any more, and nobody wonders where it is.
    pub fn released(&self, server: &ServerName) {
        lock(&self.held).remove(server);
    }

    /// Says what the run does, for others to read.
    pub fn phase(&self, phase: String) {
        *lock(&self.phase) = phase;
    }

    /// What the server said when the lock was gone; `None`: as far as is known it is held.
    pub fn lost(&self, server: &ServerName) -> Option<String> {
        lock(&self.held).get(server).and_then(|lease| lease.lost.clone())
    }

    /// The servers whose lock is to be renewed now.
    fn due(&self) -> Vec<ServerName> {
        let mut held = lock(&self.held);
        let due = held.iter_mut().filter(|(_, lease)| lease.lost.is_none() && !lease.under_way);
        due.map(|(server, lease)| {
            lease.under_way = true;
            server.clone()
        })
        .collect()
    }

    /// Takes in how a renewal ended; returns what a person should read of it.
    fn ended(
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
            Err(Failure { cause: Cause::Refused { code, detail }, .. }) if code == "lock_lost" => {
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

/// Renews the run's locks until it is over; a renewal that is under way then ends with it.
pub async fn keep(running: Arc<Running>, over: CancellationToken) {
    let length = running.world.config.timeouts.lease;
    let every = length / RENEWALS;
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewals = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                for server in running.leases.due() {
                    let running = running.clone();
                    renewals.spawn(async move { running.renew(&server, length).await });
                }
            }
            Some(_) = renewals.join_next() => {}
            () = over.cancelled() => return renewals.shutdown().await,
        }
    }
}

impl Running {
    /// Refuses where the lock of the place's server is another run's by now; unless `may_be_free`, also where it is nobody's.
    ///
    /// Asks the server: a machine that slept has renewed nothing meanwhile. One that cannot be asked refuses nothing.
    ///
    /// # Errors
    /// `lock_lost`.
    pub async fn still_ours(&self, place: &Place, may_be_free: bool, stop: &CancellationToken) -> Result<(), Failure> {
        if !self.record(&place.server).locked {
            return Ok(());
        }
        let harmless = |detail: &str| may_be_free && detail.ends_with(NOBODYS);
        // What was nobody's when it was heard of may have been taken since.
        let detail = match self.leases.lost(&place.server).filter(|known| !harmless(known)) {
            Some(known) => known,
            None => {
                let phase = lock(&self.leases.phase).clone();
                let call = calls::renew(&self.site(), &self.world.run, &phase);
                match self.call(place, call, How::default(), stop).await {
                    Err(Failure { cause: Cause::Refused { code, detail }, .. }) if code == "lock_lost" => detail,
                    _ => return Ok(()),
                }
            }
        };
        if harmless(&detail) { Ok(()) } else { Err(Cause::Refused { code: "lock_lost".into(), detail }.into()) }
    }

    /// In the exec that stands ready, where no step uses it this moment; else in one of its own, on a connection of its own
    /// where the server allows one session at a time: a step may take longer than the lease.
    async fn one_more(
        &self,
        server: &ServerName,
        link: &Link,
        execution: Execution<'_>,
    ) -> Result<Vec<Answer>, Failure> {
        let result = match self.world.standings.execute(server, link, &execution, None).await {
            Some(result) => return result,
            None => execute(link, execution.clone(), None).await,
        };
        match result {
            Err(Failure { cause: Cause::Refused { code, .. }, .. }) if code == "channel" => {
                let beside = link.beside();
                let result = execute(&beside, execution, None).await;
                beside.close().await;
                result
            }
            other => other,
        }
    }

    async fn renew(&self, server: &ServerName, length: Duration) {
        let began = Instant::now();
        let limit = length / RENEWALS;
        let phase = lock(&self.leases.phase).clone();
        let execution = Execution {
            call: calls::renew(&self.site(), &self.world.run, &phase),
            kept: None,
            payload: None,
            limit: Some(limit),
            quiet: Duration::ZERO,
            command: None,
            stop: &self.world.stop.hard,
        };
        let end = match self.world.links.get(server) {
            // Connecting anew has limits of its own, which may be longer than a lease.
            Some(link) => match timeout(limit, self.one_more(server, link, execution)).await {
                Ok(end) => end.map(drop),
                Err(_) => Err(Cause::TimedOut { limit: limit.as_secs_f64() }.into()),
            },
            None => return,
        };
        if let Some(warning) = self.leases.ended(server, began, end, length) {
            self.world.emitter.emit(Event::Warning { server: Some(server.clone()), warning });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn failed(code: &str) -> Result<(), Failure> {
        Err(Cause::Refused { code: code.into(), detail: "why".into() }.into())
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
            told.extend(leases.ended(&server, Instant::now(), failed("channel"), LEASE));
        }
        assert!(matches!(told.as_slice(), [Warning::NotRenewed { seconds: 30, lease: 60, .. }]), "{told:?}");
        assert_eq!(leases.due().len(), 1);
        assert_eq!(leases.ended(&server, Instant::now(), Ok(()), LEASE), None);
        // Once it has worked again, the next time is worth a word.
        tokio::time::advance(LEASE).await;
        leases.due();
        assert!(leases.ended(&server, Instant::now(), failed("channel"), LEASE).is_some());
        assert_eq!(leases.lost(&server), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_gone_is_told_once_and_not_asked_for_again() {
        let (leases, server) = (Leases::default(), ServerName("web1".into()));
        leases.taken(&server);
        leases.due();
        let told = leases.ended(&server, Instant::now(), failed("lock_lost"), LEASE);
        assert_eq!(told, Some(Warning::LockLost { detail: "why".into() }));
        assert_eq!(leases.lost(&server).as_deref(), Some("why"));
        assert!(leases.due().is_empty());
    }

    #[test]
    fn a_server_says_of_a_lock_that_it_is_nobodys() {
        let said = NOBODYS.replace("nobody", "${owner_run:-nobody}\"");
        assert!(include_str!("../../templates/remote/lib.sh").contains(&said), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_meets_a_released_lock_says_nothing() {
        let (leases, server) = (Leases::default(), ServerName("web1".into()));
        leases.taken(&server);
        leases.due();
        leases.released(&server);
        assert_eq!(leases.ended(&server, Instant::now(), failed("lock_lost"), LEASE), None);
        assert_eq!(leases.lost(&server), None);
    }
}
