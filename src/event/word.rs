//! The words that scripts of users read: verbs, stages, steps, streams, outcomes.
//!
//! It owns their spelling, which is the same in JSON and on the screen.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// The verb of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerb {
    /// A new release.
    Deploy,
    /// An earlier release.
    Rollback,
    /// What a dead run left is taken back.
    Recover,
}

impl Display for RunVerb {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Recover => "recover",
        })
    }
}

/// A stage of a run.
///
/// No server enters a stage before every server concerned has left the stage before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StageName {
    Lock,
    Prepare,
    Migrate,
    Rollout,
    Finish,
}

/// A step's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StepName {
    Connect,
    Lock,
    Transfer,
    Link,
    Build,
    Migrate,
    Drain,
    Switch,
    Restart,
    Check,
    Restore,
    Prune,
    Unlock,
    Hook,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StepOutcome {
    Ok,
    Failed,
    Skipped,
}

/// A stream of a remote command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the stream's own name")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The origin of a run's strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The web server's template.
    Template,
    /// `[app] strategy`.
    File,
    /// A flag of this run.
    Flag,
    /// What the servers say of a restart: the template's default does not hold there.
    Fact,
}

/// A run's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum Outcome {
    Deployed,
    Unchanged,
    Reverted,
    Mixed,
    Stuck,
    Locked,
    Unreachable,
    Interrupted,
}

macro_rules! words {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // The word in the event is the word on the screen.
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(word)) => f.pad(&word),
                    _ => f.pad(&format!("{self:?}")),
                }
            }
        }
    )*};
}

words!(StageName, StepName, StepOutcome, Outcome, DecidedBy, Stream);
