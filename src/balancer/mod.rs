//! Load balancers: taking a member out with proof, and putting it back with proof.
//!
//! One file per kind and one arm in [`Balancer`]. Every call is idempotent and has a deadline; what was found is what is restored.

pub mod haproxy;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::{BalancerAddress, LoadBalancer};
use crate::event::Cause;
use crate::ssh;

pub use haproxy::Haproxy;

/// A stack's load balancer: one instance, or several that serve alike and are all drained.
///
/// A name (`lb_name`) is a server's name in the balancer, [`crate::config::Server::lb`].
pub enum Balancer {
    /// HAProxy, through its Runtime API.
    Haproxy(Haproxy),
}

impl Balancer {
    /// Makes the adapter that the configuration asks for; connects to nothing.
    ///
    /// `links` gives the SSH destination of an `ssh://` address.
    pub fn new(config: &LoadBalancer, links: impl Fn(&BalancerAddress) -> Option<Arc<ssh::Link>>) -> Self {
        Self::Haproxy(Haproxy::new(config, links))
    }

    /// Gives a balancer up that has not answered a call within this, where its own limit is longer.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        match self {
            Self::Haproxy(b) => Self::Haproxy(b.within(limit)),
        }
    }

    /// Asks every balancer about these servers and changes nothing; reports everything that would make a drain fail.
    pub async fn facts(&self, lb_names: &[String]) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        match self {
            Self::Haproxy(b) => b.facts(lb_names).await,
        }
    }

    /// Takes a server out of every balancer and waits until its connections have ended, or `drain_timeout`.
    ///
    /// `on` hears how many are open. An error leaves the server as it was found before the call, unless it says otherwise.
    pub async fn drain(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(u64) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Drained, BalancerError> {
        match self {
            Self::Haproxy(b) => b.drain(lb_name, found, on, stop).await,
        }
    }

    /// Tells whether no balancer sends the server traffic; a reload of a balancer silently puts it back.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        match self {
            Self::Haproxy(b) => b.still_out(lb_name).await,
        }
    }

    /// Takes a server out again where it is not; tells what that took, or `None` when it was still out.
    ///
    /// Unlike after [`Balancer::drain`], an error leaves it as far out as it got: it is in the middle of a deploy.
    pub async fn ensure_out(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(u64) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Option<Drained>, BalancerError> {
        match self {
            Self::Haproxy(b) => b.ensure_out(lb_name, found, on, stop).await,
        }
    }

    /// Puts a server back as it was found, with proof where it took traffic; `on` hears how it stands.
    ///
    /// Every balancer is tried even when one fails. Where the proof fails, the server stays out.
    pub async fn restore(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(String) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<(), BalancerError> {
        match self {
            Self::Haproxy(b) => b.restore(lb_name, found, on, stop).await,
        }
    }

    /// Sets a server's administrative state in every balancer, without waiting for anything.
    pub async fn set(&self, lb_name: &str, to: Admin) -> Result<(), BalancerError> {
        match self {
            Self::Haproxy(b) => b.set(lb_name, to).await,
        }
    }
}

/// Writes a balancer's address as the configuration does; it is the `at` of facts and errors.
pub fn address(at: &BalancerAddress) -> String {
    let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match at {
        BalancerAddress::Ssh { user, host, port, path } => {
            let user = user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
            let port = port.map(|p| format!(":{p}")).unwrap_or_default();
            format!("ssh://{user}{}{port}{path}", bracketed(host))
        }
        BalancerAddress::Unix(path) => format!("unix://{}", path.display()),
        BalancerAddress::Tcp { host, port } => format!("tcp://{}:{port}", bracketed(host)),
    }
}

/// One place in one balancer where a server receives traffic.
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
    /// Sessions and queued requests now.
    pub sessions: u64,
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
    /// Connections left when the limit ran out; 0: none.
    pub left: u64,
    /// How long was waited for them.
    pub waited: Duration,
}

/// What went wrong with a balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

impl fmt::Display for BalancerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)?;
        if let Some(member) = &self.member {
            write!(f, ", {member}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl From<BalancerError> for Cause {
    fn from(e: BalancerError) -> Self {
        if e.stopped {
            return Self::Interrupted;
        }
        Self::Balancer { at: e.at, member: e.member, detail: e.detail, hint: e.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_written() {
        let ssh = |user: Option<&str>, host: &str, port| BalancerAddress::Ssh {
            user: user.map(Into::into),
            host: host.into(),
            port,
            path: "/run/haproxy/admin.sock".into(),
        };
        assert_eq!(address(&ssh(None, "lb1", None)), "ssh://lb1/run/haproxy/admin.sock");
        assert_eq!(address(&ssh(Some("ops"), "::1", Some(2222))), "ssh://ops@[::1]:2222/run/haproxy/admin.sock");
        assert_eq!(address(&BalancerAddress::Unix("/a".into())), "unix:///a");
        assert_eq!(address(&BalancerAddress::Tcp { host: "lb".into(), port: 9 }), "tcp://lb:9");
    }

    #[test]
    fn a_snapshot_written_without_the_adapters_fields_is_read() {
        let text = r#"{"members":[{"at":"a","backend":"b","member":"m","admin":"maint","in_service":false,"status":"MAINT","sessions":0,"others_in_service":1,"size":2}]}"#;
        let found: Snapshot = serde_json::from_str(text).unwrap();
        assert!(!found.was_in() && found.members[0].bits == 0 && !found.members[0].agent);
    }

    #[test]
    fn futures_travel_between_threads() {
        fn sendable<T: Send>(_: T) {}
        let config = LoadBalancer {
            at: Vec::new(),
            backends: Vec::new(),
            drain_timeout: Duration::ZERO,
            on_drain_timeout: crate::config::OnDrainTimeout::Proceed,
            wait_after_drain: Duration::ZERO,
            wait_after_restore: Duration::ZERO,
            restore_timeout: Duration::ZERO,
            min_in_service: 1,
        };
        let (b, found, stop) =
            (Balancer::new(&config, |_| None), Snapshot { members: Vec::new() }, CancellationToken::new());
        sendable(b.facts(&[]));
        sendable(b.drain("a", &found, &mut |_| {}, &stop));
        sendable(b.still_out("a"));
        sendable(b.ensure_out("a", &found, &mut |_| {}, &stop));
        sendable(b.restore("a", &found, &mut |_| {}, &stop));
        sendable(b.set("a", Admin::Ready));
    }
}
