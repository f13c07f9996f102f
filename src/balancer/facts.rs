//! What a balancer reports of a server's places, and of a drain.
//!
//! Pure: `facts` and `plan` import this file. How the facts are read and what is done about them is the adapters'.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One place in one balancer where a server receives traffic.
///
/// `at`, `backend` and `member` together name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberFacts {
    /// The balancer, as configured.
    pub at: String,
    /// The backend; empty where the balancer has none.
    pub backend: String,
    /// The server's name there.
    pub member: String,
    /// Its address as the balancer has it; empty where it does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Its port there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What else sends the host the stack's traffic there, by `backend/server`, and is not drained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Its administrative state.
    pub admin: Admin,
    /// The balancer sends the member traffic: it is running, and administratively ready.
    pub in_service: bool,
    /// Its status as the balancer prints it.
    pub status: String,
    /// Its sessions and queued requests; `None`: the balancer does not tell.
    #[serde(default)]
    pub sessions: Option<u64>,
    /// Seconds since its state changed last, where the balancer tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// How many other members of the backend are in service, without backups.
    pub others_in_service: usize,
    /// How many members the backend has.
    pub size: usize,
    /// The adapter's own kind of out; HAProxy: `srv_admin_state`. 0: not known.
    #[serde(default)]
    pub bits: u32,
    /// An agent on the server may change its state: the agent is disabled during a drain.
    #[serde(default)]
    pub agent: bool,
    /// The adapter's own record for an exact restore; empty where the other fields are enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub own: String,
    /// It was out of service before, though nothing had taken it out: a restore need not prove it up.
    ///
    /// Said of a way back only, where the server is as it was before.
    #[serde(skip)]
    pub may_stay_down: bool,
    /// Seconds that a drain takes at least, beside its connections; 0: no longer than they do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out_takes: u64,
    /// Seconds that a restore takes beyond the server's own health; 0: a few.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub back_takes: u64,
}

impl MemberFacts {
    /// Names the place for people, with its backend where there is one.
    pub fn label(&self) -> String {
        if self.backend.is_empty() { self.member.clone() } else { format!("{}/{}", self.backend, self.member) }
    }

    /// Tells whether both are of the same place.
    pub fn is_there(&self, other: &Self) -> bool {
        (&self.at, &self.backend, &self.member) == (&other.at, &other.backend, &other.member)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Administrative state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Takes traffic.
    #[default]
    Ready,
    /// Takes no new traffic.
    Drain,
    /// Out.
    Maint,
}

/// What was found before a drain: a restore puts back exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// One for each balancer and backend.
    pub members: Vec<MemberFacts>,
}

impl Snapshot {
    /// The same for a server that is as it was before: a place that was down then may be down.
    #[must_use]
    pub fn as_before(mut self) -> Self {
        for member in &mut self.members {
            member.may_stay_down = member.admin == Admin::Ready && !member.in_service;
        }
        self
    }

    /// Tells whether any balancer sent the server traffic, or would once it is healthy.
    pub fn was_in(&self) -> bool {
        self.members.iter().any(|m| m.admin == Admin::Ready)
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections left at the limit; `None`: there may be some, and the balancer does not tell.
    pub left: Option<u64>,
    /// How long the drain waited for them.
    pub waited: Duration,
}

/// How a drain goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draining {
    /// The connections that are open, over all balancers.
    Open(u64),
    /// The drain cannot begin yet: too few others are in service, as the text says.
    Waiting(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_written_without_the_adapters_fields_is_read() {
        let text = r#"{"members":[{"at":"a","backend":"b","member":"m","admin":"maint","in_service":false,"status":"MAINT","sessions":0,"others_in_service":1,"size":2}]}"#;
        let found: Snapshot = serde_json::from_str(text).unwrap();
        assert!(!found.was_in() && found.members[0].bits == 0 && !found.members[0].agent);
    }
}
