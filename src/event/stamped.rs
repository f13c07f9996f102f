//! One event of a run, with its time: the outermost shape of what `--json` and the run's log print.
//!
//! It owns the list of events; the files beside it own what events hold.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::end::Finished;
use super::failure::Failure;
use super::planned::{Place, Planned};
use super::step::{Inherited, Progress, Sent};
use super::warning::Warning;
use super::word::{StageName, StepName, StepOutcome, Stream};
use crate::name::{RunId, ServerName};

/// An event with its time and its run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stamped {
    /// The time, in UTC; printed with milliseconds.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Seconds since the run began, from a monotonic clock.
    pub t: f64,
    /// The run.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The whole plan: the first event, once.
    Planned(Planned),
    /// A stage begins, or one batch of it.
    StageStarted {
        /// The stage.
        stage: StageName,
        /// Its batch, from 0.
        batch: usize,
        /// The number of its batches.
        batches: usize,
    },
    /// Every server concerned has left the stage, or this batch of it.
    StageFinished {
        /// The stage.
        stage: StageName,
        /// Its batch, from 0.
        batch: usize,
        /// `ok` where all its steps went well.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
    },
    /// A step begins on a server.
    StepStarted {
        /// The step's place in the plan.
        #[serde(flatten)]
        place: Place,
    },
    /// A step advances.
    Progress {
        /// The step's place in the plan.
        #[serde(flatten)]
        place: Place,
        /// How far it is.
        #[serde(flatten)]
        progress: Progress,
    },
    /// A step's command printed a line, shown without control characters and with secrets masked.
    Output {
        /// The step's place in the plan.
        #[serde(flatten)]
        place: Place,
        /// The stream that it came on.
        stream: Stream,
        /// The line without its newline: at most 8 KiB, or 64 KiB where it holds an answer of a script.
        line: String,
    },
    /// A step ended.
    StepFinished {
        /// The step's place in the plan.
        #[serde(flatten)]
        place: Place,
        /// How it ended.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
        /// What a transfer sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Sent>,
    },
    /// An undo begins.
    UndoStarted {
        /// The server.
        server: ServerName,
        /// The step that it takes back.
        step: StepName,
    },
    /// An undo ended.
    UndoFinished {
        /// The server.
        server: ServerName,
        /// The step that it took back.
        step: StepName,
        /// How it ended.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
    },
    /// What a dead run had done to a server, for the run that recovers it.
    Inherited {
        /// The server.
        server: ServerName,
        /// What the dead run had done.
        #[serde(flatten)]
        inherited: Inherited,
    },
    /// Something that a person should read, and that does not end the run.
    Warning {
        /// The server that it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<ServerName>,
        /// The warning.
        #[serde(flatten)]
        warning: Warning,
    },
    /// How the run ended: the last event, once.
    Finished(Finished),
}

mod millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{at:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(input)
    }
}
