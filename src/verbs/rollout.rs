//! From a request to its end: source and facts at once, then the plan, then the run.

use std::path::PathBuf;

use tokio::task::{JoinHandle, spawn_blocking};

use super::out;
use super::stack::{self, Stack};
use crate::cli::{self, Global};
use crate::engine::{self, Stop, World};
use crate::error::{Error, Kind};
use crate::event::{Blocker, Cause, Event, StepName, Warning};
use crate::name::RunId;
use crate::plan::build::{Request, build};
use crate::plan::{Plan, Verb};
use crate::report::lines::Verbosity;
use crate::report::log::{self, RunLog};
use crate::report::paint::Color;
use crate::report::{Reporting, Wanted, outcome, reporters};
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
    let owner = stack::owner(command_line(), stack.config.timeouts.lease);
    let stop = Stop::default();
    // A dry run leaves no trace, here either.
    let (all, trouble) = if dry_run { (Vec::new(), None) } else { told(global, &stack, &owner.run) };
    let reporting = Reporting::start(owner.run.clone(), all);
    let emitter = reporting.emitter();
    emitter.redact(stack.redactor.clone());
    emitter.flags(&flags(global));
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
    let mut notes: Vec<String> = trouble.into_iter().collect();
    let package = match packed {
        Ok(Some((resolved, package))) => {
            request.revision = Some(resolved.revision);
            request.size = Some((package.unpacked, package.entries));
            notes.extend(resolved.notes);
            Some(package)
        }
        Ok(None) => None,
        Err(e) => {
            stack.close().await;
            return Err(e);
        }
    };
    let mut plan = build(&stack.config, &facts, &request, jiff::Timestamp::now());
    plan.notices.extend(notes.into_iter().map(|text| Warning::Note { text }));
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

/// The reporters of a run; also why there is no log of it, where there is none.
fn told(global: &Global, stack: &Stack, run: &RunId) -> (Vec<Box<dyn crate::report::Reporter + Send>>, Option<String>) {
    let state_home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = stack::home().ok();
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
fn flags(global: &Global) -> String {
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
        text.push_str(&super::scripts::text(stack, plan, &world.run));
    }
    out::result(&text);
}

/// A balancer's complaint, as something that makes a run impossible.
pub fn balancer_blocker(error: crate::balancer::BalancerError) -> Blocker {
    // A balancer that nobody reaches is like a server that nobody reaches: the exit code says so.
    let step = if error.unreachable { StepName::Connect } else { StepName::Drain };
    Blocker { server: None, step, failure: Cause::from(error).into() }
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
