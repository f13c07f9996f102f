//! From flags to a stack that answers: the file read, connections prepared, facts asked, locks waited for, a source packed.
//!
//! Stands between verbs, which import it, and the engine, which it imports. It decides nothing about servers: `plan` does.

pub mod ask;
pub mod capacity;
pub mod packing;
pub mod prepare;
pub mod scripts;
pub mod secrets;
pub mod sending;
pub mod taken;
pub mod waiting;

pub use prepare::{Stack, owner, read};
