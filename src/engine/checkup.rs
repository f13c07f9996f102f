//! The health check of one server: the same for deploys, `status` and `lb restore`.
//!
//! It owns which facts a `[health] command` reads. Attempts, limits and judging are those of [`crate::health`].

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use crate::answer::Answer;
use crate::config::{Config, Health, Probe};
use crate::event::{Cause, Failure, Progress};
use crate::facts::Facts;
use crate::health::{self, Attempt, CheckFailed, Expected, HealthQuestion};
use crate::name::{ReleaseId, Revision, RunId, ServerName};
use crate::policy::Strategy;
use crate::remote::{Ear, Execution};
use crate::script::calls::{self, Site};
use crate::wording::cause::reason;

/// The facts that commands of the configuration read as `PITCREW_…`; what is not known is empty.
#[derive(Debug, Clone)]
pub struct Known {
    /// `[app] name`.
    pub app: String,
    /// The run; `None`: there is none.
    pub run: Option<RunId>,
    /// The release that the server is on, or is to be on.
    pub release: Option<ReleaseId>,
    /// What the release is made of.
    pub revision: Option<Revision>,
    /// How the rollout walks.
    pub strategy: Option<Strategy>,
    /// The stage of the run, or the verb.
    pub stage: String,
    /// The server that the command runs for.
    pub server: ServerName,
    /// All servers of the run, in its order.
    pub servers: Vec<ServerName>,
}

impl Known {
    /// What is known of a server outside any run: it is on its current release.
    pub fn outside(config: &Config, facts: &Facts, server: &ServerName, verb: &str) -> Self {
        let release = facts.servers.get(server).and_then(|found| found.current.clone());
        Self {
            app: config.app.name.clone(),
            run: None,
            revision: release.as_ref().and_then(|release| revision(facts, server, release)),
            release,
            strategy: config.app.strategy,
            stage: verb.to_owned(),
            server: server.clone(),
            servers: config.servers.iter().map(|s| s.name.clone()).collect(),
        }
    }

    /// The environment variables.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        [
            ("PITCREW_APP", self.app.clone()),
            ("PITCREW_RUN", text(self.run.as_ref().map(RunId::as_str))),
            ("PITCREW_RELEASE", text(self.release.as_ref().map(ReleaseId::as_str))),
            ("PITCREW_REVISION", text(self.revision.as_ref().map(|r| r.0.as_str()))),
            ("PITCREW_STRATEGY", self.strategy.map(|s| s.to_string()).unwrap_or_default()),
            ("PITCREW_STAGE", self.stage.clone()),
            ("PITCREW_SERVER", self.server.0.clone()),
            ("PITCREW_SERVERS", self.servers.iter().map(ServerName::as_str).collect::<Vec<_>>().join(" ")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// The revision of a release as a server wrote it down.
pub fn revision(facts: &Facts, server: &ServerName, release: &ReleaseId) -> Option<Revision> {
    let known = facts.servers.get(server)?.releases.iter().find(|known| known.id == *release)?;
    known.revision.clone()
}

/// A server that is asked for its health.
pub struct Checkup<'a> {
    /// The way to the server.
    pub hands: &'a dyn Hands,
    /// What all scripts of the stack share.
    pub site: Site<'a>,
    /// What a command reads; also names the server.
    pub known: Known,
    /// Where the output of a command goes.
    pub ear: Ear<'a>,
    /// Whether the processes that answer are proven: then an error is theirs, and waiting changes nothing.
    pub proven: bool,
    /// Set while the last attempt had no answer at all.
    pub silent: AtomicBool,
}

impl Checkup<'_> {
    /// Asks until the server is healthy, or the limit of `[health]` has passed.
    ///
    /// # Errors
    /// The last answer; or that the wait was ended.
    pub async fn healthy(
        &self,
        health: &Health,
        on: &mut (dyn FnMut(Progress) + Send),
        stop: &CancellationToken,
    ) -> Result<(), CheckFailed> {
        let server = &self.known.server;
        match &health.probe {
            Probe::Http(probe) => {
                let (release, revision) = (&self.known.release, &self.known.revision);
                let expected = release.clone().map(|release| Expected { release, revision: revision.clone() });
                let question = HealthQuestion { probe: probe.clone(), expected, proven: self.proven };
                let ask = || async {
                    let attempt = self.hands.http(server, &question, health.timeout).await;
                    self.silent.store(attempt.status.is_none(), Ordering::Relaxed);
                    attempt
                };
                health::check(health, ask, on, stop).await
            }
            Probe::Command(command) => {
                let mut call = calls::check(&self.site, command);
                call.env.extend(self.known.variables());
                let execution = Execution::new(call, Some(health.timeout), stop).command(command);
                let ask = || async { answer(self.hands.run(server, &execution, self.ear).await) };
                health::check(health, ask, on, stop).await
            }
        }
    }
}

/// Turns a command's result into a health attempt.
fn answer(result: Result<Vec<Answer>, Failure>) -> Attempt {
    match result {
        Ok(_) => Attempt { ok: true, ..Attempt::default() },
        Err(failure) => {
            let body = failure.tail.join("\n");
            match failure.cause {
                Cause::Exit { status } => Attempt { status: u16::try_from(status).ok(), body, ..Attempt::default() },
                cause => Attempt { error: Some(reason(&cause)), body, ..Attempt::default() },
            }
        }
    }
}
