//! The adapter of HAProxy: its instances, and the calls that the floors above make.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::api::{Api, ApiAccess};
use super::client::Client;
use super::drain::HaproxyOut;
use super::node::{Node, Way};
use super::nodes::Nodes;
use super::protocol::ServerChange;
use super::restore::HaproxyBack;
use super::socket::Socket;
use super::table::{Neighbour, Table, beside};
use crate::balancer::adapter::{Adapter, OnDrain, OnRestore};
use crate::balancer::around::Around;
use crate::balancer::error::{BalancerError, together};
use crate::balancer::facts::{Admin, Drained, MemberFacts, Snapshot};
use crate::balancer::waiting::unless;
use crate::config::{BalancerAddress, HaproxyAccess, LoadBalancer};

/// All HAProxy instances of a stack.
pub struct Haproxy {
    all: Nodes,
    /// The names of all servers of the stack.
    names: Vec<String>,
}

/// What the configuration says of the instances.
#[derive(Debug, Clone, Copy)]
pub struct Instances<'a> {
    /// `at`: every one of them is drained.
    pub at: &'a [BalancerAddress],
    /// `backends`.
    pub backends: &'a [String],
    /// `via`, `user`, `password`, `ca_file`.
    pub access: &'a HaproxyAccess,
}

impl Haproxy {
    /// Makes the adapter; connects to nothing.
    ///
    /// # Errors
    /// When what a Data Plane API needs cannot be read: its password, a certificate of its authority.
    pub fn new(config: &LoadBalancer, instances: &Instances<'_>, around: &Around) -> Result<Self, String> {
        let Instances { at, backends, access } = *instances;
        let link = |address: &BalancerAddress| around.hosts.get(&address.host()?).cloned();
        let mut nodes = Vec::new();
        for at in at {
            let way = match at {
                BalancerAddress::Api(url) => Way::Api(Box::new(Api::new(url, &ApiAccess::new(access, &around.env)?))),
                _ => Way::Socket(Socket::new(Client::new(at, access.via, link(at)))),
            };
            nodes.push(Node::new(way, backends.to_vec()));
        }
        let (config, backends) = (config.clone(), backends.to_vec());
        Ok(Self {
            all: Nodes { nodes, backends, config, gate: Mutex::new(()), had: std::sync::Mutex::default() },
            names: around.names(),
        })
    }
}

impl Haproxy {
    /// Adds the other members that send its host the stack's traffic.
    fn with_neighbours(&self, facts: MemberFacts, table: &Table, all: &[Neighbour]) -> MemberFacts {
        let members = table.iter().find(|(backend, _)| *backend == facts.backend).map(|(_, members)| members);
        let member = members.and_then(|members| members.iter().find(|m| m.name == facts.member));
        let also = member.map(|member| beside((&facts.backend, member), all, table, &self.names)).unwrap_or_default();
        MemberFacts { also, ..facts }
    }
}

impl Adapter for Haproxy {
    fn limit(&mut self, limit: Duration) {
        self.all.nodes.iter_mut().for_each(|node| node.limit(limit));
    }

    fn survey<'a>(&'a self, lb_names: &'a [String]) -> BoxFuture<'a, (Vec<MemberFacts>, Vec<BalancerError>)> {
        async move {
            let (mut facts, mut errors) = (Vec::new(), Vec::new());
            let nodes = &self.all.nodes;
            let tables = join_all(nodes.iter().map(Node::inspect)).await;
            for (node, table) in nodes.iter().zip(tables) {
                let (table, all) = match table {
                    Ok((table, all)) => (Arc::new(table), all),
                    Err(error) => {
                        let read = if error.is_unreachable() { None } else { node.look_only().await };
                        errors.push(error);
                        let Some(table) = read else { continue };
                        (table, Vec::new())
                    }
                };
                for backend in &self.all.backends {
                    for name in lb_names {
                        // A server may be in some of the backends only.
                        let here =
                            node.places(&table, name).is_ok_and(|places| !places.iter().any(|(b, _)| b == backend));
                        if here {
                            continue;
                        }
                        match node.facts(&table, backend, name) {
                            Ok(member) => facts.push(self.with_neighbours(member, &table, &all)),
                            Err(error) => errors.push(error),
                        }
                    }
                }
            }
            (facts, errors)
        }
        .boxed()
    }

    fn drain<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>> {
        async move {
            let mut out = HaproxyOut::new(&self.all, lb_name, on, stop);
            let failed = match out.take(found).await {
                Ok(drained) => return Ok(drained),
                Err(failed) => failed,
            };
            match out.put_back().await {
                Ok(()) => Err(failed),
                Err(kept) => Err(failed.and_stays_out(kept)),
            }
        }
        .boxed()
    }

    fn ensure_out<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>> {
        async move {
            if unless(stop, self.all.still_out(lb_name)).await?? {
                return Ok(None);
            }
            HaproxyOut::new(&self.all, lb_name, on, stop).take(found).await.map(Some)
        }
        .boxed()
    }

    fn still_out<'a>(&'a self, lb_name: &'a str) -> BoxFuture<'a, Result<bool, BalancerError>> {
        self.all.still_out(lb_name).boxed()
    }

    fn restore<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnRestore<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>> {
        async move { HaproxyBack { all: &self.all, server: lb_name, stop }.walk(found, on).await }.boxed()
    }

    fn set<'a>(&'a self, lb_name: &'a str, to: Admin) -> BoxFuture<'a, Result<(), BalancerError>> {
        async move {
            let change = match to {
                Admin::Ready => ServerChange::Ready,
                Admin::Drain => ServerChange::Drain,
                Admin::Maint => ServerChange::Maint,
            };
            let backends = &self.all.backends;
            let results = join_all(self.all.nodes.iter().map(|node| async move {
                let mut changes: Vec<(ServerChange, &str)> = backends.iter().map(|b| (change, b.as_str())).collect();
                // A server may be in some of them only.
                if changes.len() > 1 {
                    let table = node.look(Duration::ZERO).await?;
                    let places = node.places(&table, lb_name)?;
                    changes.retain(|(_, backend)| places.iter().any(|(b, _)| b == backend));
                }
                node.change(lb_name, &changes).await
            }))
            .await;
            together(results.into_iter().filter_map(Result::err))
        }
        .boxed()
    }
}
