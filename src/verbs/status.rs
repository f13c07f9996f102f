//! `pitcrew status`: where every server stands, from the servers and the balancers themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use clap::Args;

use super::out;
use crate::balancer::{Admin, MemberFacts};
use crate::cli::{Global, Select};
use crate::config::{Config, Health, Probe, Server};
use crate::error::Error;
use crate::facts::{Facts, ReleaseState, ServerFacts};
use crate::health::{self, Attempt, CheckFailed};
use crate::lease;
use crate::name::{ReleaseId, Revision, ServerName};
use crate::remote::calls;
use crate::report::{cause, clean::clean, held};
use crate::stack::survey::Execs;
use crate::stack::taken;
use crate::stack::{self, Stack};

/// One server, as it is.
#[derive(Debug, Default, Serialize)]
struct Row {
    server: String,
    /// Why nothing else is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
    release: Option<ReleaseId>,
    revision: Option<Revision>,
    state: Option<String>,
    /// Releases that its processes run from.
    running: Vec<String>,
    /// `ok`, or what the last answer was; `None`: it is not asked.
    health: Option<String>,
    healthy: bool,
    members: Vec<MemberFacts>,
    lock: Option<String>,
    free_kb: Option<u64>,
    /// The line of `revisions.log` that was written last.
    last: Option<String>,
    /// What is not as it should be, a fragment each.
    drift: Vec<String>,
}

/// The last line of a server's `revisions.log`, and how its health check ended.
type Asked = (Option<String>, Option<Result<(), String>>);

/// Shows every server: release, processes, health, balancer, lock, disk. Exit code 3 on drift.
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Which servers.
    #[command(flatten)]
    select: Select,
}

impl Status {
    /// Shows every server; changes nothing.
    ///
    /// # Errors
    /// When no server could be reached.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare(stack::read(global)?, global).await?;
        let wanted = stack.select(&self.select)?;
        let never = CancellationToken::new();
        let (facts, refused) = stack.facts(Execs::Single, &never).await;
        let reached: Vec<&Server> = stack
            .config
            .servers
            .iter()
            .filter(|s| wanted.contains(&s.name) && facts.servers.contains_key(&s.name))
            .collect();
        let (logs, checks) = tokio::join!(
            join_all(reached.iter().map(|s| stack.history(&s.name, &never))),
            join_all(reached.iter().map(|s| once(&stack, s, &never))),
        );
        let mut seen: BTreeMap<&ServerName, Asked> = BTreeMap::new();
        for ((server, log), check) in reached.iter().zip(logs).zip(checks) {
            seen.insert(&server.name, (log.ok().and_then(|lines| lines.last().cloned()), check));
        }
        stack.close().await;
        let servers = stack.config.servers.iter().filter(|s| wanted.contains(&s.name));
        let mut rows: Vec<Row> = servers
            .map(|server| {
                let (last, health) = seen.remove(&server.name).unwrap_or_default();
                row(&stack.config, &facts, server, last, health)
            })
            .collect();
        differ(&mut rows);
        let balancers: Vec<String> = refused.iter().map(|e| clean(&e.to_string())).collect();
        let drifts = !balancers.is_empty() || rows.iter().any(|r| !r.drift.is_empty());
        if global.json {
            let value = serde_json::json!({"ok": !drifts, "servers": rows, "balancers": balancers});
            out::result(&format!("{value}\n"));
        } else if drifts || !global.quiet {
            out::result(&text(&rows, &balancers));
        }
        if !rows.is_empty() && rows.iter().all(|r| r.unreachable.is_some()) {
            return Err(Error::unreachable("no server could be reached"));
        }
        Ok(if drifts { 3 } else { 0 })
    }
}

/// Asks a server for its health, once.
pub async fn once(stack: &Stack, server: &Server, stop: &CancellationToken) -> Option<Result<(), String>> {
    let health = stack.config.health.as_ref().filter(|_| server.is_web())?;
    // The first attempt is whole, and there is no time for another.
    let once = Health { within: Duration::ZERO, successes: 1, ..health.clone() };
    asked(stack, server, &once, stop).await
}

/// Asks a server for its health; `None`: it has no connection.
pub async fn asked(
    stack: &Stack,
    server: &Server,
    health: &Health,
    stop: &CancellationToken,
) -> Option<Result<(), String>> {
    let checked = match &health.probe {
        Probe::Http(probe) => {
            let host = stack.hosts.get(&server.name).ok()?;
            let question = health::Question::from(probe.clone());
            health::check(health, || host.http(&question, health.timeout), &mut |_| {}, stop).await
        }
        Probe::Command(command) => {
            let ask = || async {
                let call = calls::check(&stack.site(), command);
                match stack.ask(&server.name, call, stop).await {
                    Ok(_) => Attempt { ok: true, ..Attempt::default() },
                    Err(failure) => Attempt { error: Some(cause::reason(&failure.cause)), ..Attempt::default() },
                }
            };
            health::check(health, ask, &mut |_| {}, stop).await
        }
    };
    Some(checked.map_err(|e| match e {
        CheckFailed::Stopped => "not asked".into(),
        CheckFailed::Unhealthy(unhealthy) => cause::reason(&crate::event::Cause::Unhealthy(unhealthy)),
    }))
}

fn row(
    config: &Config,
    facts: &Facts,
    server: &Server,
    last: Option<String>,
    health: Option<Result<(), String>>,
) -> Row {
    let mut row = Row { server: server.name.0.clone(), last: last.map(|l| clean(&l)), ..Row::default() };
    if let Some(failure) = facts.unreachable.get(&server.name) {
        let why = cause::reason(&failure.cause);
        row.drift.push(format!("cannot be reached: {why}"));
        row.unreachable = Some(why);
    }
    row.members = facts.members.iter().filter(|m| server.is_web() && m.member == server.lb).cloned().collect();
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
        processes(&mut row, found);
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
    if let Some(behind) = &found.behind {
        row.drift.push(format!("left behind by run {}", clean(behind)));
    }
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

fn processes(row: &mut Row, found: &ServerFacts) {
    let mut running: Vec<String> =
        found.processes.iter().map(|p| p.release.as_ref().map_or("elsewhere".into(), |r| r.as_str().into())).collect();
    running.sort();
    running.dedup();
    if let Some(current) = &found.current {
        if running.is_empty() {
            row.drift.push("its web server does not run".into());
        } else if running.iter().any(|r| r != current.as_str()) {
            row.drift.push(format!("its web server runs from {}", running.join(", ")));
        }
    }
    row.running = running;
}

/// Names the servers that are not on the newest release.
fn differ(rows: &mut [Row]) {
    let newest = rows.iter().filter_map(|r| r.release.clone()).max();
    for row in rows.iter_mut() {
        if let (Some(release), Some(newest)) = (&row.release, &newest)
            && release != newest
        {
            row.drift.push(format!("is on release {release}, others are on {newest}"));
        }
    }
}

fn text(rows: &[Row], balancers: &[String]) -> String {
    let mut table = vec![["server", "release", "revision", "running", "health", "balancer", "disk"].map(String::from)];
    for row in rows {
        let balancer = match row.members.as_slice() {
            [] => "-".into(),
            all if all.iter().all(|m| m.in_service) => "in".into(),
            all => all.iter().map(|m| clean(&m.status)).collect::<Vec<_>>().join(","),
        };
        let health = match (&row.health, row.healthy) {
            (None, _) => "-",
            (Some(_), true) => "ok",
            (Some(_), false) => "FAILS",
        };
        let running = match (row.running.as_slice(), &row.release) {
            ([], _) => "-".into(),
            ([one], Some(release)) if one == release.as_str() => "the same".into(),
            (many, _) => many.join(","),
        };
        table.push([
            row.server.clone(),
            row.release.as_ref().map_or("-".into(), |r| r.as_str().into()),
            row.revision.as_ref().map_or("-".into(), |r| r.short().into()),
            running,
            health.into(),
            balancer,
            row.free_kb.map_or("-".into(), free),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &table {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for (title, of) in [("lock", Row::lock as fn(&Row) -> Option<&str>), ("last", Row::last)] {
        text.push_str(&together(rows, title, of));
    }
    for row in rows {
        for drift in &row.drift {
            text.push_str(&format!("{}: {drift}\n", row.server));
        }
    }
    for balancer in balancers {
        text.push_str(&format!("balancer {balancer}\n"));
    }
    text
}

impl Row {
    fn lock(&self) -> Option<&str> {
        self.lock.as_deref()
    }

    fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

/// A line for each thing that servers say alike, and who says it where not all do.
fn together(rows: &[Row], title: &str, of: fn(&Row) -> Option<&str>) -> String {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        let Some(text) = of(row) else { continue };
        match said.iter_mut().find(|(t, _)| *t == text) {
            Some((_, who)) => who.push(&row.server),
            None => said.push((text, vec![&row.server])),
        }
    }
    let all = rows.len();
    let line = |(text, who): (&str, Vec<&str>)| {
        let who = if who.len() == all { String::new() } else { format!(" ({})", crate::report::text::names(&who, 5)) };
        format!("{title}: {text}{who}\n")
    };
    said.into_iter().map(line).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn free(kb: u64) -> String {
    format!("{:.1}G free", kb as f64 / 1_048_576.0)
}
