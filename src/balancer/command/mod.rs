//! A balancer steered by commands of the user's own, on this machine or on one host.
//!
//! [`steer`] says what a command is asked and what its exit status means; [`jobs`] runs it.

pub mod fault;
mod jobs;
mod steer;

pub use steer::Commands;
