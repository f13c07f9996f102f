//! Keeps the run's locks alive: renews each several times within its lease.
//!
//! Renewals run beside the run's other work.
//!
//! A renewal that fails is repeated, and told when the lease may run out; a lock that is gone ends all work on its server.
//! What the run knows of its locks is in [`super::leases`].

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::event::{Cause, Event, Failure, Place, Refusal};
use crate::lease::RENEWALS;
use crate::name::ServerName;
use crate::remote::Execution;
use crate::script::calls;

/// How a server ends what it says of a lost lock that no run has taken since.
const FREE: &str = "held by no run";

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
    /// Refuses where the lock of the place's server is another run's by now.
    ///
    /// It refuses also where no run holds the lock, unless `may_be_free`.
    ///
    /// Asks the server: a machine that slept has renewed nothing meanwhile. One that cannot be asked refuses nothing.
    ///
    /// # Errors
    /// `lock_lost`.
    pub async fn still_ours(&self, place: &Place, may_be_free: bool, stop: &CancellationToken) -> Result<(), Failure> {
        if !self.ledger.record(&place.server).locked {
            return Ok(());
        }
        let harmless = |detail: &str| may_be_free && detail.ends_with(FREE);
        // A lock that no run held when it was heard of may have been taken since.
        let detail = match self.leases.lost(&place.server).filter(|known| !harmless(known)) {
            Some(known) => known,
            None => {
                let phase = self.leases.said_phase();
                let call = calls::renew(&self.site(), &self.world.run, &phase);
                match self.call(place, self.script(call, stop)).await {
                    Err(Failure { cause: Cause::Refused { code: Refusal::LockLost, detail }, .. }) => detail,
                    _ => return Ok(()),
                }
            }
        };
        if harmless(&detail) { Ok(()) } else { Err(Cause::Refused { code: Refusal::LockLost, detail }.into()) }
    }

    async fn renew(&self, server: &ServerName, length: Duration) {
        let began = Instant::now();
        let limit = length / RENEWALS;
        let phase = self.leases.said_phase();
        let call = calls::renew(&self.site(), &self.world.run, &phase);
        let execution = Execution::new(call, Some(limit), &self.world.stop.hard);
        // Beside the steps, which may take longer than the lease. Connecting anew has limits of its own, which may as well.
        let end = match timeout(limit, self.world.hands.run_beside(server, &execution)).await {
            Ok(end) => end.map(drop),
            Err(_) => Err(Cause::TimedOut { limit: limit.as_secs_f64() }.into()),
        };
        if let Some(warning) = self.leases.ended(server, began, end, length) {
            self.world.emitter.emit(Event::Warning { server: Some(server.clone()), warning });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_of_a_lock_that_no_run_holds_it() {
        let said = FREE.replace("no run", "${owner_run:-no run}\"");
        assert!(include_str!("../../templates/remote/lib.sh").contains(&said), "{said}");
    }
}
