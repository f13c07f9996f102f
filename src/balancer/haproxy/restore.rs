//! Putting a server back as it was found, on every instance, with proof where it took traffic.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::{HELD_HINT, HaproxyFault};
use super::limits::{AGE, TICK};
use super::member::{Member, Origin, origin};
use super::node::Node;
use super::nodes::Nodes;
use super::protocol::Change;
use super::table::Table;
use crate::balancer::adapter::OnRestore;
use crate::balancer::error::{BalancerError, together};
use crate::balancer::facts::{Admin, MemberFacts, Snapshot};
use crate::balancer::fault::{Kept, RestoreFault};
use crate::balancer::waiting::{pause, unless};

/// Puts a server back as it was found; see [`crate::balancer::Balancer::restore`].
pub async fn restore(
    all: &Nodes,
    lb_name: &str,
    found: &Snapshot,
    on: OnRestore<'_>,
    stop: &CancellationToken,
) -> Result<(), BalancerError> {
    let deadline = Instant::now() + all.config.restore_timeout;
    // The instances are walked side by side and share one listener.
    let on = Mutex::new(on);
    let say = |text: String| {
        if let Ok(mut on) = on.lock() {
            on(text);
        }
    };
    let found = found.members.iter().filter(|m| m.member == lb_name);
    let mut errors: Vec<BalancerError> = Vec::new();
    let mut walks = Vec::new();
    for node in &all.nodes {
        let steady = all.config.min_healthy_time;
        let mut back = Back {
            node,
            alone: all.nodes.len() == 1,
            server: lb_name,
            cases: Vec::new(),
            errors: Vec::new(),
            deadline,
            steady,
            stop,
            say: &say,
        };
        let found: Vec<&MemberFacts> = found.clone().filter(|m| m.at == node.at()).collect();
        walks.push(async move {
            back.walk(&found).await;
            back.errors
        });
    }
    for member in found.filter(|m| !all.nodes.iter().any(|n| n.at() == m.at)) {
        let place = Some(format!("{}/{lb_name}", member.backend));
        errors.push(BalancerError::new(&member.at, place, RestoreFault::NotConfigured));
    }
    errors.splice(0..0, join_all(walks).await.into_iter().flatten());
    together(errors)?;
    // Being stopped now changes nothing: it is back.
    let _ = pause(stop, all.config.wait_after_restore).await;
    Ok(())
}

const NOT_UP: &str = "the balancer checks from its own host, with its own path, port and Host header: compare `option httpchk` in \
                      haproxy.cfg with what the server answers there, or raise `restore_timeout`";

/// A member on its way back into traffic.
struct Case<'a> {
    found: &'a MemberFacts,
    turn: Turn,
    /// Its health was set down, so that full health means a fresh check.
    floored: bool,
    /// Something else holds it out.
    held: bool,
    /// What was last said of it.
    said: String,
    /// Since when it is back without a break.
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Checked, without traffic.
    Proving,
    /// Ready; has to be reported up.
    Returning,
    /// Back, or given up.
    Over,
}

/// A server's way back into one instance.
struct Back<'a> {
    node: &'a Node,
    /// There is no other instance.
    alone: bool,
    server: &'a str,
    cases: Vec<Case<'a>>,
    errors: Vec<BalancerError>,
    deadline: Instant,
    /// For how long it must be up before it is back.
    steady: Duration,
    stop: &'a CancellationToken,
    say: &'a (dyn Fn(String) + Sync),
}

impl<'a> Back<'a> {
    async fn walk(&mut self, found: &[&'a MemberFacts]) {
        if found.is_empty() {
            return;
        }
        if let Err(error) = self.begin(found).await {
            // Refused, interrupted or cut off: there is nothing to wait for.
            self.errors.push(error);
            self.abandon(Turn::Proving).await;
            return;
        }
        while self.cases.iter().any(|c| c.turn != Turn::Over) {
            if let Err(error) = self.tick().await {
                // Interrupted or cut off: what is not proven goes back to maint, as far as that can still be said.
                self.errors.push(error);
                self.abandon(Turn::Proving).await;
                return;
            }
        }
    }

    /// Puts back at once what needs no proof, and starts the proof of the rest.
    async fn begin(&mut self, found: &[&'a MemberFacts]) -> Result<(), BalancerError> {
        let table = unless(self.stop, self.node.look(Duration::ZERO)).await??;
        let mut changes = Vec::new();
        // A member may track one of another backend, which is on its way back too: then that holds it out for as long.
        let several = found.iter().filter(|f| origin(f) == Origin::Ready).count() > 1;
        for found in found.iter().copied() {
            let backend = found.backend.as_str();
            let member = match self.node.member(&table, backend, self.server) {
                Ok(member) => member,
                Err(error) => {
                    self.errors.push(error);
                    continue;
                }
            };
            match origin(found) {
                Origin::Held => {}
                Origin::Maint if member.set_maint() => {}
                Origin::Maint => changes.push((Change::Maint, backend)),
                Origin::Drain => {
                    if member.set_maint() || !member.set_drain() {
                        changes.push((Change::Drain, backend));
                    }
                    changes.extend(agent(found, member));
                }
                Origin::Ready if member.held_out() && !(several && member.inherits()) => {
                    let fault = HaproxyFault::HeldOut(member.status.clone());
                    self.errors.push(self.node.error(backend, self.server, fault));
                }
                Origin::Ready => {
                    let turn = if member.admin() == Admin::Ready {
                        Turn::Returning
                    } else if !member.checked() || member.inherits() {
                        // One that tracks another has no checks of its own.
                        changes.push((Change::Ready, backend));
                        Turn::Returning
                    } else {
                        // From maint to drain: checks begin anew, without traffic. Maint first, for one found in drain.
                        changes.extend([(Change::Maint, backend), (Change::Drain, backend)]);
                        Turn::Proving
                    };
                    self.cases.push(Case {
                        found,
                        turn,
                        floored: false,
                        held: false,
                        said: String::new(),
                        since: None,
                    });
                }
            }
        }
        self.node.change(self.server, &changes).await
    }

    async fn tick(&mut self) -> Result<(), BalancerError> {
        let table = unless(self.stop, self.node.look(AGE)).await??;
        let before = self.turns();
        for at in 0..self.cases.len() {
            self.step(at, &table).await?;
        }
        if self.cases.iter().all(|c| c.turn == Turn::Over) {
            return Ok(());
        }
        let steady = |c: &Case<'_>| c.turn == Turn::Over || c.since.is_some();
        if Instant::now() >= self.deadline && !self.cases.iter().all(steady) {
            self.abandon(Turn::Returning).await;
            return Ok(());
        }
        // What was just put in may be up already.
        if self.turns() != before {
            return Ok(());
        }
        pause(self.stop, TICK).await
    }

    fn turns(&self) -> Vec<Turn> {
        self.cases.iter().map(|c| c.turn).collect()
    }

    async fn step(&mut self, at: usize, table: &Table) -> Result<(), BalancerError> {
        let Some(case) = self.cases.get_mut(at).filter(|c| c.turn != Turn::Over) else { return Ok(()) };
        let backend = case.found.backend.as_str();
        let member = match self.node.member(table, backend, self.server) {
            Ok(member) => member,
            Err(error) => {
                case.turn = Turn::Over;
                self.errors.push(error);
                return Ok(());
            }
        };
        case.held = member.held_out();
        let standing = member.standing();
        let at = if self.alone { String::new() } else { format!(" on {}", self.node.at()) };
        let say = |what: &str| (self.say)(format!("{backend}/{}{at}: {what}", self.server));
        if case.said != standing {
            case.said.clone_from(&standing);
            say(&standing);
        }
        // The reading is younger than what was said to the socket: this is somebody else's word, and the last one.
        if member.set_maint() || (case.turn == Turn::Returning && member.set_drain()) {
            case.turn = Turn::Over;
            say("somebody has taken it out meanwhile; it is left so");
            return Ok(());
        }
        match case.turn {
            Turn::Proving if member.admin() == Admin::Ready => case.turn = Turn::Returning,
            // In maint a Data Plane API does not tell whether there are checks.
            Turn::Proving if !member.checked() => {
                self.node.change(self.server, &[(Change::Ready, backend)]).await?;
                case.turn = Turn::Returning;
            }
            Turn::Proving if member.fall == Some(1) && !case.floored => {
                case.floored = true;
                return self.node.change(self.server, &[(Change::HealthDown, backend)]).await;
            }
            Turn::Proving if member.full_health() => {
                self.node.change(self.server, &[(Change::Ready, backend)]).await?;
                case.turn = Turn::Returning;
            }
            Turn::Returning if !member.is_back() => case.since = None,
            Turn::Returning if case.since.get_or_insert_with(Instant::now).elapsed() < self.steady => {}
            Turn::Returning => {
                let changes: Vec<_> = agent(case.found, member).into_iter().collect();
                case.turn = Turn::Over;
                return self.node.change(self.server, &changes).await;
            }
            Turn::Proving | Turn::Over => {}
        }
        Ok(())
    }

    /// Gives up on the cases that have come no further than `up_to`: they stay out.
    async fn abandon(&mut self, up_to: Turn) {
        for case in &mut self.cases {
            let why = match case.turn {
                Turn::Over => continue,
                Turn::Returning if up_to == Turn::Proving => continue,
                Turn::Returning => "it was not reported up in time",
                Turn::Proving => "it did not pass the balancer's own checks in time",
            };
            case.turn = Turn::Over;
            let backend = case.found.backend.as_str();
            let kept = self.node.change(self.server, &[(Change::Maint, backend)]).await;
            if up_to == Turn::Proving {
                // The reason is an error already.
                continue;
            }
            let kept = match kept {
                Ok(()) => Kept::Out("stays in maint"),
                Err(error) => Kept::NotSet("set to maint", Box::new(error)),
            };
            let hint = if case.held { HELD_HINT } else { NOT_UP };
            let fault = RestoreFault::NotBack { why, last: case.said.clone(), hint, kept };
            self.errors.push(self.node.error(backend, self.server, fault));
        }
    }
}

/// Gives the agent its say again, if it had it.
fn agent<'f>(found: &'f MemberFacts, member: &Member) -> Option<(Change, &'f str)> {
    (found.agent && member.agent_disabled()).then_some((Change::EnableAgent, found.backend.as_str()))
}
