//! What a reporter is: it reads a run's events, one after the other.
//!
//! It owns the trait; the thread that reporters run on is `desk`'s, and what they print is `report`'s.

use super::state::State;
use crate::event::{Stamped, Warning};

/// Reports a run as its events come in. All reporters of a run share one thread.
pub trait Reporter {
    /// Reports one event, which `state` holds already.
    fn event(&mut self, stamped: &Stamped, state: &State);

    /// Redraws what changes with time alone, `t` seconds from the run's start.
    ///
    /// Called about ten times a second.
    fn tick(&mut self, _state: &State, _t: f64) {}

    /// Returns, once, a warning about what keeps it from its work.
    fn trouble(&mut self) -> Option<Warning> {
        None
    }

    /// Ends the report; no event follows.
    fn close(&mut self) {}
}
