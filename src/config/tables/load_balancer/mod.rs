//! `[load_balancer]`: the kinds of balancers, their keys, and what each of them rules out.

mod capacity;
mod haproxy;
mod members;
mod resolve;
mod types;

pub use capacity::Rollout;
pub use resolve::{OF_KIND, TABLE, balancer};
pub use types::{ApiLogin, Aws, BalancerKind, HaproxyAccess, LoadBalancer, OnDrainTimeout, SteeringCommands, Via};
