//! From a request to its end: source and facts at once, then the plan, then the run.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::out;
use crate::balancer::BalancerError;
use crate::cli::{self, Global};
use crate::engine::fetch::Fetch;
use crate::engine::{self, Stop, World};
use crate::error::{Error, Kind};
use crate::event::{Blocker, Cause, Event, StepName, Warning};
use crate::facts::Facts;
use crate::name::RunId;
use crate::plan::build::{Request, build};
use crate::plan::{Plan, Verb, past};
use crate::report::lines::Verbosity;
use crate::report::log::{self, RunLog};
use crate::report::paint::Color;
use crate::report::{Reporting, Wanted, outcome, reporters};
use crate::source::Delivery;
use crate::stack::packing::{Building, Packing};
use crate::stack::waiting::{Waited, Waiting};
use crate::stack::{self, Stack};
use crate::stack::{capacity, scripts, sending};

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

/// Runs it, or prints what would run.
///
/// # Errors
/// Whatever ended it before there was a plan.
pub async fn run(global: &Global, mut stack: Stack, asked: Asked) -> Result<u8, Error> {
    let Asked { mut request, reference, dry_run, wait } = asked;
    stack.stands = !dry_run;
    let owner = stack::owner(command_line(), stack.config.timeouts.lease);
    let stop = Stop::default();
    // A dry run leaves no trace, here either.
    let (all, trouble) = if dry_run { (Vec::new(), None) } else { told(global, &stack, &owner.run) };
    let reporting = Reporting::start(owner.run.clone(), all);
    let emitter = reporting.emitter();
    emitter.plan_first();
    emitter.redact(stack.redactor.clone());
    emitter.flags(&flags(global));
    stop.listen(&emitter).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;

    let building = match dry_run {
        true => Building::Left,
        false => Building::Done { run: &owner.run, emitter: &emitter, quiet: global.quiet || global.json },
    };
    let packing = (request.verb == Verb::Deploy).then(|| Packing::start(&stack, reference, &stop, building));
    let packed = async {
        match packing {
            Some(packing) => packing.end().await.map(Some),
            None => Ok(None),
        }
    };
    let asked = async { tokio::join!(stack.facts(&stop.soft), packed) };
    let Some(((mut facts, refused), packed)) = stop.unless_hard(asked).await else { return Err(interrupted()) };
    if stop.asked() && dry_run {
        stack.close().await;
        return Err(interrupted());
    }
    let note = |text| Warning::Note { text };
    let mut notices: Vec<Warning> = trouble.into_iter().map(note).collect();
    if request.verb == Verb::Deploy {
        notices.extend(stack.lends_nothing());
    }
    let mut unpacked = None;
    let delivery = match packed {
        Ok(Some((resolved, delivery))) => {
            request.revision = Some(resolved.revision);
            request.size = delivery.package().map(|p| (p.unpacked, p.entries));
            let delivery = delivery.remembering(trees());
            notices.extend(resolved.notes.into_iter().map(note));
            emitter.redact(stack.redactor.and(&delivery.secrets()));
            Some(delivery)
        }
        Ok(None) => None,
        Err(e) if dry_run => {
            stack.close().await;
            return Err(e.into());
        }
        // Told as a run that came to nothing: its log says so, and who waits for word of it gets one.
        Err(e) => {
            unpacked = Some(e.blocker());
            None
        }
    };
    let plan_anew = |facts: &Facts, refused: Vec<BalancerError>, request: &Request| {
        // Told of loudly: whoever drains next cannot.
        let text = |e: &BalancerError| format!("{e}; nobody is drained in this run, so it goes on");
        let told: Vec<Warning> = refused.iter().map(|e| Warning::Note { text: text(e) }).collect();
        let mut plan = build(&stack.config, facts, request, jiff::Timestamp::now());
        plan.blockers.splice(0..0, unpacked.clone());
        if plan.strategy != crate::config::Strategy::Parallel {
            plan.blockers.extend(refused.into_iter().map(balancer_blocker));
        }
        plan.notices.extend(told.into_iter().filter(|_| plan.strategy == crate::config::Strategy::Parallel));
        plan
    };
    let mut plan = plan_anew(&facts, refused, &request);
    let mut held = Vec::new();
    let may_help = plan.blockers.iter().any(is_lock) && plan.blockers.iter().all(may_pass);
    let waiting =
        Waiting { stack: &stack, owner: &owner, wait: wait.unwrap_or_default(), stop: &stop, quiet: global.quiet };
    let taken = if wait.is_some() && may_help && !dry_run {
        waiting.wait(&facts).await.map(|waited| match waited {
            Some(Waited::Taken { held, waited, whose }) => {
                notices.push(Warning::Waited { seconds: waited.as_secs(), held: whose });
                Some(held)
            }
            _ => Some(Vec::new()),
        })
    } else if !plan.skipped.is_empty() && plan.blockers.is_empty() && !dry_run {
        waiting.take_first(&facts).await.map(Some)
    } else {
        Ok(None)
    };
    let taken = match taken {
        Ok(taken) => taken,
        // Interrupted; what was taken is given back, or named.
        Err(e) => {
            notices.extend(e.hints.into_iter().map(note));
            None
        }
    };
    if let Some(taken) = taken {
        held = taken;
        request.holder = (!held.is_empty()).then(|| owner.run.clone());
        // Whoever held the lock may have deployed.
        let found = stop.unless_hard(waiting.meanwhile(&held, stack.facts(&stop.soft))).await;
        // Interrupted, the run ends before it begins: it releases what is held, and names what it could not.
        if let Some((found, refused)) = found.filter(|_| !stop.asked()) {
            facts = found;
            plan = plan_anew(&facts, refused, &request);
        }
    }
    if !dry_run && !stop.asked() && plan.strategy != crate::config::Strategy::Parallel {
        let waited = capacity::wait(&stack, &plan, &mut facts, &stop, global.quiet);
        let waited = stop.unless_hard(waiting.meanwhile(&held, waited)).await.flatten();
        if let Some(waited) = waited.filter(|_| !stop.asked()) {
            plan = plan_anew(&facts, Vec::new(), &request);
            notices.push(waited);
        }
    }
    if stop.asked() {
        // What was not asked to its end, or cut short, is in nobody's way.
        plan.blockers.clear();
    }
    if request.verb == Verb::Rollback
        && plan.blockers.is_empty()
        && !stop.asked()
        && let Some((server, _)) = plan.previous.first()
    {
        let lines = stop.unless_hard(stack.history(server, &stop.soft)).await.and_then(Result::ok).unwrap_or_default();
        notices.push(past::of(&plan.release, &lines, jiff::Timestamp::now()));
    }
    plan.notices.extend(notices);
    if let (true, Some(package)) = (dry_run, delivery.as_ref().and_then(Delivery::package)) {
        let said = sending::foreseen(package, &facts, &request.servers).await;
        plan.notices.extend(said.map(note));
    }
    let world = World {
        config: stack.config.clone(),
        facts,
        links: stack.links.clone(),
        standings: stack.standings.clone(),
        balancer: stack.balancer.clone(),
        fetch: delivery.as_ref().and_then(Fetch::of),
        package: delivery.as_ref().and_then(Delivery::package).cloned(),
        run: owner.run.clone(),
        owner,
        held,
        env: stack.env.clone(),
        emitter,
        stop,
    };
    if dry_run {
        show(global, &stack, &world, &plan);
        stack.close().await;
        return Ok(outcome::refused(&plan.blockers));
    }
    engine::run(world, plan).await;
    stack.close().await;
    let finished = spawn_blocking(move || reporting.finish()).await;
    finished.map(|f| f.exit_code).map_err(|e| Error::failed(format!("cannot tell how the run ended: {e}")))
}

/// Where listings of trees are kept that were sent: `$XDG_CACHE_HOME/pitcrew/trees`.
fn trees() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(absolute);
    let cache = cache.or_else(|| stack::prepare::home().ok().filter(absolute).map(|home| home.join(".cache")))?;
    Some(cache.join("pitcrew/trees"))
}

fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") }
}

/// The reporters of a run; also why there is no log of it, where there is none.
pub(super) fn told(
    global: &Global,
    stack: &Stack,
    run: &RunId,
) -> (Vec<Box<dyn crate::report::Reporter + Send>>, Option<String>) {
    let state_home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = stack::prepare::home().ok();
    let directory = log::directory(state_home.as_deref(), home.as_deref(), &stack.config.app.name);
    let (log, trouble) = match directory.map(|d| (RunLog::create(&d, run), d)) {
        Some((Ok(log), _)) => (Some(log), None),
        Some((Err(e), d)) => {
            (None, Some(format!("there is no log of this run: cannot write below {}: {e}", d.display())))
        }
        None => (None, Some("there is no log of this run: set HOME or XDG_STATE_HOME".into())),
    };
    let no_color = std::env::var_os("NO_COLOR");
    let wanted = Wanted {
        json: global.json,
        verbosity: match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        },
        color: match global.color {
            cli::Color::Auto => Color::Auto,
            cli::Color::Always => Color::Always,
            cli::Color::Never => Color::Never,
        },
        no_color: no_color.as_deref(),
    };
    (reporters(wanted, log), trouble)
}

/// The flags that pick this stack again, for the commands that a person should run next.
pub(super) fn flags(global: &Global) -> String {
    let mut flags = Vec::new();
    if global.config != *"pitcrew.toml" {
        flags.push(format!("-c {}", global.config.display()));
    }
    flags.extend(global.profile.as_ref().map(|p| format!("-p {p}")));
    flags.join(" ")
}

/// Prints the very plan that would run.
fn show(global: &Global, stack: &Stack, world: &World, plan: &Plan) {
    let planned = engine::run::planned(world, plan);
    if global.json {
        let stamped = world.emitter.stamp(Event::Planned(planned));
        if let Ok(line) = serde_json::to_string(&stamped) {
            out::result(&format!("{line}\n"));
        }
        return;
    }
    let mut text = crate::report::plan::text(plan, &stack.config.app.name, &stack.config.web.name);
    if global.verbose {
        text.push_str(&scripts::text(stack, plan, &world.run));
    }
    out::result(&text);
}

fn is_lock(blocker: &Blocker) -> bool {
    matches!(blocker.failure.cause, Cause::Locked(_))
}

/// Tells whether what stands in the way may be the other run's doing: its lock, what it drained, what it is switching.
fn may_pass(blocker: &Blocker) -> bool {
    is_lock(blocker) || matches!(blocker.step, StepName::Drain | StepName::Switch)
}

/// A balancer's complaint, as something that makes a run impossible.
pub fn balancer_blocker(error: BalancerError) -> Blocker {
    // A balancer that nobody reaches is like a server that nobody reaches: the exit code says so.
    let step = if error.unreachable { StepName::Connect } else { StepName::Drain };
    let mut error = error;
    if error.unreachable {
        // What is down for good must not keep everybody from deploying.
        let way_out =
            "while it is down, --parallel asks no balancer; one that is gone for good is left out of the file";
        error.hint =
            [error.hint.as_str(), way_out].into_iter().filter(|h| !h.is_empty()).collect::<Vec<_>>().join("; ");
    }
    Blocker { server: None, step, failure: Cause::from(error).into() }
}

/// The command line as people would type it: what a lock says of its holder.
pub fn command_line() -> String {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or("pitcrew").to_owned();
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
