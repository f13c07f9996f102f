//! Load balancers: taking a member out with proof, and putting it back with proof.
//!
//! One file per kind and one arm in [`Balancer`]. Every call is idempotent and has a deadline; what was found is what is restored.

pub mod haproxy;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One place in one balancer where a server receives traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// The balancer, as configured.
    pub at: String,
    /// Backend.
    pub backend: String,
    /// The server's name there.
    pub member: String,
    /// Its administrative state.
    pub admin: Admin,
    /// The balancer sends it traffic: running, and administratively ready.
    pub in_service: bool,
    /// Its status as the balancer prints it.
    pub status: String,
    /// Sessions and queued requests now.
    pub sessions: u64,
    /// Other non-backup members of the backend that are in service.
    pub others_in_service: usize,
    /// Members of the backend.
    pub size: usize,
}

/// Administrative state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Takes traffic.
    Ready,
    /// Takes no new traffic.
    Drain,
    /// Out.
    Maint,
}

/// What was found before a member was touched: restore puts back exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// One for each balancer and backend.
    pub members: Vec<MemberFacts>,
}

impl Snapshot {
    /// Tells whether any balancer sent the server traffic, or would once it is healthy.
    pub fn was_in(&self) -> bool {
        self.members.iter().any(|m| m.admin == Admin::Ready)
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections left when the limit ran out; 0: none.
    pub left: u64,
    /// How long was waited for them.
    pub waited: Duration,
}

/// What went wrong with a balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerError {
    /// Which: its address as configured.
    pub at: String,
    /// `backend/server`, when one is meant.
    pub member: Option<String>,
    /// What went wrong, as a fragment.
    pub detail: String,
    /// What to do next; may be empty.
    pub hint: String,
    /// The balancer could not be reached at all.
    pub unreachable: bool,
    /// The caller asked for the end of the wait.
    pub stopped: bool,
}
