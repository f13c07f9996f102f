//! The source being built where that is wanted, resolved and packed, beside all that is asked of the servers.

use tokio::task::{JoinHandle, spawn_blocking};

use super::out;
use super::stack::Stack;
use crate::config::source::SourceKind;
use crate::config::{BuildPlace, Config};
use crate::engine::Stop;
use crate::engine::local::Local;
use crate::error::{Error, Kind};
use crate::event::{Cause, Stream};
use crate::name::RunId;
use crate::report::cause;
use crate::report::scrub::Redactor;
use crate::source::{self, Delivery, Resolved, SourceError};

/// Whether `[build] on = "here"` is done.
#[derive(Clone, Copy)]
pub enum Building<'a> {
    /// Not now: nothing is to be changed.
    Left,
    /// First of all.
    Done {
        /// For which run.
        run: &'a RunId,
        /// Its output is not shown, unless it fails.
        quiet: bool,
    },
}

/// The source being resolved and packed.
pub struct Packing(JoinHandle<Result<(Resolved, Delivery), Error>>);

/// A build on this machine.
struct Build {
    env: Vec<(String, String)>,
    redactor: Redactor,
    quiet: bool,
}

impl Packing {
    /// Begins; `reference` overrides the file's `ref`.
    pub fn start(stack: &Stack, reference: Option<String>, stop: &Stop, building: Building<'_>) -> Self {
        let (config, stop, secrets) = (stack.config.clone(), stop.clone(), stack.secrets.clone());
        let here = config.build_on == BuildPlace::Here && !config.build.is_empty();
        let build = match building {
            Building::Done { run, quiet } if here => {
                let facts = [
                    ("PITCREW_APP", config.app.name.clone()),
                    ("PITCREW_RUN", run.0.clone()),
                    ("PITCREW_STAGE", "prepare".to_owned()),
                    ("PITCREW_SERVER", crate::plan::stages::HERE.to_owned()),
                    ("PITCREW_SERVERS", config.servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ")),
                ];
                let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
                let env = stack.env.iter().cloned().chain(facts).collect();
                Some(Build { env, redactor: stack.redactor.clone(), quiet })
            }
            _ => None,
        };
        let left = here && build.is_none();
        Self(tokio::spawn(async move {
            if let Some(build) = build {
                build.run(&config, &stop).await?;
            }
            let delivered = spawn_blocking(move || {
                let stop = || stop.asked();
                source::deliver(&config.source, &config.base, reference.as_deref(), &secrets, &stop)
            });
            let delivered = delivered.await.map_err(|e| Error::failed(format!("cannot pack the source: {e}")))?;
            delivered.map_err(|e| said(e, left))
        }))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why the source cannot be used, or could not be built.
    pub async fn end(self) -> Result<(Resolved, Delivery), Error> {
        match self.0.await {
            Ok(packed) => packed,
            Err(e) => Err(Error::failed(format!("cannot pack the source: {e}"))),
        }
    }
}

fn said(error: SourceError, left: bool) -> Error {
    let kind = if error.unreachable { Kind::Unreachable } else { Kind::Usage };
    let said = Error { kind, ..Error::usage(error.what) }.hint(error.hint);
    if left { said.hint("The commands of [build] may make it: neither `check` nor --dry-run runs them.") } else { said }
}

impl Build {
    /// Runs the commands one after the other, in the configuration's directory.
    async fn run(&self, config: &Config, stop: &Stop) -> Result<(), Error> {
        if config.source.kind == SourceKind::Push && source::is_tracked(&config.source, &config.base) {
            return Err(Error::usage("cannot release what is built here: the source is a git work tree, of which only what is committed is released")
                .hint("Set kind = \"archive\" in [source], and `path` to the directory that the build makes."));
        }
        for command in &config.build {
            let local =
                Local { command, directory: &config.base, env: self.env.clone(), limit: config.timeouts.prepare };
            if !self.quiet {
                out::notice(&format!("building here: {}", self.redactor.line(command)));
            }
            let hear = |_: Stream, line: &str| {
                if !self.quiet {
                    out::notice(&format!("  | {}", self.redactor.line(line)));
                }
            };
            local.run(&stop.soft, &hear).await.map_err(|failure| {
                let kind = if failure.cause == Cause::Interrupted { Kind::Interrupted } else { Kind::Failed };
                let shown = cause::lines(&failure);
                let shown = shown.iter().map(|line| self.redactor.line(line)).collect::<Vec<_>>().join("\n  ");
                Error {
                    kind,
                    ..Error::failed(format!(
                        "the build on this machine failed; nothing was changed on any server\n  {shown}"
                    ))
                }
            })?;
        }
        Ok(())
    }
}
