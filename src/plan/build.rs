//! Makes a plan from configuration, facts and flags.
//!
//! It is the only place that decides what a run does.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::batches::{self, Walk};
use super::shape::{Plan, Verb};
use super::{capacity, default, findings, fled, members, returning, stages};
use crate::balancer::{Admin, MemberFacts};
use crate::config::{BatchSize, BuildPlace, Config, MigrateWhen, OnFailure, Prepare, Server, Strategy};
use crate::event::{Blocker, Cause, Failure, Refusal, StepName, Warning};
use crate::facts::{Facts, ServerFacts};
use crate::lease::Standing;
use crate::name::{ReleaseId, Revision, RunId, ServerName};
use crate::release::ReleaseState;

/// What this run was asked for, beyond the file.
#[derive(Debug, Clone)]
pub struct Request {
    /// Deploy or rollback.
    pub verb: Verb,
    /// `--serial`, `--parallel`, `--rolling`.
    pub strategy: Option<Strategy>,
    /// `--rolling=BATCH`.
    pub batch: Option<Vec<BatchSize>>,
    /// `--prepare-ahead`.
    pub prepare_ahead: bool,
    /// `--migrate` (`Some(true)`), `--no-migrate`.
    pub migrate: Option<bool>,
    /// `--on-failure`.
    pub on_failure: Option<OnFailure>,
    /// The servers of the run, in the file's order, after `--only` and `--except`.
    pub servers: Vec<ServerName>,
    /// A deploy's revision; a rollback finds its own.
    pub revision: Option<Revision>,
    /// Bytes that the release takes when unpacked, and its entries.
    pub size: Option<(u64, u64)>,
    /// `rollback RELEASE`.
    pub release: Option<ReleaseId>,
    /// `--if-changed`.
    pub if_changed: bool,
    /// The revision was named: then it is deployed also where it failed before.
    pub insists: bool,
    /// `--skip-unreachable`.
    pub skip_unreachable: bool,
    /// The run that plans, where it holds locks already.
    pub holder: Option<RunId>,
}

/// Builds the plan.
///
/// [`Plan::blockers`] holds all that makes it impossible, at once.
///
/// `now` is this machine's clock; the release id is later than any id found on any server, whatever the clocks say.
pub fn build(config: &Config, facts: &Facts, request: &Request, now: Timestamp) -> Plan {
    let in_run = |s: &&Server| {
        request.servers.contains(&s.name) && !(request.skip_unreachable && facts.unreachable.contains_key(&s.name))
    };
    let servers: Vec<&Server> = config.servers.iter().filter(in_run).collect();
    let mut blockers = Vec::new();
    let mut notices = Vec::new();

    let decision = default::decide(config, facts, request.strategy, &servers);
    let (strategy, decided_by) = (decision.strategy, decision.by);
    notices.extend(decision.notices);
    let prepare = prepare(config, request, strategy);
    let migrate_on = migrate_on(config, request, &servers, &mut blockers);
    let behind = behind(config, facts, &servers);
    let walk = Walk { servers: &servers, migrate_on: migrate_on.as_ref(), behind: &behind };
    let sizes = request.batch.as_deref().unwrap_or(&config.app.batch);
    let batches = batches::split(&walk, strategy, sizes);

    let (release, revision) = match request.verb {
        Verb::Deploy => (next_release(facts, now), request.revision.clone().unwrap_or_else(|| Revision(String::new()))),
        Verb::Rollback => returning::target(facts, &servers, request.release.as_ref(), &mut blockers),
    };

    let check = Check { config, facts, request, servers: &servers };
    refuse_what_cannot_work(&check, &mut blockers);
    blockers.extend(default::refuses(config, facts, &servers));
    blockers.extend(findings::pid_lost(config, facts, &servers));
    let drains = strategy != Strategy::Parallel && config.balancer.is_some();
    if drains {
        blockers.extend(members::mistaken(config, facts, &facts.members, &servers));
        blockers.extend(capacity::lacks(config, facts, &batches).into_iter().map(|lack| lack.blocker));
        notices.extend(members::elsewhere(servers.iter().copied(), &facts.members));
        notices.extend(waits(config, &facts.members, &batches));
        notices.extend(members::down(&servers, facts).into_iter().map(Warning::Finding));
    } else if strategy != Strategy::Parallel {
        notices.push(Warning::StaysInTraffic);
    }
    if strategy == Strategy::Parallel && migrate_on.is_some() && servers.len() > 1 {
        notices.push(Warning::SerialAdvised);
    }
    notices.extend(out_before(facts, &servers, drains));
    notices.extend(left_out(facts, &bystanders(config, facts, &servers), (&release, &revision)));
    notices.extend(default::warns(config, facts, &servers));
    notices.extend(found_notices(&check, now));

    let may_skip = request.if_changed && blockers.is_empty() && !servers.is_empty();
    let runs = may_skip && servers.iter().all(|s| runs_revision(facts.servers.get(&s.name), &revision, drains));
    let fled = if may_skip && !runs && !request.insists { fled::find(facts, &servers, &revision) } else { None };
    let unchanged = runs || fled.is_some();
    let dead = if runs { findings::not_running(config, facts, &servers) } else { Vec::new() };
    notices.extend(dead.into_iter().map(Warning::Finding).chain(fled));
    let mut plan = Plan {
        verb: request.verb,
        strategy,
        decided_by,
        prepare,
        on_failure: request.on_failure.unwrap_or(config.app.on_failure),
        release,
        revision,
        previous: batches.concat().into_iter().map(|s| (s.clone(), current(facts, &s))).collect(),
        bystanders: bystanders(config, facts, &servers),
        unchecked: stages::unchecked(config),
        skipped: match request.skip_unreachable {
            true => facts.unreachable.keys().filter(|s| request.servers.contains(s)).cloned().collect(),
            false => Vec::new(),
        },
        batches,
        migrate_on,
        built_here: request.verb == Verb::Deploy
            && config.build_on == BuildPlace::Here
            && !config.build.is_empty()
            && !unchanged,
        stages: Vec::new(),
        notices,
        blockers,
        unchanged,
    };
    plan.stages = if unchanged { stages::unreached(&plan) } else { stages::build(config, &plan, drains) };
    plan
}

fn prepare(config: &Config, request: &Request, strategy: Strategy) -> Prepare {
    match strategy {
        Strategy::Parallel => Prepare::Ahead,
        _ if request.prepare_ahead => Prepare::Ahead,
        _ => config.app.prepare,
    }
}

/// The servers of the run that an earlier run left behind.
fn behind(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<ServerName> {
    // A server that was skipped or cut off has no mark of it: the later release of the others tells.
    let newest = config.servers.iter().filter_map(|s| facts.servers.get(&s.name)?.current.as_ref()).max();
    let is_behind = |s: &&&Server| {
        let found = facts.servers.get(&s.name);
        left_behind(found) || found.is_some_and(|f| f.current.is_some() && f.current.as_ref() < newest)
    };
    servers.iter().filter(is_behind).map(|s| s.name.clone()).collect()
}

/// What was found on servers that a person should read, and that stops nothing.
fn found_notices(check: &Check<'_>, now: Timestamp) -> Vec<Warning> {
    let Check { config, facts, request, servers } = check;
    let mut notices = Vec::new();
    if config.health.is_none() && !config.web.proof.none {
        notices.push(Warning::NoHealthCheck);
    }
    for (server, f) in servers.iter().filter_map(|s| Some((&s.name, facts.servers.get(&s.name)?))) {
        let web = config.servers.iter().any(|s| s.name == *server && s.is_web());
        notices.extend(web.then(|| findings::unseen(config, server, f, false)).flatten().map(Warning::Finding));
        if let Some(target) = &f.current_gone {
            notices.push(Warning::CurrentGone { on: server.clone(), target: target.clone() });
        }
    }
    for (server, f) in &facts.servers {
        // Compared when its answer came, which one that waits for other servers does not.
        let seconds = f.ahead.unwrap_or(f.time - now.as_second());
        if f.time != 0 && seconds.abs() > 30 {
            notices.push(Warning::ClockSkew { of: server.clone(), seconds });
        }
    }
    notices.extend(unlocked(config, facts, request));
    let found = findings::adopted(facts).into_iter().chain(findings::not_restarted(servers));
    notices.extend(found.map(Warning::Finding));
    if request.verb == Verb::Deploy && request.size.is_none() {
        notices.extend(servers.iter().filter_map(|s| may_not_fit(&s.name, facts.servers.get(&s.name)?)));
    }
    notices
}

/// The current release of a server, as found.
fn current(facts: &Facts, server: &ServerName) -> Option<ReleaseId> {
    facts.servers.get(server).and_then(|f| f.current.clone())
}

/// Names the servers that the run leaves alone, and that end on another release than its own.
fn left_out(facts: &Facts, bystanders: &[ServerName], own: (&ReleaseId, &Revision)) -> Vec<Warning> {
    let (release, revision) = own;
    let mut by_release: BTreeMap<ReleaseId, Vec<ServerName>> = BTreeMap::new();
    for server in bystanders {
        let Some(found) = facts.servers.get(server) else { continue };
        let Some(current) = found.current.as_ref().filter(|current| *current != release) else { continue };
        let known = found.releases.iter().find(|r| r.id == *current).and_then(|r| r.revision.as_ref());
        if known != Some(revision) {
            by_release.entry(current.clone()).or_default().push(server.clone());
        }
    }
    by_release.into_iter().map(|(release, servers)| Warning::StaysOn { servers, release }).collect()
}

/// Servers of the stack whose lock is taken although the run leaves them alone.
fn bystanders(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<ServerName> {
    let outside = config.servers.iter().filter(|s| !servers.iter().any(|r| r.name == s.name));
    outside.map(|s| &s.name).filter(|name| !facts.unreachable.contains_key(*name)).cloned().collect()
}

/// Names the servers that the run leaves out and that could not be asked.
///
/// They keep no other run away.
fn unlocked(config: &Config, facts: &Facts, request: &Request) -> Option<Warning> {
    let names = config.servers.iter().map(|s| &s.name);
    let silent = names.filter(|name| facts.unreachable.contains_key(*name) && !request.servers.contains(name));
    let servers: Vec<ServerName> = silent.cloned().collect();
    (!servers.is_empty()).then_some(Warning::NotLocked { servers })
}

fn left_behind(facts: Option<&ServerFacts>) -> bool {
    facts.is_some_and(|f| {
        let state = f.current.as_ref().and_then(|c| f.releases.iter().find(|r| r.id == *c)).map(|r| r.state);
        f.behind.is_some() || matches!(state, Some(ReleaseState::Failed | ReleaseState::Active))
    })
}

fn runs_revision(facts: Option<&ServerFacts>, revision: &Revision, drains: bool) -> bool {
    facts.is_some_and(|f| {
        let current = f.current.as_ref().and_then(|c| f.releases.iter().find(|r| r.id == *c));
        current.is_some_and(|r| {
            r.revision.as_ref() == Some(revision) && matches!(r.state, ReleaseState::Good | ReleaseState::Foreign)
        }) && (!left_behind(Some(f)) || (!drains && f.was_left_drained()))
    })
}

/// The run's id for a new release: now, but always later than any id found on any server.
fn next_release(facts: &Facts, now: Timestamp) -> ReleaseId {
    // A directory that was made with an absurd date is not followed, unless it serves.
    let tomorrow = now + jiff::SignedDuration::from_hours(24);
    let sane = |id: &&ReleaseId| id.time().is_some_and(|at| at <= tomorrow);
    let served = facts.servers.values().filter_map(|f| f.current.as_ref());
    let all = facts.servers.values().flat_map(|f| f.releases.iter().map(|r| &r.id)).filter(sane);
    let newest = all.chain(served).max();
    let mut at = now;
    if let Some(newest) = newest
        && let Some(found) = newest.time().filter(|found| found.as_second() >= at.as_second())
    {
        at = found + jiff::SignedDuration::from_secs(1);
    }
    let text = at.strftime("%Y%m%d%H%M%S").to_string();
    match ReleaseId::parse(&text) {
        // An id that is no date (Capistrano never makes one) still sorts below its successor.
        Some(id) if newest.is_none_or(|n| id > *n) => id,
        _ => newest.and_then(successor).unwrap_or_else(ReleaseId::last),
    }
}

fn successor(id: &ReleaseId) -> Option<ReleaseId> {
    let next = id.as_str().parse::<u64>().ok()? + 1;
    ReleaseId::parse(&format!("{next:014}"))
}

fn migrate_on(
    config: &Config,
    request: &Request,
    servers: &[&Server],
    blockers: &mut Vec<Blocker>,
) -> Option<ServerName> {
    if request.verb == Verb::Rollback {
        return None;
    }
    let migrate = config.migrate.as_ref()?;
    let wanted = request.migrate.unwrap_or(migrate.when == MigrateWhen::Always);
    if !wanted || servers.is_empty() {
        return None;
    }
    if !servers.iter().any(|s| s.name == migrate.server) {
        let detail = format!(
            "migrations run on {}, which is not part of this run; add it with --only, or say --no-migrate",
            migrate.server
        );
        blockers.push(blocker(None, StepName::Migrate, Cause::Refused { code: Refusal::NoMigrationServer, detail }));
        return None;
    }
    Some(migrate.server.clone())
}

fn blocker(server: Option<&ServerName>, step: StepName, cause: Cause) -> Blocker {
    Blocker { server: server.cloned(), step, failure: Failure { cause, command: None, tail: Vec::new() } }
}

/// Names the members that were out before the run, and stay out.
///
/// A run that drains puts back what an earlier one had left out.
fn out_before(facts: &Facts, servers: &[&Server], drains: bool) -> Vec<Warning> {
    let mut all = Vec::new();
    for server in servers.iter().filter(|s| s.is_web()) {
        let own = facts.servers.get(&server.name);
        // What a dead run has taken out is not left so: recovering that run puts it back.
        if own.and_then(|own| own.lock.as_ref()).is_some_and(|lock| crate::lease::judge(lock).is_left_behind()) {
            continue;
        }
        let stood = |m: &MemberFacts| own.filter(|_| drains).map_or(m.admin, |own| own.before_left(m).admin);
        let out = |m: &&MemberFacts| server.is_member(&m.member) && stood(m) != Admin::Ready;
        all.extend(facts.members.iter().filter(out).map(|m| found_out(server, m, own)));
    }
    all
}

/// Says that a member was out before the run touched it: it gets the release, and stays out.
pub fn found_out(server: &Server, member: &MemberFacts, own: Option<&ServerFacts>) -> Warning {
    let place = match member.backend.as_str() {
        "" => member.member.clone(),
        backend => format!("{backend}/{}", member.member),
    };
    Warning::FoundOut {
        of: server.name.clone(),
        member: format!("{place} on {}", member.at),
        state: member.status.clone(),
        by: own.and_then(|own| Some(own.taken_out.as_ref()?.by.clone())),
    }
}

struct Check<'a> {
    config: &'a Config,
    facts: &'a Facts,
    request: &'a Request,
    servers: &'a [&'a Server],
}

/// Names everything on the servers that would make the run fail, before anything is touched.
fn refuse_what_cannot_work(check: &Check<'_>, blockers: &mut Vec<Blocker>) {
    if !check.request.skip_unreachable {
        let asked = |(server, _): &(&ServerName, &Failure)| check.request.servers.contains(server);
        for (server, failure) in check.facts.unreachable.iter().filter(asked) {
            // Whole, with what was printed: a login that runs no command says so itself.
            let failure = failure.clone();
            blockers.push(Blocker { server: Some(server.clone()), step: StepName::Connect, failure });
        }
    }
    let mut push = |server: &ServerName, step, cause| blockers.push(blocker(Some(server), step, cause));
    let refused = |code: Refusal, detail: String| Cause::Refused { code, detail };
    for server in &check.config.servers {
        let Some(f) = check.facts.servers.get(&server.name) else { continue };
        if let Some(lock) = f.lock.as_ref().filter(|l| check.request.holder.as_ref().is_none_or(|run| l.run() != run.0))
        {
            let held = crate::lease::held(lock);
            // The run that takes the lock takes a freeze away whose time is over.
            if held.standing != Some(Standing::Expired) {
                push(&server.name, StepName::Lock, Cause::Locked(Box::new(held)));
            }
        }
        if let Some(other) = f.stack.as_ref().filter(|other| **other != check.config.app.name) {
            let detail = format!("it belongs to {other}, and [app] name is {}", check.config.app.name);
            push(&server.name, StepName::Lock, refused(Refusal::OtherStack, detail));
        }
        let before = check.config.servers.iter().take_while(|s| s.name != server.name);
        let same =
            |s: &&Server| f.place.is_some() && check.facts.servers.get(&s.name).is_some_and(|o| o.place == f.place);
        if let Some(twin) = before.into_iter().find(same) {
            let detail = format!("{} and {} are both {}", twin.name, server.name, f.root);
            push(&server.name, StepName::Lock, refused(Refusal::SamePlace, detail));
        }
        if let Some(why) = &f.not_writable {
            push(&server.name, StepName::Lock, refused(Refusal::NotWritable, why.clone()));
        }
    }
    for server in check.servers {
        let Some(f) = check.facts.servers.get(&server.name) else { continue };
        if let Some(odd) = &f.current_odd {
            push(&server.name, StepName::Switch, refused(Refusal::CurrentOdd, odd.clone()));
        }
        let of_source = check.config.source.tools();
        let (for_source, others): (Vec<&str>, Vec<&str>) =
            f.missing_tools.iter().map(String::as_str).partition(|tool| of_source.contains(tool));
        if !others.is_empty() {
            push(&server.name, StepName::Restart, refused(Refusal::MissingTools, others.join(", ")));
        }
        if !for_source.is_empty() && check.request.verb == Verb::Deploy {
            push(&server.name, StepName::Transfer, refused(Refusal::MissingTools, for_source.join(", ")));
        }
        if check.request.verb != Verb::Deploy {
            continue;
        }
        if !f.missing_files.is_empty() {
            push(&server.name, StepName::Link, refused(Refusal::MissingFiles, f.missing_files.join(", ")));
        }
        if let Some((bytes, entries)) = check.request.size {
            let need_kb = needed_kb(bytes);
            // The cached tree makes room where there is none.
            let cached = f.cache.as_ref().map_or(0, |cache| cache.kb);
            if let Some(free) = f.free_kb.filter(|free| free.saturating_add(cached) < need_kb) {
                let detail = format!("{need_kb} KB are needed (twice the release), {free} KB are free in {}", f.root);
                push(&server.name, StepName::Transfer, refused(Refusal::NoSpace, detail));
            }
            if let Some(free) = f.free_inodes.filter(|free| *free < entries * 2) {
                let detail = format!("{} inodes are needed, {free} are free in {}", entries * 2, f.root);
                push(&server.name, StepName::Transfer, refused(Refusal::NoSpace, detail));
            }
        }
    }
}

/// Kilobytes that must be free for a release of so many bytes: twice its size.
///
/// That is one copy of it and room for the build to work in. A tree that is cached for the next time comes on top,
/// where there is room for it.
pub fn needed_kb(unpacked: u64) -> u64 {
    unpacked.div_ceil(1024) * 2
}

/// Warns that the next release may find no room on a server that fetches it in unknown size.
///
/// The server itself decides, when it knows the size.
fn may_not_fit(server: &ServerName, found: &ServerFacts) -> Option<Warning> {
    let (free, taken) = (found.free_kb?, found.current_kb?);
    (free < taken).then(|| Warning::MayNotFit {
        of: server.clone(),
        free_kb: free,
        root: found.root.clone(),
        current_kb: taken,
    })
}

/// Adds up what waiting for a balancer that lags will cost; nothing where it does not.
fn waits(config: &Config, members: &[MemberFacts], batches: &[Vec<ServerName>]) -> Option<Warning> {
    let balancer = config.balancer.as_ref()?;
    let every = balancer.wait_after_drain + balancer.min_healthy_time + balancer.wait_after_restore;
    let drained = |batch: &&Vec<ServerName>| config.servers.iter().any(|s| s.is_web() && batch.contains(&s.name));
    let of = |batch: &Vec<ServerName>| {
        let servers = config.servers.iter().filter(|s| s.is_web() && batch.contains(&s.name));
        let own = servers.flat_map(|s| members.iter().filter(|m| s.is_member(&m.member)));
        // Servers of a batch, and their places, wait side by side.
        let (out, back) = own.fold((0, 0), |(out, back), m| (m.out_takes.max(out), m.back_takes.max(back)));
        every.as_secs().saturating_add(out).saturating_add(back)
    };
    let all: Vec<u64> = batches.iter().filter(drained).map(of).collect();
    let seconds = all.iter().fold(0u64, |sum, one| sum.saturating_add(*one));
    (seconds > 0).then_some(Warning::WaitsForBalancer { seconds, batches: all.len() })
}
