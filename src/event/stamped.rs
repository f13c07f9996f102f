//! One event of a run, with its time: the outermost shape of what `--json` and the run's log print.
//!
//! It owns the list of events; what they hold lies in the files beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::end::Finished;
use super::failure::Failure;
use super::planned::{Place, Planned};
use super::step::{Inherited, Progress, Sent};
use super::warning::Warning;
use super::word::{StageName, StepName, StepOutcome, Stream};
use crate::name::{RunId, ServerName};

/// An event with when it happened and in which run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stamped {
    /// UTC, printed with milliseconds.
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

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First, once: the whole plan.
    Planned(Planned),
    /// A stage begins for its first batch, or for each batch of a rollout.
    StageStarted {
        /// Which.
        stage: StageName,
        /// Batch, from 0.
        batch: usize,
        /// How many batches the stage has.
        batches: usize,
    },
    /// Every server concerned has left the stage (or this batch of it).
    StageFinished {
        /// Which.
        stage: StageName,
        /// Batch, from 0.
        batch: usize,
        /// Whether all its steps went well.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
    },
    /// A step begins on a server.
    StepStarted {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
    },
    /// A step advances.
    Progress {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// What is known of it.
        #[serde(flatten)]
        progress: Progress,
    },
    /// A step's command printed a line; control characters are gone and secrets are masked.
    Output {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// Which stream.
        stream: Stream,
        /// Without its newline, at most 8 KiB (64 KiB where an answer of ours is in it).
        line: String,
    },
    /// A step ended.
    StepFinished {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// How.
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
    /// Taking a step back begins.
    UndoStarted {
        /// Whose.
        server: ServerName,
        /// Which.
        step: StepName,
    },
    /// Taking a step back ended.
    UndoFinished {
        /// Whose.
        server: ServerName,
        /// Which.
        step: StepName,
        /// How.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
    },
    /// What a dead run had done to a server, for the run that recovers it.
    Inherited {
        /// Whose.
        server: ServerName,
        /// What.
        #[serde(flatten)]
        inherited: Inherited,
    },
    /// Something a person should read, that does not end the run.
    Warning {
        /// Whom it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<ServerName>,
        /// What.
        #[serde(flatten)]
        warning: Warning,
    },
    /// Last, once: how it ended.
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
