//! The states of a balancer's members and how they change, as measured on HAProxy 2.6.12.
//!
//! Pure but for the clock's reading.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::demo::admin::Admin;

/// How members are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPlan {
    /// What is asked for with GET; 2xx and 3xx are good.
    pub path: String,
    /// From one check to the next.
    pub inter: Duration,
    /// Good checks in a row until a member that was down is up.
    pub rise: u32,
    /// Bad checks in a row until a member that was up is down.
    pub fall: u32,
}

/// A member as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Its name.
    pub name: String,
    /// Where it serves.
    pub at: SocketAddr,
    /// Its administrative state.
    pub admin: Admin,
    /// The checks see it up, or there are none.
    pub up: bool,
    /// It is sent traffic.
    pub in_service: bool,
    /// As `show stat` prints it.
    pub status: String,
    /// Requests in flight.
    pub sessions: usize,
    /// Requests sent to it so far.
    pub requests: u64,
    /// Of those, the ones it could not be reached for or that it broke off.
    pub failed: u64,
}

/// A change of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Counts from 0.
    pub seq: usize,
    /// Since the balancer began.
    pub at: Duration,
    /// Which.
    pub member: String,
    /// Its administrative state from now on.
    pub admin: Admin,
    /// What the checks see from now on.
    pub up: bool,
}

/// What a check found, in HAProxy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckResult {
    /// Not checked yet.
    None,
    /// A good status.
    Good(u16),
    /// A bad status.
    Bad(u16),
    /// The connection is refused.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// No answer in time.
    AnswerTimeout,
    /// Not HTTP.
    Invalid,
}

/// A member, as the balancer keeps it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) at: SocketAddr,
    pub(super) admin: Admin,
    pub(super) check: Option<Check>,
    /// Whether the last change left it able to run; in maintenance it is not.
    pub(super) running: bool,
    pub(super) changed: Instant,
    pub(super) streams: HashMap<u64, CancellationToken>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// A reload has come with a configuration that does not name it.
    pub(super) removed: bool,
}

/// A member's health.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) rise: u32,
    pub(super) fall: u32,
    /// Up from `rise` on; full at `rise + fall - 1`.
    pub(super) health: u32,
    pub(super) enabled: bool,
    pub(super) last: CheckResult,
    pub(super) failures: u64,
    pub(super) downs: u64,
}

/// All members of the one backend.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) list: Vec<Member>,
    began: Instant,
    history: Vec<Change>,
    turn: usize,
    streams: u64,
}

impl Check {
    pub(super) fn full(&self) -> u32 {
        self.rise + self.fall - 1
    }
}

impl Member {
    /// Tells whether it is sent traffic.
    pub(super) fn in_service(&self) -> bool {
        self.admin == Admin::Ready && self.running && !self.removed
    }

    /// Tells whether it runs or would, were it not in maintenance.
    fn up(&self) -> bool {
        self.running
    }

    /// Returns its status as `show stat` prints it (`srv_hlt_st` of HAProxy's stats-proxy.c).
    pub(super) fn status(&self) -> String {
        if self.admin == Admin::Maint {
            return "MAINT".to_owned();
        }
        let word = if self.admin == Admin::Drain { "DRAIN" } else { "UP" };
        match self.check.as_ref().filter(|check| check.enabled) {
            Some(check) if self.running && check.health < check.full() => {
                format!("{word} {}/{}", check.health + 1 - check.rise, check.fall)
            }
            Some(check) if !self.running && check.health > 0 => format!("DOWN {}/{}", check.health, check.rise),
            None if self.running && self.admin == Admin::Ready => "no check".to_owned(),
            _ if self.running => word.to_owned(),
            _ => "DOWN".to_owned(),
        }
    }

    fn state(&self) -> MemberState {
        MemberState {
            name: self.name.clone(),
            at: self.at,
            admin: self.admin,
            up: self.up(),
            in_service: self.in_service(),
            status: self.status(),
            sessions: self.streams.len(),
            requests: self.requests,
            failed: self.failed,
        }
    }
}

impl Members {
    pub(super) fn new(members: &[(String, SocketAddr)], plan: Option<&CheckPlan>) -> Self {
        let now = Instant::now();
        let list = members
            .iter()
            .map(|(name, at)| Member {
                name: name.clone(),
                at: *at,
                admin: Admin::Ready,
                check: plan.map(fresh),
                running: true,
                changed: now,
                streams: HashMap::new(),
                requests: 0,
                failed: 0,
                removed: false,
            })
            .collect();
        let mut members = Self { list, began: now, history: Vec::new(), turn: 0, streams: 0 };
        for index in 0..members.list.len() {
            members.note(index);
        }
        members
    }

    pub(super) fn states(&self) -> Vec<MemberState> {
        self.list.iter().map(Member::state).collect()
    }

    pub(super) fn history(&self) -> &[Change] {
        &self.history
    }

    pub(super) fn since_began(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|member| member.name == name && !member.removed)
    }

    /// Sets an administrative state; setting the one it has changes nothing.
    pub(super) fn set(&mut self, index: usize, admin: Admin) {
        let Some(member) = self.list.get_mut(index) else { return };
        if member.admin == admin {
            return;
        }
        match (member.admin, admin) {
            (_, Admin::Maint) => {
                member.running = false;
                if let Some(check) = &mut member.check {
                    check.health = 0;
                }
            }
            // "Start OK but check immediately", says HAProxy's server.c: up before any check has passed.
            (Admin::Maint, _) => {
                member.running = true;
                if let Some(check) = &mut member.check {
                    check.health = check.rise;
                }
            }
            _ => {}
        }
        member.admin = admin;
        self.note(index);
    }

    /// Takes the result of a check.
    ///
    /// It is dropped for a member in maintenance, or one whose checks are disabled.
    pub(super) fn checked(&mut self, index: usize, result: CheckResult) {
        let Some(member) = self.list.get_mut(index) else { return };
        let paused = member.admin == Admin::Maint;
        let Some(check) = member.check.as_mut().filter(|check| check.enabled && !paused) else { return };
        check.last = result;
        if matches!(result, CheckResult::Good(_)) {
            if check.health < check.full() {
                check.health += 1;
                if check.health >= check.rise {
                    check.health = check.full();
                }
            }
        } else if check.health > check.rise {
            check.health -= 1;
            check.failures += 1;
        } else {
            check.health = 0;
            check.failures += 1;
        }
        let running = check.health >= check.rise;
        if running != member.running {
            check.downs += u64::from(!running);
            member.running = running;
            self.note(index);
        }
    }

    pub(super) fn enable_checks(&mut self, index: usize, enabled: bool) {
        if let Some(check) = self.list.get_mut(index).and_then(|member| member.check.as_mut()) {
            check.enabled = enabled;
        }
    }

    /// Forgets what was set at run time, as a reload without a state file does.
    ///
    /// Requests in flight stay with the old worker.
    pub(super) fn reload(&mut self, plan: Option<&CheckPlan>) {
        for index in 0..self.list.len() {
            if let Some(member) = self.list.get_mut(index) {
                member.admin = Admin::Ready;
                member.running = true;
                member.removed = false;
                member.check = plan.map(fresh);
                member.streams.clear();
            }
            self.note(index);
        }
    }

    /// Takes a member out of the configuration, as a reload with another one does; requests in flight stay.
    pub(super) fn remove(&mut self, name: &str) {
        self.list.iter_mut().filter(|member| member.name == name).for_each(|member| member.removed = true);
    }

    /// Picks the next member in service and counts a request on it.
    pub(super) fn begin(&mut self) -> Option<(usize, SocketAddr, u64, CancellationToken)> {
        let count = self.list.len();
        let index = (0..count).map(|step| (self.turn + step) % count).find(|i| self.list[*i].in_service())?;
        self.turn = index + 1;
        self.streams += 1;
        let (stream, end) = (self.streams, CancellationToken::new());
        let member = self.list.get_mut(index)?;
        member.requests += 1;
        member.streams.insert(stream, end.clone());
        Some((index, member.at, stream, end))
    }

    /// Counts the end of a request.
    pub(super) fn end(&mut self, index: usize, stream: u64) {
        if let Some(member) = self.list.get_mut(index) {
            member.streams.remove(&stream);
        }
    }

    /// Counts a request that failed at a member.
    pub(super) fn fail(&mut self, index: usize) {
        if let Some(member) = self.list.get_mut(index) {
            member.failed += 1;
        }
    }

    /// Breaks off all requests at a member.
    pub(super) fn shut_down_sessions(&mut self, index: usize) {
        if let Some(member) = self.list.get_mut(index) {
            member.streams.drain().for_each(|(_, end)| end.cancel());
        }
    }

    fn note(&mut self, index: usize) {
        let Some(member) = self.list.get_mut(index) else { return };
        member.changed = Instant::now();
        self.history.push(Change {
            seq: self.history.len(),
            at: self.began.elapsed(),
            member: member.name.clone(),
            admin: member.admin,
            up: member.running,
        });
    }
}

fn fresh(plan: &CheckPlan) -> Check {
    let (rise, fall) = (plan.rise.max(1), plan.fall.max(1));
    Check { rise, fall, health: rise, enabled: true, last: CheckResult::None, failures: 0, downs: 0 }
}

/// Returns the most members that were out of service at once from change number `since` on.
pub(super) fn most_out(history: &[Change], since: usize) -> usize {
    let mut out: HashMap<&str, bool> = HashMap::new();
    let mut most = 0;
    for change in history {
        out.insert(&change.member, change.admin != Admin::Ready || !change.up);
        if change.seq + 1 >= since {
            most = most.max(out.values().filter(|out| **out).count());
        }
    }
    most
}
