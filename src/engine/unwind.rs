//! Takes back what a run did: newest first, in two rounds.
//!
//! [`crate::plan::unwind`] decides what to do to each server.
//!
//! First the servers of the failing batch that are not back in service: bringing them back only adds capacity. Then
//! those in service, one by one, only where the policy says so and only while nothing is stuck.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::hooks;
use super::running::Running;
use crate::config::OnFailure;
use crate::event::{Cause, Event, Failure, Refusal, StageName, StepName, StepOutcome, Stuck, Warning};
use crate::facts::DRAINED;
use crate::name::{RunId, ServerName};
use crate::plan::Verb;
use crate::plan::unwind::{Takeback, way_back};
use crate::release::ReleaseState;
use crate::script::calls::{self, Behind, Mark};
use crate::wording::warning;

/// Takes back what the run did.
///
/// `failing`: the batch of the rollout that failed. `failed`: a step failed; it was not only a signal.
pub async fn unwind(running: &Arc<Running>, failing: Option<usize>, failed: bool) {
    running.leases.phase("taking back".into());
    let interrupted = running.world.stop.asked();
    let hold = running.plan.on_failure == OnFailure::Hold && failing.is_some() && failed && !interrupted;
    let batches = &running.plan.batches;
    let mut stuck = Vec::new();
    if hold {
        let batch = failing.and_then(|i| batches.get(i)).cloned().unwrap_or_default();
        // Who was drained, did not fail and was never switched is as before: there is nothing to inspect.
        let (held, untouched): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .filter(|s| !running.ledger.record(s).finished)
            .partition(|s| running.ledger.record(s).failed || running.ledger.record(s).switched.is_some());
        stuck.extend(together(running, untouched).await);
        for server in held {
            running.stuck(&server, Stuck::Held);
            stuck.push(server);
        }
    } else {
        let batch = failing.and_then(|i| batches.get(i)).cloned().unwrap_or_default();
        let (serving, out): (Vec<_>, Vec<_>) = batch.into_iter().partition(|s| {
            let record = running.ledger.record(s);
            record.restored && record.drained
        });
        stuck.extend(together(running, out).await);
        for server in serving {
            if stuck.is_empty() && !running.take_back(&server).await {
                stuck.push(server);
            }
        }
        let earlier = batches.iter().take(failing.unwrap_or(0)).rev().flat_map(|b| b.iter().rev());
        if running.plan.on_failure == OnFailure::RevertAll {
            for server in earlier {
                if stuck.is_empty() && !running.take_back(server).await {
                    stuck.push(server.clone());
                }
            }
        }
    }
    // Servers whose turn never came may hold a prepared release.
    let later: Vec<ServerName> = batches.iter().skip(failing.map_or(0, |i| i + 1)).flatten().cloned().collect();
    stuck.extend(together(running, later).await);
    settle(running).await;
    if stuck.is_empty() {
        unlock(running).await;
    } else {
        running.world.emitter.emit(Event::Warning { server: None, warning: Warning::LockKept { servers: stuck } });
        keep(running).await;
    }
    // Last: whatever a notification does, the servers are as they should be and no run waits for the lock.
    hooks::on_failure(running).await;
}

/// Writes into every lock that the run still holds why it is kept.
///
/// The run or operator that meets the lock next reads that first.
async fn keep(running: &Arc<Running>) {
    let kept_for = running.ledger.all_stuck();
    let why: Vec<String> =
        kept_for.iter().map(|(server, stuck)| format!("{server}: {}", warning::stuck(stuck))).collect();
    let why = if why.is_empty() { "a person must look".to_owned() } else { why.join("; ") };
    let mut lanes = JoinSet::new();
    for name in running.ledger.locked() {
        let (running, why) = (running.clone(), why.clone());
        lanes.spawn(async move {
            let place = running.place((StageName::Finish, 0), &name, StepName::Unlock);
            let call = calls::keep(&running.site(), &running.world.run, &why);
            let kept = running.call(&place, running.script(call, &running.world.stop.hard)).await;
            // A server that cannot be reached is named already, and what stands in its lock is its run.
            if let Err(Failure { cause: Cause::Refused { detail, .. }, .. }) = kept {
                let warning = Warning::LockUnmarked { detail };
                running.world.emitter.emit(Event::Warning { server: Some(name), warning });
            }
        });
    }
    lanes.join_all().await;
}

/// Takes back several servers side by side; returns those that are stuck.
async fn together(running: &Arc<Running>, servers: Vec<ServerName>) -> Vec<ServerName> {
    let mut lanes = JoinSet::new();
    for server in servers {
        let running = running.clone();
        lanes.spawn(async move { (running.take_back(&server).await, server) });
    }
    let mut stuck: Vec<ServerName> =
        lanes.join_all().await.into_iter().filter(|(good, _)| !good).map(|(_, s)| s).collect();
    stuck.sort();
    stuck
}

/// Writes on each server what has become of the release.
///
/// The next run's probe does it on a server that cannot be reached.
pub async fn settle(running: &Arc<Running>) {
    let mut lanes = JoinSet::new();
    for name in running.ledger.touched() {
        let record = running.ledger.record(&name);
        // Where another run or an operator had taken it out, it is out because of them.
        let ours = running.ledger.snapshot(&name).is_some_and(|found| found.was_in());
        let out = record.drained && !record.taken_back && !record.finished && ours;
        if !record.locked || record.marked || (record.switched.is_none() && !out) {
            continue;
        }
        let running = running.clone();
        lanes.spawn(async move {
            let line = running.history();
            // The next run must know whether a member that it finds out is out because of this one.
            let by = if out { RunId(format!("{}{DRAINED}", running.world.run)) } else { running.world.run.clone() };
            let (state, line, behind) = match running.state_of(&name) {
                End::Kept => (ReleaseState::Good, Some(line.as_str()), Behind::No),
                End::TakenBack => (ReleaseState::Reverted, None, Behind::By(&by)),
                End::Failed | End::Condemned => (ReleaseState::Failed, None, Behind::By(&by)),
            };
            // A rollback that fails says nothing against the release it went to: it was good before.
            let tells = running.plan.verb == Verb::Deploy || state == ReleaseState::Good;
            let tells = tells && running.ledger.record(&name).switched.is_some();
            let state = tells.then_some((&running.plan.release, state));
            let mark = Mark { state, line, behind: Some(behind) };
            let place = running.place((StageName::Finish, 0), &name, StepName::Prune);
            if let Err(failure) = running.mark(&place, &mark, &running.world.stop.hard).await {
                let warning = Warning::Prune { failure: Box::new(failure) };
                running.world.emitter.emit(Event::Warning { server: Some(name), warning });
            }
        });
    }
    lanes.join_all().await;
}

/// Releases every lock that the run still holds, the deciding one last.
pub async fn unlock(running: &Arc<Running>) {
    running.last_word().await;
    let order: Vec<ServerName> = running.world.config.servers.iter().map(|s| s.name.clone()).collect();
    let mut held: Vec<ServerName> = order.into_iter().filter(|s| running.ledger.record(s).locked).collect();
    let rest = held.split_off(held.len().min(1));
    for servers in [rest, held] {
        let mut lanes = JoinSet::new();
        for name in servers {
            let running = running.clone();
            lanes.spawn(async move {
                let place = running.place((StageName::Finish, 0), &name, StepName::Unlock);
                let call = calls::unlock(&running.site(), &running.world.run);
                let stop = running.world.stop.hard.clone();
                running.leases.released(&name);
                let result = async {
                    match running.call(&place, running.script(call, &stop)).await {
                        // It is another's by now: that this run lost it is told where it was noticed.
                        Err(Failure { cause: Cause::Refused { code: Refusal::NotOurs, .. }, .. }) => Ok(()),
                        other => other.map(drop),
                    }
                };
                if running.undo(&name, StepName::Lock, result).await {
                    running.ledger.note(&name, |r| r.locked = false);
                } else {
                    running.stuck(&name, Stuck::LockKept);
                }
            });
        }
        lanes.join_all().await;
    }
}

enum End {
    Kept,
    TakenBack,
    /// Taken back, since the release itself failed there.
    Condemned,
    Failed,
}

impl Running {
    fn state_of(&self, server: &ServerName) -> End {
        let record = self.ledger.record(server);
        match (record.finished, record.taken_back) {
            (_, true) if self.ledger.is_condemned(server) => End::Condemned,
            (_, true) => End::TakenBack,
            (true, false) => End::Kept,
            (false, false) => End::Failed,
        }
    }

    /// Names a server that needs a person.
    pub fn stuck(&self, server: &ServerName, stuck: Stuck) {
        self.ledger.stuck(server, stuck.clone());
        self.world.emitter.emit(Event::Warning { server: Some(server.clone()), warning: Warning::Stuck { stuck } });
    }

    /// Takes one server back to how the run found it.
    ///
    /// False: it is stuck, and has been named.
    async fn take_back(&self, name: &ServerName) -> bool {
        let Some(server) = self.server(name) else { return true };
        for takeback in way_back(&self.plan, name, &self.ledger.record(name)) {
            let stop = &self.world.stop.hard;
            let step = takeback.step();
            let place = self.place((StageName::Rollout, 0), name, step);
            let done = self.undo(name, step, async {
                match &takeback {
                    // A run that has its lock by now says where it belongs.
                    Takeback::Drain => {
                        self.still_ours(&place, false, stop).await?;
                        self.drain(server, &place, stop).await
                    }
                    Takeback::SwitchBack(to) => self.switch(&place, Some(&self.plan.release), to.as_ref(), stop).await,
                    Takeback::Restart(release) => {
                        // A balancer that cannot be asked fails the restore; the server must get its release back all the same.
                        let _ = self.stay_out(server, &place, stop).await;
                        self.restart(&place, release, stop).await
                    }
                    Takeback::Stop => {
                        let _ = self.stay_out(server, &place, stop).await;
                        self.halt(&place, stop).await
                    }
                    Takeback::Check(release) => self.check(server, &place, release, stop).await,
                    Takeback::StayOut => {
                        let detail = "there is no earlier release to go back to".into();
                        Err(Cause::Refused { code: Refusal::NothingToServe, detail }.into())
                    }
                    Takeback::Restore => {
                        // A server whose lock was only removed would stay out to no purpose.
                        self.still_ours(&place, true, stop).await?;
                        self.restore_old(server, stop).await
                    }
                    Takeback::RemoveRelease => {
                        let call = calls::remove(&self.site(), &self.world.run, &self.plan.release);
                        let unbuilt = self.ledger.is_unbuilt(name);
                        let call = if unbuilt { call.unbuilt(&self.plan.revision) } else { call };
                        self.call(&place, self.script(call, stop)).await.map(drop)
                    }
                }
            });
            if !done.await {
                // A leftover directory does no harm, and must not keep a good server out.
                if takeback == Takeback::RemoveRelease {
                    continue;
                }
                self.stuck(name, Stuck::UndoFailed { step });
                return false;
            }
        }
        self.ledger.note(name, |r| r.taken_back = true);
        true
    }

    /// Reports a step's taking back around its doing.
    async fn undo(
        &self,
        server: &ServerName,
        step: StepName,
        doing: impl Future<Output = Result<impl Sized, Failure>>,
    ) -> bool {
        let emitter = &self.world.emitter;
        emitter.emit(Event::UndoStarted { server: server.clone(), step });
        let began = Instant::now();
        let hard = &self.world.stop.hard;
        let result = tokio::select! {
            result = doing => result.map(drop),
            () = hard.cancelled() => Err(Failure::from(Cause::Interrupted)),
        };
        let (outcome, failure) = match result {
            Ok(()) => (StepOutcome::Ok, None),
            Err(failure) => (StepOutcome::Failed, Some(Box::new(failure))),
        };
        let seconds = began.elapsed().as_secs_f64();
        emitter.emit(Event::UndoFinished { server: server.clone(), step, outcome, seconds, failure });
        outcome == StepOutcome::Ok
    }
}
