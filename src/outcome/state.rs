//! The fold over a run's events: what reporters show, and what the outcome is computed from.
//!
//! It owns what is known of the run at any moment; `server` has each server's part, and `judge` judges the whole.

use std::collections::HashMap;

use super::server::ServerState;
use crate::event::{
    Blocker, Cause, Event, Failure, Finished, Place, Planned, RunVerb, StageName, Stamped, StepName, StepOutcome,
    Stuck, Warning,
};
use crate::lease::Standing;
use crate::name::{ReleaseId, ServerName};

/// What is known of a run at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The flags that pick the stack, for the commands to run next: `-c FILE `, ending in a space.
    pub flags: String,
    /// The plan, once it is known.
    pub planned: Option<Planned>,
    /// The stage that runs.
    pub stage: Option<RunningStage>,
    /// Every failed step and every failed undo, in order.
    pub failures: Vec<FailedStep>,
    /// Every warning, in order, the plan's own notices first.
    pub warnings: Vec<Warned>,
    /// The number of signals that asked the run to stop.
    pub interrupts: usize,
    /// How the run ended.
    pub finished: Option<Finished>,
    /// Seconds from the run's start to the last event.
    pub t: f64,
    servers: Vec<ServerState>,
    index: HashMap<ServerName, usize>,
}

/// A stage that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningStage {
    /// Its name.
    pub name: StageName,
    /// Batch, from 0.
    pub batch: usize,
    /// The number of its batches.
    pub batches: usize,
}

/// A step, or an undo, that failed.
#[derive(Debug, Clone)]
pub struct FailedStep {
    /// The server that it failed on.
    pub server: ServerName,
    /// The step's place in the plan; `None`: an undo of the step failed.
    pub place: Option<Place>,
    /// The step.
    pub step: StepName,
    /// Why it failed.
    pub failure: Failure,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A warning and the server that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Warned {
    /// The server; `None`: the run as a whole.
    pub server: Option<ServerName>,
    /// The warning.
    pub warning: Warning,
}

impl FailedStep {
    fn step(place: &Place, failure: Option<&Failure>, seconds: f64) -> Self {
        let (server, step) = (place.server.clone(), place.step);
        Self { server, place: Some(place.clone()), step, failure: known(failure), seconds }
    }

    fn undo(server: &ServerName, step: StepName, failure: Option<&Failure>, seconds: f64) -> Self {
        Self { server: server.clone(), place: None, step, failure: known(failure), seconds }
    }

    /// Tells whether it fails the run: pruning does not.
    pub fn is_fatal(&self) -> bool {
        self.place.is_none() || self.step != StepName::Prune
    }

    /// Tells whether it only follows from another failure.
    pub fn is_consequence(&self) -> bool {
        self.failure.cause == Cause::Abandoned
    }
}

fn known(failure: Option<&Failure>) -> Failure {
    failure.cloned().unwrap_or(Failure { cause: Cause::NoStatus, command: None, tail: Vec::new() })
}

/// Tells whether a place in the lock stage reports a step of a later stage as impossible.
///
/// Such a step never began: the run found out that it cannot succeed before anything was changed.
fn is_refusal(place: &Place) -> bool {
    place.stage == StageName::Lock && !matches!(place.step, StepName::Connect | StepName::Lock | StepName::Hook)
}

impl State {
    /// Makes the state before the first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the servers in the order of the rollout, then the others as they appeared.
    ///
    /// Others are `here` and servers that the run leaves out.
    pub fn servers(&self) -> &[ServerState] {
        &self.servers
    }

    /// Returns one server, if an event named it.
    pub fn server(&self, name: &ServerName) -> Option<&ServerState> {
        self.index.get(name).and_then(|&i| self.servers.get(i))
    }

    /// Tells whether the run failed.
    pub fn failed(&self) -> bool {
        self.failures.iter().any(FailedStep::is_fatal)
    }

    /// Tells whether a freeze is all that stops the run. A person decided on it, so it is no surprise.
    pub fn is_frozen(&self) -> bool {
        let frozen = |f: &FailedStep| match &f.failure.cause {
            Cause::Locked(held) => matches!(held.standing, Some(Standing::Frozen { .. })),
            _ => false,
        };
        let mut fatal = self.failures.iter().filter(|f| f.is_fatal() && !f.is_consequence()).peekable();
        fatal.peek().is_some() && fatal.all(frozen)
    }

    /// Takes in one event.
    pub fn apply(&mut self, stamped: &Stamped) {
        self.t = self.t.max(stamped.t);
        let t = stamped.t;
        match &stamped.event {
            Event::Planned(planned) => self.plan(planned),
            Event::StageStarted { stage, batch, batches } => {
                self.stage = Some(RunningStage { name: *stage, batch: *batch, batches: *batches });
            }
            Event::StageFinished { .. } => self.stage = None,
            Event::StepStarted { place } if is_refusal(place) => {}
            Event::StepStarted { place } => self.entry(&place.server).start(place, t),
            Event::Progress { place, progress } => self.entry(&place.server).advance(*progress),
            Event::Output { place, line, .. } => self.entry(&place.server).hear(line),
            Event::StepFinished { place, seconds, failure, .. } if is_refusal(place) => {
                self.failures.push(FailedStep::step(place, failure.as_deref(), *seconds));
            }
            Event::StepFinished { place, outcome, seconds, failure, .. } => {
                let failed_before = self.failed();
                let cause = failure.as_ref().map(|f| &f.cause);
                // Before the first failure a skipped step was not needed; after it, the run did not reach the step.
                let outcome = if *outcome == StepOutcome::Skipped && (failed_before || cause.is_some()) {
                    None
                } else {
                    Some(*outcome)
                };
                self.entry(&place.server).finish(place, outcome, *seconds, cause);
                if outcome == Some(StepOutcome::Failed) {
                    self.failures.push(FailedStep::step(place, failure.as_deref(), *seconds));
                }
            }
            Event::UndoStarted { server, step } => self.entry(server).start_undo(*step, t),
            Event::UndoFinished { server, step, outcome, seconds, failure } => {
                self.entry(server).finish_undo(*step, *outcome, *seconds, failure.as_ref().map(|f| &f.cause));
                if *outcome == StepOutcome::Failed {
                    self.failures.push(FailedStep::undo(server, *step, failure.as_deref(), *seconds));
                }
            }
            Event::Inherited { server, inherited } => self.entry(server).inherit(inherited),
            Event::Warning { server, warning } => self.warn(server.as_ref(), warning),
            Event::Finished(finished) => self.finished = Some(finished.clone()),
        }
    }

    fn plan(&mut self, planned: &Planned) {
        for (batch, servers) in planned.batches.iter().enumerate() {
            for name in servers {
                self.entry(name).batch = Some(batch);
            }
        }
        for notice in &planned.notices {
            if let Warning::FoundOut { of, .. } = notice {
                self.entry(of).set_found_out();
            }
        }
        for place in &planned.steps {
            self.entry(&place.server).expect_step(place);
        }
        // A blocker about a balancer as a whole: which members are in service is unknown.
        let is_whole = |b: &Blocker| b.server.is_none() && matches!(b.failure.cause, Cause::Balancer { .. });
        if planned.blockers.iter().any(is_whole) {
            self.servers.iter_mut().for_each(|server| server.in_balancer = None);
        }
        for (name, release) in &planned.previous {
            let known = planned.verb != RunVerb::Recover;
            self.entry(name).set_releases(release.clone(), planned.release.clone(), known);
        }
        self.warnings.extend(planned.notices.iter().map(|n| Warned { server: None, warning: n.clone() }));
        self.planned = Some(planned.clone());
    }

    fn warn(&mut self, server: Option<&ServerName>, warning: &Warning) {
        match (warning, server) {
            (Warning::Interrupted { .. }, _) => self.interrupts += 1,
            (Warning::FoundOut { of, .. }, _) => self.entry(of).set_found_out(),
            (Warning::Absent { .. }, Some(server)) => self.entry(server).absent = true,
            (Warning::Stuck { stuck: Stuck::LockKept }, Some(server)) => self.entry(server).locked = true,
            (Warning::CurrentMoved { current }, Some(server)) => {
                let entry = self.entry(server);
                entry.moved = true;
                entry.release = ReleaseId::parse(current);
            }
            (Warning::BalancerDiffers { .. }, Some(server)) => {
                let entry = self.entry(server);
                entry.differs = true;
                // What the run did to it no longer tells how it stands now.
                entry.in_balancer = None;
            }
            _ => {}
        }
        self.warnings.push(Warned { server: server.cloned(), warning: warning.clone() });
    }

    fn entry(&mut self, name: &ServerName) -> &mut ServerState {
        let next = self.servers.len();
        let at = *self.index.entry(name.clone()).or_insert(next);
        if at == next {
            self.servers.push(ServerState::new(name.clone()));
        }
        &mut self.servers[at]
    }
}
