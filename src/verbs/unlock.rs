//! `pitcrew unlock`: ends a freeze, or removes the lock that a dead or stuck run left behind.

use clap::Args;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, Select};
use crate::error::{Error, Kind};
use crate::event::Failure;
use crate::facts::Facts;
use crate::lease::LockFacts;
use crate::lease::{self, Standing};
use crate::name::{RunId, ServerName};
use crate::out;
use crate::script::calls;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::verbs::ours;
use crate::wording::{cause, lock as held};

/// Ends a freeze, or removes the lock that a dead or stuck run left behind.
#[derive(Debug, Clone, Args)]
pub struct Unlock {
    /// Removes it even when its holder may be at work, or has changes that `recover` would take back.
    #[arg(long)]
    force: bool,
    /// The run that holds the lock, as the refusal showed it.
    run: Option<String>,
    /// Which servers.
    #[command(flatten)]
    select: Select,
}

impl Unlock {
    /// Removes the stack's lock from every server, and says whose it was.
    ///
    /// A run that may be at work keeps it, and so does a dead one that has changed something, unless `force`. With `run`, only
    /// that run's lock is removed.
    ///
    /// # Errors
    /// When a server cannot be reached or a lock is kept; then none is removed.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare_to_look(stack::read(global)?, global).await?;
        let never = CancellationToken::new();
        let wanted = stack.select(&self.select)?;
        let facts = stack.servers(Execs::Single, &never).await;
        let end =
            unlock(&stack, &Asked { global, wanted: &wanted, force: self.force, run: self.run.as_deref() }, &facts)
                .await;
        stack.close().await;
        end
    }
}

struct Asked<'a> {
    global: &'a Global,
    wanted: &'a [ServerName],
    force: bool,
    run: Option<&'a str>,
}

async fn unlock(stack: &Stack, asked: &Asked<'_>, facts: &Facts) -> Result<u8, Error> {
    ours::refuse_others(&stack.config.app.name, facts, asked.wanted)?;
    let mut worst = None;
    for (server, failure) in facts.unreachable.iter().filter(|(s, _)| asked.wanted.contains(s)) {
        out::notice(&format!("{server}: {}", cause::reason(&failure.cause)));
        worst = Some(Error::unreachable("not every server could be reached").hint("run it again when they are back"));
    }
    let mut locks: Vec<(&ServerName, &LockFacts)> = Vec::new();
    for server in asked.wanted {
        let Some(found) = facts.servers.get(server) else { continue };
        let Some(lock) = found.lock.as_ref().filter(|l| asked.run.is_none_or(|r| r == l.run())) else { continue };
        if !asked.force {
            refuse(server, lock, &found.journal)?;
        }
        locks.push((server, lock));
    }
    let mut released = Vec::new();
    // The deciding lock last: the run that gets it finds the others free.
    let (lead, rest) = locks.split_at(locks.len().min(1));
    for group in [rest, lead] {
        let ended =
            join_all(group.iter().map(|(server, lock)| async { (*server, *lock, release(stack, server, lock).await) }));
        for (server, lock, end) in ended.await {
            match end {
                Ok(()) => released.push((server, lock)),
                Err(failure) => {
                    out::notice(&format!("{server}: {}", cause::lines(&failure).join("\n  ")));
                    worst = Some(Error::failed("not every lock could be removed"));
                }
            }
        }
    }
    tell(asked, &released, worst.is_some());
    worst.map_or(Ok(0), Err)
}

async fn release(stack: &Stack, server: &ServerName, lock: &LockFacts) -> Result<(), Failure> {
    let never = CancellationToken::new();
    stack.ask(server, calls::unlock(&stack.site(), &RunId(lock.run().to_owned())), &never).await.map(drop)
}

/// Refuses to remove a lock that a run needs.
fn refuse(server: &ServerName, lock: &LockFacts, journal: &[String]) -> Result<(), Error> {
    const FORCE: &str = "--force removes its lock all the same";
    let standing = lease::judge(lock);
    let told = held::locked(&lease::held(lock));
    let locked = |what: String| Err(Error { kind: Kind::Locked, ..Error::usage(what) });
    if standing.may_be_at_work() {
        return locked(format!("{server} is {told}")).map_err(|e: Error| {
            e.hint("interrupt that run (Ctrl-C, or kill -INT), and it takes back what it did").hint(FORCE)
        });
    }
    // A stuck run has told a person what it left; a dead run has told no one.
    if matches!(standing, Standing::Dead { .. } | Standing::Silent { .. }) && has_changed_something(journal) {
        return locked(format!("{server} is {told}, and it has changed what is served there"))
            .map_err(|e: Error| e.hint("`pitcrew recover` takes that back, and releases the lock").hint(FORCE));
    }
    Ok(())
}

/// Tells whether the journal names more than preparations.
///
/// A line is the time, the script, and what it changed.
fn has_changed_something(journal: &[String]) -> bool {
    let scripts = ["drain", "switch", "restart", "stop", "restore"];
    journal.iter().any(|line| line.split(' ').skip(1).take(3).any(|word| scripts.contains(&word)))
}

fn tell(asked: &Asked<'_>, released: &[(&ServerName, &LockFacts)], trouble: bool) {
    if asked.global.json {
        let all = released.iter().map(|(server, lock)| serde_json::json!({"server": server, "was": lease::held(lock)}));
        out::result(&format!("{}\n", serde_json::json!({"unlocked": all.collect::<Vec<_>>()})));
        return;
    }
    if asked.global.quiet {
        return;
    }
    for (server, lock) in released {
        out::notice(&format!("{server}: unlocked; it was {}", held::locked(&lease::held(lock))));
    }
    if released.is_empty() && !trouble {
        match asked.run {
            Some(run) => out::notice(&format!("no server is locked by run {run}")),
            None => out::notice("no server is locked"),
        }
    }
}
