//! HAProxy through its Runtime API: drain, maint, ready, each proven by what HAProxy itself reports.
//!
//! The sequence is the one that lost no request under load: drain, wait, maint; deploy; drain again so that checks run
//! without traffic; ready once they passed. [`protocol`] and [`member`] are pure, [`client`] carries text, [`node`] is one
//! instance, `drain` and `restore` are the two walks over all of them.

pub mod client;
mod drain;
pub mod member;
pub mod node;
pub mod protocol;
mod restore;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::Mutex;

use super::{Admin, BalancerError, MemberFacts, together};
use crate::config::{BalancerAddress, LoadBalancer};
use crate::ssh;
use client::Client;
use node::{Node, Table};
use protocol::Change;

/// Pause between two looks of one wait.
const TICK: Duration = Duration::from_millis(300);
/// How old a reading may be that a wait goes by: lanes that wait side by side share their readings.
const AGE: Duration = Duration::from_millis(200);

/// All HAProxy instances of a stack.
pub struct Haproxy {
    config: LoadBalancer,
    backends: Vec<String>,
    nodes: Vec<Node>,
    /// Held from counting who is left to taking one out, so that two lanes cannot both count on each other.
    gate: Mutex<()>,
}

impl Haproxy {
    /// Makes the adapter; connects to nothing. `links` gives the SSH destination of an `ssh://` address.
    pub fn new(
        config: &LoadBalancer,
        at: &[BalancerAddress],
        backends: &[String],
        links: impl Fn(&BalancerAddress) -> Option<Arc<ssh::Link>>,
    ) -> Self {
        let node = |at| Node::new(Client::new(at, links(at)), backends.to_vec());
        let nodes = at.iter().map(node).collect();
        Self { nodes, backends: backends.to_vec(), config: config.clone(), gate: Mutex::new(()) }
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
                    // What may not be changed may be read all the same.
                    let read = if error.unreachable { None } else { node.look(Duration::ZERO).await.ok() };
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
