//! What a reporter is: it reads a run's events, one after the other.
//!
//! It owns the trait; the thread that reporters run on is `emit`'s, and what they print is `report`'s.

use super::state::State;
use crate::event::{Stamped, Warning};

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
