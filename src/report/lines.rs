//! One event as lines of text, for the plain reporter and for the lines that a terminal keeps.
//!
//! It owns which events get a line at which verbosity; times and columns are the reporters'.

use super::paint::Paint;
use crate::event::{Event, Failure, Place, Planned, RunVerb, StageName, StepName, StepOutcome};
use crate::name::ServerName;
use crate::out::with_flags;
use crate::outcome::server::ServerState;
use crate::outcome::state::{RunningStage, State};
use crate::policy::HERE;
use crate::text::clean::clean;
use crate::text::units::{names, seconds as duration};
use crate::wording::{cause, plan, step, warning};

/// How much a reporter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Nothing, unless a person must read it.
    Quiet,
    /// Steps, and the output of migrations and hooks: these run once, and people read it.
    #[default]
    Normal,
    /// Every line of output as well.
    Verbose,
}

/// A line of text, with the server and the step that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server; `None`: the run itself.
    pub server: Option<String>,
    /// The step; `None`: no single one.
    pub step: Option<String>,
    /// The text.
    pub text: String,
}

impl Line {
    fn of_run(text: String) -> Self {
        Self { server: None, step: None, text }
    }

    fn of_step(place: &Place, text: String) -> Self {
        Self { server: Some(clean(place.server.as_str())), step: Some(place.step.to_string()), text }
    }

    fn of_undo(server: &ServerName, text: String) -> Self {
        Self { server: Some(clean(server.as_str())), step: Some("undo".into()), text }
    }
}

/// Puts an event, which `state` holds already, into lines of text.
pub fn lines(event: &Event, state: &State, verbosity: Verbosity, paint: Paint) -> Vec<Line> {
    if verbosity == Verbosity::Quiet {
        return Vec::new();
    }
    match event {
        Event::Planned(planned) => header(planned, state, paint),
        Event::StageStarted { stage, batch, batches } => {
            vec![stage_line(state, RunningStage { name: *stage, batch: *batch, batches: *batches }, paint)]
        }
        Event::StepStarted { place } if verbosity == Verbosity::Verbose || is_long(place.step) => {
            vec![Line::of_step(place, paint.dim("…"))]
        }
        // The output of a build on this machine was shown while it ran, before there was a plan.
        Event::Output { place, .. } if place.step == StepName::Build && place.server.as_str() == HERE => Vec::new(),
        Event::Output { place, line, .. } if verbosity == Verbosity::Verbose || is_read(place.step) => {
            vec![Line::of_step(place, format!("| {}", clean(line)))]
        }
        Event::StepFinished { place, outcome, seconds, failure, sent } => {
            let took = duration(*seconds);
            let why = because(state, failure.as_deref());
            let said = match outcome {
                StepOutcome::Ok => {
                    let sent = sent.map(|sent| format!(": {}", step::sent(sent))).unwrap_or_default();
                    format!("{} {took}{sent}", paint.good("ok"))
                }
                StepOutcome::Skipped => paint.dim(&format!("skipped{why}")),
                StepOutcome::Failed => format!("{} {took}{why}", paint.bad("FAILED")),
            };
            vec![Line::of_step(place, said)]
        }
        Event::UndoStarted { server, step } if verbosity == Verbosity::Verbose => {
            vec![Line::of_undo(server, paint.dim(&format!("{} …", undo(state, server, *step))))]
        }
        Event::UndoFinished { server, step, outcome, seconds, failure } => {
            let what = undo(state, server, *step);
            let took = duration(*seconds);
            let why = because(state, failure.as_deref());
            let said = match outcome {
                StepOutcome::Ok => format!("{what}: {} {took}", paint.good("ok")),
                StepOutcome::Skipped => format!("{what}: {}{why}", paint.notice("not done")),
                StepOutcome::Failed => format!("{what}: {} {took}{why}", paint.bad("FAILED")),
            };
            vec![Line::of_undo(server, said)]
        }
        Event::Warning { server, warning } => vec![Line {
            server: server.as_ref().map(|s| clean(s.as_str())),
            step: None,
            text: paint.notice(&format!("warning: {}", with_flags(&warning::sentence(warning), &state.flags))),
        }],
        _ => Vec::new(),
    }
}

/// Says what the undo of a step does on a server of the run.
pub fn undo(state: &State, server: &ServerName, step: StepName) -> &'static str {
    if state.server(server).is_some_and(ServerState::is_first) { step::undo_of_first(step) } else { step::undo(step) }
}

/// Says why something failed, as the end of a line.
fn because(state: &State, failure: Option<&Failure>) -> String {
    failure.map(|f| format!(": {}", with_flags(&cause::reason(&f.cause), &state.flags))).unwrap_or_default()
}

/// Says what the run will do.
fn header(planned: &Planned, state: &State, paint: Paint) -> Vec<Line> {
    if planned.verb == RunVerb::Recover {
        return vec![Line::of_run(paint.bold(&plan::planned(planned)))];
    }
    let strategy = plan::strategy(planned.strategy, planned.decided_by, &planned.web_server);
    let mut lines = vec![
        Line::of_run(paint.bold(&plan::planned(planned))),
        Line::of_run(format!(
            "strategy {strategy}, prepare {}, on failure {}, web server {}",
            planned.prepare,
            planned.on_failure,
            clean(&planned.web_server)
        )),
    ];
    if let Some(server) = &planned.migrate_on {
        lines.push(Line::of_run(format!("migrations run on {}", clean(server.as_str()))));
    }
    let said = |notice| with_flags(&format!("notice: {}", warning::sentence(notice)), &state.flags);
    lines.extend(planned.notices.iter().map(|notice| Line::of_run(paint.notice(&said(notice)))));
    lines
}

/// Says that a stage, or one batch of it, begins; a batch of the rollout with its servers.
fn stage_line(state: &State, stage: RunningStage, paint: Paint) -> Line {
    let RunningStage { name, batch, batches } = stage;
    let mut said = name.to_string();
    if batches > 1 {
        said.push_str(&format!(", batch {} of {batches}", batch.saturating_add(1)));
    }
    if name == StageName::Rollout {
        let servers: Vec<String> =
            state.rolled_out().filter(|s| s.batch == Some(batch)).map(|s| clean(s.name.as_str())).collect();
        if !servers.is_empty() {
            said.push_str(&format!(": {}", names(&servers, 8)));
        }
    }
    Line::of_run(paint.bold(&said))
}

/// Tells whether a step may take minutes, so that its begin is worth a line.
fn is_long(step: StepName) -> bool {
    matches!(step, StepName::Build | StepName::Migrate | StepName::Transfer | StepName::Drain | StepName::Hook)
}

/// Tells whether people read a step's output even when all goes well.
fn is_read(step: StepName) -> bool {
    matches!(step, StepName::Migrate | StepName::Hook)
}
