//! Builds the source where the file says so, resolves it and packs it, while the servers are asked.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::prepare::Stack;
use crate::config::source::SourceKind;
use crate::config::{BuildPlace, Config};
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::event::{Blocker, Cause, Event, Failure, StepName, StepOutcome, Stream};
use crate::name::RunId;
use crate::out;
use crate::outcome::Emitter;
use crate::plan::shape::build_here;
use crate::policy::HERE;
use crate::process::command::UserCommand;
use crate::source::{self, Delivery, Resolved, SourceError};
use crate::text::redact::Redactor;
use crate::wording::cause;

/// Bytes of a command's output that are shown as they come.
const SHOWN: usize = 1 << 20;

/// Whether `[build] on = "here"` is done.
#[derive(Clone, Copy)]
pub enum Building<'a> {
    /// Not now: nothing is to be changed.
    Left,
    /// First of all.
    Done {
        /// For which run.
        run: &'a RunId,
        /// Who is told what it prints.
        emitter: &'a Emitter,
        /// Its output is not shown, unless it fails.
        quiet: bool,
    },
}

/// The source being resolved and packed.
pub struct Packing(JoinHandle<Result<(Resolved, Delivery), Unpacked>>);

/// Why there is nothing to deliver.
#[derive(Debug)]
pub enum Unpacked {
    /// The build on this machine failed.
    Unbuilt(Failure),
    /// The source cannot be used.
    Unusable(Error),
}

/// A build on this machine.
struct Build {
    env: Vec<(String, String)>,
    redactor: Redactor,
    emitter: Emitter,
    quiet: bool,
}

impl Packing {
    /// Begins; `reference` overrides the file's `ref`.
    pub fn start(stack: &Stack, reference: Option<String>, stop: &Stop, building: Building<'_>) -> Self {
        let (config, stop, secrets) = (stack.config.clone(), stop.clone(), stack.secrets.clone());
        let here = config.build_on == BuildPlace::Here && !config.build.is_empty();
        let build = match building {
            Building::Done { run, emitter, quiet } if here => {
                let facts = [
                    ("PITCREW_APP", config.app.name.clone()),
                    ("PITCREW_RUN", run.0.clone()),
                    ("PITCREW_STAGE", "prepare".to_owned()),
                    ("PITCREW_SERVER", HERE.to_owned()),
                    ("PITCREW_SERVERS", config.servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ")),
                ];
                let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
                let env = stack.env.iter().cloned().chain(facts).collect();
                Some(Build { env, redactor: stack.redactor.clone(), emitter: emitter.clone(), quiet })
            }
            _ => None,
        };
        let left = here && build.is_none();
        let redactor = stack.redactor.clone();
        Self(tokio::spawn(async move {
            if let Some(build) = build {
                build.run(&config, &stop).await?;
            }
            let delivered = spawn_blocking(move || {
                let stop = || stop.asked();
                let (source, base) = (&config.source, config.base.as_path());
                let wanted = source::SourceWanted { source, base, reference: reference.as_deref(), secrets: &secrets };
                source::deliver(wanted, &stop)
            });
            delivered.await.map_err(|e| broken(&e))?.map_err(|e| Unpacked::Unusable(said(&e, left, &redactor)))
        }))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why the source cannot be used, or could not be built.
    pub async fn end(self) -> Result<(Resolved, Delivery), Unpacked> {
        self.0.await.unwrap_or_else(|e| Err(broken(&e)))
    }
}

fn broken(error: &JoinError) -> Unpacked {
    Unpacked::Unusable(Error::failed(format!("cannot pack the source: {error}")))
}

impl Unpacked {
    /// The same as something that makes a run impossible.
    pub fn blocker(self) -> Blocker {
        let (step, failure) = match self {
            Self::Unbuilt(failure) => (StepName::Build, failure),
            Self::Unusable(error) => {
                let (detail, hint) = (error.what, error.hints.join(" "));
                match error.kind {
                    Kind::Unreachable => (StepName::Connect, Cause::Connect { detail, hint }.into()),
                    Kind::Usage => (StepName::Transfer, Cause::Source { detail, hint }.into()),
                    _ => (StepName::Transfer, Cause::Local { detail }.into()),
                }
            }
        };
        Blocker { server: None, step, failure }
    }
}

/// For verbs that end with it.
impl From<Unpacked> for Error {
    fn from(unpacked: Unpacked) -> Self {
        match unpacked {
            Unpacked::Unbuilt(failure) => {
                Self::failed(format!("the build on this machine failed\n  {}", cause::lines(&failure).join("\n  ")))
            }
            Unpacked::Unusable(error) => error,
        }
    }
}

fn said(error: &SourceError, left: bool, redactor: &Redactor) -> Error {
    let kind = if error.is_unreachable() { Kind::Unreachable } else { Kind::Usage };
    let said = Error { kind, ..Error::usage(redactor.text(&error.what())) }.hint(redactor.text(&error.hint()));
    if left { said.hint("The commands of [build] may make it: neither `check` nor --dry-run runs them.") } else { said }
}

impl Build {
    /// Runs the commands one after the other, in the configuration's directory; reports them as a step.
    async fn run(&self, config: &Config, stop: &Stop) -> Result<(), Unpacked> {
        if config.source.kind == SourceKind::Push && source::is_tracked(&config.source, &config.base) {
            return Err(Unpacked::Unusable(Error::usage("cannot release what is built here: the source is a git work tree, of which only what is committed is released")
                .hint("Set kind = \"archive\" in [source], and `path` to the directory that the build makes.")));
        }
        let began = Instant::now();
        self.emitter.emit(Event::StepStarted { place: build_here() });
        let built = self.commands(config, stop).await;
        let (outcome, failure) = match &built {
            Ok(()) => (StepOutcome::Ok, None),
            Err(failure) => (StepOutcome::Failed, Some(Box::new(failure.clone()))),
        };
        let seconds = began.elapsed().as_secs_f64();
        self.emitter.emit(Event::StepFinished { place: build_here(), outcome, seconds, failure, sent: None });
        built.map_err(Unpacked::Unbuilt)
    }

    async fn commands(&self, config: &Config, stop: &Stop) -> Result<(), Failure> {
        for command in &config.build {
            let local =
                UserCommand { command, directory: &config.base, env: self.env.clone(), limit: config.timeouts.prepare };
            if !self.quiet {
                out::notice(&format!("building here: {}", self.redactor.line(command)));
            }
            let printed = AtomicUsize::new(0);
            let hear = |stream: Stream, line: &str| {
                let before = printed.fetch_add(line.len() + 1, Relaxed);
                if !self.quiet && before + line.len() < SHOWN {
                    out::notice(&format!("  | {}", self.redactor.line(line)));
                } else if !self.quiet && before < SHOWN {
                    out::notice("  | (it prints more than is shown here)");
                }
                self.emitter.emit(Event::Output { place: build_here(), stream, line: line.to_owned() });
            };
            local.run(&stop.soft, &hear).await?;
        }
        Ok(())
    }
}
