//! What makes a balancer.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::members::CheckPlan;
use crate::demo::faults::Faults;
use crate::demo::log::Log;

/// What makes a balancer.
#[derive(Debug, Clone)]
pub struct BalancerOptions {
    /// As the fleet names it.
    pub name: String,
    /// Its one backend.
    pub backend: String,
    /// The members' names and where they serve.
    pub members: Vec<(String, SocketAddr)>,
    /// Where it takes traffic; port 0 is replaced by a free one.
    pub listen: SocketAddr,
    /// Its runtime API's socket; what is there is replaced.
    pub socket: PathBuf,
    /// Whether the runtime API also answers on a TCP port of the listening address.
    pub tcp: bool,
    /// The health checks; `None`: members are not checked.
    pub checks: Option<CheckPlan>,
    /// What the runtime API's callers may do.
    pub level: Level,
    /// Where it writes what happens.
    pub log: Log,
    /// What goes wrong.
    pub faults: Faults,
}

/// What callers of the runtime API may do, as the `level` of HAProxy's `stats socket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Admin,
    /// Read only, as far as this balancer goes.
    Operator,
}
