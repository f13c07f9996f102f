//! What is known of one server while events come in: its step, its release, its balancer, its lock.
//!
//! It owns the record and the questions that it answers. `step` and `undo` own how events change it; `judge` owns what
//! it means for the run as a whole.

use crate::event::{Cause, Inherited, Progress, StageName, StepName, StepOutcome};
use crate::name::{ReleaseId, ServerName};

/// What is known of one server.
#[derive(Debug, Clone)]
pub struct ServerState {
    /// The server's name; `here` for the operator's machine.
    pub name: ServerName,
    /// Its batch in the rollout, from 0; `None`: the run does not roll it out.
    pub batch: Option<usize>,
    /// The step that runs on it now.
    pub now: Option<Doing>,
    /// The number of steps that the plan has for it.
    pub planned: usize,
    /// The number of steps that went well or were not needed.
    pub done: usize,
    /// The seconds that its steps took in all.
    pub busy: f64,
    /// The last line that a step printed.
    pub last_line: String,
    /// A step failed on it.
    pub failed: bool,
    /// Every undo that ended, in order.
    pub undos: Vec<(StepName, StepOutcome)>,
    /// The release that its `current` points to, as far as is known.
    pub release: Option<ReleaseId>,
    /// Whether its balancer sends it traffic; `None`: it has no balancer, or its state is unknown.
    pub in_balancer: Option<bool>,
    /// Its connection was lost or could not be made, and nothing has worked there since.
    pub lost: bool,
    /// The undo that failed and has not succeeded since.
    pub undo_failed: Option<StepName>,
    /// The run holds its lock, or may hold it.
    pub locked: bool,
    /// What became of its drain.
    pub drain: Effect,
    /// What became of its switch.
    pub switch: Effect,
    /// What became of its restart.
    pub restart: Effect,
    /// What became of the migrations that run on it.
    pub migrate: Effect,
    /// A member of its balancer is not as it was before the run.
    pub differs: bool,
    /// Another user or program repointed its `current` after its turn.
    pub moved: bool,
    /// A dead run had it, and the file does not name it.
    pub absent: bool,
    /// The release before the run.
    pub(super) previous: Option<ReleaseId>,
    /// The release of the run.
    pub(super) target: Option<ReleaseId>,
    /// The number of steps that the rollout has for it.
    pub(super) rollout_planned: usize,
    /// The number of rollout steps that went well or were not needed.
    pub(super) rollout_done: usize,
    /// A member of it was out of its balancer before the run.
    pub(super) found_out: bool,
    /// The plan, or a dead run, drains it.
    pub(super) drains: bool,
    /// What a dead run had done to it.
    pub(super) inherited: Option<Inherited>,
}

/// The step that runs on a server now.
#[derive(Debug, Clone, PartialEq)]
pub struct Doing {
    /// Its stage; `None`: the step is being taken back.
    pub stage: Option<StageName>,
    /// Its name.
    pub step: StepName,
    /// When it began, in seconds from the run's start.
    pub since: f64,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// How far a step that changes something got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// It changed nothing.
    #[default]
    None,
    /// It began, and how much of it happened is unknown.
    Begun,
    /// It happened.
    Made,
    /// It happened, and was taken back.
    Undone,
}

impl Effect {
    /// Tells whether its effect is still there, or may be.
    pub fn stands(self) -> bool {
        matches!(self, Self::Begun | Self::Made)
    }
}

impl ServerState {
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
            drain: Effect::None,
            switch: Effect::None,
            restart: Effect::None,
            migrate: Effect::None,
            differs: false,
            moved: false,
            absent: false,
            previous: None,
            target: None,
            rollout_planned: 0,
            rollout_done: 0,
            found_out: false,
            drains: false,
            inherited: None,
        }
    }

    /// Tells whether this run has to judge it: it has steps, or a dead run changed it.
    pub fn is_concerned(&self) -> bool {
        self.planned > 0 || self.inherited.is_some()
    }

    /// Tells whether the run changed what it serves, or began to.
    pub fn touched(&self) -> bool {
        [self.drain, self.switch, self.restart].iter().any(|c| *c != Effect::None)
    }

    /// Tells whether it had no release before the run.
    pub fn is_first(&self) -> bool {
        self.batch.is_some() && self.previous.is_none()
    }

    /// Tells whether it had no release before the run, and has none now.
    pub fn is_bare(&self) -> bool {
        self.is_first() && self.release.is_none()
    }

    /// Tells whether it serves its old release and is as before in its balancer.
    pub fn is_old(&self) -> bool {
        self.undo_failed.is_none() && !self.switched() && !self.restart.stands() && !self.drain.stands()
    }

    /// Tells whether it serves the new release and is back in its balancer: its whole rollout went well.
    pub fn is_new(&self) -> bool {
        self.undo_failed.is_none()
            && !self.is_half_done()
            && self.switch == Effect::Made
            && self.rollout_done >= self.rollout_planned
            && !self.is_out()
    }

    /// Tells whether the run took it out of its balancer, or may have, and has not put it back.
    pub fn is_out(&self) -> bool {
        self.drain.stands()
    }

    /// Tells whether `current` is on another release than before the run, or may be.
    pub(super) fn switched(&self) -> bool {
        // A switch from a release to itself (a rollback to the present release) changes nothing.
        self.switch.stands() && self.previous != self.target
    }

    /// Tells whether a dead run began its rollout and did not end it.
    fn is_half_done(&self) -> bool {
        self.inherited.is_some_and(|i| !i.finished && !i.taken_back && (i.drained || i.switched))
    }

    /// Says how it is in its balancer once it is back: in, or unknown where it was out before the run.
    pub(super) fn back_as_found(&self) -> Option<bool> {
        (!self.found_out).then_some(true)
    }

    /// Takes in that a step, or an undo, begins.
    pub(super) fn begin(&mut self, stage: Option<StageName>, step: StepName, since: f64) {
        self.now = Some(Doing { stage, step, since, progress: None });
        self.last_line.clear();
    }

    /// Takes in that a step, or an undo, has ended.
    pub(super) fn end(&mut self, seconds: f64, cause: Option<&Cause>) {
        self.now = None;
        self.busy += seconds.max(0.0);
        if matches!(cause, Some(Cause::Lost { .. } | Cause::Connect { .. })) {
            self.lost = true;
        }
    }
}
