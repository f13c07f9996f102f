//! All HAProxy instances of a stack, and what both walks ask of them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Mutex;

use super::node::Node;
use super::table::Table;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::Admin;
use crate::config::LoadBalancer;

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
}

impl Nodes {
    /// Reads every instance.
    pub async fn look(&self, age: Duration) -> Result<Vec<Arc<Table>>, BalancerError> {
        try_join_all(self.nodes.iter().map(|n| n.look(age))).await
    }

    /// Tells whether no instance sends the server traffic.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        let tables = self.look(Duration::ZERO).await?;
        for (node, table) in self.nodes.iter().zip(&tables) {
            if node.places(table, lb_name)?.iter().any(|(_, member)| member.admin() == Admin::Ready) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
