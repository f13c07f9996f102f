//! Reporters: everything a person or a program reads of a run, as folds of its events.
//!
//! One file a reporter. What they share is the fold in [`crate::outcome`] and the words in [`crate::wording`].

pub mod frame;
pub mod json;
pub mod lines;
pub mod log;
pub mod paint;
pub mod plain;
pub mod plan;
pub mod summary;
pub mod terminal;
pub mod text;
pub mod wanted;

pub use crate::outcome::judge as outcome;
pub use crate::outcome::reporter::Reporter;
pub use crate::outcome::{Emitter, Reporting, next, server, state};
pub use crate::text::{clean, redact as scrub};
pub use crate::wording::{cause, lock as held};
pub use wanted::{Wanted, reporters};
