//! HAProxy through its Runtime API: drain, maint, ready, each proven by what HAProxy itself reports.
//!
//! The sequence is the one that lost no request under load: drain, wait, maint; deploy; drain again so that checks run
//! without traffic; ready once they passed. `drain` and `restore` are the two walks over all instances ([`nodes`]);
//! [`node`] is one instance, whichever way leads into it: its [`socket`], or its Data Plane API ([`api`]). [`protocol`],
//! [`member`] and [`table`] are pure, [`client`] carries text over the ways of [`route`], one of which is a [`relay`] on the
//! host.

mod adapter;
pub mod api;
mod back;
pub mod client;
mod drain;
pub mod failed;
pub mod fault;
mod limits;
pub mod member;
pub mod node;
pub mod nodes;
pub mod not_relayed;
pub mod protocol;
mod quoted;
pub mod relay;
mod restore;
pub mod route;
pub mod rows;
pub mod socket;
pub mod table;
mod wire;

pub use adapter::{Haproxy, Instances};
