//! `pitcrew releases`: who deployed what when, from the servers themselves.

use std::collections::BTreeMap;

use clap::Args;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, Select};
use crate::error::Error;
use crate::facts::{Facts, ReleaseFacts};
use crate::name::{ReleaseId, ServerName};
use crate::out;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::text::clean;
use crate::wording::cause;

/// Lists who deployed what when, from the servers themselves.
#[derive(Debug, Clone, Args)]
pub struct Releases {
    /// Which servers.
    #[command(flatten)]
    select: Select,
}

impl Releases {
    /// Lists the releases that the servers hold, newest first.
    ///
    /// # Errors
    /// When no server could be reached.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare_to_look(stack::read(global)?, global).await?;
        let wanted = stack.select(&self.select)?;
        let never = CancellationToken::new();
        let (mut facts, _) = stack.facts(Execs::Single, &never).await;
        let logs = join_all(facts.servers.keys().map(|s| stack.history(s, &never))).await;
        let lines: Vec<String> = logs.into_iter().filter_map(Result::ok).flatten().collect();
        stack.close().await;
        facts.servers.retain(|s, _| wanted.contains(s));
        facts.unreachable.retain(|s, _| wanted.contains(s));
        let table = table(&facts);
        if global.json {
            for (id, row) in table.iter().rev() {
                let held: BTreeMap<&ServerName, String> = row.iter().map(|(s, r)| (*s, r.state.to_string())).collect();
                let current: Vec<&ServerName> = current(&facts, id);
                let revision = row.iter().find_map(|(_, r)| r.revision.as_ref());
                let value =
                    serde_json::json!({"release": id, "revision": revision, "servers": held, "current": current});
                out::result(&format!("{value}\n"));
            }
        } else {
            for (id, row) in table.iter().rev() {
                out::result(&line(&facts, id, row, &lines));
            }
        }
        for (server, failure) in &facts.unreachable {
            out::notice(&format!("{server}: {}", cause::reason(&failure.cause)));
        }
        if facts.unreachable.is_empty() {
            return Ok(0);
        }
        Err(Error::unreachable(format!("{} of {} servers could not be reached", facts.unreachable.len(), wanted.len())))
    }
}

type Row<'a> = Vec<(&'a ServerName, &'a ReleaseFacts)>;

fn table(facts: &Facts) -> BTreeMap<&ReleaseId, Row<'_>> {
    let mut table: BTreeMap<&ReleaseId, Row<'_>> = BTreeMap::new();
    for (server, found) in &facts.servers {
        for release in &found.releases {
            table.entry(&release.id).or_default().push((server, release));
        }
    }
    table
}

fn current<'a>(facts: &'a Facts, id: &ReleaseId) -> Vec<&'a ServerName> {
    facts.servers.iter().filter(|(_, f)| f.current.as_ref() == Some(id)).map(|(s, _)| s).collect()
}

fn line(facts: &Facts, id: &ReleaseId, row: &Row<'_>, log: &[String]) -> String {
    let revision = row.iter().find_map(|(_, r)| r.revision.as_ref()).map_or("-", |r| r.short());
    let mut states: Vec<String> = row.iter().map(|(_, r)| r.state.to_string()).collect();
    states.sort();
    states.dedup();
    let all = facts.servers.len();
    let on = match row.len() {
        n if n == all => format!("all {all} servers"),
        n => {
            let names: Vec<&str> = row.iter().map(|(s, _)| s.as_str()).collect();
            format!("{n} of {all}: {}", names.join(", "))
        }
    };
    let current = current(facts, id);
    let mark = match current.len() {
        0 => String::new(),
        n if n == all => "  <- current".into(),
        _ => format!("  <- current on {}", current.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")),
    };
    // The same line stands on every server; the last one that names the release says who brought it there.
    let who = log.iter().rev().find(|l| l.contains(id.as_str()));
    let who = who.map(|w| format!("  {}", clean::clean(w))).unwrap_or_default();
    format!("{id}  {:7}  {:8}  {on}{mark}{who}\n", clean::clean(revision), states.join("/"))
}
