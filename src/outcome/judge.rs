//! How a run ended, computed from its events alone: the outcome, the exit code, the end of each server.
//!
//! It owns the meaning of the exit codes; `next` lists the commands to run next, and reports have the words.

use super::server::ServerState;
use super::state::{FailedStep, State};
use crate::event::{Blocker, Cause, Finished, Outcome, Refusal, RunVerb, ServerEnd, StepName, Stuck};
use crate::policy::HERE;
use crate::policy::OnFailure;

impl State {
    /// Judges the run as if it ended now.
    ///
    /// Returns the outcome, the exit code, the servers in the order of the rollout, and the commands to run next.
    ///
    /// | exit code | when |
    /// | --- | --- |
    /// | 0 | every server is on the new release, or the plan had nothing to do |
    /// | 1 | something failed, and every server is as it was |
    /// | 2 | what the file or the command line names cannot be released, and nothing was changed |
    /// | 3 | servers differ, or one needs a person |
    /// | 4 | another run holds a lock, and nothing was changed |
    /// | 5 | every failure is a server, balancer or source out of reach, and nothing was changed |
    /// | 130 | interrupted, and everything in flight was taken back |
    ///
    /// A plan with steps of which none was reported did not succeed: its exit code is 1.
    pub fn outcome(&self) -> (Outcome, u8, Vec<ServerEnd>, Vec<String>) {
        let ends = self.ends();
        let outcome = self.judge(&ends);
        let next = super::next::commands(self, outcome, &ends);
        let exit_code = match outcome {
            // A recovery succeeds when it has taken everything back.
            Outcome::Reverted if self.recovers() && !self.failed() => 0,
            Outcome::Reverted if self.is_misused() => USAGE,
            other => exit_code(other),
        };
        (outcome, exit_code, ends, next)
    }

    /// Tells whether the run takes back a dead run.
    pub fn recovers(&self) -> bool {
        self.planned.as_ref().is_some_and(|p| p.verb == RunVerb::Recover)
    }

    /// Makes the `finished` event's data.
    pub fn finish(&self, seconds: f64) -> Finished {
        let (outcome, exit_code, servers, next) = self.outcome();
        Finished { outcome, exit_code, seconds, servers, next }
    }

    /// Returns the servers of the rollout, in its order.
    pub fn rolled_out(&self) -> impl Iterator<Item = &ServerState> + Clone {
        self.servers().iter().filter(|s| s.batch.is_some())
    }

    fn judge(&self, ends: &[ServerEnd]) -> Outcome {
        if !self.rolled_out().any(ServerState::touched) {
            return self.judge_untouched(ends);
        }
        let stuck: Vec<&Stuck> = ends.iter().filter_map(|e| e.stuck.as_ref()).collect();
        if !stuck.is_empty() {
            // A server that could not be reached was left out: it is behind, but not half done.
            return if stuck.iter().all(|s| **s == Stuck::Unreachable) && self.rolled_out().all(is_settled) {
                Outcome::Mixed
            } else {
                Outcome::Stuck
            };
        }
        let mut concerned = self.rolled_out().filter(|s| s.is_concerned());
        if concerned.clone().all(ServerState::is_new) {
            // All serve the new release, yet a later step failed (a hook that halts): a person must look.
            if self.failures.iter().any(|f| f.is_fatal() && !self.is_mended(f)) {
                Outcome::Stuck
            } else {
                Outcome::Deployed
            }
        } else if self.interrupted() {
            // Everything in flight was taken back; batches that succeeded before the signal keep the release.
            Outcome::Interrupted
        } else if concerned.all(ServerState::is_old) {
            Outcome::Reverted
        } else {
            Outcome::Mixed
        }
    }

    fn judge_untouched(&self, ends: &[ServerEnd]) -> Outcome {
        let mut reasons = self.failures.iter().filter(|f| f.is_fatal() && !f.is_consequence()).peekable();
        if ends.iter().any(|e| e.stuck.as_ref().is_some_and(|s| *s != Stuck::Unreachable)) {
            Outcome::Stuck
        } else if self.interrupted() {
            Outcome::Interrupted
        } else if self.is_misused() {
            // Before a held lock: waiting for the holder does not mend it.
            Outcome::Reverted
        } else if reasons.clone().any(is_locked) {
            Outcome::Locked
        } else if reasons.peek().is_some() {
            if reasons.all(is_unreachable) { Outcome::Unreachable } else { Outcome::Reverted }
        } else if self.planned.as_ref().is_some_and(|p| p.steps.is_empty()) {
            Outcome::Unchanged
        } else {
            Outcome::Reverted
        }
    }

    /// Tells whether a mistake in the file or on the command line ended the run unchanged.
    fn is_misused(&self) -> bool {
        let misused = |f: &FailedStep| matches!(f.failure.cause, Cause::Source { .. });
        self.failures.iter().any(misused) && !self.rolled_out().any(ServerState::touched)
    }

    /// Tells whether a lock that could not be released, or taken, is free in the end.
    fn is_mended(&self, failed: &FailedStep) -> bool {
        let free = |s: &ServerState| !s.locked;
        matches!(failed.step, StepName::Unlock | StepName::Lock) && self.server(&failed.server).is_some_and(free)
    }

    fn interrupted(&self) -> bool {
        self.interrupts > 0 || self.failures.iter().any(|f| f.failure.cause == Cause::Interrupted)
    }

    fn ends(&self) -> Vec<ServerEnd> {
        let end = |s: &ServerState| ServerEnd {
            server: s.name.clone(),
            release: s.release.clone(),
            in_balancer: s.in_balancer,
            stuck: self.stuck(s),
        };
        let others = self.servers().iter().filter(|s| s.batch.is_none() && s.name.as_str() != HERE);
        self.rolled_out().map(end).chain(others.map(end).filter(|e| e.stuck.is_some())).collect()
    }

    fn stuck(&self, server: &ServerState) -> Option<Stuck> {
        if server.absent {
            return Some(Stuck::NotInFile);
        }
        if let Some(step) = server.undo_failed {
            // A second signal cuts every undo short, which is no failure of the undo.
            return Some(if self.interrupts < 2 { Stuck::UndoFailed { step } } else { Stuck::CutShort });
        }
        if !is_settled(server) {
            let hold = self.planned.as_ref().is_some_and(|p| p.on_failure == OnFailure::Hold);
            return Some(if hold && self.failed() && self.interrupts < 2 {
                Stuck::Held
            } else if server.lost {
                Stuck::Unreachable
            } else if self.interrupts < 2 && server.is_out() {
                Stuck::OutOfBalancer
            } else {
                Stuck::CutShort
            });
        }
        if server.moved {
            return Some(Stuck::CurrentMoved);
        }
        if server.differs {
            return Some(Stuck::BalancerDiffers);
        }
        if server.locked {
            return Some(Stuck::LockKept);
        }
        let never_reached = |f: &&FailedStep| {
            f.server == server.name && f.step == StepName::Connect && f.place.is_some() && server.lost
        };
        self.failures.iter().find(never_reached).map(|_| Stuck::Unreachable)
    }
}

/// Tells whether a server is on one release and as before in its balancer.
fn is_settled(server: &ServerState) -> bool {
    server.is_old() || server.is_new()
}

fn is_locked(failed: &FailedStep) -> bool {
    match &failed.failure.cause {
        Cause::Locked { .. } => true,
        Cause::Refused { code: Refusal::Locked | Refusal::LockedAnew, .. } => failed.step == StepName::Lock,
        _ => false,
    }
}

/// Tells whether a server, a balancer or (on `here`) the source could not be reached.
fn is_unreachable(failed: &FailedStep) -> bool {
    failed.step == StepName::Connect || matches!(failed.failure.cause, Cause::Connect { .. })
}

/// Returns the exit code of a run that these blockers stop before it changes anything.
pub fn refused(blockers: &[Blocker]) -> u8 {
    let is_locked = |b: &Blocker| matches!(b.failure.cause, Cause::Locked { .. });
    exit_code(match blockers {
        [] => Outcome::Deployed,
        all if all.iter().any(is_locked) => Outcome::Locked,
        all if all.iter().all(|b| b.step == StepName::Connect) => Outcome::Unreachable,
        _ => Outcome::Reverted,
    })
}

/// The exit code for usage and configuration.
const USAGE: u8 = 2;

/// Returns an outcome's exit code; [`USAGE`] depends on the failures and is not among them.
fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Deployed | Outcome::Unchanged => 0,
        Outcome::Reverted => 1,
        Outcome::Mixed | Outcome::Stuck => 3,
        Outcome::Locked => 4,
        Outcome::Unreachable => 5,
        Outcome::Interrupted => 130,
    }
}
