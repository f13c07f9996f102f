//! What single steps report: how far they are, what they sent, what a dead run had done.
//!
//! It owns figures and facts; the words for them are `wording`'s.

use serde::{Deserialize, Serialize};

/// What a transfer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// So many bytes, compressed.
    pub bytes: u64,
    /// So many are all of the release.
    pub whole: u64,
    /// New or changed files and links, when only those were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// What was removed and not replaced, when only the difference was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// A transfer.
    Bytes {
        /// Sent so far.
        done: u64,
        /// To be sent.
        total: u64,
    },
    /// A drain: connections still open, over all balancers.
    Sessions {
        /// How many.
        open: u64,
    },
    /// A health check.
    Attempts {
        /// Good answers in a row.
        good: u32,
        /// Needed in a row.
        needed: u32,
        /// Asked so far.
        asked: u32,
    },
}

/// What a dead run had done to a server, as far as its journal and its balancer tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inherited {
    /// It was being drained.
    pub drained: bool,
    /// It is back in its balancer, or may be.
    pub restored: bool,
    /// `current` was being switched.
    pub switched: bool,
    /// Its web server was being restarted.
    pub restarted: bool,
    /// Its whole batch went well.
    pub finished: bool,
    /// All of it had been taken back.
    pub taken_back: bool,
}
