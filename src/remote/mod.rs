//! Running scripts on servers: an exec of its own for each, or one exec that stands ready for many.

pub mod execute;
pub mod execution;
mod hearing;
pub mod host;
pub mod hosts;
mod ready;

pub use execution::{Ear, Execution};
pub use host::Host;
pub use hosts::Hosts;
