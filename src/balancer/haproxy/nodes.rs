//! All HAProxy instances of a stack, and what both walks ask of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;

use super::node::Node;
use super::table::Table;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::Admin;
use crate::balancer::fault::DrainFault;
use crate::config::LoadBalancer;
use crate::sync::lock;

/// The instances, which serve alike and are all drained.
pub struct Nodes {
    /// `[load_balancer]`.
    pub config: LoadBalancer,
    /// `backends`.
    pub backends: Vec<String>,
    /// Each instance.
    pub nodes: Vec<Node>,
    /// Held from the count of the others until a server is out: two lanes must not count on each other.
    pub gate: Mutex<()>,
    /// How many sessions each drained server had had when it was out everywhere.
    pub had: std::sync::Mutex<HashMap<String, u64>>,
}

impl Nodes {
    /// Reads every instance.
    pub async fn look(&self, age: Duration) -> Result<Vec<Arc<Table>>, BalancerError> {
        try_join_all(self.nodes.iter().map(|n| n.look(age))).await
    }

    /// Counts the sessions that a server has ever had; `None`: an instance does not tell.
    pub fn total(&self, tables: &[Arc<Table>], lb_name: &str) -> Option<u64> {
        let mut all = 0u64;
        for (node, table) in self.nodes.iter().zip(tables) {
            for (_, member) in node.places(table, lb_name).ok()? {
                all = all.saturating_add(member.total?);
            }
        }
        Some(all)
    }

    /// Notes how many sessions a server has had by the time that it is out.
    pub fn note_out(&self, tables: &[Arc<Table>], lb_name: &str) {
        let total = self.total(tables, lb_name);
        let mut had = lock(&self.had);
        match total {
            Some(total) => drop(had.insert(lb_name.to_owned(), total)),
            None => drop(had.remove(lb_name)),
        }
    }

    /// Tells whether no instance sends the server traffic.
    ///
    /// # Errors
    /// When the server was out, and got requests all the same.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        let tables = self.look(Duration::ZERO).await?;
        for (node, table) in self.nodes.iter().zip(&tables) {
            if node.places(table, lb_name)?.iter().any(|(_, member)| member.admin() == Admin::Ready) {
                return Ok(false);
            }
        }
        let had = lock(&self.had).get(lb_name).copied();
        let more = had.and_then(|had| self.total(&tables, lb_name)?.checked_sub(had)).filter(|more| *more > 0);
        match (more, self.nodes.first(), self.backends.first()) {
            (Some(more), Some(node), Some(backend)) => Err(node.error(backend, lb_name, DrainFault::StillSent(more))),
            _ => Ok(true),
        }
    }
}
