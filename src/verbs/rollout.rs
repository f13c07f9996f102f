//! The rollout that `deploy` and `rollback` share: gather, settle the plan, run it or show it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::cli::Global;
use crate::engine::fetch::Fetch;
use crate::engine::hands::Balance;
use crate::engine::{self, Stop, World};
use crate::error::{Error, Kind};
use crate::event::{Event, Warning};
use crate::out;
use crate::outcome::{Emitter, Reporting, judge as outcome};
use crate::plan::Plan;
use crate::plan::build::Request;
use crate::process::machine::home;
use crate::report;
use crate::script::Owner;
use crate::source::Delivery;
use crate::stack::gather::{self, Gathered, gather};
use crate::stack::packing::Building;
use crate::stack::replan::{Draft, Settled};
use crate::stack::reporters::{self, Reporters};
use crate::stack::survey::Execs;
use crate::stack::waiting::Waiting;
use crate::stack::{self, Stack, scripts, sending};

/// What was asked for, beyond what the plan decides on.
pub struct Asked {
    /// What the plan decides on.
    pub request: Request,
    /// `deploy REF`.
    pub reference: Option<String>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// `--wait-lock`.
    pub wait: Option<Duration>,
}

/// Carries out a request, or prints the plan that would run.
///
/// # Errors
/// When something ended it before there was a plan.
pub async fn run(global: &Global, stack: &Stack, asked: Asked) -> Result<u8, Error> {
    if asked.dry_run { show(global, stack, asked).await } else { carry_out(global, stack, asked).await }
}

async fn carry_out(global: &Global, stack: &Stack, asked: Asked) -> Result<u8, Error> {
    let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
    let Reporters { all, trouble } = reporters::of_run(global, stack, &owner.run);
    let reporting = Reporting::start(owner.run.clone(), all);
    let begun = Begun::new(global, stack, owner, &reporting)?;
    let quiet = global.quiet || global.json;
    let building = Building::Done { run: &begun.owner.run, emitter: &begun.emitter, quiet };
    let (wait, asked) = (asked.wait, begun.asked(asked, Execs::Ready, building));
    let (mut draft, delivery) = begun.draft(gather(stack, asked).await.ok_or_else(interrupted)?);
    draft.notices.splice(0..0, trouble);
    let settled = draft.settle(&begun.waiting(wait)).await;
    let (world, plan) = begun.world(settled, delivery.as_ref());
    engine::run(world, plan).await;
    stack.close().await;
    let finished = spawn_blocking(move || reporting.finish()).await;
    finished.map(|f| f.exit_code).map_err(|e| Error::failed(format!("cannot tell how the run ended: {e}")))
}

/// Prints the plan that would run; leaves no trace, here either.
async fn show(global: &Global, stack: &Stack, asked: Asked) -> Result<u8, Error> {
    let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
    let reporting = Reporting::start(owner.run.clone(), Vec::new());
    let begun = Begun::new(global, stack, owner, &reporting)?;
    let asked = begun.asked(asked, Execs::Single, Building::Left);
    let gathered = gather(stack, asked).await.ok_or_else(interrupted)?;
    let shown = if begun.stop.asked() { Err(interrupted()) } else { begun.foresee(gathered).await };
    stack.close().await;
    shown
}

/// A run that can report, and is not planned yet.
struct Begun<'a> {
    global: &'a Global,
    stack: &'a Stack,
    owner: Owner,
    stop: Stop,
    emitter: Emitter,
}

impl<'a> Begun<'a> {
    fn new(global: &'a Global, stack: &'a Stack, owner: Owner, reporting: &Reporting) -> Result<Self, Error> {
        let (stop, emitter) = (Stop::default(), reporting.emitter());
        emitter.plan_first();
        emitter.redact(stack.redactor.clone());
        emitter.flags(&reporters::flags(global));
        stop.listen(&emitter).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
        Ok(Self { global, stack, owner, stop, emitter })
    }

    fn asked<'b>(&'b self, asked: Asked, execs: Execs, building: Building<'b>) -> gather::Gathering<'b> {
        let Asked { request, reference, .. } = asked;
        gather::Gathering { request, reference, execs, building, stop: &self.stop }
    }

    fn waiting(&self, wait: Option<Duration>) -> Waiting<'_> {
        Waiting { stack: self.stack, owner: &self.owner, wait, stop: &self.stop, quiet: self.global.quiet }
    }

    /// Takes the source out of what was gathered.
    ///
    /// A source that cannot be used blocks the run, so that the run's log says so.
    fn draft(&self, gathered: Gathered) -> (Draft, Option<Delivery>) {
        let Gathered { request, facts, refused, source, mut notices } = gathered;
        let (delivery, blocker) = match source {
            Ok(Some((resolved, delivery))) => {
                let delivery = delivery.remembering(trees());
                notices.extend(resolved.notes.into_iter().map(|text| Warning::Note { text }));
                self.emitter.redact(self.stack.redactor.and(&delivery.secrets()));
                (Some(delivery), None)
            }
            Ok(None) => (None, None),
            Err(e) => (None, Some(e.blocker())),
        };
        (Draft { request, facts, refused, blocker, notices }, delivery)
    }

    async fn foresee(self, mut gathered: Gathered) -> Result<u8, Error> {
        gathered.source = Ok(gathered.source?);
        let servers = gathered.request.servers.clone();
        let (draft, delivery) = self.draft(gathered);
        let mut settled = draft.foresee(&self.waiting(None)).await;
        if let Some(package) = delivery.as_ref().and_then(Delivery::package) {
            settled.plan.notices.extend(sending::foreseen(package, &settled.facts, &servers).await);
        }
        let (global, stack) = (self.global, self.stack);
        let (world, plan) = self.world(settled, delivery.as_ref());
        print(global, stack, &world, &plan);
        Ok(outcome::refused(&plan.blockers))
    }

    fn world(self, settled: Settled, delivery: Option<&Delivery>) -> (World, Plan) {
        let Settled { plan, facts, held } = settled;
        let stack = self.stack;
        let world = World {
            config: stack.config.clone(),
            facts,
            hands: stack.hosts.clone(),
            balancer: stack.balancer.clone().map(|balancer| -> Arc<dyn Balance> { balancer }),
            fetch: delivery.and_then(Fetch::of),
            package: delivery.and_then(Delivery::package).cloned(),
            run: self.owner.run.clone(),
            owner: self.owner,
            roster: stack.roster(),
            held,
            env: stack.env.clone(),
            emitter: self.emitter,
            stop: self.stop,
        };
        (world, plan)
    }
}

/// Returns where the listings of sent trees are kept: `$XDG_CACHE_HOME/pitcrew/trees`.
fn trees() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute);
    let cache = cache.or_else(|| home().ok().filter(absolute).map(|home| home.join(".cache")))?;
    Some(cache.join("pitcrew/trees"))
}

fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") }
}

/// Prints the very plan that would run.
fn print(global: &Global, stack: &Stack, world: &World, plan: &Plan) {
    let planned = engine::run::planned(world, plan);
    if global.json {
        let stamped = world.emitter.stamp(Event::Planned(planned));
        if let Ok(line) = serde_json::to_string(&stamped) {
            out::result(&format!("{line}\n"));
        }
        return;
    }
    let mut text = report::plan::text(plan, &stack.config.app.name, &stack.config.web.name);
    if global.verbose {
        text.push_str(&scripts::text(stack, plan, &world.run));
    }
    out::result(&text);
}
