//! How a run ended, as its last event holds it.
//!
//! It owns the endings of servers; judging them is `outcome`'s.

use serde::{Deserialize, Serialize};

use super::word::{Outcome, StepName};
use crate::name::{ReleaseId, ServerName};

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    /// In a word.
    pub outcome: Outcome,
    /// The process's exit code.
    pub exit_code: u8,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Each server of the run.
    pub servers: Vec<ServerEnd>,
    /// Commands that a person must run next, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// Where a server stands at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerEnd {
    /// Which.
    pub server: ServerName,
    /// What its `current` points to, as far as is known.
    pub release: Option<ReleaseId>,
    /// Whether its balancer sends it traffic; `None` where it has none, or nobody knows.
    pub in_balancer: Option<bool>,
    /// What a person must look at; nothing when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// Why a server needs a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stuck {
    /// It was held where it failed, as `on_failure = hold` asks.
    Held,
    /// Taking it back failed at that step.
    UndoFailed {
        /// The step.
        step: StepName,
    },
    /// It is out of its balancer.
    OutOfBalancer,
    /// Its balancer does not stand to it as before.
    BalancerDiffers,
    /// Somebody pointed its `current` to something else after its turn.
    CurrentMoved,
    /// Its lock could not be released.
    LockKept,
    /// It could not be reached.
    Unreachable,
    /// A second signal ended the run before it was taken back.
    CutShort,
}
