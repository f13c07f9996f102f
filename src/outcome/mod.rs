//! A run's state as a fold over its events, and the run's outcome.
//!
//! - [`emit`] stamps, masks and folds events, and runs the reporters on a thread of their own.
//! - [`state`] and [`server`] are the fold.
//! - [`judge`] computes the outcome and the exit code from it, [`next`] the commands to run next.
//!
//! It makes no text.

pub mod emit;
pub mod judge;
pub mod mask;
pub mod next;
pub mod reporter;
pub mod server;
pub mod state;
mod step;
mod undo;

pub use emit::{Emitter, Reporting};
pub use reporter::Reporter;
