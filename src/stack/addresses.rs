//! The addresses that servers' names in the file resolve to, as this machine sees them.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::prepare::Stack;
use crate::config::{BalancerKind, LoadBalancer};
use crate::name::ServerName;
use crate::ssh::Transport;

/// How long a name may take to resolve: what it adds is worth no longer wait.
const LIMIT: Duration = Duration::from_secs(2);

impl Stack {
    /// Tells whether the balancer's members are held against the servers' addresses.
    pub fn checks_addresses(&self) -> bool {
        let balancer = self.config.balancer.as_ref();
        let kind = balancer.filter(|_| self.config.servers.len() > 1).map(|LoadBalancer { kind, .. }| kind);
        matches!(kind, Some(BalancerKind::Haproxy { access, .. }) if !access.unchecked)
    }

    /// Resolves a server's host.
    ///
    /// Behind another host a name may mean another address than it does here, so only a connection from here counts.
    pub async fn resolved(&self, name: &ServerName) -> Vec<IpAddr> {
        let Some(target) = self.links.get(name).map(|link| link.target()) else { return Vec::new() };
        if let Ok(address) = target.host.parse::<IpAddr>() {
            return vec![address.to_canonical()];
        }
        if !matches!(target.via, Transport::Direct) {
            return Vec::new();
        }
        match timeout(LIMIT, lookup_host((target.host.as_str(), target.port))).await {
            Ok(Ok(found)) => found.map(|socket| socket.ip().to_canonical()).collect(),
            _ => Vec::new(),
        }
    }
}
