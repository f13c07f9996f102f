//! One server's way back into one instance, with proof where it took traffic.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::{HELD_HINT, HaproxyFault};
use super::limits::{AGE, TICK};
use super::member::{BackendMember, FoundAs, origin};
use super::node::Node;
use super::protocol::ServerChange;
use super::table::Table;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::{Admin, MemberFacts};
use crate::balancer::fault::{RestoreFault, Whereabouts};
use crate::balancer::waiting::{pause, unless};

const NOT_UP: &str = "the balancer checks from its own host, with its own path, port and Host header: compare `option httpchk` in \
                      haproxy.cfg with what the server answers there, or raise `restore_timeout`";

/// A member on its way back into traffic.
pub struct Case<'a> {
    found: &'a MemberFacts,
    turn: Turn,
    /// Its health was set down, so that full health means a fresh check.
    floored: bool,
    /// Something other than its administrative state holds it out.
    held: bool,
    /// Its checks keep it down.
    down: bool,
    /// It was said that the member starts slowly.
    slow: bool,
    /// The status that was reported last.
    said: String,
    /// Since when the member is up without a break.
    since: Option<Instant>,
}

impl Case<'_> {
    /// Tells whether it may be left so: ready, and kept out by the balancer's own checks, as it was found.
    fn is_as_before(&self) -> bool {
        self.found.may_stay_down && self.down && !self.held
    }
}

/// How far a member has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Checked, without traffic.
    Proving,
    /// Ready, and not yet reported up.
    Returning,
    /// Back, or given up.
    Over,
}

/// A server's way back into one instance.
pub struct InstanceBack<'a> {
    /// The instance.
    pub node: &'a Node,
    /// There is no other instance.
    pub alone: bool,
    /// The server's name there.
    pub server: &'a str,
    /// Its members that have to be proven, one a backend.
    pub cases: Vec<Case<'a>>,
    /// What went wrong so far.
    pub errors: Vec<BalancerError>,
    /// When the proof must have begun.
    pub deadline: Instant,
    /// How long the server must be up before it is back.
    pub steady: Duration,
    /// Ends the wait.
    pub stop: &'a CancellationToken,
    /// Hears how a member stands.
    pub say: &'a (dyn Fn(String) + Sync),
}

impl<'a> InstanceBack<'a> {
    /// Puts the server back as it was found; returns what went wrong.
    pub async fn walk(mut self, found: &[&'a MemberFacts]) -> Vec<BalancerError> {
        if let Err(error) = self.through(found).await {
            // Refused, interrupted or cut off: a member that is not proven goes back to maint, as far as that can be set.
            self.errors.push(error);
            self.abandon(Turn::Proving).await;
        }
        self.errors
    }

    async fn through(&mut self, found: &[&'a MemberFacts]) -> Result<(), BalancerError> {
        if found.is_empty() {
            return Ok(());
        }
        self.begin(found).await?;
        while self.cases.iter().any(|c| c.turn != Turn::Over) {
            self.tick().await?;
        }
        Ok(())
    }

    /// Puts back at once what needs no proof, and starts the proof of the rest.
    async fn begin(&mut self, found: &[&'a MemberFacts]) -> Result<(), BalancerError> {
        let table = unless(self.stop, self.node.look(Duration::ZERO)).await??;
        let mut changes = Vec::new();
        // A member may track one of another backend that is on its way back too, and is held out until that one is in.
        let several = found.iter().filter(|f| origin(f) == FoundAs::Ready).count() > 1;
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
                FoundAs::Held => {}
                FoundAs::Maint if member.set_maint() => {}
                FoundAs::Maint => changes.push((ServerChange::Maint, backend)),
                FoundAs::Drain => {
                    if member.set_maint() || !member.set_drain() {
                        changes.push((ServerChange::Drain, backend));
                    }
                    changes.extend(agent(found, member));
                }
                FoundAs::Ready if member.held_out() && !(several && member.inherits()) => {
                    let fault = HaproxyFault::HeldOut(member.status.clone());
                    self.errors.push(self.node.error(backend, self.server, fault));
                }
                FoundAs::Ready => {
                    let turn = if member.admin() == Admin::Ready {
                        Turn::Returning
                    } else if !member.checked() || member.inherits() {
                        // A member that tracks another has no checks of its own.
                        changes.push((ServerChange::Ready, backend));
                        Turn::Returning
                    } else {
                        // From maint to drain: checks begin anew, without traffic. Maint first, for a member in drain.
                        changes.extend([(ServerChange::Maint, backend), (ServerChange::Drain, backend)]);
                        Turn::Proving
                    };
                    self.cases.push(Case {
                        found,
                        turn,
                        floored: false,
                        held: false,
                        down: false,
                        slow: false,
                        said: String::new(),
                        since: None,
                    });
                }
            }
        }
        self.node.change(self.server, &changes).await
    }

    /// Looks once, takes every case one step further, and waits for the next look.
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
        // A member that was just put in may be up already.
        if self.turns() != before {
            return Ok(());
        }
        pause(self.stop, TICK).await
    }

    fn turns(&self) -> Vec<Turn> {
        self.cases.iter().map(|c| c.turn).collect()
    }

    /// Takes one case a step further, by a reading.
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
        case.down = member.op_state == 0;
        let standing = member.standing();
        let at = if self.alone { String::new() } else { format!(" on {}", self.node.at()) };
        let say = |what: &str| (self.say)(format!("{backend}/{}{at}: {what}", self.server));
        if case.said != standing {
            case.said.clone_from(&standing);
            say(&standing);
        }
        // The reading is younger than the last change: an operator has taken the member out, and has the last word.
        if member.set_maint() || (case.turn == Turn::Returning && member.set_drain()) {
            case.turn = Turn::Over;
            say("an operator has taken it out meanwhile; it is left so");
            return Ok(());
        }
        match case.turn {
            Turn::Proving if member.admin() == Admin::Ready => case.turn = Turn::Returning,
            // In maint a Data Plane API does not tell whether there are checks.
            Turn::Proving if !member.checked() => {
                self.node.change(self.server, &[(ServerChange::Ready, backend)]).await?;
                case.turn = Turn::Returning;
            }
            Turn::Proving if member.fall == Some(1) && !case.floored => {
                case.floored = true;
                return self.node.change(self.server, &[(ServerChange::HealthDown, backend)]).await;
            }
            Turn::Proving if member.full_health() => {
                self.node.change(self.server, &[(ServerChange::Ready, backend)]).await?;
                case.turn = Turn::Returning;
            }
            Turn::Returning if !member.is_back() => case.since = None,
            Turn::Returning if case.since.get_or_insert_with(Instant::now).elapsed() < self.steady => {}
            // The next server goes out when this one carries its share again.
            Turn::Returning if member.is_starting() && Instant::now() < self.deadline => {
                if !std::mem::replace(&mut case.slow, true) {
                    say("it starts slowly (slowstart); waiting until it takes its full share");
                }
            }
            Turn::Returning => {
                let changes: Vec<_> = agent(case.found, member).into_iter().collect();
                case.turn = Turn::Over;
                if member.is_starting() {
                    let share = member.throttle.map(|percent| format!(", {percent} % by now")).unwrap_or_default();
                    say(&format!("it goes on starting slowly after `restore_timeout`{share}; the run goes on"));
                }
                return self.node.change(self.server, &changes).await;
            }
            Turn::Proving | Turn::Over => {}
        }
        Ok(())
    }

    /// Gives up on the cases that have come no further than `up_to`: they stay out.
    async fn abandon(&mut self, up_to: Turn) {
        for case in &mut self.cases {
            if up_to == Turn::Returning && case.turn != Turn::Over && case.is_as_before() {
                case.turn = Turn::Over;
                let backend = case.found.backend.as_str();
                self.errors.extend(self.node.change(self.server, &[(ServerChange::Ready, backend)]).await.err());
                (self.say)(format!("{backend}/{}: down, as it was before", self.server));
                continue;
            }
            let why = match case.turn {
                Turn::Over => continue,
                Turn::Returning if up_to == Turn::Proving => continue,
                Turn::Returning => "it was not reported up in time",
                Turn::Proving => "it did not pass the balancer's own checks in time",
            };
            case.turn = Turn::Over;
            let backend = case.found.backend.as_str();
            let kept = self.node.change(self.server, &[(ServerChange::Maint, backend)]).await;
            if up_to == Turn::Proving {
                // The reason is an error already.
                continue;
            }
            let kept = match kept {
                Ok(()) => Whereabouts::Out("stays in maint"),
                Err(error) => Whereabouts::NotSet("set to maint", Box::new(error)),
            };
            let hint = if case.held { HELD_HINT } else { NOT_UP };
            let fault = RestoreFault::NotBack { why, last: case.said.clone(), hint, kept };
            self.errors.push(self.node.error(backend, self.server, fault));
        }
    }
}

/// Returns the change that enables the agent again, if it was enabled.
fn agent<'f>(found: &'f MemberFacts, member: &BackendMember) -> Option<(ServerChange, &'f str)> {
    (found.agent && member.agent_disabled()).then_some((ServerChange::EnableAgent, found.backend.as_str()))
}
