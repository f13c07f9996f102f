//! `pitcrew lb status|drain|restore`: the balancer by hand, for what no deploy is about.
//!
//! Nothing here touches a server's releases or processes. A run's lock is respected, not taken: what is done here is done
//! in the balancer, and a run that begins meanwhile finds it there.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::stack::{self, Stack};
use super::{out, status};
use crate::balancer::{Admin, Balancer, BalancerError, Draining, MemberFacts, Snapshot};
use crate::cli::{Global, Lb, Select};
use crate::config::{self, Server};
use crate::error::{Error, Kind};
use crate::facts::{DRAINED, Facts};
use crate::lease;
use crate::name::ServerName;
use crate::report::{cause, clean::clean, held};

/// Carries out what is asked of the balancer.
///
/// # Errors
/// When there is none, when it cannot be reached, or when what is asked is refused.
pub async fn run(global: &Global, what: &Lb) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global)?;
    let Some(balancer) = stack.balancer.clone() else {
        return Err(Error::usage("there is no [load_balancer] in the configuration"));
    };
    let stop = CancellationToken::new();
    let by_hand = ByHand { global, stack: &stack, balancer: &balancer, stop: &stop };
    let work = async {
        match what {
            Lb::Status { select } => by_hand.status(select).await,
            Lb::Drain { servers } => by_hand.drain(servers).await,
            Lb::Restore { servers, force } => by_hand.restore(servers, *force).await,
        }
    };
    // The first Ctrl-C ends the wait, which undoes what it had begun; the second ends that as well.
    let twice = async {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
        out::notice("interrupted; press Ctrl-C again to leave it as it is");
        let _ = tokio::signal::ctrl_c().await;
    };
    let end = tokio::select! {
        end = work => end,
        () = twice => Err(Error::failed("interrupted twice; `pitcrew lb status` shows what is out")),
    };
    stack.close().await;
    end
}

/// One place of one server, as `lb status` shows it.
#[derive(Debug, Serialize)]
struct Row {
    server: ServerName,
    #[serde(flatten)]
    member: MemberFacts,
    /// Who took it out, as far as its server knows.
    by: Option<String>,
}

/// What became of a server.
#[derive(Debug, Serialize)]
struct Done {
    server: ServerName,
    ok: bool,
    /// What there is to say of it.
    detail: String,
}

struct ByHand<'a> {
    global: &'a Global,
    stack: &'a Stack,
    balancer: &'a Balancer,
    stop: &'a CancellationToken,
}

impl ByHand<'_> {
    async fn status(&self, select: &Select) -> Result<u8, Error> {
        let wanted = self.stack.select(select)?;
        let servers: Vec<&Server> = self.behind(&wanted);
        let (facts, members) =
            tokio::join!(self.stack.servers(self.stop), join_all(servers.iter().map(|s| self.facts(s))));
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for (server, members) in servers.iter().zip(members) {
            match members {
                Ok(members) => rows.extend(members.into_iter().map(|member| {
                    let by = (member.admin != Admin::Ready).then(|| who(&facts, &server.name)).flatten();
                    Row { server: server.name.clone(), member, by }
                })),
                Err(all) => errors.extend(all.into_iter().filter(|e| !errors.contains(e)).collect::<Vec<_>>()),
            }
        }
        let good = errors.is_empty() && rows.iter().all(|r| r.member.in_service);
        let told: Vec<String> = errors.iter().map(|e| clean(&e.to_string())).collect();
        if self.global.json {
            let value = serde_json::json!({"ok": good, "members": rows, "balancers": told});
            out::result(&format!("{value}\n"));
        } else if !self.global.quiet || !good {
            out::result(&text(&rows, &told));
        }
        if rows.is_empty()
            && let Some(first) = errors.into_iter().next()
        {
            return Err(balancer_error(first));
        }
        Ok(if good { 0 } else { 3 })
    }

    async fn drain(&self, names: &[String]) -> Result<u8, Error> {
        let servers = self.named(names).await?;
        let mut done = Vec::new();
        for server in servers {
            let found = Snapshot { members: self.facts(server).await.map_err(first)? };
            if !found.was_in() {
                done.push(self.said(server, true, "was out already, and is left as it is"));
                continue;
            }
            let mut last = None;
            let mut on = |heard: Draining| {
                if last.as_ref() != Some(&heard) && !self.global.quiet && !self.global.json {
                    match &heard {
                        Draining::Open(open) => out::notice(&format!("{}: {open} connections open", server.name)),
                        Draining::Waiting(why) => out::notice(&format!("{}: waits: {}", server.name, clean(why))),
                    }
                }
                last = Some(heard);
            };
            match self.balancer.drain(&server.lb, &found, &mut on, self.stop).await {
                Ok(drained) => {
                    let text = match drained.left {
                        Some(0) => "is out, and has no connections left".to_owned(),
                        Some(open) => format!("is out, with {open} connections left"),
                        None => "is out; how many connections are left is not known".to_owned(),
                    };
                    done.push(self.said(server, true, &text));
                }
                Err(error) => {
                    done.push(self.said(server, false, &told(&error)));
                    // What could not be done for one is no reason to take out the next.
                    break;
                }
            }
        }
        Ok(self.end(&done, 1))
    }

    async fn restore(&self, names: &[String], force: bool) -> Result<u8, Error> {
        let servers = self.named(names).await?;
        let mut done = Vec::new();
        for server in servers {
            if !force && let Err(why) = self.healthy(server).await {
                let text = format!("is not put back: {why}; --force puts it back all the same");
                done.push(self.said(server, false, &text));
                continue;
            }
            let mut found = Snapshot { members: self.facts(server).await.map_err(first)? };
            if found.members.iter().all(|m| m.admin == Admin::Ready && m.in_service) {
                done.push(self.said(server, true, "is in service"));
                continue;
            }
            found.members.iter_mut().for_each(|m| m.admin = Admin::Ready);
            let mut on = |text: String| {
                if !self.global.quiet && !self.global.json {
                    out::notice(&format!("{}: {}", server.name, clean(&text)));
                }
            };
            match self.balancer.restore(&server.lb, &found, &mut on, self.stop).await {
                Ok(()) => done.push(self.said(server, true, "is back in service")),
                Err(error) => done.push(self.said(server, false, &told(&error))),
            }
        }
        Ok(self.end(&done, 3))
    }

    /// The stack's servers that are behind the balancer, of those wanted.
    fn behind(&self, wanted: &[ServerName]) -> Vec<&Server> {
        self.stack.config.servers.iter().filter(|s| s.is_web() && wanted.contains(&s.name)).collect()
    }

    /// The servers that were named; nobody else may be at work on the stack.
    async fn named(&self, names: &[String]) -> Result<Vec<&Server>, Error> {
        let wanted = config::select::select(&self.stack.config.servers, names, &[])?;
        let servers = self.behind(&wanted);
        if let Some(other) = wanted.iter().find(|w| !servers.iter().any(|s| s.name == **w)) {
            return Err(Error::usage(format!("{other} does not have the role \"web\", and is in no balancer")));
        }
        // Who cannot be reached may be the very reason; the lock is on every server of the stack.
        let facts = self.stack.servers(self.stop).await;
        for (server, found) in &facts.servers {
            let Some(lock) = &found.lock else { continue };
            if lease::judge(lock).may_be_at_work() {
                let told = held::locked(&lease::held(lock));
                return Err(Error { kind: Kind::Locked, ..Error::usage(format!("{server} is {told}")) }
                    .hint("a run puts its servers back itself; interrupt it with Ctrl-C, or wait for its end"));
            }
        }
        if facts.servers.is_empty() && !facts.unreachable.is_empty() {
            out::notice("no server could be reached: whether a run is at work is not known");
        }
        Ok(servers)
    }

    async fn facts(&self, server: &Server) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        self.balancer.facts(std::slice::from_ref(&server.lb)).await
    }

    /// Asks a server for its health, as a deploy would.
    async fn healthy(&self, server: &Server) -> Result<(), String> {
        let Some(health) = &self.stack.config.health else {
            out::notice(&format!("{}: there is no [health], so only the balancer judges it", server.name));
            return Ok(());
        };
        match status::asked(self.stack, server, health, self.stop).await {
            None => Err("it could not be asked for its health".to_owned()),
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(format!("it fails its health check: {}", clean(&why))),
        }
    }

    fn said(&self, server: &Server, ok: bool, detail: &str) -> Done {
        if !self.global.json && (!ok || !self.global.quiet) {
            out::notice(&format!("{}: {}", server.name, clean(detail)));
        }
        Done { server: server.name.clone(), ok, detail: clean(detail) }
    }

    fn end(&self, done: &[Done], bad: u8) -> u8 {
        if self.global.json {
            out::result(&format!("{}\n", serde_json::json!({"servers": done})));
        }
        match (self.stop.is_cancelled(), done.iter().all(|d| d.ok)) {
            (_, true) => 0,
            (true, false) => 130,
            (false, false) => bad,
        }
    }
}

/// Who took a server out, as far as the server itself knows.
fn who(facts: &Facts, server: &ServerName) -> Option<String> {
    let found = facts.servers.get(server)?;
    // A line of the journal is the time, the script, and what it changed.
    let drained = found.journal.iter().any(|line| line.split(' ').take(4).any(|word| word == "drain"));
    if let Some(lock) = found.lock.as_ref().filter(|_| drained) {
        return Some(held::locked(&lease::held(lock)));
    }
    let behind = found.behind.as_deref()?;
    behind.strip_suffix(DRAINED).map(|run| format!("run {}, which left it so", clean(run)))
}

fn text(rows: &[Row], balancers: &[String]) -> String {
    let mut table =
        vec![["server", "member", "state", "status", "sessions", "since", "taken out by"].map(String::from)];
    let mut places: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for row in rows {
        let member = &row.member;
        let up = usize::from(member.in_service);
        places.insert((&member.at, &member.backend), (member.others_in_service + up, member.size));
        let admin = match member.admin {
            Admin::Ready => "in",
            Admin::Drain => "drain",
            Admin::Maint => "out",
        };
        table.push([
            row.server.0.clone(),
            place(member),
            admin.into(),
            clean(&member.status),
            member.sessions.map_or("?".into(), |n| n.to_string()),
            member.since.map_or("-".into(), held::long),
            match (&row.by, member.admin) {
                (_, Admin::Ready) => String::new(),
                (Some(by), _) => by.clone(),
                (None, _) => "not pitcrew, as far as its server knows".into(),
            },
        ]);
    }
    let mut text = String::new();
    if !rows.is_empty() {
        let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        for line in &table {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
    }
    for ((at, backend), (up, all)) in places {
        let backend = if backend.is_empty() { String::new() } else { format!("{backend} on ") };
        text.push_str(&format!("{backend}{at}: {up} of {all} in service\n"));
    }
    for balancer in balancers {
        text.push_str(&format!("balancer {balancer}\n"));
    }
    text
}

fn place(member: &MemberFacts) -> String {
    match member.backend.as_str() {
        "" => member.member.clone(),
        backend => format!("{backend}/{}", member.member),
    }
}

fn told(error: &BalancerError) -> String {
    if error.hint.is_empty() { error.to_string() } else { format!("{error}; {}", error.hint) }
}

/// The first of several, as what ended the verb.
fn first(errors: Vec<BalancerError>) -> Error {
    errors.into_iter().next().map_or_else(|| Error::failed("the balancer said nothing"), balancer_error)
}

fn balancer_error(error: BalancerError) -> Error {
    let text = cause::reason(&error.clone().into());
    let made = if error.unreachable { Error::unreachable(text) } else { Error::failed(text) };
    made.hint(clean(&error.hint))
}
