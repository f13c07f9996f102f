//! What is known of one server while events come in: its step, its release, its balancer, its lock.
//!
//! It owns the reading of single events; what they mean for the run as a whole is `outcome`'s.

use crate::event::{Cause, Inherited, Place, Progress, StageName, StepName, StepOutcome};
use crate::name::{ReleaseId, ServerName};

/// What is known of one server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Which.
    pub name: ServerName,
    /// Its batch in the rollout, from 0; `None` when it is not rolled out.
    pub batch: Option<usize>,
    /// What it does now.
    pub now: Option<Doing>,
    /// How many steps the plan has for it.
    pub planned: usize,
    /// How many of them went well.
    pub done: usize,
    /// Seconds it was busy.
    pub busy: f64,
    /// The last line a step printed.
    pub last_line: String,
    /// A step failed on it.
    pub failed: bool,
    /// Every undo that ended, in order.
    pub undos: Vec<(StepName, StepOutcome)>,
    /// The release its `current` points to, as far as is known.
    pub release: Option<ReleaseId>,
    /// Whether its balancer sends it traffic; `None` where it has none, or nobody knows.
    pub in_balancer: Option<bool>,
    /// Its connection was lost, or could not be made, and nothing has worked there since.
    pub lost: bool,
    /// An undo that failed, and was not repeated with success.
    pub undo_failed: Option<StepName>,
    /// Its lock is held, or may be.
    pub locked: bool,
    /// It went through `drain`.
    pub drain: Change,
    /// It went through `switch`.
    pub switch: Change,
    /// It went through `restart`.
    pub restart: Change,
    previous: Option<ReleaseId>,
    target: Option<ReleaseId>,
    rollout_planned: usize,
    rollout_done: usize,
    found_out: bool,
    drains: bool,
    inherited: Option<Inherited>,
    /// A member of it is not as it was before the run.
    pub differs: bool,
    /// Somebody else pointed its `current` elsewhere after its turn.
    pub moved: bool,
}

/// What a server does now.
#[derive(Debug, Clone, PartialEq)]
pub struct Doing {
    /// Stage; `None` while a step is taken back.
    pub stage: Option<StageName>,
    /// Step.
    pub step: StepName,
    /// Since when, in seconds from the run's start.
    pub since: f64,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// How far a step that changes something got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change {
    /// It changed nothing.
    #[default]
    None,
    /// It began, and nobody knows how much of it happened.
    Begun,
    /// It happened.
    Made,
    /// It happened, and was taken back.
    Undone,
}

impl Change {
    /// Tells whether what it changed is still there, or may be.
    pub fn stands(self) -> bool {
        matches!(self, Self::Begun | Self::Made)
    }
}

impl Server {
    pub(super) fn new(name: ServerName) -> Self {
        Self {
            name,
            batch: None,
            now: None,
            planned: 0,
            done: 0,
            busy: 0.0,
            last_line: String::new(),
            failed: false,
            undos: Vec::new(),
            release: None,
            in_balancer: None,
            lost: false,
            undo_failed: None,
            locked: false,
            drain: Change::None,
            switch: Change::None,
            restart: Change::None,
            previous: None,
            target: None,
            rollout_planned: 0,
            rollout_done: 0,
            found_out: false,
            drains: false,
            inherited: None,
            differs: false,
            moved: false,
        }
    }

    /// Tells whether a dead run had begun its rollout and not ended it.
    fn is_half_done(&self) -> bool {
        self.inherited.is_some_and(|i| !i.finished && !i.taken_back && (i.drained || i.switched))
    }

    /// Tells whether this run has it to judge: it has steps, or inherited what a dead run did.
    pub fn is_concerned(&self) -> bool {
        self.planned > 0 || self.inherited.is_some()
    }

    /// Tells whether the run changed, or began to change, what this server serves.
    pub fn touched(&self) -> bool {
        [self.drain, self.switch, self.restart].iter().any(|c| *c != Change::None)
    }

    /// Tells whether it serves its old release, and is where it was in its balancer.
    pub fn is_old(&self) -> bool {
        self.undo_failed.is_none() && !self.switched() && !self.restart.stands() && !self.drain.stands()
    }

    /// Tells whether `current` is, or may be, on another release than before.
    fn switched(&self) -> bool {
        // A switch from a release to the same one (a rollback to where the server already is) changes nothing.
        self.switch.stands() && self.previous != self.target
    }

    /// Tells whether its whole rollout went well, so that it serves the new release and is back in its balancer.
    pub fn is_new(&self) -> bool {
        self.undo_failed.is_none()
            && !self.is_half_done()
            && self.switch == Change::Made
            && self.rollout_done >= self.rollout_planned
            && !self.is_out()
    }

    /// Tells whether it is, or may be, out of a balancer that it was in.
    pub fn is_out(&self) -> bool {
        self.drain.stands()
    }

    pub(super) fn expect_step(&mut self, place: &Place) {
        self.planned += 1;
        self.rollout_planned += usize::from(place.stage == StageName::Rollout);
        if place.step == StepName::Drain {
            self.drains = true;
            // The probe found it in: whoever is out is named by a warning.
            self.in_balancer = (!self.found_out).then_some(true);
        }
    }

    /// Takes in where it was and is to go. `known`: it is there now; what a dead run has left is told by what it did.
    pub(super) fn set_releases(&mut self, previous: Option<ReleaseId>, target: ReleaseId, known: bool) {
        self.release = if known { previous.clone() } else { None };
        self.previous = previous;
        self.target = Some(target);
    }

    /// Takes in what a dead run had done.
    pub(super) fn inherit(&mut self, inherited: &Inherited) {
        let Inherited { drained, restored, switched, restarted, finished, taken_back } = *inherited;
        let made = |happened: bool| match (happened, taken_back) {
            (false, _) => Change::None,
            (true, true) => Change::Undone,
            (true, false) => Change::Made,
        };
        self.switch = made(switched);
        self.restart = match made(restarted) {
            Change::Made if !finished => Change::Begun,
            other => other,
        };
        // Back in its balancer is not proven where nothing says so.
        self.drain = match made(drained) {
            Change::Made if finished && restored => Change::Undone,
            Change::Made if restored => Change::Begun,
            other => other,
        };
        self.drains |= drained;
        if drained {
            self.in_balancer = match self.drain {
                Change::Begun => None,
                Change::Made => Some(false),
                _ => Some(true),
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

    pub(super) fn found_out(&mut self) {
        self.found_out = true;
        if !self.drain.stands() {
            self.in_balancer = None;
        }
    }

    pub(super) fn start(&mut self, place: &Place, t: f64) {
        self.begin(Some(place.stage), place.step, t);
        match place.step {
            StepName::Lock => self.locked = true,
            StepName::Drain => {
                self.drain = Change::Begun;
                self.in_balancer = None;
            }
            StepName::Restore => self.in_balancer = None,
            StepName::Switch => self.switch = Change::Begun,
            StepName::Restart => self.restart = Change::Begun,
            _ => {}
        }
    }

    pub(super) fn start_undo(&mut self, step: StepName, t: f64) {
        self.begin(None, step, t);
    }

    fn begin(&mut self, stage: Option<StageName>, step: StepName, since: f64) {
        self.now = Some(Doing { stage, step, since, progress: None });
        self.last_line.clear();
    }

    pub(super) fn advance(&mut self, progress: Progress) {
        if let Some(now) = &mut self.now {
            now.progress = Some(progress);
        }
    }

    pub(super) fn hear(&mut self, line: &str) {
        if !line.trim().is_empty() {
            line.clone_into(&mut self.last_line);
        }
    }

    /// A step ended; `None`: it was not reached.
    pub(super) fn finish(&mut self, place: &Place, outcome: Option<StepOutcome>, seconds: f64, cause: Option<&Cause>) {
        self.end(seconds, cause);
        if matches!(outcome, Some(StepOutcome::Ok | StepOutcome::Skipped)) {
            self.done += 1;
            self.rollout_done += usize::from(place.stage == StageName::Rollout);
        }
        self.failed |= outcome == Some(StepOutcome::Failed);
        match outcome {
            Some(StepOutcome::Ok) => self.made(place.step),
            Some(StepOutcome::Failed) if cause.is_none_or(|c| !changed_nothing(place.step, c)) => {
                self.unsure(place.step)
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
                self.drain = Change::Made;
                self.in_balancer = Some(false);
            }
            StepName::Restore => self.back_in(),
            StepName::Switch => {
                self.switch = Change::Made;
                self.release.clone_from(&self.target);
            }
            StepName::Restart => self.restart = Change::Made,
            _ => {}
        }
    }

    fn unsure(&mut self, step: StepName) {
        match step {
            StepName::Drain => {
                self.drain = Change::Begun;
                self.in_balancer = None;
            }
            StepName::Restore => self.in_balancer = None,
            StepName::Switch => {
                self.switch = Change::Begun;
                self.release = None;
            }
            StepName::Restart => self.restart = Change::Begun,
            _ => {}
        }
    }

    fn not_made(&mut self, step: StepName) {
        match step {
            StepName::Lock => self.locked = false,
            StepName::Drain if self.drain == Change::Begun => {
                self.drain = Change::None;
                self.in_balancer = (self.drains && !self.found_out).then_some(true);
            }
            StepName::Switch if self.switch == Change::Begun => self.switch = Change::None,
            StepName::Restart if self.restart == Change::Begun => self.restart = Change::None,
            StepName::Restore if self.drain.stands() => self.in_balancer = Some(false),
            _ => {}
        }
    }

    /// Taking a step back ended. `step` names the step, not what was done: that of `drain` puts the server back in.
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
                // A prepared release that could not be removed takes up room and harms nobody.
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
                self.drain = Change::Undone;
                self.in_balancer = (!self.found_out).then_some(true);
            }
            StepName::Restore => {
                self.drain = Change::Made;
                self.in_balancer = Some(false);
            }
            StepName::Switch => {
                self.switch = Change::Undone;
                self.release.clone_from(&self.previous);
            }
            StepName::Restart => self.restart = Change::Undone,
            // Where a restart needs taking back, that comes before the proof; a restart that was stopped before it began,
            // or one on the same release, needs the proof alone. Behind a switch that stands it proves nothing old.
            StepName::Check if !self.switched() && self.restart.stands() => self.restart = Change::Undone,
            _ => {}
        }
    }

    fn back_in(&mut self) {
        // `Undone` says of a drain that nothing of it is left, whoever put the server back.
        self.drain = if self.drain == Change::None { Change::None } else { Change::Undone };
        self.in_balancer = (!self.found_out).then_some(true);
    }

    fn end(&mut self, seconds: f64, cause: Option<&Cause>) {
        self.now = None;
        self.busy += seconds.max(0.0);
        if matches!(cause, Some(Cause::Lost { .. } | Cause::Connect { .. })) {
            self.lost = true;
        }
    }
}

/// Tells whether a step that failed so is known to have left everything as it was.
fn changed_nothing(step: StepName, cause: &Cause) -> bool {
    match (step, cause) {
        (_, Cause::Abandoned | Cause::Connect { .. }) => true,
        (StepName::Lock, Cause::Locked { .. } | Cause::Refused { .. }) => true,
        // A refusal of the balancer step comes before it says anything to a balancer.
        (StepName::Drain, Cause::Refused { .. }) => true,
        (StepName::Switch, Cause::Refused { code, .. }) => code == "not_switched" || refused_early(code),
        (StepName::Restart, Cause::Refused { code, .. }) => refused_early(code),
        _ => false,
    }
}

/// Codes by which remote scripts refuse before they do anything.
fn refused_early(code: &str) -> bool {
    matches!(
        code,
        "bad_root"
            | "current_changed"
            | "current_odd"
            | "lock_lost"
            | "no_input"
            | "no_proc"
            | "no_release"
            | "no_space"
            | "not_writable"
    )
}
