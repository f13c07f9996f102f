//! A run's state as a fold over its events, and what that state amounts to.
//!
//! [`emit`] takes in events and hands them to reporters on a thread of their own, so that a slow terminal never holds up
//! the engine. [`state`] and [`server`] are the fold, [`judge`] computes the outcome and the exit code from it, and
//! [`next`] the commands that a person should run next. It makes no text.

pub mod emit;
pub mod judge;
pub mod mask;
pub mod next;
pub mod reporter;
pub mod server;
pub mod state;

pub use emit::{Emitter, Reporting};
pub use reporter::Reporter;
