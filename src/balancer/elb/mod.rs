//! Target groups of AWS's application and network load balancers.
//!
//! A server's places are every port it has in every configured group. Attributes of groups are read, never changed.

pub mod fault;
mod group;
mod known;
mod ready;
mod servers;
mod steer;
mod survey;
mod target;

pub use steer::Elb;
