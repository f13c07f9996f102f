//! What the plan and the steps of a run say of one server.
//!
//! It owns how a step's begin and end change a [`ServerState`]; undos are `undo`'s.

use super::server::{Effect, ServerState};
use crate::event::{Cause, Place, Progress, StageName, StepName, StepOutcome};
use crate::name::ReleaseId;

impl ServerState {
    /// Takes in a step that the plan has for it.
    pub(super) fn expect_step(&mut self, place: &Place) {
        self.planned += 1;
        self.rollout_planned += usize::from(place.stage == StageName::Rollout);
        if place.step == StepName::Drain {
            self.drains = true;
            // A drain is planned for members that the probe found in; a warning names those that it found out.
            self.in_balancer = self.back_as_found();
        }
    }

    /// Takes in its release before the run and that of the run.
    ///
    /// `known`: `previous` is where it is now. After a dead run that is unknown until an event tells what that run did.
    pub(super) fn set_releases(&mut self, previous: Option<ReleaseId>, target: ReleaseId, known: bool) {
        self.release = if known { previous.clone() } else { None };
        self.previous = previous;
        self.target = Some(target);
    }

    /// Takes in that a member of it was out of its balancer before the run.
    pub(super) fn set_found_out(&mut self) {
        self.found_out = true;
        if !self.drain.stands() {
            self.in_balancer = None;
        }
    }

    /// Takes in that a step begins.
    pub(super) fn start(&mut self, place: &Place, t: f64) {
        self.begin(Some(place.stage), place.step, t);
        match place.step {
            StepName::Lock => self.locked = true,
            StepName::Drain => {
                self.drain = Effect::Begun;
                self.in_balancer = None;
            }
            StepName::Restore => self.in_balancer = None,
            StepName::Switch => self.switch = Effect::Begun,
            StepName::Restart => self.restart = Effect::Begun,
            StepName::Migrate => self.migrate = Effect::Begun,
            _ => {}
        }
    }

    /// Takes in how far its step is.
    pub(super) fn advance(&mut self, progress: Progress) {
        if let Some(now) = &mut self.now {
            now.progress = Some(progress);
        }
    }

    /// Takes in a line that its step printed.
    pub(super) fn hear(&mut self, line: &str) {
        if !line.trim().is_empty() {
            line.clone_into(&mut self.last_line);
        }
    }

    /// Takes in that a step ended; `outcome` is `None` where the run did not reach it.
    pub(super) fn finish(&mut self, place: &Place, outcome: Option<StepOutcome>, seconds: f64, cause: Option<&Cause>) {
        self.end(seconds, cause);
        if matches!(outcome, Some(StepOutcome::Ok | StepOutcome::Skipped)) {
            self.done += 1;
            self.rollout_done += usize::from(place.stage == StageName::Rollout);
        }
        self.failed |= outcome == Some(StepOutcome::Failed);
        // A login that runs nothing is as far away as one that cannot be reached.
        self.lost |= outcome == Some(StepOutcome::Failed) && place.step == StepName::Connect;
        match outcome {
            Some(StepOutcome::Ok) => self.made(place.step),
            Some(StepOutcome::Failed) if cause.is_none_or(|c| !c.changed_nothing(place.step)) => {
                self.unsure(place.step);
            }
            Some(StepOutcome::Failed | StepOutcome::Skipped) | None => self.not_made(place.step),
        }
        if outcome == Some(StepOutcome::Ok) {
            self.lost = false;
        }
    }

    fn made(&mut self, step: StepName) {
        match step {
            StepName::Lock => self.locked = true,
            StepName::Unlock => self.locked = false,
            StepName::Drain => {
                self.drain = Effect::Made;
                self.in_balancer = Some(false);
            }
            StepName::Restore => {
                if self.drain != Effect::None {
                    self.drain = Effect::Undone;
                }
                self.in_balancer = self.back_as_found();
            }
            StepName::Switch => {
                self.switch = Effect::Made;
                self.release.clone_from(&self.target);
            }
            StepName::Restart => self.restart = Effect::Made,
            StepName::Migrate => self.migrate = Effect::Made,
            _ => {}
        }
    }

    fn unsure(&mut self, step: StepName) {
        match step {
            StepName::Drain => {
                self.drain = Effect::Begun;
                self.in_balancer = None;
            }
            StepName::Restore => self.in_balancer = None,
            StepName::Switch => {
                self.switch = Effect::Begun;
                self.release = None;
            }
            StepName::Restart => self.restart = Effect::Begun,
            _ => {}
        }
    }

    fn not_made(&mut self, step: StepName) {
        match step {
            StepName::Lock => self.locked = false,
            StepName::Drain if self.drain == Effect::Begun => {
                self.drain = Effect::None;
                self.in_balancer = if self.drains { self.back_as_found() } else { None };
            }
            StepName::Switch if self.switch == Effect::Begun => self.switch = Effect::None,
            StepName::Restart if self.restart == Effect::Begun => self.restart = Effect::None,
            StepName::Migrate if self.migrate == Effect::Begun => self.migrate = Effect::None,
            StepName::Restore if self.drain.stands() => self.in_balancer = Some(false),
            _ => {}
        }
    }
}
