//! `pitcrew recover`: unwinds what a dead run left, from any machine that has the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use tokio::task::spawn_blocking;

use crate::cli::Global;
use crate::engine::hands::Balance;
use crate::engine::recover::{self, Taken};
use crate::engine::{self, Running, Stop, World};
use crate::error::{Error, Kind};
use crate::event::{Event, RunVerb, Stuck, Warning};
use crate::facts::Facts;
use crate::lease;
use crate::name::{RunId, ServerName};
use crate::out;
use crate::outcome::Reporting;
use crate::plan::journal::Wreck;
use crate::script::Owner;
use crate::stack::reporters::{self, Reporters};
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::wording::{cause, lock as held};

/// Takes back what a dead run had in flight, puts back what is proven good, and releases its lock.
#[derive(Debug, Clone, Args)]
pub struct Recover {
    /// Takes the lock over even when its holder may be alive.
    #[arg(long)]
    force: bool,
}

impl Recover {
    /// Takes back what a dead run had in flight, and releases its lock.
    ///
    /// # Errors
    /// When the run may be alive, or nothing could be reached.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare(stack::read(global)?, global).await?;
        let stop = Stop::default();
        let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
        // Until there is something to report, a signal simply ends it.
        let (facts, _) = stack.facts(Execs::Single, &stop.soft).await;
        let Some(dead) = dead_run(&stack, &facts, self.force)? else {
            stack.close().await;
            return nothing(global, &facts);
        };
        let held = held_for(&stack, &facts, &dead);
        let names = |held: &[(ServerName, RunId)]| held.iter().map(|(s, _)| s.clone()).collect::<Vec<_>>();

        let Reporters { all, trouble } = reporters::of_run(global, &stack, &owner.run);
        let reporting = Reporting::start(owner.run.clone(), all);
        let emitter = reporting.emitter();
        emitter.redact(stack.redactor.clone());
        emitter.flags(&reporters::flags(global));
        stop.listen(&emitter).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;

        let world = |facts: Facts, owner: Owner| World {
            config: stack.config.clone(),
            facts,
            hands: stack.hosts.clone(),
            balancer: stack.balancer.clone().map(|balancer| -> Arc<dyn Balance> { balancer }),
            package: None,
            fetch: None,
            run: owner.run.clone(),
            owner,
            roster: stack.roster(),
            held: Vec::new(),
            env: stack.env.clone(),
            emitter: emitter.clone(),
            stop: stop.clone(),
        };
        let none = BTreeSet::new();
        let read = |facts: &Facts, token: &RunId, healthy: &BTreeSet<ServerName>| {
            Wreck::read(&stack.config, facts, token, healthy).unwrap_or_else(|| Wreck::of_nothing(&names(&held)))
        };
        let wreck = read(&facts, &dead, &none);
        let begun = wreck.records;
        let taking = Arc::new(Running::new(world(facts.clone(), owner.clone()), wreck.plan));
        let mut planned = engine::run::planned(&taking.world, &taking.plan);
        planned.verb = RunVerb::Recover;
        emitter.emit(Event::Planned(planned));
        trouble.into_iter().for_each(|trouble| taking.say(trouble));
        for (server, failure) in &facts.unreachable {
            taking.cannot_reach(server, failure.clone());
        }
        let found = read_anew(&stack, &taking, &held, &dead).await;
        for (server, warning) in stack.missing(&facts, &dead).await {
            emitter.emit(Event::Warning { server: Some(server), warning });
        }
        if matches!(found, Err(Taken::Failed)) {
            recover::tell(&taking, begun);
        }
        if let Ok(mut again) = found {
            again.unreachable.retain(|s, _| held.iter().any(|(h, _)| h == s));
            for (server, failure) in &again.unreachable {
                taking.cannot_reach(server, failure.clone());
            }
            let mut wreck = read(&again, &owner.run, &none);
            // The release remains the work of the person who began it.
            let owner = Owner { who: wreck.who.clone().unwrap_or(owner.who), ..owner };
            let running = |wreck| Arc::new(Running::inheriting(world(again.clone(), owner.clone()), wreck));
            if !wreck.unproven.is_empty() {
                let healthy = recover::healthy(&running(wreck.clone()), &wreck.unproven).await;
                wreck = read(&again, &owner.run, &healthy);
            }
            if !wreck.differ.is_empty() {
                let undecided = wreck.differ.iter().any(|server| wreck.unreadable.contains(server));
                taking.say(Warning::PlanDiffers { on: wreck.differ.clone(), undecided });
            }
            let (failing, unreadable) = (wreck.failing, wreck.unreadable.clone());
            recover::run(&running(wreck), failing, &unreadable).await;
        }
        stack.close().await;
        let finished = spawn_blocking(move || reporting.finish()).await;
        finished.map(|f| f.exit_code).map_err(|e| Error::failed(format!("cannot tell how the recovery ended: {e}")))
    }
}

/// Takes over every lock that guards the dead run's work, and reads what it left.
///
/// # Errors
/// Another run recovers it, or nothing could be read.
async fn read_anew(
    stack: &Stack,
    taking: &Arc<Running>,
    held: &[(ServerName, RunId)],
    dead: &RunId,
) -> Result<Facts, Taken> {
    let again = match take_over(stack, taking, held, dead).await {
        Ok(again) => again,
        // Another run recovers it, and says how that ends.
        Err(Taken::Anothers) => return Err(Taken::Anothers),
        Err(_) => None,
    };
    let again = match again {
        Some(again) if held.iter().any(|(server, _)| again.servers.contains_key(server)) => return Ok(again),
        again => again,
    };
    // However far it got, each server is still locked, and the next recovery begins there.
    for (server, _) in held {
        if let Some(failure) = again.as_ref().and_then(|again| again.unreachable.get(server)) {
            taking.cannot_reach(server, failure.clone());
        }
        taking.stuck(server, Stuck::LockKept);
    }
    Err(Taken::Failed)
}

/// Takes over every lock that guards the dead run's work, and asks again.
///
/// The error says that a lock was refused.
async fn take_over(
    stack: &Stack,
    taking: &Arc<Running>,
    held: &[(ServerName, RunId)],
    dead: &RunId,
) -> Result<Option<Facts>, Taken> {
    let mut late = held.to_vec();
    let mut first = true;
    for _ in 0..TAKEOVERS {
        if late.is_empty() {
            return Ok(None);
        }
        match recover::take_over(taking, &late, dead).await {
            Taken::All => {}
            Taken::Anothers if !first => return Err(Taken::Failed),
            other => return Err(other),
        }
        first = false;
        // Asked again: processes of the dead run may have changed something until they were ended, or only now have taken
        // a lock.
        let (again, _) = stack.facts(Execs::Single, &taking.world.stop.hard).await;
        late = held_for(stack, &again, dead);
        late.retain(|(_, holder)| *holder != taking.world.run);
        if late.is_empty() {
            return Ok(Some(again));
        }
    }
    // No dead run does that.
    taking.say(Warning::StillLocked { servers: late.into_iter().map(|(server, _)| server).collect() });
    Err(Taken::Failed)
}

/// So often a lock is taken over from a server that names another holder each time.
const TAKEOVERS: usize = 5;

/// Finds the first run, in the order of the file, that left a lock behind.
fn dead_run(stack: &Stack, facts: &Facts, force: bool) -> Result<Option<RunId>, Error> {
    let mut dead = None;
    for server in &stack.config.servers {
        let Some(lock) = facts.servers.get(&server.name).and_then(|f| f.lock.as_ref()) else { continue };
        let standing = lease::judge(lock);
        match standing {
            lease::Standing::Frozen { .. } | lease::Standing::Expired => {}
            _ if standing.is_left_behind() || force => {
                dead.get_or_insert_with(|| RunId(lock.origin().to_owned()));
            }
            _ => {
                let told = held::locked(&lease::held(lock));
                return Err(Error { kind: Kind::Locked, ..Error::failed(format!("{}: {told}", server.name)) }
                    .hint("a run that lives takes back itself what it did: interrupt it with Ctrl-C, or kill -INT")
                    .hint("--force takes its lock over all the same"));
            }
        }
    }
    Ok(dead)
}

/// Lists the servers whose lock guards that run's work, in the order of the file, and each holder.
fn held_for(stack: &Stack, facts: &Facts, run: &RunId) -> Vec<(ServerName, RunId)> {
    let held = |s: &ServerName| {
        let lock = facts.servers.get(s)?.lock.as_ref()?;
        let wanted = !lock.owner.contains_key("freeze") && lock.origin() == run.0;
        wanted.then(|| (s.clone(), RunId(lock.run().to_owned())))
    };
    stack.config.servers.iter().filter_map(|s| held(&s.name)).collect()
}

/// Ends where no server that could be reached is locked.
fn nothing(global: &Global, facts: &Facts) -> Result<u8, Error> {
    for (server, failure) in &facts.unreachable {
        out::notice(&format!("{server}: {}", cause::reason(&failure.cause)));
    }
    if !facts.unreachable.is_empty() {
        return Err(Error::unreachable("no dead run has left its lock on the servers that could be reached")
            .hint("run it again when the others are back"));
    }
    if !global.quiet {
        out::notice("nothing to recover: no dead run has left its lock");
    }
    Ok(0)
}
