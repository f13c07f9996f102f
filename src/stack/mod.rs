//! From flags to a stack that answers, and from a request to a plan that can run.
//!
//! Stands between the verbs and the engine. `plan` decides what is done to servers; this room only asks and waits.

pub mod absent;
pub mod addresses;
pub mod capacity;
pub mod file;
pub mod gather;
pub mod owner;
pub mod packing;
pub mod prepare;
pub mod replan;
pub mod reporters;
pub mod request;
pub mod scripts;
pub mod secrets;
pub mod sending;
pub mod survey;
pub mod taken;
pub mod terminal;
pub mod waiting;

pub use file::read;
pub use owner::{command_line, owner};
pub use prepare::Stack;
