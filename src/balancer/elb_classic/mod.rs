//! AWS's classic load balancers.
//!
//! A server's places are the named balancers; they know instances, not ports.

mod described;
pub mod fault;
mod servers;
mod stands;
mod steer;
mod survey;

pub use steer::ElbClassic;
