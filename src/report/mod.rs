//! Reporters: everything a person or a program reads of a run, as folds of its events.
//!
//! [`Reporting`] owns a thread that reporters run on, so that a slow terminal never holds up the engine.

pub mod json;
pub mod log;
pub mod plain;
pub mod state;
pub mod terminal;
pub mod text;
