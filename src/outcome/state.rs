//! THE fold over a run's events: what reporters show, and what the outcome is computed from.
//!
//! It owns what is known of each server at any moment; `outcome` judges it, and no text is made here.

use std::collections::HashMap;

use super::server::Server;
use crate::event::{
    Blocker, Cause, Event, Failure, Finished, Place, Planned, RECOVER, StageName, Stamped, StepName, StepOutcome,
    Stuck, Warning,
};
use crate::lease::Standing;
use crate::name::{ReleaseId, ServerName};
pub use crate::policy::HERE;

/// What is known of a run.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Flags that pick the stack (`-c FILE -p PROFILE `, ending in a space), for the commands to run next.
    pub flags: String,
    /// The plan, once it is known.
    pub planned: Option<Planned>,
    /// The stage that runs.
    pub stage: Option<Stage>,
    /// Every failed step and every failed undo, in order.
    pub failures: Vec<Failed>,
    /// Every warning, in order, the plan's own notices first.
    pub warnings: Vec<Warned>,
    /// How many signals asked the run to stop.
    pub interrupts: usize,
    /// How it ended.
    pub finished: Option<Finished>,
    /// Seconds from the run's start to the last event.
    pub t: f64,
    servers: Vec<Server>,
    index: HashMap<ServerName, usize>,
}

/// A stage that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Which.
    pub name: StageName,
    /// Batch, from 0.
    pub batch: usize,
    /// How many batches it has.
    pub batches: usize,
}

/// A step that failed, or failed to be taken back.
#[derive(Debug, Clone)]
pub struct Failed {
    /// On which server.
    pub server: ServerName,
    /// Where in the plan; `None` for an undo.
    pub place: Option<Place>,
    /// Which step.
    pub step: StepName,
    /// Why.
    pub failure: Failure,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A warning and whom it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Warned {
    /// Whom.
    pub server: Option<ServerName>,
    /// What.
    pub warning: Warning,
}

impl Failed {
    /// Tells whether it fails the run: pruning does not.
    pub fn is_fatal(&self) -> bool {
        self.place.is_none() || self.step != StepName::Prune
    }

    /// Tells whether it only follows from another failure, and so explains nothing.
    pub fn is_consequence(&self) -> bool {
        self.failure.cause == Cause::Abandoned
    }
}

/// Tells whether a step is reported as impossible before anything was touched: it was never begun, whatever its name.
fn is_refusal(place: &Place) -> bool {
    place.stage == StageName::Lock && !matches!(place.step, StepName::Connect | StepName::Lock | StepName::Hook)
}

impl State {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns every server, in the order of the rollout; others (`here`, those left out) as they appeared.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns one server, if anything is known of it.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.index.get(name).and_then(|&i| self.servers.get(i))
    }

    /// Tells whether anything failed that fails the run.
    pub fn failed(&self) -> bool {
        self.failures.iter().any(Failed::is_fatal)
    }

    /// Tells whether all that keeps the run is a freeze: somebody decided that, and it is no surprise.
    pub fn is_frozen(&self) -> bool {
        let frozen = |f: &Failed| match &f.failure.cause {
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
                self.stage = Some(Stage { name: *stage, batch: *batch, batches: *batches });
            }
            Event::StageFinished { .. } => self.stage = None,
            Event::StepStarted { place } if is_refusal(place) => {}
            Event::StepStarted { place } => self.entry(&place.server).start(place, t),
            Event::Progress { place, progress } => self.entry(&place.server).advance(*progress),
            Event::Output { place, line, .. } => self.entry(&place.server).hear(line),
            Event::StepFinished { place, seconds, failure, .. } if is_refusal(place) => {
                self.fail(&place.server, (Some(place), place.step), failure.as_deref(), *seconds);
            }
            Event::StepFinished { place, outcome, seconds, failure, .. } => {
                let failed_before = self.failed();
                let cause = failure.as_ref().map(|f| &f.cause);
                // What is skipped once something has failed was not reached; before that it was not needed.
                let outcome = if *outcome == StepOutcome::Skipped && (failed_before || cause.is_some()) {
                    None
                } else {
                    Some(*outcome)
                };
                self.entry(&place.server).finish(place, outcome, *seconds, cause);
                if outcome == Some(StepOutcome::Failed) {
                    self.fail(&place.server, (Some(place), place.step), failure.as_deref(), *seconds);
                }
            }
            Event::UndoStarted { server, step } => self.entry(server).start_undo(*step, t),
            Event::UndoFinished { server, step, outcome, seconds, failure } => {
                self.entry(server).finish_undo(*step, *outcome, *seconds, failure.as_ref().map(|f| &f.cause));
                if *outcome == StepOutcome::Failed {
                    self.fail(server, (None, *step), failure.as_deref(), *seconds);
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
                self.entry(of).found_out();
            }
        }
        for place in &planned.steps {
            self.entry(&place.server).expect_step(place);
        }
        // What is wrong with a balancer as such: nobody knows who is in it.
        let dumb = |b: &Blocker| b.server.is_none() && matches!(b.failure.cause, Cause::Balancer { .. });
        if planned.blockers.iter().any(dumb) {
            self.servers.iter_mut().for_each(|server| server.in_balancer = None);
        }
        for (name, release) in &planned.previous {
            let known = planned.verb != RECOVER;
            self.entry(name).set_releases(release.clone(), planned.release.clone(), known);
        }
        self.warnings.extend(planned.notices.iter().map(|n| Warned { server: None, warning: n.clone() }));
        self.planned = Some(planned.clone());
    }

    fn warn(&mut self, server: Option<&ServerName>, warning: &Warning) {
        match (warning, server) {
            (Warning::Interrupted { .. }, _) => self.interrupts += 1,
            (Warning::FoundOut { of, .. }, _) => self.entry(of).found_out(),
            (Warning::Stuck { stuck: Stuck::LockKept }, Some(server)) => self.entry(server).locked = true,
            (Warning::CurrentMoved { current }, Some(server)) => {
                let entry = self.entry(server);
                entry.moved = true;
                entry.release = ReleaseId::parse(current);
            }
            (Warning::BalancerDiffers { .. }, Some(server)) => {
                let entry = self.entry(server);
                entry.differs = true;
                // What was done to it is not how it stands now.
                entry.in_balancer = None;
            }
            _ => {}
        }
        self.warnings.push(Warned { server: server.cloned(), warning: warning.clone() });
    }

    fn fail(&mut self, server: &ServerName, at: (Option<&Place>, StepName), failure: Option<&Failure>, seconds: f64) {
        let unknown = || Failure { cause: Cause::NoStatus, command: None, tail: Vec::new() };
        self.failures.push(Failed {
            server: server.clone(),
            place: at.0.cloned(),
            step: at.1,
            failure: failure.cloned().unwrap_or_else(unknown),
            seconds,
        });
    }

    fn entry(&mut self, name: &ServerName) -> &mut Server {
        let next = self.servers.len();
        let at = *self.index.entry(name.clone()).or_insert(next);
        if at == next {
            self.servers.push(Server::new(name.clone()));
        }
        &mut self.servers[at]
    }
}
