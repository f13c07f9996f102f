//! How a run ended, as its last event holds it.
//!
//! It owns the ends that a server can come to; judging them is `outcome`'s.

use serde::{Deserialize, Serialize};

use super::word::{Outcome, StepName};
use crate::name::{ReleaseId, ServerName};

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    /// The outcome in a word.
    pub outcome: Outcome,
    /// The process's exit code.
    pub exit_code: u8,
    /// Seconds from start to end.
    pub seconds: f64,
    /// How each server of the run ended.
    pub servers: Vec<ServerEnd>,
    /// Commands that a person must run next, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// The state of one server at the end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerEnd {
    /// The server.
    pub server: ServerName,
    /// The release that its `current` points to, as far as is known.
    pub release: Option<ReleaseId>,
    /// Whether its balancer sends it traffic; `None`: it has no balancer, or its state is unknown.
    pub in_balancer: Option<bool>,
    /// Why it needs a person; `None` when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// Why a server needs a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stuck {
    /// It was left as it failed, as `on_failure = hold` asks.
    Held,
    /// An undo failed.
    UndoFailed {
        /// The step that the undo was to take back.
        step: StepName,
    },
    /// It is out of its balancer.
    OutOfBalancer,
    /// Its balancer does not treat it as before.
    BalancerDiffers,
    /// Another user or program repointed its `current` after its turn.
    CurrentMoved,
    /// Its lock could not be released.
    LockKept,
    /// It could not be reached.
    Unreachable,
    /// A dead run had it, and the file does not name it.
    NotInFile,
    /// A second signal ended the run before its undos were done.
    CutShort,
}
