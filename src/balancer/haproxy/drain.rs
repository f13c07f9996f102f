//! Taking a server out of every instance: drain, wait for its connections, maint.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::{AGE, TICK};
use super::node::Node;
use super::nodes::Nodes;
use super::protocol::ServerChange;
use super::table::{Table, of_backend, others_in_service};
use crate::balancer::adapter::OnDrain;
use crate::balancer::error::{BalancerError, together};
use crate::balancer::facts::{Admin, Drained, Draining, MemberFacts, Snapshot};
use crate::balancer::fault::DrainFault;
use crate::balancer::waiting::{pause, unless};
use crate::config::OnDrainTimeout;

/// How long connections may take to end once maint or a kill has cut their supply.
const SETTLE: Duration = Duration::from_secs(2);

/// A member that this drain takes out, and what to put it back to if the drain fails.
struct Taken<'a> {
    node: &'a Node,
    backend: &'a str,
    /// An operator had set it to drain; only maint is this drain's.
    was_drained: bool,
    /// Out of service by its checks: it must not come back as up.
    was_down: bool,
    /// Its agent was disabled.
    agent: bool,
    /// It has been set to maint.
    maint: bool,
}

/// Whether a server may be taken out.
enum Count<'a> {
    /// It may; these members are to be taken out.
    Enough(Vec<Taken<'a>>),
    /// Too few others are in service.
    TooFew(BalancerError),
}

/// What a wait ended with.
struct Left {
    /// Connections that were open.
    open: u64,
    /// It was out of new traffic on every instance.
    out: bool,
}

/// One server's way out.
pub struct HaproxyOut<'a> {
    all: &'a Nodes,
    server: &'a str,
    taken: Vec<Taken<'a>>,
    on: OnDrain<'a>,
    stop: &'a CancellationToken,
}

impl<'a> HaproxyOut<'a> {
    /// Makes the way out of a server that is still in.
    pub fn new(all: &'a Nodes, server: &'a str, on: OnDrain<'a>, stop: &'a CancellationToken) -> Self {
        Self { all, server, taken: Vec::new(), on, stop }
    }

    /// Takes the server out of every instance and waits for its connections, up to `drain_timeout`.
    pub async fn take(&mut self, found: &Snapshot) -> Result<Drained, BalancerError> {
        let tables = self.pass_gate(found).await?;
        let began = Instant::now();
        let config = &self.all.config;
        self.wait(ServerChange::Drain, began + config.drain_timeout, Some(tables)).await?;
        // Clients pinned to the server (cookie, stick table) reach it in drain; in maint they do not.
        self.change_all(ServerChange::Maint).await?;
        let mut left = self.wait(ServerChange::Maint, Instant::now() + SETTLE, None).await?;
        if left.open > 0 && config.on_drain_timeout == OnDrainTimeout::Kill {
            // Only now: before maint they would come straight back.
            self.change_all(ServerChange::KillSessions).await?;
            left = self.wait(ServerChange::Maint, Instant::now() + SETTLE, None).await?;
        }
        if left.open > 0 && config.on_drain_timeout == OnDrainTimeout::Fail {
            let instead = "\"proceed\" or \"kill\"";
            let fault = DrainFault::StillOpen { open: Some(left.open), after: config.drain_timeout, instead };
            return Err(self.error(fault));
        }
        let drained = Drained { left: Some(left.open), waited: began.elapsed() };
        pause(self.stop, config.wait_after_drain).await?;
        // The last reading shows it already, unless there was a wait since.
        let told = left.out && config.wait_after_drain.is_zero();
        if !told && !unless(self.stop, self.all.still_out(self.server)).await?? {
            return Err(self.error(DrainFault::PutBack));
        }
        Ok(drained)
    }

    /// Makes sure that every place was asked about, and that none has gone: it could not be restored.
    fn covered(&self, found: &Snapshot, tables: &[Arc<Table>]) -> Result<(), BalancerError> {
        for (node, table) in self.all.nodes.iter().zip(tables) {
            for (backend, _) in node.places(table, self.server)? {
                let known = |m: &MemberFacts| m.at == node.at() && m.backend == backend && m.member == self.server;
                if !found.members.iter().any(known) {
                    return Err(node.error(backend, self.server, DrainFault::NotAsked));
                }
            }
            let own = |m: &&MemberFacts| m.at == node.at() && m.member == self.server;
            for found in found.members.iter().filter(own).filter(|m| self.all.backends.contains(&m.backend)) {
                node.member(table, &found.backend, self.server)?;
            }
        }
        Ok(())
    }

    /// Counts the others and takes the server out of new traffic, with no other lane in between.
    ///
    /// Returns the readings after that.
    async fn pass_gate(&mut self, found: &Snapshot) -> Result<Vec<Arc<Table>>, BalancerError> {
        let all = self.all;
        // The time that other lanes wait here counts.
        let patient = Instant::now() + all.config.capacity_timeout;
        let _gate = unless(self.stop, all.gate.lock()).await?;
        let planned = loop {
            let tables = unless(self.stop, all.look(Duration::ZERO)).await??;
            self.covered(found, &tables)?;
            match self.count(&tables)? {
                Count::Enough(planned) => break planned,
                Count::TooFew(error) if Instant::now() >= patient => return Err(error),
                Count::TooFew(error) => {
                    let place = error.member.clone().unwrap_or_default();
                    (self.on)(Draining::Waiting(format!("{place}: {}", error.detail())));
                    pause(self.stop, TICK).await?;
                }
            }
        };
        for taken in planned {
            let mut changes = Vec::new();
            if taken.agent {
                // It would end the drain with its next `ready`.
                changes.push((ServerChange::DisableAgent, taken.backend));
            }
            if !taken.was_drained {
                changes.push((ServerChange::Drain, taken.backend));
            }
            let node = taken.node;
            // Noted before the call: half of it may arrive.
            self.taken.push(taken);
            node.change(self.server, &changes).await?;
        }
        let tables = unless(self.stop, all.look(Duration::ZERO)).await??;
        for (node, table) in all.nodes.iter().zip(&tables) {
            for (backend, member) in node.places(table, self.server)? {
                if member.admin() == Admin::Ready {
                    return Err(node.error(backend, self.server, DrainFault::Ignored(member.status.clone())));
                }
            }
        }
        Ok(tables)
    }

    /// Waits until no connection is left on any instance; returns the rest at the deadline.
    ///
    /// `read` is a reading to begin with.
    async fn wait(
        &mut self,
        state: ServerChange,
        deadline: Instant,
        mut read: Option<Vec<Arc<Table>>>,
    ) -> Result<Left, BalancerError> {
        loop {
            let tables = match read.take() {
                Some(tables) => tables,
                None => unless(self.stop, self.all.look(AGE)).await??,
            };
            let (mut open, mut lost) = (0u64, false);
            for (node, table) in self.all.nodes.iter().zip(&tables) {
                let mut again = Vec::new();
                for (backend, member) in node.places(table, self.server)? {
                    open = open.saturating_add(member.sessions);
                    if member.admin() == Admin::Ready {
                        // A reload forgets what was set through the socket.
                        again.push((state, backend));
                    }
                }
                lost |= !again.is_empty();
                node.change(self.server, &again).await?;
            }
            (self.on)(Draining::Open(open));
            if (open == 0 && !lost) || Instant::now() >= deadline {
                if state == ServerChange::Maint {
                    self.all.note_out(&tables, self.server);
                }
                return Ok(Left { open, out: !lost });
            }
            pause(self.stop, TICK).await?;
        }
    }

    /// Counts the others, and lists what there is to take out, before anything is changed.
    fn count(&self, tables: &[Arc<Table>]) -> Result<Count<'a>, BalancerError> {
        let all = self.all;
        let mut planned = Vec::new();
        for (node, table) in all.nodes.iter().zip(tables) {
            let places = node.places(table, self.server)?;
            for backend in &all.backends {
                let Some((_, member)) = places.iter().find(|(b, _)| b == backend) else { continue };
                let ready = member.admin() == Admin::Ready;
                let others = others_in_service(table, backend, self.server);
                let written = all.config.min_in_service;
                let least = written.of(of_backend(table, backend));
                // A member out of service (a first deploy, a site that is down) takes no capacity with it.
                if member.in_service() && others < least {
                    let fault = DrainFault::TooFew { others, least, written };
                    return Ok(Count::TooFew(node.error(backend, self.server, fault)));
                }
                if ready || (member.admin() == Admin::Drain && member.set_drain()) {
                    planned.push(Taken {
                        node,
                        backend,
                        was_drained: !ready,
                        was_down: !member.in_service() && member.checked(),
                        agent: member.agent_enabled(),
                        maint: false,
                    });
                }
            }
        }
        Ok(Count::Enough(planned))
    }

    async fn change_all(&mut self, change: ServerChange) -> Result<(), BalancerError> {
        for taken in &mut self.taken {
            taken.maint |= change == ServerChange::Maint;
            taken.node.change(self.server, &[(change, taken.backend)]).await?;
        }
        Ok(())
    }

    /// Undoes what this drain changed.
    pub async fn put_back(&self) -> Result<(), BalancerError> {
        let server = self.server;
        let results = join_all(self.taken.iter().map(|taken| {
            let mut changes = Vec::new();
            match taken {
                Taken { was_drained: true, maint: true, .. } => changes.push(ServerChange::Drain),
                Taken { was_drained: true, .. } => {}
                // Straight from maint it would count as up until its next checks.
                Taken { was_down: true, maint: true, .. } => {
                    changes.extend([ServerChange::Drain, ServerChange::HealthDown, ServerChange::Ready]);
                }
                _ => changes.push(ServerChange::Ready),
            }
            if taken.agent {
                changes.push(ServerChange::EnableAgent);
            }
            let changes: Vec<_> = changes.into_iter().map(|c| (c, taken.backend)).collect();
            async move { taken.node.change(server, &changes).await }
        }))
        .await;
        together(results.into_iter().filter_map(Result::err))
    }

    /// Makes an error about the server as a whole.
    fn error(&self, fault: DrainFault) -> BalancerError {
        let at: Vec<&str> = self.all.nodes.iter().map(Node::at).collect();
        let member = format!("{}/{}", self.all.backends.join(","), self.server);
        BalancerError::new(&at.join(", "), Some(member), fault)
    }
}
