//! What the journal beside each lock says of a run that is dead.
//!
//! Pure.
//!
//! An [`Intent`] is written with the lock; the remote scripts append to the journal before they change anything. From both,
//! and from how the servers stand now, [`Wreck::read`] makes the very records that the engine would have had in hand, so
//! that [`super::unwind`] takes back a dead run as it takes back a living one.

use std::collections::{BTreeMap, BTreeSet};

use super::agreed::Agreed;
use super::intent::Intent;
use super::shape::{Plan, Verb};
use super::stages::unchecked;
use super::unwind::{Record, Switched};
use crate::balancer::{Admin, MemberFacts, Snapshot};
use crate::config::{Config, LoadBalancer, OnFailure, Prepare, Server, Strategy};
use crate::event::DecidedBy;
use crate::facts::{Facts, ServerFacts};
use crate::name::{ReleaseId, Revision, RunId, ServerName};

/// The journal of one server, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// A release was being sent.
    pub transferred: bool,
    /// It was being drained, and how it was found before; `Some(None)` where that cannot be read.
    pub drained: Option<Option<Snapshot>>,
    /// Every switch of `current`, in order: from what to what.
    pub switches: Vec<(Option<ReleaseId>, Option<ReleaseId>)>,
    /// The web server was being restarted or stopped.
    pub restarted: bool,
    /// The release that was proven to serve, unless something was changed since.
    pub proven: Option<ReleaseId>,
}

/// A dead run, as far as its servers can tell.
#[derive(Debug, Clone)]
pub struct Wreck {
    /// The plan it had, without stages.
    pub plan: Plan,
    /// Who began it, where that is known.
    pub who: Option<String>,
    /// What it did to each server, as the engine would have known.
    pub records: BTreeMap<ServerName, Record>,
    /// How each drained server had been found in its balancers.
    pub snapshots: BTreeMap<ServerName, Snapshot>,
    /// The batch that was in flight; `None`: every batch had succeeded.
    pub failing: Option<usize>,
    /// Servers of that batch that lack nothing but a health check: it decides what becomes of the batch.
    pub unproven: Vec<ServerName>,
    /// Servers that do not say what the run meant to do, though something was done to them.
    pub unreadable: Vec<ServerName>,
    /// Servers whose copies of the plan differ from what most say.
    pub differ: Vec<ServerName>,
}

impl Journal {
    /// The journal's words for a drain of a server that was found so.
    pub fn drain(found: &Snapshot) -> String {
        format!("drain {}", serde_json::to_string(found).unwrap_or_default())
    }

    /// Its words for a server that was back, and was found so before it was taken out again.
    pub fn found_since(found: &Snapshot) -> String {
        format!("found {}", serde_json::to_string(found).unwrap_or_default())
    }

    /// Reads the lines, oldest first; what is not known is passed over.
    pub fn read(lines: &[String]) -> Self {
        let mut journal = Self::default();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (_moment, verb) = (words.next(), words.next().unwrap_or_default());
            let rest = words.next().unwrap_or_default();
            let mut ids = rest.split(' ').map(ReleaseId::parse);
            match verb {
                "transfer" => journal.transferred = true,
                // The first finding stands: a later one may have found what this run did.
                "drain" if journal.drained.is_none() => journal.drained = Some(serde_json::from_str(rest).ok()),
                "found" if let Ok(found) = serde_json::from_str(rest) => journal.drained = Some(Some(found)),
                "switch" => {
                    let (from, to) = (ids.next().flatten(), ids.next().flatten());
                    journal.switches.push((from, to));
                    journal.proven = None;
                }
                "restart" | "stop" => {
                    journal.restarted = true;
                    journal.proven = None;
                }
                "proven" => journal.proven = ids.next().flatten(),
                _ => {}
            }
        }
        journal
    }
}

/// One server of a dead run.
struct Left<'a> {
    name: &'a ServerName,
    intent: Intent,
    journal: Journal,
    current: Option<&'a ReleaseId>,
    /// It serves requests, so that a restart and its proof belong to its rollout.
    proves: bool,
    /// Its health was to be asked, and the journal does not tell of that.
    asked: bool,
    /// Nothing but its health proves it.
    alone: bool,
    /// It was asked since, and is healthy.
    healthy: bool,
    /// It is out of a balancer that it was found in; `None`: it was never drained, or that is not known.
    out: Option<bool>,
}

impl Left<'_> {
    fn switched(&self) -> Option<Switched> {
        let to = &self.intent.release;
        let first = self.journal.switches.iter().find(|(_, t)| t.as_ref() == Some(to))?;
        // A rollback to where the server already was notes both alike.
        Some(Switched { from: first.0.clone(), to: to.clone() })
    }

    /// Its whole rollout went well, as far as can be told from here.
    fn is_new(&self) -> bool {
        self.is_in_place() && (!self.asked || self.healthy)
    }

    /// The same, but for a health check that no journal tells of.
    fn is_in_place(&self) -> bool {
        self.switched().is_some()
            && self.current == Some(&self.intent.release)
            && (!self.proves || self.journal.proven.as_ref() == Some(&self.intent.release))
            && (self.journal.drained.is_none() || self.out == Some(false))
    }

    /// All that was done to it was taken back already, and proven.
    fn is_old(&self) -> bool {
        let Some(switched) = self.switched() else { return false };
        let back = self.journal.switches.last().is_some_and(|(_, to)| *to == switched.from);
        // Where its health alone proves it, its way back is walked again, and asks.
        back && !self.alone
            && switched.from.is_some()
            && self.current == switched.from.as_ref()
            && (!self.journal.restarted || self.journal.proven == switched.from)
            && (self.journal.drained.is_none() || self.out == Some(false))
    }

    fn began(&self) -> bool {
        self.journal.drained.is_some() || self.switched().is_some()
    }

    fn record(&self, finished: bool) -> Record {
        let drained = self.journal.drained.is_some();
        Record {
            locked: true,
            prepared: self.journal.transferred,
            drained,
            // Where that is not known, it may be back: then it is drained before its processes are touched.
            restored: drained && self.out != Some(true),
            switched: self.switched(),
            restarted: self.journal.restarted,
            finished,
            out_again: true,
            taken_back: !finished && self.is_old(),
            marked: false,
            failed: false,
        }
    }
}

/// The servers whose lock a dead run holds.
struct Found<'a> {
    /// Those that say what was meant to be done.
    all: Vec<Left<'a>>,
    /// Those that do not, and to which nothing was done.
    untouched: Vec<ServerName>,
    /// Those that do not, and to which something was done.
    unreadable: Vec<ServerName>,
}

impl<'a> Found<'a> {
    fn of(config: &'a Config, facts: &'a Facts, token: &RunId, healthy: &BTreeSet<ServerName>) -> Self {
        let ours = |f: &ServerFacts| f.lock.as_ref().is_some_and(|l| l.run() == token.0 || l.origin() == token.0);
        let mut all: Vec<Left<'_>> = Vec::new();
        let (mut untouched, mut unreadable) = (Vec::new(), Vec::new());
        for server in &config.servers {
            let Some(found) = facts.servers.get(&server.name).filter(|f| ours(f)) else { continue };
            let plan = found.lock.as_ref().map(|l| l.plan.as_slice()).unwrap_or_default();
            let journal = Journal::read(&found.journal);
            let Some(intent) = Intent::read(plan) else {
                if journal == Journal::default() { &mut untouched } else { &mut unreadable }.push(server.name.clone());
                continue;
            };
            let out = journal.drained.as_ref().and_then(|found| is_out(found.as_ref(), config, facts, server));
            all.push(Left {
                name: &server.name,
                intent,
                journal,
                current: found.current.as_ref(),
                proves: server.is_web() && !config.web.proof.none,
                asked: server.is_web() && config.health.is_some(),
                alone: server.is_web() && config.web.proof.none && config.health.is_some(),
                healthy: healthy.contains(&server.name),
                out,
            });
        }
        Self { all, untouched, unreadable }
    }
}

impl Wreck {
    /// Reads what is left on the servers whose lock `token` holds.
    ///
    /// `healthy`: servers that were asked for their health since. `None`: none of them says what was meant to be done.
    pub fn read(config: &Config, facts: &Facts, token: &RunId, healthy: &BTreeSet<ServerName>) -> Option<Self> {
        let Found { mut all, untouched, unreadable } = Found::of(config, facts, token, healthy);
        let copies = all.iter().map(|left| (left.name.clone(), left.intent.clone())).collect();
        let agreed = Agreed::of(&copies)?;
        if agreed.is_split && all.iter().any(Left::began) {
            let said = all.into_iter().map(|left| left.name.clone()).collect();
            return Some(Self::of_two_minds(said, &untouched, unreadable));
        }
        all.iter_mut().for_each(|left| left.intent = agreed.intent(left.name, &left.intent));
        // What was only locked is only unlocked.
        let only_locked = |name: ServerName| (name, Record { locked: true, ..Record::default() });
        let model = all.iter().find(|l| l.intent.batch.is_some()).or(all.first())?.intent.clone();

        let count = all.iter().filter_map(|l| l.intent.batch).max().map_or(0, |last| last + 1);
        let mut batches: Vec<Vec<ServerName>> = vec![Vec::new(); count];
        for left in &all {
            if let Some(batch) = left.intent.batch.and_then(|b| batches.get_mut(b)) {
                batch.push(left.name.clone());
            }
        }
        let of = |batch: usize| all.iter().filter(move |l| l.intent.batch == Some(batch));
        let begun: BTreeSet<usize> = (0..count).filter(|b| of(*b).any(Left::began)).collect();
        // A batch whose successor has begun had succeeded, whatever has happened to its servers since.
        let succeeded = |batch: usize| {
            let later = begun.iter().any(|b| *b > batch);
            of(batch).all(|l| l.is_new() || (later && l.switched().is_some() && !l.is_old()))
        };
        let finished: BTreeSet<usize> = (0..count).filter(|b| succeeded(*b)).collect();
        let failing = begun
            .iter()
            .rev()
            .find(|b| !finished.contains(b))
            .copied()
            .or_else(|| (0..count).find(|b| !finished.contains(b)));

        let unproven = all.iter().filter(|l| l.intent.batch == failing && !l.is_new() && l.is_in_place());
        let unproven = unproven.map(|l| l.name.clone()).collect();

        let mut records: BTreeMap<ServerName, Record> = untouched.into_iter().map(only_locked).collect();
        let mut snapshots = BTreeMap::new();
        for left in &all {
            let finished = left.intent.batch.is_some_and(|b| finished.contains(&b));
            records.insert(left.name.clone(), left.record(finished));
            if let Some(found) = &left.journal.drained {
                let found = found.clone().unwrap_or_else(|| as_if_ready(config, facts, left.name));
                snapshots.insert(left.name.clone(), found);
            }
        }
        let held: Vec<ServerName> = all.iter().map(|l| l.name.clone()).collect();
        let plan = Plan {
            verb: model.verb,
            strategy: model.strategy,
            on_failure: model.on_failure,
            release: model.release,
            revision: model.revision,
            previous: all.iter().map(|l| (l.name.clone(), l.intent.previous.clone())).collect(),
            bystanders: all.iter().filter(|l| l.intent.batch.is_none()).map(|l| l.name.clone()).collect(),
            batches,
            unchecked: unchecked(config),
            migrate_on: model.migrate_on,
            ..Self::of_nothing(&held).plan
        };
        Some(Self {
            plan,
            who: Some(model.who),
            records,
            snapshots,
            failing,
            unproven,
            unreadable,
            differ: agreed.differ,
        })
    }
}

impl Wreck {
    /// A run of which as many servers say one thing as another.
    ///
    /// A person must look at all that say something.
    fn of_two_minds(said: Vec<ServerName>, untouched: &[ServerName], unreadable: Vec<ServerName>) -> Self {
        let differ = said.clone();
        Self { unreadable: said.into_iter().chain(unreadable).collect(), differ, ..Self::of_nothing(untouched) }
    }

    /// A run that got no further than its locks.
    pub fn of_nothing(held: &[ServerName]) -> Self {
        let plan = Plan {
            verb: Verb::Deploy,
            strategy: Strategy::Parallel,
            decided_by: DecidedBy::Flag,
            prepare: Prepare::Ahead,
            on_failure: OnFailure::Revert,
            release: ReleaseId::first(),
            revision: Revision(String::new()),
            previous: Vec::new(),
            batches: Vec::new(),
            bystanders: held.to_vec(),
            unchecked: Vec::new(),
            skipped: Vec::new(),
            migrate_on: None,
            built_here: false,
            stages: Vec::new(),
            notices: Vec::new(),
            blockers: Vec::new(),
            unchanged: false,
        };
        let record = Record { locked: true, ..Record::default() };
        Self {
            plan,
            who: None,
            records: held.iter().map(|s| (s.clone(), record.clone())).collect(),
            snapshots: BTreeMap::new(),
            failing: None,
            unproven: Vec::new(),
            unreadable: Vec::new(),
            differ: Vec::new(),
        }
    }
}

/// Tells whether any balancer that sent the server traffic before holds it out now.
///
/// A record of a backend that the file names no more stands for what it was renamed to.
fn is_out(found: Option<&Snapshot>, config: &Config, facts: &Facts, server: &Server) -> Option<bool> {
    let now: Vec<&MemberFacts> = facts.members.iter().filter(|m| server.is_member(&m.member)).collect();
    let today = config.balancer.as_ref().and_then(LoadBalancer::backends);
    let gone = |f: &MemberFacts| today.is_some_and(|today| !today.contains(&f.backend));
    let was_in = |m: &MemberFacts| match found {
        Some(found) => {
            found.members.iter().any(|f| f.at == m.at && (f.backend == m.backend || gone(f)) && f.admin == Admin::Ready)
        }
        None => true,
    };
    if now.iter().any(|m| was_in(m) && m.admin != Admin::Ready) {
        return Some(true);
    }
    // A balancer that could not be asked may hold it out.
    let told = |f: &MemberFacts| now.iter().any(|m| (&m.at, &m.backend) == (&f.at, &f.backend));
    let all = found.is_none_or(|found| found.members.iter().all(|f| gone(f) || told(f)));
    (all && !now.is_empty()).then_some(false)
}

/// How a server is taken to have been found where the journal's word of it cannot be read: in service.
fn as_if_ready(config: &Config, facts: &Facts, name: &ServerName) -> Snapshot {
    let server = config.servers.iter().find(|s| s.name == *name);
    let own = |m: &&MemberFacts| server.is_some_and(|s| s.is_member(&m.member));
    let mut members: Vec<MemberFacts> = facts.members.iter().filter(own).cloned().collect();
    members.iter_mut().for_each(|m| (m.admin, m.bits, m.agent, m.in_service) = (Admin::Ready, 0, true, true));
    Snapshot { members }
}

#[cfg(test)]
mod tests;
