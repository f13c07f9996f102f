//! Makes event sequences as an engine would emit them, with times that depend on nothing.

use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use pitcrew::config::{OnFailure, Prepare, Strategy};
use pitcrew::event::*;
use pitcrew::name::{ReleaseId, Revision, RunId, ServerName};
use pitcrew::outcome::Reporter;
use pitcrew::outcome::state::State;

pub const OLD: &str = "20261122000000";
pub const NEW: &str = "20261123045900";

pub fn server(name: &str) -> ServerName {
    ServerName(name.into())
}

pub fn release(id: &str) -> ReleaseId {
    ReleaseId::parse(id).unwrap()
}

/// Events in the making: each comes a quarter of a second after the one before.
pub struct Story {
    pub events: Vec<Stamped>,
    pub stage: StageName,
    pub batch: usize,
}

/// The steps of a server's turn in a serial run.
pub const TURN: [StepName; 5] =
    [StepName::Drain, StepName::Switch, StepName::Restart, StepName::Check, StepName::Restore];

/// The steps of a server's rollout in a parallel run.
pub const FLIP: [StepName; 3] = [StepName::Switch, StepName::Restart, StepName::Check];

impl Story {
    pub fn empty() -> Self {
        Self { events: Vec::new(), stage: StageName::Lock, batch: 0 }
    }

    /// A run that is planned and locked.
    pub fn locked(strategy: Strategy, on_failure: OnFailure, servers: &[&str]) -> Self {
        let mut story = Self::planned(strategy, on_failure, servers);
        story.stage(StageName::Lock, 0, 1);
        servers.iter().for_each(|s| story.ok(s, StepName::Lock));
        story
    }

    pub fn planned(strategy: Strategy, on_failure: OnFailure, servers: &[&str]) -> Self {
        let mut story = Self::empty();
        story.say(Event::Planned(plan(strategy, on_failure, servers)));
        story
    }

    pub fn say(&mut self, event: Event) {
        let t = self.events.len() as f64 * 0.25;
        let began: Timestamp = "2026-11-23T04:59:00.123Z".parse().unwrap();
        let at = began + jiff::SignedDuration::from_secs_f64(t);
        self.events.push(Stamped { at, t, run: RunId("20261123045900-1a2b".into()), event });
    }

    pub fn stage(&mut self, stage: StageName, batch: usize, batches: usize) {
        (self.stage, self.batch) = (stage, batch);
        self.say(Event::StageStarted { stage, batch, batches });
    }

    pub fn place(&self, name: &str, step: StepName) -> Place {
        Place { stage: self.stage, batch: self.batch, server: server(name), step }
    }

    pub fn start(&mut self, name: &str, step: StepName) {
        let place = self.place(name, step);
        self.say(Event::StepStarted { place });
    }

    pub fn end(&mut self, name: &str, step: StepName, failure: Option<Failure>) {
        let place = self.place(name, step);
        let outcome = if failure.is_some() { StepOutcome::Failed } else { StepOutcome::Ok };
        self.say(Event::StepFinished { place, outcome, seconds: 0.5, failure: failure.map(Box::new), sent: None });
    }

    pub fn ok(&mut self, name: &str, step: StepName) {
        self.start(name, step);
        self.end(name, step, None);
    }

    pub fn all_ok(&mut self, name: &str, steps: &[StepName]) {
        steps.iter().for_each(|step| self.ok(name, *step));
    }

    pub fn fail(&mut self, name: &str, step: StepName, failure: Failure) {
        self.start(name, step);
        self.end(name, step, Some(failure));
    }

    pub fn output(&mut self, name: &str, step: StepName, line: &str) {
        let place = self.place(name, step);
        self.say(Event::Output { place, stream: Stream::Stdout, line: line.into() });
    }

    pub fn undo(&mut self, name: &str, step: StepName, failure: Option<Failure>) {
        self.say(Event::UndoStarted { server: server(name), step });
        let outcome = if failure.is_some() { StepOutcome::Failed } else { StepOutcome::Ok };
        let failure = failure.map(Box::new);
        self.say(Event::UndoFinished { server: server(name), step, outcome, seconds: 0.25, failure });
    }

    pub fn undo_all(&mut self, name: &str, steps: &[StepName]) {
        steps.iter().for_each(|step| self.undo(name, *step, None));
    }

    pub fn warn(&mut self, name: Option<&str>, warning: Warning) {
        self.say(Event::Warning { server: name.map(server), warning });
    }

    pub fn finish_stage(&mut self, servers: &[&str]) {
        self.stage(StageName::Finish, 0, 1);
        servers.iter().for_each(|s| self.all_ok(s, &[StepName::Prune, StepName::Unlock]));
    }

    pub fn state(&self) -> State {
        let mut state = State::new();
        self.events.iter().for_each(|e| state.apply(e));
        state
    }

    /// Adds `finished`, as the emitter does.
    pub fn finished(&mut self) -> Finished {
        let finished = self.state().finish(self.events.len() as f64 * 0.25);
        self.say(Event::Finished(finished.clone()));
        finished
    }

    /// Tells it all to a reporter.
    pub fn tell(&self, reporter: &mut dyn Reporter) {
        let mut state = State::new();
        for event in &self.events {
            state.apply(event);
            reporter.event(event, &state);
        }
        reporter.close();
    }
}

pub fn plan(strategy: Strategy, on_failure: OnFailure, servers: &[&str]) -> Planned {
    let names: Vec<ServerName> = servers.iter().map(|s| server(s)).collect();
    let parallel = strategy == Strategy::Parallel;
    let batches: Vec<Vec<ServerName>> =
        if parallel { vec![names.clone()] } else { names.iter().map(|n| vec![n.clone()]).collect() };
    let mut steps = Vec::new();
    let mut add = |stage, batch, server: &ServerName, step| {
        steps.push(Place { stage, batch, server: server.clone(), step });
    };
    for name in &names {
        add(StageName::Lock, 0, name, StepName::Lock);
    }
    for name in &names {
        add(StageName::Prepare, 0, name, StepName::Transfer);
        add(StageName::Prepare, 0, name, StepName::Build);
    }
    for (batch, members) in batches.iter().enumerate() {
        for name in members {
            let turn: &[StepName] = if parallel { &FLIP } else { &TURN };
            turn.iter().for_each(|step| add(StageName::Rollout, batch, name, *step));
        }
    }
    for name in &names {
        add(StageName::Finish, 0, name, StepName::Prune);
        add(StageName::Finish, 0, name, StepName::Unlock);
    }
    Planned {
        blockers: Vec::new(),
        app: "shop".into(),
        verb: RunVerb::Deploy,
        strategy,
        decided_by: if parallel { DecidedBy::Template } else { DecidedBy::Flag },
        web_server: "unicorn".into(),
        prepare: Prepare::Ahead,
        on_failure,
        release: release(NEW),
        revision: Revision("a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".into()),
        previous: names.iter().map(|n| (n.clone(), Some(release(OLD)))).collect(),
        batches,
        migrate_on: None,
        steps,
        notices: Vec::new(),
    }
}

pub fn exit(status: u32) -> Failure {
    because(Cause::Exit { status })
}

pub fn because(cause: Cause) -> Failure {
    Failure { cause, command: None, tail: Vec::new() }
}

pub fn unreachable() -> Failure {
    because(Cause::Connect {
        detail: "web2.example.com:22 did not answer within 10s".into(),
        hint: "see whether the host is up, and whether a firewall stands between".into(),
    })
}

pub fn sick() -> Failure {
    because(Cause::Unhealthy(Box::new(Unhealthy {
        asked: "http://localhost:8080/up".into(),
        attempts: 12,
        status: Some(301),
        location: Some("https://shop.example.com/up".into()),
        body: "<html>\nMoved \x1b[31mPermanently\x1b[0m\n</html>\n".into(),
        error: None,
    })))
}

/// A place to write to that can be read afterwards.
#[derive(Clone, Default)]
pub struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
