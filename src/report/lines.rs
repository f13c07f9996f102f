//! One event as lines of text: what the plain reporter prints and the terminal keeps above its live lines.
//!
//! It owns which events are worth a line at which verbosity; time stamps and columns are the reporters'.

use super::paint::Paint;
use crate::event::{Event, Place, Planned, RECOVER, StageName, StepName, StepOutcome};
use crate::outcome::state::{HERE, State};
use crate::text::clean::clean;
use crate::text::units::{names, seconds as duration};
use crate::wording::{cause, plan, step as of_step, warning as of_warning};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Nothing, unless something needs reading.
    Quiet,
    /// Steps, and the output of migrations and hooks: they run once, and people want to read it.
    #[default]
    Normal,
    /// Every line of output too.
    Verbose,
}

/// A line and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The server; `None`: the run itself.
    pub server: Option<String>,
    /// The step, where it is about one.
    pub step: Option<String>,
    /// What is said.
    pub text: String,
}

impl Line {
    fn of_run(text: String) -> Self {
        Self { server: None, step: None, text }
    }

    fn of_step(place: &Place, text: String) -> Self {
        Self { server: Some(clean(place.server.as_str())), step: Some(place.step.to_string()), text }
    }
}

/// Says an event; `state` has taken it in already.
pub fn lines(event: &Event, state: &State, verbosity: Verbosity, paint: Paint) -> Vec<Line> {
    if verbosity == Verbosity::Quiet {
        return Vec::new();
    }
    match event {
        Event::Planned(planned) => header(planned, paint),
        Event::StageStarted { stage, batch, batches } => stage_line(state, *stage, *batch, *batches, paint),
        Event::StepStarted { place } if verbosity == Verbosity::Verbose || is_long(place.step) => {
            vec![Line::of_step(place, paint.dim("…"))]
        }
        // What a build on this machine prints was shown while it ran: there was no plan yet.
        Event::Output { place, .. } if place.step == StepName::Build && place.server.as_str() == HERE => Vec::new(),
        Event::Output { place, line, .. } if verbosity == Verbosity::Verbose || is_read(place.step) => {
            vec![Line::of_step(place, format!("| {}", clean(line)))]
        }
        Event::StepFinished { place, outcome, seconds, failure, sent } => {
            let took = duration(*seconds);
            let said = match (outcome, failure) {
                (StepOutcome::Ok, _) => {
                    let sent = sent.map(|sent| format!(": {}", of_step::sent(sent))).unwrap_or_default();
                    format!("{} {took}{sent}", paint.good("ok"))
                }
                (StepOutcome::Skipped, None) => paint.dim("skipped"),
                (StepOutcome::Skipped, Some(f)) => paint.dim(&format!("skipped: {}", cause::reason(&f.cause))),
                (StepOutcome::Failed, None) => format!("{} {took}", paint.bad("FAILED")),
                (StepOutcome::Failed, Some(f)) => {
                    format!("{} {took}: {}", paint.bad("FAILED"), cause::reason(&f.cause))
                }
            };
            vec![Line::of_step(place, said)]
        }
        Event::UndoStarted { server, step } if verbosity == Verbosity::Verbose => vec![Line {
            server: Some(clean(server.as_str())),
            step: Some("undo".into()),
            text: paint.dim(&format!("{} …", of_step::undo(*step))),
        }],
        Event::UndoFinished { server, step, outcome, seconds, failure } => {
            let what = of_step::undo(*step);
            let took = duration(*seconds);
            let why = failure.as_ref().map(|f| format!(": {}", cause::reason(&f.cause))).unwrap_or_default();
            vec![Line {
                server: Some(clean(server.as_str())),
                step: Some("undo".into()),
                text: match outcome {
                    StepOutcome::Ok => format!("{what}: {} {took}", paint.good("ok")),
                    StepOutcome::Skipped => format!("{what}: {}{why}", paint.notice("not done")),
                    StepOutcome::Failed => format!("{what}: {} {took}{why}", paint.bad("FAILED")),
                },
            }]
        }
        Event::Warning { server, warning } => vec![Line {
            server: server.as_ref().map(|s| clean(s.as_str())),
            step: None,
            text: paint.notice(&format!("warning: {}", of_warning::sentence(warning))),
        }],
        _ => Vec::new(),
    }
}

/// What the run will do, before it does it.
fn header(planned: &Planned, paint: Paint) -> Vec<Line> {
    if planned.verb == RECOVER {
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
    lines.extend(
        planned.notices.iter().map(|n| Line::of_run(paint.notice(&format!("notice: {}", of_warning::sentence(n))))),
    );
    lines
}

fn stage_line(state: &State, stage: StageName, batch: usize, batches: usize, paint: Paint) -> Vec<Line> {
    let mut said = stage.to_string();
    if batches > 1 {
        said.push_str(&format!(", batch {} of {batches}", batch.saturating_add(1)));
    }
    if stage == StageName::Rollout {
        let servers: Vec<String> =
            state.rolled_out().filter(|s| s.batch == Some(batch)).map(|s| clean(s.name.as_str())).collect();
        if !servers.is_empty() {
            said.push_str(&format!(": {}", names(&servers, 8)));
        }
    }
    vec![Line::of_run(paint.bold(&said))]
}

/// Steps that may take minutes: that they began is worth a line.
fn is_long(step: StepName) -> bool {
    matches!(step, StepName::Build | StepName::Migrate | StepName::Transfer | StepName::Drain | StepName::Hook)
}

/// Steps whose output people want to read even when all goes well.
fn is_read(step: StepName) -> bool {
    matches!(step, StepName::Migrate | StepName::Hook)
}
