//! From a request to its end: source and facts at once, then the plan, then the run.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::out;
use super::stack::{self, Stack, owner};
use crate::cli::Global;
use crate::engine::{self, Stop, World};
use crate::error::{Error, Kind};
use crate::event::{Blocker, Cause, Event, Failure, StepName};
use crate::name::RunId;
use crate::plan::build::{Request, build};
use crate::plan::{Plan, Verb, print};
use crate::report::json::Json;
use crate::report::log::Log;
use crate::report::plain::{Detail, Plain};
use crate::report::terminal::Terminal;
use crate::report::{Emitter, Reporter, Reporting};
use crate::source::{self, Package, Resolved};

/// What was asked for, beyond what the plan decides on.
pub struct Asked {
    /// What the plan decides on.
    pub request: Request,
    /// `deploy REF`.
    pub reference: Option<String>,
    /// `--dry-run`.
    pub dry_run: bool,
}

/// Runs it, or prints what would run.
///
/// # Errors
/// Whatever ended it before there was a plan.
pub async fn run(global: &Global, stack: Stack, asked: Asked) -> Result<u8, Error> {
    let Asked { mut request, reference, dry_run } = asked;
    let owner = owner(command_line());
    let stop = Stop::default();
    let reporting = Reporting::start(owner.run.clone(), reporters(global, &stack, &owner.run, dry_run));
    let emitter = reporting.emitter();
    stop.listen(&emitter).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;

    let packing = (request.verb == Verb::Deploy).then(|| Packing::start(&stack, reference, &stop));
    let ((facts, refused), packed) = tokio::join!(stack.facts(&stop.soft), async {
        match packing {
            Some(packing) => packing.end().await.map(Some),
            None => Ok(None),
        }
    });
    if stop.asked() {
        stack.close().await;
        let stopped = Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") };
        return Err(stopped);
    }
    let package = match packed {
        Ok(Some((resolved, package))) => {
            request.revision = Some(resolved.revision);
            request.size = Some((package.unpacked, package.entries));
            for text in resolved.notes {
                emitter.emit_later(crate::event::Warning::Note { text });
            }
            Some(package)
        }
        Ok(None) => None,
        Err(e) => {
            stack.close().await;
            return Err(e);
        }
    };
    let mut plan = build(&stack.config, &facts, &request, jiff::Timestamp::now());
    if plan.strategy != crate::config::Strategy::Parallel {
        plan.blockers.extend(refused.into_iter().map(balancer_blocker));
    }
    let world = World {
        config: stack.config.clone(),
        facts,
        links: stack.links.clone(),
        balancer: stack.balancer.clone(),
        package,
        run: owner.run.clone(),
        owner,
        env: stack.env.clone(),
        emitter: emitter.clone(),
        stop,
        redactor: stack.redactor.clone(),
    };
    if dry_run {
        show(global, &stack, &world, &plan);
        let code = if plan.blockers.is_empty() { 0 } else { crate::report::state::refusal_code(&plan.blockers) };
        stack.close().await;
        return Ok(code);
    }
    let finished = engine::run(world, plan).await;
    stack.close().await;
    Ok(finished.exit_code)
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
    let mut text = print::text(plan, &stack.config);
    if global.verbose {
        text.push_str(&super::scripts::text(stack, plan, &world.run));
    }
    out::result(&text);
}

/// A balancer's complaint, as something that makes a run impossible.
pub fn balancer_blocker(error: crate::balancer::BalancerError) -> Blocker {
    let failure = Failure { cause: Cause::from(error), command: None, tail: Vec::new() };
    Blocker { server: None, step: StepName::Drain, failure }
}

/// The source being resolved and packed, on a thread of its own.
pub struct Packing(JoinHandle<Result<(Resolved, Package), source::SourceError>>);

impl Packing {
    /// Begins; `reference` overrides the file's `ref`.
    pub fn start(stack: &Stack, reference: Option<String>, stop: &Stop) -> Self {
        let (config, stop) = (stack.config.clone(), stop.clone());
        Self(spawn_blocking(move || {
            let resolved = source::resolve(&config.source, &config.base, reference.as_deref())?;
            let package = source::pack(&config.source, &config.base, &resolved, &|| stop.asked())?;
            Ok((resolved, package))
        }))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why the source cannot be used.
    pub async fn end(self) -> Result<(Resolved, Package), Error> {
        match self.0.await {
            Ok(packed) => packed.map_err(|e| Error::usage(e.what).hint(e.hint)),
            Err(e) => Err(Error::failed(format!("cannot pack the source: {e}"))),
        }
    }
}

/// The command line as people would type it: what a lock says of its holder.
fn command_line() -> String {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or("pitcrew").to_owned();
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
