//! What a balancer reports of a server's places, and of a drain. Pure: `facts` and `plan` import this file.
//!
//! How the facts are read and what is done about them is the adapters'.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One place in one balancer where a server receives traffic: `at`, `backend` and `member` together name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Sessions and queued requests now; `None`: the balancer does not tell.
    #[serde(default)]
    pub sessions: Option<u64>,
    /// Seconds since its state changed last, where the balancer tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Other non-backup members of the backend that are in service.
    pub others_in_service: usize,
    /// Members of the backend.
    pub size: usize,
    /// What the adapter itself needs to tell one kind of out from another; HAProxy: `srv_admin_state`. 0: not known.
    #[serde(default)]
    pub bits: u32,
    /// An agent on the server may change its state: it is silenced while drained, and restored with it.
    #[serde(default)]
    pub agent: bool,
    /// What the adapter itself must know to put it back exactly; empty where the other fields are enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub own: String,
    /// Seconds that taking it out is expected to take at least, whatever its connections do; 0: no longer than they do.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub out_takes: u64,
    /// Seconds that putting it back is expected to take, from its being healthy; 0: a few.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub back_takes: u64,
}

impl MemberFacts {
    /// Names it for people; not every balancer has backends.
    pub fn label(&self) -> String {
        if self.backend.is_empty() { self.member.clone() } else { format!("{}/{}", self.backend, self.member) }
    }

    /// Tells whether it is of the same place: a member of a backend of a balancer.
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
    /// Connections left when the limit ran out; 0: none; `None`: there may be, and the balancer does not tell.
    pub left: Option<u64>,
    /// How long was waited for them.
    pub waited: Duration,
}

/// What is heard of a drain while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draining {
    /// So many connections are open, over all balancers.
    Open(u64),
    /// It cannot begin yet: others are not in service, as the text says.
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
