//! `pitcrew status`: where every server stands, from the servers and the balancers themselves.

mod row;
mod table;

use std::collections::BTreeMap;

use clap::Args;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use self::row::{Checked, Row, differ, left_behind, row};
use self::table::text;
use crate::cli::{Global, Select};
use crate::config::Server;
use crate::error::Error;
use crate::name::ServerName;
use crate::out;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::text::clean::clean;
use crate::verbs::check::missing as as_json;
use crate::verbs::health::HealthQuestions;
use crate::wording::warning;

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
        let stack = Stack::prepare_to_look(stack::read(global)?, global).await?;
        let wanted = stack.select(&self.select)?;
        let never = CancellationToken::new();
        let (facts, refused) = stack.facts(Execs::Single, &never).await;
        let reached: Vec<&Server> = stack
            .config
            .servers
            .iter()
            .filter(|s| wanted.contains(&s.name) && facts.servers.contains_key(&s.name))
            .collect();
        let questions = HealthQuestions { stack: &stack, facts: &facts, verb: "status" };
        let (missing, logs, checks) = tokio::join!(
            stack.missing_of_dead_runs(&facts),
            join_all(reached.iter().map(|s| stack.history(&s.name, &never))),
            join_all(reached.iter().map(|s| questions.once(s, &never))),
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
        left_behind(&mut rows, &facts);
        let balancers: Vec<String> = refused.iter().map(|e| clean(&e.to_string())).collect();
        let drifts = !balancers.is_empty() || !missing.is_empty() || rows.iter().any(|r| !r.drift.is_empty());
        if global.json {
            let value = serde_json::json!({"ok": !drifts, "servers": rows, "balancers": balancers, "missing": as_json(&missing)});
            out::result(&format!("{value}\n"));
        } else if drifts || !global.quiet {
            let missing = missing.iter().map(|(server, w)| format!("{server}: {}\n", warning::sentence(w)));
            out::result(&(text(&rows, &balancers) + &missing.collect::<String>()));
        }
        if !rows.is_empty() && rows.iter().all(|r| r.unreachable.is_some()) {
            return Err(Error::unreachable("no server could be reached"));
        }
        Ok(if drifts { 3 } else { 0 })
    }
}
