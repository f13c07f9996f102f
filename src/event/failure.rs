//! Why something failed, as data.
//!
//! It owns every cause that a step can fail with; the sentence and the hint for each are `wording`'s.

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::word::StepName;
use crate::lease::Held;

/// Why a step failed, with the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The reason.
    #[serde(flatten)]
    pub cause: Cause,
    /// The command as the configuration has it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The last lines it printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

/// A reason for failing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The command ended with a status that is not 0.
    Exit {
        /// That status.
        status: u32,
    },
    /// The command was ended by a signal.
    Signal {
        /// Its name without SIG.
        signal: String,
    },
    /// The channel closed without a status: how the command ended is unknown.
    NoStatus,
    /// The connection was lost.
    Lost {
        /// What the transport said.
        detail: String,
    },
    /// The connection could not be made.
    Connect {
        /// What went wrong, with the host, key or port.
        detail: String,
        /// What to do next.
        hint: String,
    },
    /// A limit ran out.
    TimedOut {
        /// The limit, in seconds.
        limit: f64,
    },
    /// One of pitcrew's own remote scripts, or the plan itself, refused.
    Refused {
        /// Why, as a word: for example `no_space`, `current_changed` or `not_proven`.
        code: Refusal,
        /// What the script saw.
        detail: String,
    },
    /// Another run holds the lock, or a person froze deploys.
    Locked(Box<Held>),
    /// A health check did not pass in time.
    Unhealthy(Box<Unhealthy>),
    /// A balancer refused or did not answer.
    Balancer {
        /// Its address as configured.
        at: String,
        /// The member that it is about, as `backend/server`; `None`: the balancer as a whole.
        member: Option<String>,
        /// What went wrong, as a fragment.
        detail: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// Something on the operator's machine failed.
    Local {
        /// What failed.
        detail: String,
    },
    /// What the file or the command line names cannot be released: a mistake in one of them.
    Source {
        /// Why it cannot be released.
        detail: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// The run was interrupted.
    Interrupted,
    /// Another server's failure made the step pointless.
    Abandoned,
}

impl Cause {
    /// Tells whether a step that failed for this reason certainly left everything as it was.
    ///
    /// The engine has nothing to take back then, and the fold takes the step for not made.
    pub fn changed_nothing(&self, step: StepName) -> bool {
        match (step, self) {
            (_, Self::Abandoned | Self::Connect { .. }) => true,
            (StepName::Lock, Self::Locked { .. } | Self::Refused { .. }) => true,
            // The balancer step refuses before it sends a balancer anything.
            (StepName::Drain, Self::Refused { .. }) => true,
            (StepName::Switch, Self::Refused { code, .. }) => *code == Refusal::NotSwitched || code.is_early(),
            (StepName::Restart, Self::Refused { code, .. }) => code.is_early(),
            _ => false,
        }
    }

    /// Tells whether a restart or a check that failed for this reason says that the release itself is bad.
    ///
    /// What the network or a signal did says nothing of it.
    pub fn condemns(&self) -> bool {
        match self {
            Self::Unhealthy(_) | Self::Exit { .. } => true,
            Self::Refused { code, .. } => matches!(code, Refusal::NotProven | Refusal::NotRestarted),
            _ => false,
        }
    }
}

/// The last answer of a failing health check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unhealthy {
    /// The URL or the command of the check.
    pub asked: String,
    /// The number of requests.
    pub attempts: u32,
    /// The status of the last answer: of HTTP, or of the command.
    pub status: Option<u16>,
    /// The `Location` header of the last answer.
    pub location: Option<String>,
    /// The first bytes of the body, or the last lines a command printed.
    pub body: String,
    /// Why there was no answer.
    pub error: Option<String>,
}
