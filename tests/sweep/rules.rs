//! What must hold after every run, whatever went wrong in it: judged from the servers' and the balancer's own account.
//!
//! Nothing here uses the program's code; what it says is only compared with what is.

use std::collections::BTreeMap;
use std::time::Duration;

use pitcrew::demo::Admin;
use pitcrew::demo::Record;
use pitcrew::demo::log::{End, Kind};
use serde_json::Value;

use crate::case::Twist;
use crate::evidence::{Evidence, Meets, Recovery, Standing};
use crate::ground::{OLD, OLDER, ON_FAILURE, ON_SUCCESS};

/// How a run ended, as the program says.
struct Said {
    code: i32,
    finished: Option<Value>,
}

/// Steps of a few file operations, which take a moment on a machine that has time for them.
const SHORT: [&str; 5] = ["probe", "lock", "switch", "mark", "unlock"];
/// A machine on which one of those takes so long has no time: limits run out there for no other reason.
const STARVED: Duration = Duration::from_millis(1000);

/// The sweep itself looks at the servers every few milliseconds, where it has the time.
const LATE: Duration = Duration::from_millis(400);

/// After a second signal a run ends at once: saying goodbye to servers that do not answer takes a moment.
const AT_ONCE: Duration = Duration::from_secs(8);

/// Tells whether the machine was too busy for limits to mean anything, and one did run out: then only what must hold all
/// the same is judged.
pub fn starved(evidence: &Evidence) -> bool {
    slow(evidence)
        && evidence.stdout.lines().filter_map(|l| serde_json::from_str(l).ok()).any(|e| ran_out(evidence, &e))
}

/// The sweep itself had no time, or a step that nothing was done to took far longer than it has work.
fn slow(evidence: &Evidence) -> bool {
    let harmed = |label: &str| evidence.case.harms.iter().any(|(spot, _)| spot.label == label);
    evidence.late > LATE
        || evidence.log.iter().any(|asked| {
            let Kind::Exec { exec, step: Some(step), .. } = &asked.kind else { return false };
            let over =
                |r: &&Record| r.server == asked.server && matches!(&r.kind, Kind::ExecEnd { exec: e, .. } if e == exec);
            let took = evidence.log.iter().find(over).map(|r| r.at.saturating_sub(asked.at)).unwrap_or_default();
            SHORT.contains(&step.as_str()) && !harmed(step) && took > STARVED
        })
}

/// An event tells of a limit that ran out, where the release does not explain it.
fn ran_out(evidence: &Evidence, event: &Value) -> bool {
    let failure = &event["failure"];
    let says = |text: &str| failure["detail"].as_str().is_some_and(|d| d.contains(text));
    let expected = evidence.case.scenario.release != "good"
        && event["event"] == "step_finished"
        && matches!(event["step"].as_str(), Some("check" | "restart"));
    let limit = match failure["cause"].as_str() {
        Some("timed_out" | "unhealthy") => true,
        Some("refused") => matches!(failure["code"].as_str(), Some("not_proven" | "still_running" | "channel")),
        Some("balancer") => ["within", "in time", "connection"].into_iter().any(says),
        Some("connect" | "lost") => says("within"),
        _ => false,
    };
    limit && !expected
}

/// Returns every rule that was broken, with what shows it; empty when all is well.
pub fn judge(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    if evidence.endless {
        broken.push("limits: the run did not end".to_owned());
    }
    broken.extend(evidence.moments.iter().take(3).map(|m| format!("current: {m}")));
    walk(evidence, &mut broken);
    releases(evidence, &mut broken);
    let killed = evidence.code.is_none();
    if killed {
        if !evidence.case.kills() && !evidence.endless {
            broken.push("exit code: it was killed by a signal that nobody sent".to_owned());
        }
        theft(evidence, &mut broken);
        traffic(evidence, &mut broken);
        recovery(evidence, &mut broken);
        return broken;
    }
    theft(evidence, &mut broken);
    let said = said(&evidence.stdout, evidence.code, &mut broken);
    leftovers(evidence, &mut broken);
    standing(evidence, (&evidence.servers, &said), &mut broken);
    code(evidence, &said, &mut broken);
    hooks(evidence, &said, &mut broken);
    traffic(evidence, &mut broken);
    broken
}

/// Each member's administrative state, and whether the checks see it up.
type Members<'a> = BTreeMap<&'a str, (Admin, bool)>;

/// One walk over the fleet's log: who is out of the balancer, and who came back proven.
fn walk(evidence: &Evidence, broken: &mut Vec<String>) {
    let scenario = &evidence.case.scenario;
    let mut balancers: BTreeMap<&str, Members<'_>> = BTreeMap::new();
    for (balancer, members) in &evidence.before {
        balancers.insert(balancer, members.iter().map(|m| (m.name.as_str(), (m.admin, m.up))).collect());
    }
    // Since its last restart: `None`: there was none; then whether a proof succeeded.
    let mut proven: BTreeMap<&str, bool> = BTreeMap::new();
    let mut running: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    for record in &evidence.log {
        match &record.kind {
            Kind::Exec { exec, step: Some(step), .. } => {
                running.insert((&record.server, *exec), step);
                if matches!(step.as_str(), "restart" | "stop") && !never_ran(&evidence.log, record, *exec) {
                    proven.insert(&record.server, false);
                    let is_in =
                        |m: &Members<'_>| m.get(record.server.as_str()).is_some_and(|(a, _)| *a == Admin::Ready);
                    let ready = balancers.values().any(is_in);
                    if scenario.strategy != "parallel" && ready {
                        broken
                            .push(format!("in traffic: {} was restarted while it was in the balancer", record.server));
                    }
                }
            }
            Kind::ExecEnd { exec, end: End::Exit(0), .. }
                if running.get(&(record.server.as_str(), *exec)).is_some_and(|s| *s == "prove") =>
            {
                if let Some(proven) = proven.get_mut(record.server.as_str()) {
                    *proven = true;
                }
            }
            Kind::Member { member, admin, up } => {
                let name = member.rsplit('/').next().unwrap_or_default();
                let Some(members) = balancers.get_mut(record.server.as_str()) else { continue };
                let Some(name) = members.get_key_value(name).map(|(n, _)| *n) else { continue };
                let was = members.insert(name, (*admin, *up)).unwrap_or((Admin::Ready, false));
                if was.0 != *admin {
                    changed(evidence, name, was, members, broken);
                    if *admin == Admin::Ready && proven.get(name) == Some(&false) {
                        broken.push(format!("unproven: {name} went back without a proof since its last restart"));
                    }
                }
            }
            _ => {}
        }
    }
    if scenario.strategy != "parallel"
        && evidence.case.harms.is_empty()
        && scenario.release == "good"
        && evidence.code == Some(0)
    {
        let out = evidence.log.iter().any(|r| matches!(&r.kind, Kind::Member { admin, .. } if *admin != Admin::Ready));
        if !out {
            broken.push("the sweep: nobody was drained in a walk without faults".to_owned());
        }
    }
}

fn never_ran(log: &[Record], asked: &Record, exec: u64) -> bool {
    let over = log.iter().find(|r| {
        r.seq > asked.seq && r.server == asked.server && matches!(&r.kind, Kind::ExecEnd { exec: e, .. } if *e == exec)
    });
    matches!(over.map(|r| &r.kind), Some(Kind::ExecEnd { end: End::NotRun(_), .. }))
}

/// A member's administrative state changed: are too many out, or too few left?
fn changed(evidence: &Evidence, name: &str, was: (Admin, bool), members: &Members<'_>, broken: &mut Vec<String>) {
    let scenario = &evidence.case.scenario;
    let out: Vec<&str> = members.iter().filter(|(_, (admin, _))| *admin != Admin::Ready).map(|(n, _)| *n).collect();
    if out.len() > scenario.batch() {
        broken.push(format!("batch: {} are out at once", out.join(", ")));
    }
    let now = members.get(name).map(|(admin, _)| *admin);
    let others = members.iter().filter(|(n, (admin, up))| **n != name && *admin == Admin::Ready && *up).count();
    // Who serves nobody takes no capacity with it.
    if was == (Admin::Ready, true) && now != Some(Admin::Ready) && others < 1 {
        broken.push(format!("min_in_service: {name} was drained with nobody else in service"));
    }
}

/// What lies on the servers must be whole wherever it could be used.
fn releases(evidence: &Evidence, broken: &mut Vec<String>) {
    for server in &evidence.servers {
        let name = &server.name;
        match &server.current {
            None if evidence.case.scenario.twist == Twist::First => {}
            None => broken.push(format!("current: {name} has none any more")),
            Some(current) => {
                let found = server.releases.iter().find(|(id, _, _)| id == current);
                match found {
                    None => broken.push(format!("current: on {name} it points to {current}, which is not there")),
                    Some((_, state, lacks)) => {
                        if !lacks.is_empty() {
                            broken.push(format!("current: on {name} {current} lacks {}", lacks.join(", ")));
                        }
                        if current != OLD
                            && !matches!(state.as_deref(), Some("active" | "good" | "failed" | "reverted"))
                        {
                            broken.push(format!("current: on {name} {current} has the state {state:?}"));
                        }
                    }
                }
            }
        }
        for (id, state, lacks) in server.releases.iter().filter(|(id, _, _)| id != OLD && id != OLDER) {
            let state = state.as_deref();
            // Without a word of pitcrew's it would pass for a release of another tool's, good to return to.
            if state.is_none() {
                broken.push(format!("releases: on {name} {id} has no state, and passes for foreign"));
            }
            if state == Some("good") && server.serves() != Some(id.as_str()) && evidence.code.is_some() {
                broken.push(format!("releases: on {name} {id} is called good, and does not serve"));
            }
            if matches!(state, Some("active" | "good")) && !lacks.is_empty() {
                broken.push(format!("releases: on {name} {id} is {state:?} and lacks {}", lacks.join(", ")));
            }
            if lacks.iter().any(|what| what != "BUILT" && what != "log") {
                broken
                    .push(format!("releases: on {name} {id} ({state:?}) is half written: lacks {}", lacks.join(", ")));
            }
        }
        let old: &[&str] = if evidence.case.scenario.twist == Twist::First { &[] } else { &[OLD, OLDER] };
        for id in old {
            if !server.releases.iter().any(|(found, _, lacks)| found == *id && lacks.is_empty()) {
                broken.push(format!("releases: {id} was pruned on {name}"));
            }
        }
    }
}

/// What the program printed: every line an event, `planned` first, `finished` once and last, its code the program's.
fn said(stdout: &str, code: Option<i32>, broken: &mut Vec<String>) -> Said {
    let code = code.unwrap_or(-1);
    let mut events = Vec::new();
    for line in stdout.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(event) => events.push(event),
            Err(e) => broken.push(format!("finished: standard output holds a line that is no event ({e}): {line}")),
        }
    }
    let count = events.iter().filter(|e| e["event"] == "finished").count();
    let last = events.last().filter(|e| e["event"] == "finished").cloned();
    if count != 1 || last.is_none() {
        broken.push(format!(
            "finished: {count} of them, last is {}",
            events.last().map_or(&Value::Null, |e| &e["event"])
        ));
    }
    if let Some(finished) = &last
        && finished["exit_code"] != code
    {
        broken.push(format!("finished: it says {}, and the exit code is {code}", finished["exit_code"]));
    }
    Said { code, finished: last }
}

/// Steps that change what a server is or holds.
const CHANGES: [&str; 9] = ["transfer", "fetch", "download", "link", "switch", "restart", "stop", "prune", "mark"];

/// Once a server's lock is another run's, nothing is changed there.
fn theft(evidence: &Evidence, broken: &mut Vec<String>) {
    for (name, since) in &evidence.stolen {
        for record in evidence.log.iter().filter(|r| r.server == *name && r.seq >= *since) {
            let Kind::ExecEnd { exec, step: Some(step), end: End::Exit(0) } = &record.kind else { continue };
            let asked = |r: &Record| matches!(&r.kind, Kind::Exec { exec: e, .. } if e == exec) && r.seq >= *since;
            if CHANGES.contains(&step.as_str()) && evidence.log.iter().any(|r| r.server == *name && asked(r)) {
                broken.push(format!("lock: {step} was done on {name} when the lock was another run's"));
            }
        }
    }
}

/// Nothing of pitcrew's may run on.
fn leftovers(evidence: &Evidence, broken: &mut Vec<String>) {
    for server in &evidence.servers {
        if !server.strays.is_empty() {
            broken.push(format!("processes: on {} there are left {}", server.name, server.strays.join("; ")));
        }
    }
}

fn entry<'a>(said: &'a Said, server: &Standing) -> Option<&'a Value> {
    let servers = said.finished.as_ref()?["servers"].as_array()?;
    servers.iter().find(|s| s["server"] == server.ip.as_str())
}

impl Evidence {
    fn is_first(&self) -> bool {
        self.case.scenario.twist == Twist::First
    }

    /// As it was before the run.
    fn is_old(&self, server: &Standing) -> bool {
        if self.is_first() { server.is_bare() } else { server.serves() == Some(OLD) }
    }

    /// It serves, or, where nothing was deployed before, it is bare as it was.
    fn is_fine(&self, server: &Standing) -> bool {
        server.serves().is_some() || self.is_old(server)
    }

    fn is_stolen(&self, server: &Standing) -> bool {
        self.stolen.iter().any(|(name, _)| *name == server.name)
    }
}

/// Every server serves and is free, or is named; and what is said of it is so.
fn standing(evidence: &Evidence, (servers, said): (&[Standing], &Said), broken: &mut Vec<String>) {
    for server in servers {
        let entry = entry(said, server);
        let named = entry.is_some_and(|e| !e["stuck"].is_null());
        let name = &server.name;
        if !evidence.is_fine(server) && !named {
            broken.push(format!(
                "named: {name} does not serve and is not named: current {:?}, processes in {:?}, answer {:?}, {}",
                server.current,
                server.app,
                server.answer,
                server.status()
            ));
        }
        // A lock that is another run's is kept for that run's reasons.
        if server.locked && !named && !evidence.is_stolen(server) {
            broken.push(format!("lock: it is kept on {name}, which is not named"));
        }
        // A run that touched nothing, or that was to go on without it, names whom it could not reach.
        let unreached = entry.is_some_and(|e| e["stuck"]["why"] == "unreachable")
            && (said.code == 5 || evidence.case.scenario.twist == Twist::Skip);
        if named && said.code != 3 && !unreached {
            broken.push(format!("named: {name} is named, and the exit code is {}", said.code));
        }
        let Some(entry) = entry else { continue };
        if let Some(release) = entry["release"].as_str()
            && server.current.as_deref() != Some(release)
        {
            broken.push(format!("truth: {name} is said to be on {release} and is on {:?}", server.current));
        }
        if let Some(said_in) = entry["in_balancer"].as_bool()
            && said_in != server.is_let_in()
            && evidence.away.as_ref() != Some(name)
        {
            broken.push(format!("truth: in_balancer of {name} is {said_in}, and it is {}", server.status()));
        }
    }
}

/// The exit code must be the contract's for what became of the servers.
fn code(evidence: &Evidence, said: &Said, broken: &mut Vec<String>) {
    let scenario = &evidence.case.scenario;
    let servers = &evidence.servers;
    let all_old = servers.iter().all(|s| evidence.is_old(s));
    let new = |s: &Standing| s.serves().is_some_and(|r| r != OLD);
    let all_new = servers.iter().all(new);
    let all_serve = servers.iter().all(|s| evidence.is_fine(s));
    let free = servers.iter().all(|s| !s.locked || evidence.is_stolen(s));
    let stuck = |s: &Standing| entry(said, s).is_some_and(|e| !e["stuck"].is_null());
    let anybody_stuck = servers.iter().any(stuck);
    let outcome = said.finished.as_ref().map(|f| f["outcome"].to_string()).unwrap_or_default();
    let mut wrong = |what: &str| {
        let all: Vec<String> =
            servers.iter().map(|s| format!("{}: {:?}, locked {}", s.name, s.serves(), s.locked)).collect();
        broken.push(format!("exit code: {} ({outcome}), {what}: {}", said.code, all.join("; ")));
    };
    match said.code {
        0 if !(all_new && free) => wrong("and not all serve the new release, free"),
        1 if !(all_old && free) => wrong("and not all serve the old release, free"),
        1 if evidence.signals > 0 && evidence.case.harms.len() == 1 => wrong("after a signal and nothing else"),
        // All serve, and somebody else has one out.
        3 if evidence.away.is_some() => {}
        // All serve, and a hook after that has failed: that is what a person must look at.
        3 if !anybody_stuck && all_new && scenario.twist == Twist::Hooks => {}
        3 if !anybody_stuck && (all_old || all_new) => wrong("and nobody is named or differs"),
        3 if scenario.strategy == "parallel" && !anybody_stuck => wrong("and nobody is named"),
        130 if evidence.signals == 0 => wrong("without a signal"),
        130 if !(all_serve && free) => wrong("and not everything is taken back"),
        5 if !(all_old && free && untouched(evidence)) => wrong("and something was changed"),
        0 | 1 | 3 | 5 | 130 => {}
        _ => wrong("which nothing here explains"),
    }
    if !starved(evidence) {
        // Two signals that come before a busy process looks are one to it.
        let heard = evidence.stdout.matches("\"warning\":\"interrupted\"").count();
        if let Some(late) = evidence.after_second.filter(|late| heard > 1 && *late > AT_ONCE) {
            wrong(&format!("and it ran on for {late:?} after the second signal"));
        }
        // Nothing is promised where somebody else has one out.
        if evidence.away.is_none() {
            promised(evidence, said.code, anybody_stuck, &mut wrong);
        }
    }
}

/// What a run must come to where no limit runs out for want of time.
fn promised(evidence: &Evidence, code: i32, anybody_stuck: bool, wrong: &mut dyn FnMut(&str)) {
    let scenario = &evidence.case.scenario;
    let new = |s: &Standing| s.serves().is_some_and(|r| r != OLD);
    let servers = &evidence.servers;
    let harms = &evidence.case.harms;
    // Whoever is left behind must be looked at; so must what had nothing to go back to and is out of its balancer.
    if scenario.twist == Twist::Skip {
        if harms.is_empty() && code != 3 {
            wrong("and somebody was left behind");
        }
        return;
    }
    if evidence.is_first() && !(scenario.release == "good" && harms.is_empty()) {
        let empty = scenario.strategy == "parallel" && scenario.on_failure != "hold";
        if harms.is_empty() && code != if empty { 1 } else { 3 } {
            wrong("for a first release that is broken");
        }
        return;
    }
    match scenario.release {
        // A walk without a fault is what all the rest is measured by.
        "good" if harms.is_empty() && code != 0 => wrong("without any fault"),
        "sick" | "stillborn" | "crashing" | "mixed" | "lying" if harms.is_empty() => match scenario.on_failure {
            "hold" if code != 3 => wrong("for a broken release that is held"),
            "revert" | "revert-all" if code != 1 => wrong("for a broken release that is taken back"),
            _ => {}
        },
        // One thing that passes, whatever it is, leaves nobody out where the policy takes back.
        "good"
            if harms.len() == 1
                && harms[0].1.passes()
                && code != 5
                && scenario.on_failure != "hold"
                && anybody_stuck =>
        {
            wrong("and somebody is stuck after one fault that passed");
        }
        _ => {}
    }
    if scenario.release != "good" && servers.iter().any(|s| new(s) && scenario.release == "stillborn") {
        wrong("and a release that cannot boot serves");
    }
    // One signal: what was in flight is taken back, whatever the policy.
    if evidence.signals == 1
        && harms.len() == 1
        && evidence.case.interrupts()
        && anybody_stuck
        && scenario.release == "good"
    {
        wrong("and somebody is stuck after one signal");
    }
}

/// Nothing was drained, switched or restarted, and no release was left.
fn untouched(evidence: &Evidence) -> bool {
    let changed = |r: &Record| match &r.kind {
        Kind::Member { admin, .. } => *admin != Admin::Ready,
        Kind::Exec { exec, step: Some(step), .. } => {
            matches!(step.as_str(), "switch" | "restart" | "stop") && !never_ran(&evidence.log, r, *exec)
        }
        _ => false,
    };
    let left = |s: &Standing| s.releases.iter().any(|(id, _, _)| id != OLD && id != OLDER);
    !evidence.log.iter().any(changed) && !evidence.servers.iter().any(left)
}

/// Hooks ran at most once at each place, and those of the end as the end was.
fn hooks(evidence: &Evidence, said: &Said, broken: &mut Vec<String>) {
    if evidence.case.scenario.twist != Twist::Hooks {
        return;
    }
    for (place, lines) in evidence.hooks.iter().enumerate() {
        let mut sorted = lines.clone();
        sorted.sort();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            broken.push(format!("hooks: `{}` ran twice at place {place}", twice[0]));
        }
    }
    let Some(here) = evidence.hooks.last() else { return };
    let ran = |at: &str| here.iter().any(|l| l == at);
    let (success, failure) = (ran(ON_SUCCESS), ran(ON_FAILURE));
    let mut wrong = |what: &str| broken.push(format!("hooks: exit code {}, and {what}: {here:?}", said.code));
    match said.code {
        0 if !success => wrong("what was to run on success did not"),
        0 if failure => wrong("what was to run on failure did"),
        1 | 5 | 130 if success => wrong("what was to run on success did"),
        // A run that is taken back says so, unless nobody may wait for anything any more.
        1 | 130 if !failure && evidence.signals < 2 && taken_back(evidence) => {
            wrong("what was to run on failure did not");
        }
        _ => {}
    }
}

/// Something was taken back.
fn taken_back(evidence: &Evidence) -> bool {
    let events = evidence.stdout.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    events.into_iter().any(|e| e["event"] == "undo_finished")
}

/// Whoever is restarted hard is out, and has answered whom it had: no request is lost, whatever goes wrong.
fn traffic(evidence: &Evidence, broken: &mut Vec<String>) {
    let Some(load) = &evidence.load else { return };
    // Without a walk everybody serves the sick release for a while.
    let allowed = evidence.case.scenario.strategy == "parallel"
        && ["sick", "crashing", "lying"].contains(&evidence.case.scenario.release);
    if load.failures() > 0 && !allowed && !slow(evidence) {
        broken.push(format!("traffic: {load}"));
    }
    if load.ok == 0 {
        broken.push("the sweep: there was no traffic".to_owned());
    }
}

/// After a kill: recovering reaches what unwinding would have, and doing it again is harmless.
fn recovery(evidence: &Evidence, broken: &mut Vec<String>) {
    // What a thief holds is nobody's to recover.
    if !evidence.stolen.is_empty() {
        return;
    }
    for one in &evidence.recovered {
        interrupted_recovery(evidence, one, broken);
    }
    let of = |meets| evidence.recovered.iter().find(move |r| r.meets == meets);
    let (Some(first), Some(second)) = (of(Meets::Nothing), of(Meets::Done)) else { return };
    // A limit that ran out on a machine without time, here too, says nothing; what was left then is not judged either.
    let ran_out = |r: &Recovery| r.stdout.contains("timed_out") || r.stderr.contains("ran longer than");
    if slow(evidence) && evidence.recovered.iter().any(ran_out) {
        return;
    }
    let told = |r: &Recovery| format!("{:?}: {}{}", r.code, r.stderr, r.stdout.lines().last().unwrap_or_default());
    let fine = evidence.servers.iter().all(|s| evidence.is_fine(s));
    // What was empty before the run may have nothing to go back to, and then stays out of its balancer, named.
    let stuck = evidence.is_first() && !fine && first_is_named(evidence, first);
    // Batches that had succeeded keep the release: then servers differ, and that is said.
    let differ = evidence.servers.iter().any(|s| s.serves() != evidence.servers.first().and_then(Standing::serves));
    if !matches!((first.code, differ || stuck), (Some(0 | 1), _) | (Some(3), true)) {
        broken.push(format!("recover: it ended with {}", told(first)));
    }
    if second.code != Some(if stuck { 3 } else { 0 }) {
        broken.push(format!("recover: the second time it ended with {}", told(second)));
    }
    leftovers(evidence, broken);
    if stuck {
        return;
    }
    for server in &evidence.servers {
        if !evidence.is_fine(server) {
            broken.push(format!(
                "recover: {} does not serve: current {:?}, processes in {:?}, answer {:?}, {}",
                server.name,
                server.current,
                server.app,
                server.answer,
                server.status()
            ));
        }
        if server.locked {
            broken.push(format!("recover: {} is still locked", server.name));
        }
    }
    // A batch is wholly on one side: unwinding takes it back as a whole.
    let scenario = &evidence.case.scenario;
    let mut batches: BTreeMap<usize, Vec<Option<&str>>> = BTreeMap::new();
    // Who was to be left behind is in none.
    let left_behind = usize::from(scenario.twist == Twist::Skip);
    for (index, server) in evidence.servers.iter().enumerate().skip(left_behind) {
        batches.entry(scenario.batch_of(index)).or_default().push(server.serves());
    }
    for (batch, releases) in batches {
        if releases.windows(2).any(|pair| pair[0] != pair[1]) {
            broken.push(format!("recover: batch {batch} is torn: {releases:?}"));
        }
    }
}

/// Everybody who is not as before a first deploy is named.
fn first_is_named(evidence: &Evidence, recovery: &Recovery) -> bool {
    let said = said(&recovery.stdout, recovery.code, &mut Vec::new());
    let mut left = evidence.servers.iter().filter(|s| !evidence.is_fine(s));
    left.all(|s| entry(&said, s).is_some_and(|e| !e["stuck"].is_null()))
}

/// A recovery in which something went wrong leaves nobody unnamed, and says what is so.
fn interrupted_recovery(evidence: &Evidence, recovery: &Recovery, broken: &mut Vec<String>) {
    if recovery.endless {
        broken.push("recover: it did not end".to_owned());
    }
    let before = broken.len();
    // Without a dead run's lock among those that answer there is nothing to tell of.
    if matches!(recovery.meets, Meets::Harm | Meets::Absence) && recovery.code.is_some() && !recovery.stdout.is_empty()
    {
        let said = said(&recovery.stdout, recovery.code, broken);
        standing(evidence, (&recovery.servers, &said), broken);
        let fine = recovery.servers.iter().all(|s| evidence.is_fine(s) && !s.locked);
        if matches!(said.code, 0 | 1) && !fine {
            broken.push(format!("exit code: {}, and not everybody serves and is free", said.code));
        }
    }
    for rule in &mut broken[before..] {
        rule.insert_str(0, "in a recovery with something in its way: ");
    }
}
