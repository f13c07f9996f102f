//! `pitcrew check`: everything that would make a deploy fail, all at once.

use clap::Args;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::balancer::{BalancerError, MemberFacts};
use crate::cli::{Global, Select, StrategyFlags, WalkFlags};
use crate::config::{Config, Probe, Server, SourceKind, Strategy};
use crate::engine::Stop;
use crate::error::Error;
use crate::event::{Blocker, DecidedBy, Failure, Finding, Warning};
use crate::facts::Facts;
use crate::name::ServerName;
use crate::out;
use crate::outcome::judge as outcome;
use crate::outcome::mask::mask_told;
use crate::plan::build::build;
use crate::plan::{Plan, Verb, findings, members};
use crate::source::Resolved;
use crate::ssh::{Link, Target};
use crate::stack::absent::Missing;
use crate::stack::gather::{Gathering, gather};
use crate::stack::packing::Building;
use crate::stack::replan;
use crate::stack::request::request;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::text::{clean, units};
use crate::verbs::health::HealthQuestions;
use crate::wording::{cause, plan as plan_words, warning};

/// Connects everywhere and reports everything that would make a deploy fail, all at once.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Which servers.
    #[command(flatten)]
    select: Select,
    /// How the run that is asked about would walk them.
    #[command(flatten)]
    strategy: StrategyFlags,
}

impl Check {
    /// Connects everywhere, asks everything, changes nothing.
    ///
    /// # Errors
    /// When the configuration is wrong; what is wrong elsewhere is printed, and is the exit code.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare(stack::read(global)?, global).await?;
        let walk = WalkFlags { strategy: self.strategy.clone(), ..WalkFlags::default() };
        let request = request(Verb::Deploy, &walk, stack.select(&self.select)?)?;
        let stop = Stop::default();
        let asked = Gathering { request, reference: None, execs: Execs::Single, building: Building::Left, stop: &stop };
        let Some(found) = gather(&stack, asked).await else { return Err(Error::failed("interrupted")) };
        let source = found.source.map(|source| source.map(|(resolved, _)| resolved)).map_err(Error::from);
        let mut plan = build(&stack.config, &found.facts, &found.request, jiff::Timestamp::now());
        plan.notices.extend(found.notices);
        tell_balancers(&stack.config, &found.facts, found.refused, &mut plan);
        tell_findings(&stack, &found.facts, &mut plan).await;
        mask_told(&stack.redactor, &mut plan.notices, &mut plan.blockers);
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

/// Adds what is wrong with balancers and their members.
fn tell_balancers(config: &Config, facts: &Facts, refused: Vec<BalancerError>, plan: &mut Plan) {
    if plan.strategy == Strategy::Parallel && plan.decided_by == DecidedBy::Flag {
        // That very run asks no balancer.
        plan.notices.extend(refused.iter().map(|e| Warning::BalancerUnusable { detail: e.to_string() }));
        return;
    }
    // Whatever the strategy: a balancer in the file that cannot be asked makes the next serial deploy fail.
    plan.blockers.extend(refused.into_iter().map(replan::refused));
    if plan.strategy == Strategy::Parallel {
        let servers = of_run(config, plan);
        plan.blockers.extend(members::mistaken(config, facts, &facts.members, &servers));
        plan.notices.extend(members::elsewhere(config.servers.iter(), &facts.members));
    }
    plan.notices.extend(members::strange(config, facts));
    plan.notices.extend(members::partial(config, &facts.members));
}

/// The servers that the run rolls out.
fn of_run<'a>(config: &'a Config, plan: &Plan) -> Vec<&'a Server> {
    config.servers.iter().filter(|s| plan.batches.iter().flatten().any(|name| *name == s.name)).collect()
}

/// Asks the servers of the run for their health, and adds what a person should read of them.
async fn tell_findings(stack: &Stack, facts: &Facts, plan: &mut Plan) {
    let config = &stack.config;
    let servers = of_run(config, plan);
    let questions = HealthQuestions { stack, facts, verb: "check" };
    // A command has no place to run in before there is a release.
    let is_command = config.health.as_ref().is_some_and(|health| matches!(health.probe, Probe::Command(_)));
    let can_answer = |s: &&&Server| facts.servers.get(&s.name).is_some_and(|f| !is_command || f.current.is_some());
    let asked: Vec<&Server> = servers.iter().filter(can_answer).copied().collect();
    let never = CancellationToken::new();
    let answers = join_all(asked.iter().map(|s| questions.once(s, &never))).await;
    let answers = asked.iter().zip(answers).filter_map(|(s, answer)| Some((s.name.clone(), answer?))).collect();
    // Told anew, with what the health check says of it.
    plan.notices.retain(|notice| !matches!(notice, Warning::Finding(Finding::Unseen { .. })));
    plan.notices.extend(findings::all(config, facts, &servers, &answers).into_iter().map(Warning::Finding));
    plan.notices.extend(migrations_unrun(stack).map(Warning::Finding));
}

/// Finds migrations in a source of this machine that no `[migrate]` runs.
fn migrations_unrun(stack: &Stack) -> Option<Finding> {
    let config = &stack.config;
    if config.migrate.is_some() || config.source.kind != SourceKind::Push {
        return None;
    }
    let root = config.base.join(&config.source.path);
    let is_there =
        |directory: &&&str| root.join(directory).read_dir().is_ok_and(|mut entries| entries.next().is_some());
    let directory = MIGRATIONS.iter().find(is_there)?;
    Some(Finding::MigrationsUnrun { directory: (*directory).to_owned() })
}

/// Where Rails, Alembic, Laravel, Prisma and the like keep migrations.
const MIGRATIONS: [&str; 5] =
    ["db/migrate", "migrations/versions", "alembic/versions", "database/migrations", "prisma/migrations"];

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
        if !global.quiet {
            let Plan { strategy, decided_by, .. } = self.plan;
            lines.push(format!("strategy  {}", plan_words::strategy(*strategy, *decided_by, &config.web.name)));
        }
        self.servers(global, width, &mut lines);
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
            0 => {
                let servers = self.plan.batches.iter().map(Vec::len).sum();
                lines.push(format!("nothing is in the way of a deploy to {}", units::count(servers, "server")));
            }
            1 => lines.push("1 problem is in the way of a deploy".into()),
            n => lines.push(format!("{n} problems are in the way of a deploy")),
        }
        if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" }
    }

    fn json(&self, source: &Result<Option<Resolved>, Error>) -> String {
        let value = serde_json::json!({
            "ok": self.plan.blockers.is_empty() && source.is_ok(),
            "strategy": self.plan.strategy,
            "decided_by": self.plan.decided_by,
            "batches": self.plan.batches,
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

    /// Tells how each server stands; those that fail for one cause together.
    fn servers(&self, global: &Global, width: usize, lines: &mut Vec<String>) {
        let config = &self.stack.config;
        let mut told: Vec<&ServerName> = Vec::new();
        for server in &config.servers {
            let problems = self.problems(Some(&server.name));
            if told.contains(&&server.name) {
                continue;
            }
            let alike = if global.verbose { Vec::new() } else { self.alike(&server.name) };
            if let [failure] = problems.as_slice()
                && !alike.is_empty()
            {
                let all: Vec<&str> = [&server.name].into_iter().chain(alike.clone()).map(ServerName::as_str).collect();
                lines.push(format!("{}  FAIL", clean::clean(&units::names(&all, 8))));
                lines.extend(shown(failure));
                told.extend(alike);
                continue;
            }
            // What the run leaves alone is locked all the same.
            if problems.is_empty() && (global.quiet || self.plan.bystanders.contains(&server.name)) {
                continue;
            }
            if problems.is_empty() && !self.facts.servers.contains_key(&server.name) {
                lines.push(format!("{:width$}  -      left out, and could not be asked", server.name));
                continue;
            }
            let mark = if problems.is_empty() { "ok" } else { "FAILS" };
            lines.push(format!("{:width$}  {mark:5}  {}", server.name, self.found(&server.name)).trim_end().to_owned());
            lines.extend(problems.iter().flat_map(|f| shown(f)));
            if let Some(link) = self.stack.links.get(&server.name).filter(|_| global.verbose) {
                lines.extend(reached(link));
            }
        }
    }

    /// Lists the servers after this one whose only problem is this one's.
    fn alike(&self, server: &ServerName) -> Vec<&ServerName> {
        let alone = |name| match self.problems(Some(name)).as_slice() {
            [failure] => Some(*failure),
            _ => None,
        };
        let Some(failure) = alone(server) else { return Vec::new() };
        let later = self.stack.config.servers.iter().map(|s| &s.name).skip_while(|name| *name != server).skip(1);
        later.filter(|name| alone(name).is_some_and(|f| cause::is_one((server, failure), (name, f)))).collect()
    }

    fn problems(&self, server: Option<&ServerName>) -> Vec<&Failure> {
        let of = self.plan.blockers.iter().filter(|b: &&Blocker| b.server.as_ref() == server);
        of.map(|b| &b.failure).collect()
    }

    fn found(&self, server: &ServerName) -> String {
        let Some(f) = self.facts.servers.get(server) else { return String::new() };
        let release = f.current.as_ref().map_or("no release yet".to_owned(), |r| format!("release {r}"));
        let free = f.free_kb.map_or(String::new(), |kb| format!(", {:.1} GB free", kb as f64 / 1_048_576.0));
        let hidden = f.processes.iter().filter(|p| p.hidden.is_some()).count();
        let hidden = if hidden == 0 { String::new() } else { format!(" ({hidden} hidden)") };
        let running = match f.processes.len() {
            0 => ", nothing running".to_owned(),
            1 => format!(", 1 process{hidden}"),
            n => format!(", {n} processes{hidden}"),
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
