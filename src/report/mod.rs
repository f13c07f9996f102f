//! Reporters: everything a person or a program reads of a run, as folds of its events.
//!
//! One file a reporter. What they share is the fold in [`crate::outcome`], and the wording in [`text`] and [`cause`].

pub mod cause;
pub mod clean;
pub mod frame;
pub mod held;
pub mod json;
pub mod lines;
pub mod log;
pub mod paint;
pub mod plain;
pub mod plan;
pub mod scrub;
pub mod summary;
pub mod terminal;
pub mod text;
pub mod wanted;

pub use crate::outcome::judge as outcome;
pub use crate::outcome::reporter::Reporter;
pub use crate::outcome::{Emitter, Reporting, next, server, state};
pub use wanted::{Wanted, reporters};
