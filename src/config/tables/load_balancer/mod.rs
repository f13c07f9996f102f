//! `[load_balancer]`: the kinds of balancers, their keys, and what each of them rules out.

mod aws;
mod capacity;
mod command;
mod haproxy;
mod kind;
mod members;
mod resolve;
mod types;

pub use capacity::Rollout;
pub use resolve::{KINDS, TABLE, balancer};
pub use types::{ApiLogin, Aws, BalancerKind, HaproxyAccess, LoadBalancer, OnDrainTimeout, SteeringCommands, Via};
