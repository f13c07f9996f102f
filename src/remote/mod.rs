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

pub use crate::answer::{Answer, Nonce};
pub use crate::script::wire::COMMAND_LIMIT;
pub use crate::script::{AfterLoss, Call, Owner, Param, Script, Wired, calls, kept, quote, standing};
