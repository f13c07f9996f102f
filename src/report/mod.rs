//! Reporters: they show the events of a run to people and programs.
//!
//! One file a reporter. What they share is the fold in [`crate::outcome`] and the words in [`crate::wording`].

mod end;
mod failures;
pub mod frame;
pub mod json;
pub mod lines;
pub mod log;
pub mod paint;
pub mod plain;
pub mod plan;
mod sentence;
pub mod sink;
mod summary;
mod table;
pub mod terminal;
pub mod wanted;

pub use wanted::{ReportFlags, reporters};
