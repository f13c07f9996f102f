//! A script with its limits, and where its output goes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::event::Place;
use crate::outcome::Emitter;
use crate::script::Call;
use crate::ssh::Payload;

/// A script to run on a server, with its limits.
#[derive(Clone)]
pub struct Execution<'a> {
    /// The script and its parameters.
    pub call: Call,
    /// Sent after the environment.
    pub payload: Option<Payload>,
    /// Hard limit; `None`: none.
    pub limit: Option<Duration>,
    /// Silence that is worth a warning; zero: none is.
    pub quiet: Duration,
    /// Shown with a failure: the command as the configuration has it.
    pub command: Option<&'a str>,
    /// Ends the script when cancelled.
    pub stop: &'a CancellationToken,
}

impl<'a> Execution<'a> {
    /// Makes an execution without payload, command and warnings about silence.
    pub fn new(call: Call, limit: Option<Duration>, stop: &'a CancellationToken) -> Self {
        Self { call, payload: None, limit, quiet: Duration::ZERO, command: None, stop }
    }

    /// Sets what is sent after the environment.
    #[must_use]
    pub fn payload(self, payload: Option<Payload>) -> Self {
        Self { payload, ..self }
    }

    /// Replaces the hard limit.
    #[must_use]
    pub fn limit(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// Warns about silence that lasts so long.
    #[must_use]
    pub fn quiet(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// Shows the command of the configuration with a failure.
    #[must_use]
    pub fn command(self, command: &'a str) -> Self {
        Self { command: Some(command), ..self }
    }
}

/// Where the output of a script goes.
#[derive(Clone, Copy, Default)]
pub enum Ear<'a> {
    /// Nowhere; the last lines are in the failure.
    #[default]
    Off,
    /// To the run's events, at a place in its plan, with progress and warnings.
    Step(&'a Emitter, &'a Place),
    /// Line by line to a function.
    Lines(&'a (dyn Fn(&str) + Sync)),
}
