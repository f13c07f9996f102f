//! What events tell of single steps: how far they are, what they sent, what a dead run had done.
//!
//! It owns figures and facts; the words for them are `wording`'s.

use serde::{Deserialize, Serialize};

/// What a transfer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The bytes sent, compressed.
    pub bytes: u64,
    /// The bytes that the whole release would be, compressed.
    pub whole: u64,
    /// The number of new or changed files and links, when only those were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The number of files removed and not replaced, when only the difference was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// A transfer.
    Bytes {
        /// Bytes sent so far.
        done: u64,
        /// Bytes to send in all.
        total: u64,
    },
    /// A drain.
    Sessions {
        /// Connections still open, over all balancers.
        open: u64,
    },
    /// A health check.
    Attempts {
        /// Good answers in a row.
        good: u32,
        /// Good answers needed in a row.
        needed: u32,
        /// Requests sent so far.
        asked: u32,
    },
}

/// What a dead run had done to a server, as far as its journal and its balancer tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inherited {
    /// Its drain had begun.
    pub drained: bool,
    /// It is back in its balancer, or may be.
    pub restored: bool,
    /// The switch of `current` had begun.
    pub switched: bool,
    /// The restart of its web server had begun.
    pub restarted: bool,
    /// Its whole batch went well.
    pub finished: bool,
    /// Everything had been taken back.
    pub taken_back: bool,
}
