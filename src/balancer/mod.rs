//! Load balancers: taking a member out with proof, and putting it back with proof.
//!
//! Every call is idempotent and has a deadline; what was found is what is restored.
//!
//! # Adding an adapter
//!
//! One file here, and one arm each in [`Balancer::new`], [`Balancer::within`] and `each!`. A balancer that is steered by few calls
//! (say how things stand, take out, put back) implements [`walk::Steer`] in that file and is wrapped in [`Walk`], which
//! owns all waiting, counting, limits and undoing; one with states of its own, like HAProxy, brings all of it itself.
//! Its keys are one variant of [`crate::config::BalancerKind`], resolved in `config/resolve/balancer.rs`.

#[cfg(feature = "elb")]
pub mod aws;
pub mod command;
#[cfg(feature = "elb")]
pub mod elb;
#[cfg(feature = "elb")]
pub mod elb_classic;
pub mod haproxy;
pub mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{BalancerAddress, BalancerKind, LoadBalancer, Server, SshHost};
use crate::event::Cause;
use crate::name::ServerName;
use crate::report::scrub::Redactor;
use crate::ssh;

pub use command::Command;
pub use haproxy::Haproxy;
pub use walk::{Steer, Walk};

/// A reload takes no longer.
const RELOAD: Duration = Duration::from_secs(3);

/// A stack's load balancer: one instance, or several that serve alike and are all drained.
///
/// A name (`lb_name`) is a server's name in the balancer, [`crate::config::Server::lb`].
pub enum Balancer {
    /// HAProxy, through its Runtime API or its Data Plane API.
    Haproxy(Box<Haproxy>),
    /// Target groups of AWS's load balancers.
    #[cfg(feature = "elb")]
    Elb(Box<Walk<elb::Elb>>),
    /// AWS's classic load balancers.
    #[cfg(feature = "elb")]
    ElbClassic(Box<Walk<elb_classic::ElbClassic>>),
    /// Commands of the user's own.
    Command(Box<Walk<Command>>),
}

/// Passes a call on to the adapter.
macro_rules! each {
    ($balancer:expr, $b:ident => $call:expr) => {
        match $balancer {
            Self::Haproxy($b) => $call,
            #[cfg(feature = "elb")]
            Self::Elb($b) => $call,
            #[cfg(feature = "elb")]
            Self::ElbClassic($b) => $call,
            Self::Command($b) => $call,
        }
    };
}

/// What adapters may need of the stack around them.
#[derive(Default)]
pub struct Around {
    /// `[app] name`.
    pub app: String,
    /// The directory of the configuration file.
    pub base: PathBuf,
    /// All servers that are behind the balancer.
    pub servers: Vec<Server>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// Masks those values in what commands print.
    pub redactor: Redactor,
    /// Connections to the hosts of [`LoadBalancer::hosts`], made when first used.
    pub hosts: BTreeMap<SshHost, Arc<ssh::Link>>,
    /// Connections to the servers, made when first used.
    pub links: BTreeMap<ServerName, Arc<ssh::Link>>,
}

impl Around {
    /// The servers' names in the balancer.
    pub fn names(&self) -> Vec<String> {
        self.servers.iter().map(|s| s.lb.clone()).collect()
    }
}

/// What is heard of a drain while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draining {
    /// So many connections are open, over all balancers.
    Open(u64),
    /// It cannot begin yet: others are not in service, as the text says.
    Waiting(String),
}

impl Balancer {
    /// Makes the adapter that the configuration asks for; connects to nothing.
    ///
    /// # Errors
    /// When this build has no adapter of that kind, or the adapter misses something on this machine.
    pub fn new(config: &LoadBalancer, around: Around) -> Result<Self, String> {
        match &config.kind {
            BalancerKind::Haproxy { at, backends, access } => {
                let link = |address: &BalancerAddress| around.hosts.get(&address.host()?).cloned();
                Ok(Self::Haproxy(Box::new(Haproxy::new(config, (at, backends, access), link, &around.env)?)))
            }
            BalancerKind::Command(commands) => {
                let names = around.names();
                Ok(Self::Command(Box::new(Walk::new(Command::new(commands, around), config, names))))
            }
            #[cfg(feature = "elb")]
            BalancerKind::Elb { target_groups, aws } => {
                let steer = elb::Elb::new(target_groups, aws, aws::Access::new(aws), &around);
                Ok(Self::Elb(Box::new(Walk::new(steer, config, around.names()))))
            }
            #[cfg(feature = "elb")]
            BalancerKind::ElbClassic { names, aws } => {
                let steer = elb_classic::ElbClassic::new(names, aws, aws::Access::new(aws), &around);
                Ok(Self::ElbClassic(Box::new(Walk::new(steer, config, around.names()))))
            }
            #[cfg(not(feature = "elb"))]
            BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. } => {
                Err("this build of pitcrew speaks to no load balancers of AWS: it was made without the feature `elb`"
                    .to_owned())
            }
        }
    }

    /// Gives a balancer up that has not answered a call within this, where its own limit is longer.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        match self {
            Self::Haproxy(b) => Self::Haproxy(Box::new(b.within(limit))),
            #[cfg(feature = "elb")]
            Self::Elb(b) => Self::Elb(Box::new(b.within(limit))),
            #[cfg(feature = "elb")]
            Self::ElbClassic(b) => Self::ElbClassic(Box::new(b.within(limit))),
            Self::Command(b) => Self::Command(Box::new(b.within(limit))),
        }
    }

    /// Asks every balancer about these servers and changes nothing; reports everything that would make a drain fail.
    pub async fn facts(&self, lb_names: &[String]) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let (members, errors) = self.survey(lb_names).await;
        if errors.is_empty() { Ok(members) } else { Err(errors) }
    }

    /// The same, asked again for a moment where nobody answers: a reload takes a balancer's socket away.
    pub async fn facts_soon(
        &self,
        lb_names: &[String],
        stop: &CancellationToken,
    ) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let until = Instant::now() + RELOAD;
        loop {
            match self.facts(lb_names).await {
                Err(errors)
                    if errors.iter().any(|e| e.unreachable) && Instant::now() < until && !stop.is_cancelled() =>
                {
                    tokio::time::sleep(RELOAD / 10).await;
                }
                result => return result,
            }
        }
    }

    /// Like [`Self::facts`], with what could be told of the others where something is wrong with some.
    pub async fn survey(&self, lb_names: &[String]) -> (Vec<MemberFacts>, Vec<BalancerError>) {
        each!(self, b => b.survey(lb_names).await)
    }

    /// Learns what was recorded of places that a balancer may have forgotten, before it is asked about them.
    pub fn recall(&self, found: &[MemberFacts]) {
        each!(self, b => b.recall(found));
    }

    /// Takes a server out of every balancer and waits until its connections have ended, or `drain_timeout`.
    ///
    /// Before that it waits for others to be in service, no longer than `capacity_timeout`. `on` hears how it goes. An
    /// error leaves the server as it was found before the call, unless it says otherwise.
    pub async fn drain(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(Draining) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Drained, BalancerError> {
        each!(self, b => b.drain(lb_name, found, on, stop).await)
    }

    /// Tells whether no balancer sends the server traffic; a reload of a balancer silently puts it back.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        each!(self, b => b.still_out(lb_name).await)
    }

    /// Takes a server out again where it is not; tells what that took, or `None` when it was still out.
    ///
    /// Unlike after [`Balancer::drain`], an error leaves it as far out as it got: it is in the middle of a deploy.
    pub async fn ensure_out(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(Draining) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Option<Drained>, BalancerError> {
        each!(self, b => b.ensure_out(lb_name, found, on, stop).await)
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
        each!(self, b => b.restore(lb_name, found, on, stop).await)
    }

    /// Sets a server's administrative state in every balancer, without waiting for anything.
    pub async fn set(&self, lb_name: &str, to: Admin) -> Result<(), BalancerError> {
        each!(self, b => b.set(lb_name, to).await)
    }
}

/// Waits for something, or for the end of all waiting.
async fn unless<T>(stop: &CancellationToken, what: impl Future<Output = T>) -> Result<T, BalancerError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(BalancerError {
            detail: "the wait was interrupted".to_owned(),
            stopped: true,
            ..BalancerError::default()
        }),
        done = what => Ok(done),
    }
}

/// Sleeps; ends early with an error when asked to stop.
async fn pause(stop: &CancellationToken, time: Duration) -> Result<(), BalancerError> {
    unless(stop, tokio::time::sleep(time)).await
}

/// Makes one error of several: the first, with the others named in it.
fn together(errors: Vec<BalancerError>) -> Result<(), BalancerError> {
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else { return Ok(()) };
    for other in errors.filter(|e| !e.stopped) {
        first.detail = format!("{}; also {other}", first.detail);
    }
    Err(first)
}

/// Says why a drain would leave too few.
fn too_few(others: usize, least: usize, config: &LoadBalancer) -> (String, &'static str) {
    let written = config.min_in_service;
    let asked = if written.to_string() == least.to_string() { String::new() } else { format!(" ({least} here)") };
    (
        format!("draining it would leave {others} other members in service, and min_in_service is {written}{asked}"),
        "bring other members back, use smaller batches or --parallel, or lower `min_in_service`",
    )
}

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

impl BalancerError {
    /// Makes one about a balancer, or about a `member` of it.
    pub fn new(at: &str, member: Option<String>, detail: String, hint: &str) -> Self {
        Self { at: at.to_owned(), member, detail, hint: hint.to_owned(), ..Self::default() }
    }
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
    use crate::config::HaproxyAccess;

    #[test]
    fn a_snapshot_written_without_the_adapters_fields_is_read() {
        let text = r#"{"members":[{"at":"a","backend":"b","member":"m","admin":"maint","in_service":false,"status":"MAINT","sessions":0,"others_in_service":1,"size":2}]}"#;
        let found: Snapshot = serde_json::from_str(text).unwrap();
        assert!(!found.was_in() && found.members[0].bits == 0 && !found.members[0].agent);
    }

    #[test]
    fn futures_travel_between_threads() {
        fn sendable<T: Send>(_: T) {}
        let config = walk::tests::config(BalancerKind::Haproxy {
            at: Vec::new(),
            backends: Vec::new(),
            access: HaproxyAccess::default(),
        });
        let (b, found, stop) = (
            Balancer::new(&config, Around::default()).unwrap(),
            Snapshot { members: Vec::new() },
            CancellationToken::new(),
        );
        sendable(b.facts(&[]));
        sendable(b.drain("a", &found, &mut |_| {}, &stop));
        sendable(b.still_out("a"));
        sendable(b.ensure_out("a", &found, &mut |_| {}, &stop));
        sendable(b.restore("a", &found, &mut |_| {}, &stop));
        sendable(b.set("a", Admin::Ready));
    }
}
