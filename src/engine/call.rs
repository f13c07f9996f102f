//! One script on one server, as a step of a run: with the run's limits, ended by its signals, heard by its events.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::answer::Answer;
use crate::event::{Cause, Failure, Place, Refusal};
use crate::name::ServerName;
use crate::remote::execute::{Execution, execute, no_link};
use crate::script::Call;
use crate::script::calls::{self, Dir};
use crate::ssh::{Link, Payload};

/// How long a server that refuses one more session is asked again.
const ONE_SESSION: Duration = Duration::from_secs(5);

/// What one call of a script needs beside the script.
#[derive(Default)]
pub struct How<'a> {
    /// Sent after the environment.
    pub payload: Option<Payload>,
    /// Hard limit; `None`: that of pitcrew's own steps.
    pub limit: Option<Limit>,
    /// The command as the configuration has it.
    pub command: Option<&'a str>,
}

/// A limit that the configuration sets, which may be none.
#[derive(Clone, Copy)]
pub struct Limit(pub Option<Duration>);

impl Running {
    /// Executes a script for a step.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn call(
        &self,
        place: &Place,
        call: Call,
        how: How<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        tokio::select! {
            biased;
            result = self.called(place, call, how, stop) => result,
            // Ending a command in order takes its time; a second signal waits for nothing.
            () = self.world.stop.hard.cancelled() => Err(Cause::Interrupted.into()),
        }
    }

    async fn called(
        &self,
        place: &Place,
        call: Call,
        how: How<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        // The server's clock, as far as it is known: a script that asks for the time costs a process more.
        let ahead = self.world.facts.servers.get(&place.server).and_then(|facts| facts.ahead);
        let moment = ahead.map(|ahead| jiff::Timestamp::now().as_second().saturating_add(ahead));
        let execution = Execution {
            call: call.at(moment),
            kept: self.world.standings.kept(&place.server),
            payload: how.payload,
            limit: how.limit.map_or(Some(self.world.config.timeouts.step), |l| l.0),
            quiet: self.world.config.timeouts.quiet,
            command: how.command,
            stop,
        };
        let (link, ear) = (self.link(&place.server)?, Some((&self.world.emitter, place)));
        if let Some(result) = self.world.standings.execute(&place.server, link, &execution, ear).await {
            return result;
        }
        let began = Instant::now();
        loop {
            let result = execute(link, execution.clone(), ear).await;
            match &result {
                // A server that allows one session at a time: the exec that stands ready is it, or the lock's renewal.
                Err(Failure { cause: Cause::Refused { code: Refusal::Channel, .. }, .. })
                    if began.elapsed() < ONE_SESSION && !stop.is_cancelled() =>
                {
                    if !self.world.standings.end(&place.server).await {
                        sleep(ONE_SESSION / 20).await;
                    }
                }
                _ => return result,
            }
        }
    }

    pub(super) fn link(&self, server: &ServerName) -> Result<&Arc<Link>, Failure> {
        self.world.links.get(server).ok_or_else(|| no_link(server))
    }

    /// Runs a command of the configuration in the release's directory.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub(super) async fn command(
        &self,
        place: &Place,
        command: &str,
        limit: Limit,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let call = calls::command(&self.site(), Dir::Release(self.plan.release.clone()), command);
        let call = self.with_facts(call, place, None).under(&self.world.run, &place.step.to_string());
        let how = How { limit: Some(limit), command: Some(command), payload: None };
        self.call(place, call, how, stop).await.map(drop)
    }
}
