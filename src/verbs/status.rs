//! `pitcrew status`: where every server stands, from the servers and the balancers themselves.

mod row;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use self::row::{Checked, Row, differ, row};
use self::table::text;
use crate::cli::{Global, Select};
use crate::config::{Health, Probe, Server};
use crate::error::Error;
use crate::health::{self, Attempt, CheckFailed};
use crate::name::ServerName;
use crate::out;
use crate::remote::calls;
use crate::report::{cause, clean::clean};
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};

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
        let mut seen: BTreeMap<&ServerName, Checked> = BTreeMap::new();
        for ((server, log), check) in reached.iter().zip(logs).zip(checks) {
            let last = log.ok().and_then(|lines| lines.last().cloned());
            seen.insert(&server.name, Checked { last, health: check });
        }
        stack.close().await;
        let servers = stack.config.servers.iter().filter(|s| wanted.contains(&s.name));
        let mut rows: Vec<Row> = servers
            .map(|server| {
                let asked = seen.remove(&server.name).unwrap_or_default();
                row(&stack.config, &facts, server, asked)
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
