//! What is known of one server, and what of it is not as it should be.

use serde::Serialize;

use crate::balancer::{Admin, MemberFacts};
use crate::config::{Config, Server};
use crate::facts::{Facts, ProcessFacts, ServerFacts};
use crate::lease;
use crate::name::{ReleaseId, Revision};
use crate::plan::findings;
use crate::release::ReleaseState;
use crate::stack::taken;
use crate::text::clean::clean;
use crate::wording::{cause, finding, lock as held};

/// The place of a process that this login may not look into.
const HIDDEN: &str = "unseen";
/// The place of a process that works outside the releases.
const OUTSIDE: &str = "elsewhere";

/// One server, as it is.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    pub(super) server: String,
    /// Why nothing else is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreachable: Option<String>,
    pub(super) release: Option<ReleaseId>,
    pub(super) revision: Option<Revision>,
    pub(super) state: Option<String>,
    /// Releases that its processes run from.
    pub(super) running: Vec<String>,
    /// `ok`, or what the last answer was; `None`: it is not asked.
    pub(super) health: Option<String>,
    pub(super) healthy: bool,
    pub(super) members: Vec<MemberFacts>,
    pub(super) lock: Option<String>,
    pub(super) free_kb: Option<u64>,
    /// The line of `revisions.log` that was written last.
    pub(super) last: Option<String>,
    /// What is not as it should be, a fragment each.
    pub(super) drift: Vec<String>,
    /// What should be read and is no drift, a fragment each.
    pub(super) notes: Vec<String>,
    /// The run that left it behind.
    #[serde(skip)]
    pub(super) behind: Option<String>,
}

/// What a server was asked besides its facts.
#[derive(Debug, Default)]
pub struct Checked {
    /// The last line of its `revisions.log`.
    pub last: Option<String>,
    /// How its health check ended; `None`: it was not asked.
    pub health: Option<Result<(), String>>,
}

/// Judges one server.
pub fn row(config: &Config, facts: &Facts, server: &Server, asked: Checked) -> Row {
    let Checked { last, health } = asked;
    let mut row = Row { server: server.name.0.clone(), last: last.map(|l| clean(&l)), ..Row::default() };
    if let Some(failure) = facts.unreachable.get(&server.name) {
        let why = cause::reason(&failure.cause);
        row.drift.push(format!("cannot be reached: {why}"));
        row.unreachable = Some(why);
    }
    row.members = facts.members.iter().filter(|m| server.is_web() && server.is_member(&m.member)).cloned().collect();
    for member in &row.members {
        if member.admin != Admin::Ready || !member.in_service {
            let place = format!("{}/{} on {}", member.backend, member.member, member.at);
            let by = facts.servers.get(&server.name).filter(|_| member.admin != Admin::Ready).and_then(taken::who);
            let by = by.map(|by| format!(", taken out {by}")).unwrap_or_default();
            row.drift.push(format!("out of its balancer: {place} is {}{by}", clean(&member.status)));
        }
    }
    let Some(found) = facts.servers.get(&server.name) else { return row };
    release(&mut row, found);
    if server.is_web() && !config.web.proof.none {
        let answers = matches!(health, Some(Ok(())));
        let unseen = findings::unseen(config, &server.name, found, answers);
        processes(&mut row, found, unseen.map(|found| finding::fragment(&found)));
    }
    if let Some(result) = health {
        row.healthy = result.is_ok();
        if let Err(why) = &result {
            row.drift.push(format!("fails its health check: {why}"));
        }
        row.health = Some(result.map_or_else(|why| why, |()| "ok".into()));
    }
    if let Some(lock) = &found.lock {
        let text = held::locked(&lease::held(lock));
        if lease::judge(lock).is_left_behind() {
            row.drift.push(format!("{text}; `pitcrew recover` takes back what that run left"));
        }
        row.lock = Some(text);
    }
    row.behind = found.behind.as_deref().map(clean);
    let more = [findings::hidden(&server.name, found), findings::leftovers(&server.name, found)];
    row.notes.extend(more.iter().flatten().map(finding::fragment));
    row.free_kb = found.free_kb;
    row
}

fn release(row: &mut Row, found: &ServerFacts) {
    row.release.clone_from(&found.current);
    match (&found.current, &found.current_odd) {
        (_, Some(odd)) => row.drift.push(format!("current is {}", clean(odd))),
        (None, None) => row.drift.push(match &found.current_gone {
            Some(target) => format!("current points to {}, which is not there any more", clean(target)),
            None => "there is no release yet".into(),
        }),
        (Some(current), None) => {
            let Some(known) = found.releases.iter().find(|r| r.id == *current) else { return };
            row.revision = known.revision.as_ref().map(|r| Revision(clean(&r.0)));
            row.state = Some(known.state.to_string());
            if !matches!(known.state, ReleaseState::Good | ReleaseState::Foreign) {
                row.drift.push(format!("its release {current} is {}", known.state));
            }
        }
    }
}

fn processes(row: &mut Row, found: &ServerFacts, unseen: Option<String>) {
    let place = |p: &ProcessFacts| match (&p.release, &p.hidden) {
        (Some(release), _) => release.as_str().to_owned(),
        (None, Some(_)) => HIDDEN.to_owned(),
        (None, None) if p.outside => OUTSIDE.to_owned(),
        (None, None) => "a removed release".to_owned(),
    };
    let mut running: Vec<String> = found.processes.iter().map(place).collect();
    running.sort();
    running.dedup();
    if let Some(current) = &found.current {
        if running.is_empty() {
            row.drift.push(unseen.unwrap_or_else(|| "its web server does not run".into()));
        } else if running.iter().any(|r| r != current.as_str() && r != HIDDEN && r != OUTSIDE) {
            row.drift.push(format!("its web server runs from {}", running.join(", ")));
        }
    }
    if running.iter().any(|r| r == OUTSIDE) {
        row.notes
            .push("its web server works outside the releases: which of them it serves only an answer can tell".into());
    }
    row.running = running;
}

/// Names the servers that are not on the newest release.
pub fn differ(rows: &mut [Row]) {
    let newest = rows.iter().filter_map(|r| r.release.clone()).max();
    for row in rows.iter_mut() {
        if let (Some(release), Some(newest)) = (&row.release, &newest)
            && release != newest
        {
            row.drift.push(format!("is on release {release}, others are on {newest}"));
        }
    }
}

/// Says of servers that a run left them behind: drift, unless all are alike and well by now.
///
/// `facts` has servers that are no rows, too. A run that was taken back leaves its servers so, to be first next time.
pub fn left_behind(rows: &mut [Row], facts: &Facts) {
    let mut releases = facts.servers.values().map(|f| &f.current);
    let first = releases.next();
    let well =
        releases.all(|r| Some(r) == first) && facts.unreachable.is_empty() && rows.iter().all(|r| r.drift.is_empty());
    for row in rows.iter_mut() {
        let Some(run) = row.behind.take() else { continue };
        if well {
            row.notes.push(format!("left behind by run {run}, and on the release of the others"));
        } else {
            row.drift.push(format!("left behind by run {run}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ServerName;

    fn after(currents: [&str; 2], drift: &[&str]) -> Vec<Row> {
        let mut facts = Facts::default();
        for (name, current) in ["web1", "web2"].into_iter().zip(currents) {
            let found = ServerFacts { current: ReleaseId::parse(current), ..ServerFacts::default() };
            facts.servers.insert(ServerName(name.into()), found);
        }
        let drift = drift.iter().map(|d| (*d).to_owned()).collect();
        let mut rows = vec![Row { behind: Some("r1".into()), ..Row::default() }, Row { drift, ..Row::default() }];
        left_behind(&mut rows, &facts);
        rows
    }

    #[test]
    fn what_a_clean_revert_left_is_no_drift() {
        const OLD: &str = "20260101000000";
        let rows = after([OLD, OLD], &[]);
        assert_eq!(rows[0].drift, Vec::<String>::new());
        assert_eq!(rows[0].notes, ["left behind by run r1, and on the release of the others"]);
        for rows in [after([OLD, "20260102000000"], &[]), after([OLD, OLD], &["out of its balancer: app/s2"])] {
            assert_eq!(rows[0].drift, ["left behind by run r1"]);
        }
    }
}
