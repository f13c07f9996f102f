//! `pitcrew check`: everything that would make a deploy fail, all at once.

use clap::Args;

use crate::balancer::MemberFacts;
use crate::cli::{Global, Select, WalkFlags};
use crate::config::{Server, Strategy};
use crate::engine::Stop;
use crate::error::Error;
use crate::event::{Blocker, Failure};
use crate::facts::Facts;
use crate::name::ServerName;
use crate::out;
use crate::outcome::judge as outcome;
use crate::plan::build::build;
use crate::plan::{Plan, Verb, members};
use crate::source::Resolved;
use crate::ssh::{Link, Target};
use crate::stack::absent::Missing;
use crate::stack::gather::{Gathering, gather};
use crate::stack::packing::Building;
use crate::stack::replan;
use crate::stack::request::request;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::text::clean;
use crate::wording::cause;
use crate::wording::warning;

/// Connects everywhere and reports everything that would make a deploy fail, all at once.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Which servers.
    #[command(flatten)]
    select: Select,
}

impl Check {
    /// Connects everywhere, asks everything, changes nothing.
    ///
    /// # Errors
    /// When the configuration is wrong; what is wrong elsewhere is printed, and is the exit code.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare(stack::read(global)?, global).await?;
        let request = request(Verb::Deploy, &WalkFlags::default(), stack.select(&self.select)?)?;
        let stop = Stop::default();
        let asked = Gathering { request, reference: None, execs: Execs::Single, building: Building::Left, stop: &stop };
        let Some(found) = gather(&stack, asked).await else { return Err(Error::failed("interrupted")) };
        let source = found.source.map(|source| source.map(|(resolved, _)| resolved)).map_err(Error::from);
        let mut plan = build(&stack.config, &found.facts, &found.request, jiff::Timestamp::now());
        // Whatever the strategy: a balancer in the file that cannot be asked makes the next serial deploy fail.
        plan.blockers.extend(found.refused.into_iter().map(replan::refused));
        plan.notices.extend(found.notices);
        let drains = plan.strategy != Strategy::Parallel;
        if !drains {
            let servers: Vec<&Server> =
                stack.config.servers.iter().filter(|s| found.request.servers.contains(&s.name)).collect();
            plan.blockers.extend(members::mistaken(&stack.config, &found.facts, &found.facts.members, &servers));
            plan.notices.extend(members::elsewhere(stack.config.servers.iter(), &found.facts.members));
        }
        plan.notices.extend(members::strange(&stack.config, &found.facts));
        plan.notices.extend(members::partial(&stack.config, &found.facts.members));
        let missing = stack.missing_of_dead_runs(&found.facts).await;
        let facts = found.facts;
        let report = Report { stack: &stack, facts: &facts, plan: &plan, missing: &missing };
        out::result(&if global.json { report.json(&source) } else { report.text(&source, global) });
        stack.close().await;
        Ok(match (&source, plan.blockers.is_empty()) {
            (Err(e), true) => e.exit_code(),
            (Ok(_), true) => 0,
            _ => outcome::refused(&plan.blockers),
        })
    }
}

struct Report<'a> {
    stack: &'a Stack,
    facts: &'a Facts,
    plan: &'a Plan,
    /// Servers of dead runs that the file does not name.
    missing: &'a [Missing],
}

impl Report<'_> {
    fn text(&self, source: &Result<Option<Resolved>, Error>, global: &Global) -> String {
        let mut lines = Vec::new();
        let config = &self.stack.config;
        match source {
            Ok(None) => {}
            Ok(Some(resolved)) => {
                let subject = resolved.subject.as_deref().map(clean::clean).unwrap_or_default();
                lines.push(format!("source    {} is {} {subject}", resolved.label, resolved.revision.short()));
            }
            Err(e) => lines.push(format!("source    {e}")),
        }
        let width = config.servers.iter().map(|s| s.name.0.len()).max().unwrap_or(0);
        for server in &config.servers {
            let problems = self.problems(Some(&server.name));
            if problems.is_empty() && global.quiet {
                continue;
            }
            let mark = if problems.is_empty() { "ok" } else { "FAILS" };
            lines.push(format!("{:width$}  {mark:5}  {}", server.name, self.found(&server.name)).trim_end().to_owned());
            lines.extend(problems.iter().flat_map(|f| shown(f)));
            if let Some(link) = self.stack.links.get(&server.name).filter(|_| global.verbose) {
                lines.extend(reached(link));
            }
        }
        for member in &self.facts.members {
            if !global.quiet {
                lines.push(format!(
                    "balancer  {}/{} on {}: {}, {}{} others in service{}",
                    member.backend,
                    member.member,
                    member.at,
                    clean::clean(&member.status),
                    member.sessions.map(|n| format!("{n} sessions, ")).unwrap_or_default(),
                    member.others_in_service,
                    lasting(member)
                ));
            }
        }
        if global.verbose {
            for link in self.stack.balancer_links() {
                lines.push(format!("balancer  at {}", link.target().name));
                lines.extend(reached(link));
            }
            for bastion in self.stack.network.bastions() {
                lines.push(format!("jump host {}", bastion.target().name));
                lines.extend(settings(bastion.target()));
            }
        }
        for failure in self.problems(None) {
            lines.push("the run as a whole  FAILS".into());
            lines.extend(shown(failure));
        }
        for (server, notice) in self.missing {
            lines.push(format!("note: {server}: {}", warning::sentence(notice)));
        }
        for notice in &self.plan.notices {
            lines.push(format!("note: {}", warning::sentence(notice)));
        }
        let count = self.plan.blockers.len() + usize::from(source.is_err());
        match count {
            0 if global.quiet => {}
            0 => lines.push(format!("nothing is in the way of a deploy to {} servers", config.servers.len())),
            1 => lines.push("1 problem is in the way of a deploy".into()),
            n => lines.push(format!("{n} problems are in the way of a deploy")),
        }
        if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" }
    }

    fn json(&self, source: &Result<Option<Resolved>, Error>) -> String {
        let value = serde_json::json!({
            "ok": self.plan.blockers.is_empty() && source.is_ok(),
            "source": match source {
                Ok(None) => serde_json::Value::Null,
                Ok(Some(r)) => serde_json::json!({"revision": r.revision, "label": r.label}),
                Err(e) => serde_json::json!({"error": e.what}),
            },
            "problems": self.plan.blockers,
            "notices": self.plan.notices,
            "missing": missing(self.missing),
            "members": self.facts.members,
            "servers": self.stack.config.servers.iter().map(|s| {
                let f = self.facts.servers.get(&s.name);
                serde_json::json!({
                    "server": s.name,
                    "reached": f.is_some(),
                    "release": f.and_then(|f| f.current.as_ref()),
                    "free_kb": f.and_then(|f| f.free_kb),
                    "ssh": self.stack.links.get(&s.name).map(|l| explained(l.target())),
                })
            }).collect::<Vec<_>>(),
        });
        format!("{value}\n")
    }

    fn problems(&self, server: Option<&ServerName>) -> Vec<&Failure> {
        let of = self.plan.blockers.iter().filter(|b: &&Blocker| b.server.as_ref() == server);
        of.map(|b| &b.failure).collect()
    }

    fn found(&self, server: &ServerName) -> String {
        let Some(f) = self.facts.servers.get(server) else { return String::new() };
        let release = f.current.as_ref().map_or("no release yet".to_owned(), |r| format!("release {r}"));
        let free = f.free_kb.map_or(String::new(), |kb| format!(", {:.1} GB free", kb as f64 / 1_048_576.0));
        let running = match f.processes.len() {
            0 => ", nothing running".to_owned(),
            1 => ", 1 process".to_owned(),
            n => format!(", {n} processes"),
        };
        format!("{}@{}: {release}{running}{free}", f.user, f.root)
    }
}

/// Servers of dead runs that the file does not name, as JSON.
pub fn missing(missing: &[Missing]) -> Vec<serde_json::Value> {
    missing.iter().map(|(server, warning)| serde_json::json!({"server": server, "warning": warning})).collect()
}

/// Tells how a host is reached, setting by setting, and where each comes from.
fn reached(link: &Link) -> Vec<String> {
    let target = link.target();
    let mut lines = vec![format!("    ssh: {}", clean::clean(&target.way_shown()))];
    lines.extend(settings(target));
    lines
}

fn explained(target: &Target) -> serde_json::Value {
    let explained = target.settings.explained.iter();
    explained.map(|e| serde_json::json!({"name": e.name, "value": e.value, "from": e.from.to_string()})).collect()
}

fn settings(target: &Target) -> Vec<String> {
    let explained = target.settings.explained.iter();
    explained.map(|e| format!("    {} {}  ({})", e.name, clean::clean(&e.value), e.from)).collect()
}

/// Says how long a member is expected to be on its way, where that is not soon over.
fn lasting(member: &MemberFacts) -> String {
    match (member.out_takes, member.back_takes) {
        (0, 0) => String::new(),
        (out, back) => format!("; up to {out} s to take it out, about {back} s to put it back"),
    }
}

fn shown(failure: &Failure) -> Vec<String> {
    cause::lines(failure).into_iter().map(|line| format!("    {line}")).collect()
}
