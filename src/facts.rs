//! What is true before a run: answers of the read-only probe, one value per server.
//!
//! Pure: it parses what `remote/probe.sh` printed and knows nothing of how the answers travelled.

use std::collections::BTreeMap;

use crate::balancer::MemberFacts;
use crate::name::{ReleaseId, Revision, ServerName};

/// All that was asked before deciding.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every server that answered.
    pub servers: BTreeMap<ServerName, ServerFacts>,
    /// Every server that did not, and why.
    pub unreachable: BTreeMap<ServerName, crate::event::Failure>,
    /// What the balancers say of the members this stack drains.
    pub members: Vec<MemberFacts>,
}

/// What one server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `deploy_to` as an absolute path.
    pub root: String,
    /// Login user.
    pub user: String,
    /// Seconds since the epoch by the server's clock.
    pub time: i64,
    /// What `current` points to, when it is a release.
    pub current: Option<ReleaseId>,
    /// What `current` is when it is something else: a link elsewhere, a directory, a dangling link.
    pub current_odd: Option<String>,
    /// Releases found, oldest first.
    pub releases: Vec<ReleaseFacts>,
    /// The lock, if one is held.
    pub lock: Option<LockFacts>,
    /// Free kilobytes where releases go.
    pub free_kb: Option<u64>,
    /// Free inodes there.
    pub free_inodes: Option<u64>,
    /// Kilobytes that the current release takes, if cheap to know.
    pub current_kb: Option<u64>,
    /// Why nothing can be written there; `None`: it can.
    pub not_writable: Option<String>,
    /// Linked files that do not exist in `shared/`.
    pub missing_files: Vec<String>,
    /// Tools that are not on the PATH.
    pub missing_tools: Vec<String>,
    /// Processes of the web server that run.
    pub processes: Vec<ProcessFacts>,
    /// An earlier run left this server behind: that run's id.
    pub behind: Option<String>,
}

/// A release directory on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// Its name.
    pub id: ReleaseId,
    /// The first line of its REVISION file.
    pub revision: Option<Revision>,
    /// What pitcrew wrote of it.
    pub state: ReleaseState,
}

/// What is known of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseState {
    /// Transferred, linked or built; never switched to.
    Prepared,
    /// Switched to; not proven.
    Active,
    /// Proven.
    Good,
    /// Switched to, and failed.
    Failed,
    /// Taken back.
    Reverted,
    /// Somebody else made it (Capistrano): complete as far as anybody knows.
    Foreign,
}

/// A process of the web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its pid.
    pub pid: u32,
    /// The release that its working directory is in.
    pub release: Option<ReleaseId>,
}

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockFacts {
    /// What its owner wrote: `run`, `who`, `host`, `pid`, `command`, `since`.
    pub owner: BTreeMap<String, String>,
    /// Seconds since it was taken or renewed, by the server's clock.
    pub age: Option<u64>,
}

impl std::fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Foreign => "foreign",
        })
    }
}
