//! What undos, and the journal of a dead run, say of one server.
//!
//! It owns how they change a [`ServerState`]; the steps of the run itself are `step`'s.

use super::server::{Effect, ServerState};
use crate::event::{Cause, Inherited, StepName, StepOutcome};

impl ServerState {
    /// Takes in what a dead run had done to it.
    pub(super) fn inherit(&mut self, inherited: &Inherited) {
        let Inherited { drained, restored, switched, restarted, finished, taken_back } = *inherited;
        let made = |happened: bool| match (happened, taken_back) {
            (false, _) => Effect::None,
            (true, true) => Effect::Undone,
            (true, false) => Effect::Made,
        };
        self.switch = made(switched);
        self.restart = match made(restarted) {
            Effect::Made if !finished => Effect::Begun,
            other => other,
        };
        // A restore counts as proven only where the whole rollout of the server finished.
        self.drain = match made(drained) {
            Effect::Made if finished && restored => Effect::Undone,
            Effect::Made if restored => Effect::Begun,
            other => other,
        };
        self.drains |= drained;
        if drained {
            self.in_balancer = match self.drain {
                Effect::Begun => None,
                Effect::Made => Some(false),
                Effect::None | Effect::Undone => self.back_as_found(),
            };
        }
        self.release = match (switched, finished) {
            (true, _) if taken_back => self.previous.clone(),
            (true, true) => self.target.clone(),
            (true, false) => None,
            (false, _) => self.previous.clone(),
        };
        self.locked = true;
        self.inherited = Some(*inherited);
    }

    /// Takes in that an undo of `step` begins.
    pub(super) fn start_undo(&mut self, step: StepName, t: f64) {
        self.begin(None, step, t);
    }

    /// Takes in that an undo of `step` ended; the undo of `drain` puts the server back into its balancer.
    pub(super) fn finish_undo(&mut self, step: StepName, outcome: StepOutcome, seconds: f64, cause: Option<&Cause>) {
        self.end(seconds, cause);
        self.undos.push((step, outcome));
        match outcome {
            StepOutcome::Ok => {
                self.lost = false;
                self.undo_failed = self.undo_failed.filter(|s| *s != step);
                self.undone(step);
            }
            StepOutcome::Failed => {
                // A prepared release that stays behind takes up room and changes nothing that is served.
                if !matches!(step, StepName::Lock | StepName::Transfer | StepName::Link | StepName::Build) {
                    self.undo_failed = Some(step);
                }
                if matches!(step, StepName::Drain | StepName::Restore) {
                    self.in_balancer = None;
                }
                if step == StepName::Switch {
                    self.release = None;
                }
            }
            StepOutcome::Skipped => {}
        }
    }

    fn undone(&mut self, step: StepName) {
        match step {
            StepName::Lock => self.locked = false,
            StepName::Drain => {
                self.drain = Effect::Undone;
                self.in_balancer = self.back_as_found();
            }
            StepName::Restore => {
                self.drain = Effect::Made;
                self.in_balancer = Some(false);
            }
            StepName::Switch => {
                self.switch = Effect::Undone;
                self.release.clone_from(&self.previous);
            }
            StepName::Restart => self.restart = Effect::Undone,
            // The undo of `check` proves the old release. A restart that must be taken back is, before that proof; the
            // proof alone is enough for one that was stopped before it began, or that stayed on the same release. While
            // a switch stands, the proof says nothing of the old release.
            StepName::Check if !self.switched() && self.restart.stands() => self.restart = Effect::Undone,
            _ => {}
        }
    }
}
