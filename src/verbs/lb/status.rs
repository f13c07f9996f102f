//! `pitcrew lb status`: every member as its balancer reports it, its health, and who took it out.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;

use super::by_hand::{ByHand, failed, told};
use crate::balancer::{Admin, MemberFacts};
use crate::cli::Select;
use crate::config::Server;
use crate::error::Error;
use crate::facts::Facts;
use crate::name::ServerName;
use crate::out;
use crate::stack::survey::Execs;
use crate::stack::taken;
use crate::text::clean::clean;
use crate::text::units;
use crate::verbs::health::HealthQuestions;

/// One place of one server.
#[derive(Debug, Serialize)]
struct Row {
    server: ServerName,
    #[serde(flatten)]
    member: MemberFacts,
    /// `ok`, or how the server's own health check failed; `None`: there is none.
    health: Option<String>,
    /// Who took it out, as far as its server knows.
    by: Option<String>,
    /// Its server could be asked.
    #[serde(skip)]
    reached: bool,
}

impl ByHand<'_> {
    /// Shows the members of these servers; changes nothing.
    ///
    /// # Errors
    /// When no balancer could be asked, and when a signal came.
    pub async fn status(&self, select: &Select) -> Result<u8, Error> {
        let wanted = self.stack.select(select)?;
        let servers: Vec<&Server> = self.behind(&wanted);
        let names: Vec<String> = servers.iter().flat_map(|s| s.lb.clone()).collect();
        let soft = &self.stop.soft;
        let asked = async {
            let (facts, survey) = tokio::join!(self.stack.servers(Execs::Single, soft), self.balancer.survey(&names));
            let questions = HealthQuestions { stack: self.stack, facts: &facts, verb: "lb status" };
            let checks = join_all(servers.iter().map(|s| questions.once(s, soft))).await;
            (facts, survey, checks)
        };
        let (facts, survey, checks) = self.unless_asked(asked).await?;
        let (members, errors) = self.unless_asked(self.stack.remind(&facts, &names, survey)).await?;
        let mut rows = Vec::new();
        for (server, check) in servers.iter().zip(checks) {
            let health = check.map(|c| c.map_or_else(|why| why, |()| "ok".to_owned()));
            for member in members.iter().filter(|m| server.is_member(&m.member)) {
                rows.push(row(server, member.clone(), health.clone(), &facts));
            }
        }
        let good = errors.is_empty() && rows.iter().all(|r| r.member.in_service);
        let balancers: Vec<(String, String)> =
            errors.iter().map(|e| (clean(&e.to_string()), clean(&e.hint()))).collect();
        if self.global.json {
            let balancers: Vec<String> = errors.iter().map(|e| clean(&told(e))).collect();
            let value = serde_json::json!({"ok": good, "members": rows, "balancers": balancers});
            out::result(&format!("{value}\n"));
        } else if (!self.global.quiet || !good) && !rows.is_empty() {
            out::result(&text(&rows, &balancers));
        }
        match failed(errors) {
            Some(error) if rows.is_empty() => Err(error),
            _ => Ok(if good { 0 } else { 3 }),
        }
    }
}

fn row(server: &Server, member: MemberFacts, health: Option<String>, facts: &Facts) -> Row {
    let found = facts.servers.get(&server.name);
    let by = found.filter(|_| member.admin != Admin::Ready).and_then(taken::who);
    Row { server: server.name.clone(), member, health, by, reached: found.is_some() }
}

fn text(rows: &[Row], balancers: &[(String, String)]) -> String {
    let mut table =
        vec![["server", "member", "state", "status", "health", "sessions", "since", "taken out"].map(String::from)];
    let mut places: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    // Where there are several balancers, which of them is meant.
    let several = rows.iter().any(|r| r.member.at != rows[0].member.at);
    for row in rows {
        let member = &row.member;
        let up = usize::from(member.in_service);
        places.insert((&member.at, &member.backend), (member.others_in_service + up, member.size));
        let admin = match member.admin {
            // Up and ready, and yet out of service.
            Admin::Ready if !member.in_service && member.status.starts_with("UP") => "weight 0",
            Admin::Ready => "in",
            Admin::Drain => "drain",
            Admin::Maint => "out",
        };
        table.push([
            row.server.0.clone(),
            place(member, several),
            admin.into(),
            clean(&member.status),
            match row.health.as_deref() {
                None => "-".into(),
                Some("ok") => "ok".into(),
                Some(_) => "FAILS".into(),
            },
            member.sessions.map_or("?".into(), |n| n.to_string()),
            member.since.map_or("-".into(), units::long),
            match (&row.by, member.admin) {
                (_, Admin::Ready) => String::new(),
                (Some(by), _) => by.clone(),
                (None, _) if !row.reached => "unknown: its server cannot be reached".into(),
                (None, _) => "not by pitcrew, as far as its server knows".into(),
            },
        ]);
    }
    let mut text = String::new();
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    for line in &table {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for ((at, backend), (up, all)) in places {
        let backend = if backend.is_empty() { String::new() } else { format!("{backend} on ") };
        text.push_str(&format!("{backend}{at}: {up} of {all} in service\n"));
    }
    let mut named: Vec<&ServerName> = Vec::new();
    for row in rows {
        if let Some(why) = row.health.as_deref().filter(|h| *h != "ok" && !named.contains(&&row.server)) {
            named.push(&row.server);
            text.push_str(&format!("{}: fails its health check: {}\n", row.server, clean(why)));
        }
    }
    for (balancer, hint) in balancers {
        text.push_str(&format!("balancer {balancer}\n"));
        if !hint.is_empty() {
            text.push_str(&format!("  hint: {hint}\n"));
        }
    }
    text
}

fn place(member: &MemberFacts, several: bool) -> String {
    let at = if several { format!(" on {}", member.at) } else { String::new() };
    match member.backend.as_str() {
        "" => format!("{}{at}", member.member),
        backend => format!("{backend}/{}{at}", member.member),
    }
}
