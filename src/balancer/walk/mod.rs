//! Draining and restoring with a balancer that is steered by few calls: ask, take out, put back.
//!
//! Owns all waiting: how often the balancer is asked, what counts as out and as back, which member may be taken out, every
//! deadline, and the undoing of a drain that failed half-way.

mod adapter;
mod back;
mod out;
pub mod steer;
mod steered;

pub use adapter::Walked;
pub use steer::{Reading, Steer, SteerPace};
