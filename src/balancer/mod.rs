//! Load balancers: taking a member out with proof, and putting it back with proof.
//!
//! What was found is what is restored. [`Balancer`] is what the floors above use; [`facts`] is what they decide by.
//!
//! # Adding a balancer
//!
//! One file here and one arm in `kinds.rs`. A balancer that is steered by few calls (ask, take out, put back) implements
//! [`walk::Steer`] in that file and is wrapped in [`walk::Walked`], which owns all waiting, counting, limits and undoing. A
//! balancer with states of its own, like HAProxy, implements [`adapter::Adapter`]. Its keys are one variant of
//! [`crate::config::BalancerKind`], resolved in `config/tables/load_balancer/`.

pub mod adapter;
mod around;
#[cfg(feature = "elb")]
pub mod aws;
pub mod command;
#[cfg(feature = "elb")]
pub mod elb;
#[cfg(feature = "elb")]
pub mod elb_classic;
pub mod error;
pub mod facts;
mod fault;
pub mod haproxy;
mod kinds;
mod reading;
#[cfg(test)]
mod testing;
mod waiting;
pub mod walk;

pub use around::Around;
pub use error::{BalancerError, BalancerErrorKind};
pub use facts::{Admin, Drained, Draining, MemberFacts, Snapshot};
pub use kinds::{Balancer, Names};
