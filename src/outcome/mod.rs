//! A run's state as a fold over its events, and the run's outcome.
//!
//! - [`emit`] stamps, masks and folds events; [`reporting`] starts reporters on a thread of their own and ends the run.
//! - [`state`] and [`server`] are the fold.
//! - [`judge`] computes the outcome and the exit code from it, [`next`] the commands to run next.
//!
//! It makes no text.

mod desk;
pub mod emit;
pub mod judge;
pub mod mask;
pub mod next;
pub mod reporter;
pub mod reporting;
pub mod server;
pub mod state;
mod step;
mod undo;

pub use emit::Emitter;
pub use reporter::Reporter;
pub use reporting::Reporting;
