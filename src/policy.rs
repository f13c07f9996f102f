//! How a run walks its servers and what it does about a failure.
//!
//! These are the words of `[app]`, which events repeat.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name under which the operator's machine stands where a step's server is named.
pub const HERE: &str = "here";

/// How the rollout walks the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One batch of all; the balancer is never touched.
    Parallel,
    /// Batches of one, each drained and restored.
    Serial,
    /// Batches of a chosen size, each drained and restored.
    Rolling,
}

/// When transfer and build happen in serial and rolling runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepare {
    /// Within the server's turn, when it is drained.
    InTurn,
    /// On all servers at once, before any server is drained.
    Ahead,
}

/// What happens to a failing batch and to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The failing batch returns to its previous release.
    Revert,
    /// The same, then earlier batches, newest first.
    RevertAll,
    /// Nothing is taken back.
    Hold,
}

macro_rules! words {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The word in the file and in the event is the word on the screen.
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(word)) => f.pad(&word),
                    _ => f.pad(&format!("{self:?}")),
                }
            }
        }
    )*};
}
words!(Strategy, Prepare, OnFailure);
