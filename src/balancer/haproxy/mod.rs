//! HAProxy through its Runtime API: drain, maint, ready, each proven by what HAProxy itself reports.
//!
//! The sequence is the one that lost no request under load: drain, wait, maint; deploy; drain again so that checks run
//! without traffic; ready once they passed. `drain` and `restore` are the two walks over all instances, [`node`] is one
//! instance, whichever way leads into it: its [`socket`], or its Data Plane API ([`api`]). [`protocol`] and [`member`] are
//! pure, [`client`] carries text over the ways of [`route`], one of which is a [`relay`] on the host.

pub mod api;
pub mod client;
mod drain;
pub mod member;
pub mod node;
pub mod protocol;
pub mod relay;
mod restore;
pub mod route;
pub mod socket;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::Mutex;

use super::{Admin, BalancerError, MemberFacts, together};
use crate::config::{BalancerAddress, HaproxyAccess, LoadBalancer};
use crate::ssh;
use api::{Access, Api};
use client::Client;
use node::{Node, Table, Way};
use protocol::Change;
use socket::Socket;

/// Pause between two looks of one wait.
const TICK: Duration = Duration::from_millis(300);
/// How old a reading may be that a wait goes by: lanes that wait side by side share their readings.
const AGE: Duration = Duration::from_millis(200);

/// Limit on one call, connecting through an open SSH connection included.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read from a socket: some ten thousand servers.
const ANSWER_LIMIT: u64 = 4 << 20;
/// For how long a call is tried again when the balancer cannot be reached: a reload closes its socket for a moment.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Whether a balancer that cannot be reached is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// No: the answer is wanted now.
    Once,
    /// For a few seconds. Everything may be said twice, since all changes are idempotent.
    Retry,
}

/// All HAProxy instances of a stack.
pub struct Haproxy {
    config: LoadBalancer,
    backends: Vec<String>,
    nodes: Vec<Node>,
    /// Held from counting who is left to taking one out, so that two lanes cannot both count on each other.
    gate: Mutex<()>,
}

impl Haproxy {
    /// Makes the adapter; connects to nothing. `links` gives the SSH destination of an `ssh://` address, `env` the values
    /// of `[secrets]`.
    ///
    /// # Errors
    /// When what a Data Plane API needs is not to be had: its password, a certificate of its authority.
    pub fn new(
        config: &LoadBalancer,
        (at, backends, access): (&[BalancerAddress], &[String], &HaproxyAccess),
        links: impl Fn(&BalancerAddress) -> Option<Arc<ssh::Link>>,
        env: &[(String, String)],
    ) -> Result<Self, String> {
        let mut nodes = Vec::new();
        for at in at {
            let way = match at {
                BalancerAddress::Api(url) => Way::Api(Box::new(Api::new(url, &Access::new(access, env)?))),
                _ => Way::Socket(Socket::new(Client::new(at, access.via, links(at)))),
            };
            nodes.push(Node::new(way, backends.to_vec()));
        }
        Ok(Self { nodes, backends: backends.to_vec(), config: config.clone(), gate: Mutex::new(()) })
    }

    /// Shortens the limit on one call; see [`super::Balancer::within`].
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.nodes = self.nodes.into_iter().map(|node| node.within(limit)).collect();
        self
    }

    /// HAProxy forgets no member that its configuration has; see [`super::Balancer::recall`].
    pub fn recall(&self, found: &[MemberFacts]) {
        let _ = (self, found);
    }

    /// Asks every instance about these servers; see [`super::Balancer::survey`].
    pub async fn survey(&self, lb_names: &[String]) -> (Vec<MemberFacts>, Vec<BalancerError>) {
        let (mut facts, mut errors) = (Vec::new(), Vec::new());
        let tables = join_all(self.nodes.iter().map(Node::inspect)).await;
        for (node, table) in self.nodes.iter().zip(tables) {
            let table = match table {
                Ok(table) => Arc::new(table),
                Err(error) => {
                    let read = if error.unreachable { None } else { node.look_only().await };
                    errors.push(error);
                    let Some(table) = read else { continue };
                    table
                }
            };
            for backend in &self.backends {
                for name in lb_names {
                    match node.facts(&table, backend, name) {
                        Ok(member) => facts.push(member),
                        Err(error) => errors.push(error),
                    }
                }
            }
        }
        (facts, errors)
    }

    /// Tells whether no instance sends the server traffic.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        let tables = self.look(Duration::ZERO).await?;
        for (node, table) in self.nodes.iter().zip(&tables) {
            for backend in &self.backends {
                if node.member(table, backend, lb_name)?.admin() == Admin::Ready {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Sets a server's administrative state on every instance, without a look at it; all are tried.
    pub async fn set(&self, lb_name: &str, to: Admin) -> Result<(), BalancerError> {
        let change = match to {
            Admin::Ready => Change::Ready,
            Admin::Drain => Change::Drain,
            Admin::Maint => Change::Maint,
        };
        let changes: Vec<(Change, &str)> = self.backends.iter().map(|b| (change, b.as_str())).collect();
        let results = join_all(self.nodes.iter().map(|n| n.change(lb_name, &changes))).await;
        together(results.into_iter().filter_map(Result::err).collect())
    }

    /// Reads every instance.
    async fn look(&self, age: Duration) -> Result<Vec<Arc<Table>>, BalancerError> {
        try_join_all(self.nodes.iter().map(|n| n.look(age))).await
    }
}
