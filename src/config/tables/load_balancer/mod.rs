//! `[load_balancer]`: the kinds of balancers, their keys, and what each of them rules out.

mod capacity;
mod haproxy;
mod members;
mod resolve;
mod types;

pub use capacity::Walk;
pub use resolve::{OF_KIND, TABLE, balancer};
pub use types::{Aws, BalancerKind, HaproxyAccess, LoadBalancer, Login, OnDrainTimeout, SteeringCommands, Via};
