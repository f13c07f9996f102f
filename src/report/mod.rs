//! Reporters: everything a person or a program reads of a run, as folds of its events.
//!
//! [`Reporting`] owns a thread that reporters run on, so that a slow terminal never holds up the engine; the engine
//! holds an [`Emitter`]. One file a reporter; what they share is [`state`] (the fold), [`outcome`] (how it ended) and
//! [`text`] (the wording).

pub mod cause;
pub mod clean;
pub mod emit;
pub mod frame;
pub mod held;
pub mod json;
pub mod lines;
pub mod log;
pub mod next;
pub mod outcome;
pub mod paint;
pub mod plain;
pub mod plan;
pub mod scrub;
pub mod server;
pub mod state;
pub mod summary;
pub mod terminal;
pub mod text;
pub mod wanted;

pub use emit::{Emitter, Reporting};
pub use wanted::{Wanted, reporters};

use crate::event::{Stamped, Warning};
use state::State;

/// Tells somebody of a run. Reporters run on a thread of their own, one after the other.
pub trait Reporter {
    /// Takes in an event; `state` has taken it in already.
    fn event(&mut self, stamped: &Stamped, state: &State);

    /// Redraws what changes by itself; called some ten times a second, with the seconds since the run's start.
    fn tick(&mut self, _state: &State, _t: f64) {}

    /// Says once what keeps it from its work, to be reported as a warning.
    fn trouble(&mut self) -> Option<Warning> {
        None
    }

    /// Ends; no event follows.
    fn close(&mut self) {}
}
