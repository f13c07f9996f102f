//! What a person should read although the run goes on, as data.
//!
//! It owns every warning; the sentence for each is `wording`'s.

use serde::{Deserialize, Serialize};

use super::end::Stuck;
use super::failure::{Failure, Held};
use super::word::StepName;
use crate::name::{ReleaseId, ServerName};

/// Something a person should read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
pub enum Warning {
    /// Migrations in a parallel run: serial is advised.
    SerialAdvised,
    /// Serial or rolling without a balancer: servers stay in traffic while they restart.
    StaysInTraffic,
    /// Nothing but the process list proves the new release: there is no `[health]`.
    NoHealthCheck,
    /// A step has printed nothing for a while.
    Quiet {
        /// The step.
        step: StepName,
        /// For so many seconds.
        seconds: u64,
        /// The last line it printed.
        last_line: String,
    },
    /// Connections were left at the end of the drain.
    DrainIncomplete {
        /// How many.
        open: u64,
        /// In seconds.
        waited: f64,
    },
    /// What waiting for the balancer will cost, beside its connections and its checks.
    WaitsForBalancer {
        /// Seconds for all batches together.
        seconds: u64,
        /// Batches that are taken out.
        batches: usize,
    },
    /// A member is not as it was before the run.
    BalancerDiffers {
        /// `backend/server`.
        member: String,
        /// Its status before.
        was: String,
        /// Its status after.
        now: String,
    },
    /// A member was out already when the run began, and is left so.
    FoundOut {
        /// The server.
        of: ServerName,
        /// `backend/server`.
        member: String,
        /// Its state.
        state: String,
        /// Who took it out, where its server knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<TakenBy>,
    },
    /// Somebody pointed `current` to something else after the server's turn.
    CurrentMoved {
        /// To what.
        current: String,
    },
    /// Somebody removed the release that `current` points to.
    CurrentGone {
        /// Where.
        on: ServerName,
        /// What it points to.
        target: String,
    },
    /// A server's clock differs from this machine's.
    ClockSkew {
        /// Whose.
        of: ServerName,
        /// Seconds, positive when the server is ahead.
        seconds: i64,
    },
    /// A hook that may fail did.
    Hook {
        /// Its command.
        command: String,
        /// How it failed.
        failure: Box<Failure>,
    },
    /// Pruning failed; the deploy stands.
    Prune {
        /// Why.
        failure: Box<Failure>,
    },
    /// Output lines were left out since the reporter could not keep up.
    OutputDropped {
        /// How many.
        lines: u64,
    },
    /// The server needs a person.
    Stuck {
        /// Why.
        stuck: Stuck,
    },
    /// The run waited for another one's lock.
    Waited {
        /// In seconds.
        seconds: u64,
        /// Whose it was.
        held: Box<Held>,
    },
    /// The lock could not be renewed: others may soon take this run for dead.
    NotRenewed {
        /// Seconds since the last renewal.
        seconds: u64,
        /// The lease in seconds.
        lease: u64,
        /// Why.
        failure: Box<Failure>,
    },
    /// Somebody removed the lock while the run was at work: nothing more is done there.
    LockLost {
        /// What the server said.
        detail: String,
    },
    /// A signal asked the run to stop; it unwinds now.
    Interrupted {
        /// Its name without SIG.
        signal: String,
        /// It is not the first: the run stops at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// What a rollback returns to.
    ReturnsTo {
        /// The release.
        release: ReleaseId,
        /// Its age in seconds; `None`: its name is no date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
        /// Who deployed it, as far as `revisions.log` knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// Later releases whose deploys ran migrations: a rollback does not undo them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        migrated: Vec<ReleaseId>,
    },
    /// The connection was lost while a step ran.
    Lost {
        /// The step.
        step: StepName,
        /// How.
        detail: String,
    },
    /// The server was reached again and said what had become of the step.
    Found {
        /// The step.
        step: StepName,
        /// What.
        fate: Fate,
    },
    /// Anything else, as data from elsewhere.
    Note {
        /// A sentence.
        text: String,
    },
}

/// Who took a server out of its balancer by hand, as it stands on that server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TakenBy {
    /// Local user's name.
    pub who: String,
    /// Local host's name.
    pub host: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// Why, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a step whose connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It ended well.
    Done,
    /// It ended, and not well.
    Failed,
    /// It began, and ended without a word.
    Unfinished,
    /// It never began, or changes nothing, and is run again.
    Again,
}
