//! Runs one script on one server, as a step of a run.
//!
//! The run's limits bound the script, the run's signals end it, and the run's events report what it says.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::answer::Answer;
use crate::event::{Cause, Failure, Place};
use crate::remote::{Ear, Execution};
use crate::script::Call;
use crate::script::calls::{self, Dir};

impl Running {
    /// Makes an execution with the limits of pitcrew's own steps.
    pub(super) fn script<'a>(&self, call: Call, stop: &'a CancellationToken) -> Execution<'a> {
        let timeouts = &self.world.config.timeouts;
        Execution::new(call, Some(timeouts.step), stop).quiet(timeouts.quiet)
    }

    /// Runs a script for a step.
    ///
    /// # Errors
    /// Whatever kept the script from saying `done` and ending with status 0.
    pub async fn call(&self, place: &Place, mut execution: Execution<'_>) -> Result<Vec<Answer>, Failure> {
        // The server's clock, as far as it is known: a script that asks for the time costs a process more.
        let ahead = self.world.facts.servers.get(&place.server).and_then(|facts| facts.ahead);
        let moment = ahead.map(|ahead| jiff::Timestamp::now().as_second().saturating_add(ahead));
        execution.call = execution.call.at(moment);
        let ear = Ear::Step(&self.world.emitter, place);
        tokio::select! {
            biased;
            result = self.world.hands.run(&place.server, &execution, ear) => result,
            // Ending a command in order takes its time; a second signal waits for nothing.
            () = self.world.stop.hard.cancelled() => Err(Cause::Interrupted.into()),
        }
    }

    /// Runs a command of the configuration in the release's directory.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub(super) async fn command(
        &self,
        place: &Place,
        command: &str,
        limit: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let call = calls::command(&self.site(), Dir::Release(self.plan.release.clone()), command);
        let call = self.with_facts(call, place, None).under(&self.world.run, &place.step.to_string());
        self.call(place, self.script(call, stop).limit(limit).command(command)).await.map(drop)
    }
}
