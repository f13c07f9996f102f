//! Restarting a server's web server, and proving that what answers afterwards is the release.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::checkup::Checkup;
use super::running::Running;
use crate::answer::Answer;
use crate::config::{Probe, Server};
use crate::event::{Cause, Event, Failure, Place, Refusal, Warning};
use crate::health::CheckFailed;
use crate::name::ReleaseId;
use crate::remote::{Ear, Execution};
use crate::script::calls;
use crate::sync::lock;

/// Lines of the web server's log that are shown.
const LOG_LINES: usize = 60;
/// Between two looks at the processes while nothing answers.
const LOOK: Duration = Duration::from_secs(4);
/// So many looks that find them dead are definite; one may be an application before its database.
const LOOKS: u32 = 2;

impl Running {
    /// Restarts the web server and proves that it runs from the release.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub async fn restart(&self, place: &Place, release: &ReleaseId, stop: &CancellationToken) -> Result<(), Failure> {
        let limit = self.restart_limit();
        let call = calls::restart(&self.site(), &self.world.run, release, limit);
        // Where it was back in between, its way back has taken it out again by now.
        let call = if self.ledger.record(&place.server).drained { call.out_of_traffic() } else { call };
        // The script keeps the limit itself, so that it can say which proof is missing; this one is for when it cannot.
        let answers = self.call(place, self.script(call, stop).limit(self.after(limit))).await?;
        self.tell_notices(place, answers);
        Ok(())
    }

    /// Passes on what a script says to the user beside its result.
    fn tell_notices(&self, place: &Place, answers: Vec<Answer>) {
        // The proof after the check says again what the restart said.
        let is_new = |a: &Answer| a.key == "notice" && self.ledger.is_news(&place.server, &a.value);
        for notice in answers.into_iter().filter(is_new) {
            let warning = Warning::Note { text: notice.value };
            self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
        }
    }

    /// Stops the web server: what a first deploy started is taken back so.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub async fn halt(&self, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let limit = self.restart_limit();
        let call = calls::stop(&self.site(), &self.world.run, limit);
        let answers = self.call(place, self.script(call, stop).limit(self.after(limit))).await?;
        self.tell_notices(place, answers);
        Ok(())
    }

    /// When a script that keeps its own limit is given up all the same.
    fn after(&self, limit: Duration) -> Option<Duration> {
        Some(limit.saturating_add(self.world.config.timeouts.step.min(Duration::from_secs(15))))
    }

    /// `restart = "none"` still ends: nothing waits for ever.
    fn restart_limit(&self) -> Duration {
        self.world.config.timeouts.restart.unwrap_or(Duration::from_secs(24 * 3600))
    }

    /// Asks the server for its health, then proves that what answered are the release's processes.
    ///
    /// # Errors
    /// With the last answer and the last lines of the web server's log.
    pub async fn check(
        &self,
        server: &Server,
        place: &Place,
        release: &ReleaseId,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if !self.plan.is_checked(&server.name) {
            return Ok(());
        }
        let healthy = self.healthy(place, release, stop).await;
        let proven = match healthy {
            Ok(()) if self.world.config.web.proof.none => return Ok(()),
            Ok(()) => {
                let mut call = calls::prove(&self.site(), &self.world.run, release);
                if *release == self.plan.release {
                    // The restore follows, without a look at the lock; on the way back it looks.
                    call = call.while_held();
                }
                if let Some(Probe::Http(probe)) = self.world.config.health.as_ref().map(|health| &health.probe) {
                    call = call.after_answer().answered_on(probe.port);
                }
                self.call(place, self.script(call, stop)).await.map(|answers| self.tell_notices(place, answers))
            }
            Err(failure) => Err(failure),
        };
        match proven {
            Err(mut failure) if failure.cause != Cause::Interrupted && failure.tail.is_empty() => {
                failure.tail = self.log_tail(place, stop).await;
                Err(failure)
            }
            other => other,
        }
    }

    pub(super) async fn healthy(
        &self,
        place: &Place,
        release: &ReleaseId,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let Some(health) = &self.world.config.health else { return Ok(()) };
        let emitter = &self.world.emitter;
        let mut on = |progress| emitter.emit(Event::Progress { place: place.clone(), progress });
        let hands = self.world.hands.as_ref();
        let known = self.known(place, release);
        // The restart has just proven them, but where the web server starts processes only when it is asked.
        let proof = &self.world.config.web.proof;
        let proven = !proof.none && !proof.lazy;
        let ear = Ear::Step(emitter, place);
        let checkup = Checkup { hands, site: self.site(), known, ear, proven, silent: AtomicBool::default() };
        let (over, give_up) = (CancellationToken::new(), stop.child_token());
        let asking = async {
            let result = checkup.healthy(health, &mut on, &give_up).await;
            over.cancel();
            result
        };
        let watching = async {
            let died = if proven { self.die_out(place, &checkup, &over, stop).await } else { None };
            if died.is_some() {
                give_up.cancel();
            }
            died
        };
        match tokio::join!(asking, watching) {
            (Ok(()), _) => Ok(()),
            (Err(CheckFailed::Stopped), Some(died)) if !stop.is_cancelled() => Err(died),
            (Err(CheckFailed::Stopped), _) => Err(Cause::Interrupted.into()),
            (Err(CheckFailed::Unhealthy(unhealthy)), _) => Err(Cause::Unhealthy(unhealthy).into()),
        }
    }

    /// Looks at the processes now and then while nothing answers, until `over`.
    ///
    /// Returns what is wrong with them once two looks have found them gone, or started anew since the look before: then waiting
    /// for an answer is in vain.
    async fn die_out(
        &self,
        place: &Place,
        checkup: &Checkup<'_>,
        over: &CancellationToken,
        stop: &CancellationToken,
    ) -> Option<Failure> {
        let release = checkup.known.release.as_ref()?;
        let mut missed = 0;
        loop {
            tokio::select! {
                () = over.cancelled() => return None,
                () = tokio::time::sleep(LOOK) => {}
            }
            if !checkup.silent.load(Ordering::Relaxed) {
                continue;
            }
            let call = calls::glance(&self.site(), &self.world.run, release);
            if let Err(failure) = self.call(place, self.script(call, stop)).await
                && matches!(failure.cause, Cause::Refused { code: Refusal::NotProven, .. })
            {
                missed += 1;
                if missed == LOOKS {
                    return Some(failure);
                }
            }
        }
    }

    /// The last lines of the web server's log; empty when it has none or cannot say.
    async fn log_tail(&self, place: &Place, stop: &CancellationToken) -> Vec<String> {
        let limit = self.world.config.timeouts.step.min(Duration::from_secs(10));
        let execution = Execution::new(calls::log(&self.site()), Some(limit), stop);
        let lines = Mutex::new(VecDeque::new());
        let keep = |line: &str| {
            let mut lines = lock(&lines);
            // The script prints no more than that, and a server is not trusted to keep to it.
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        };
        let _ = self.world.hands.run(&place.server, &execution, Ear::Lines(&keep)).await;
        lines.into_inner().unwrap_or_else(PoisonError::into_inner).into()
    }
}
