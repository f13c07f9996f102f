//! What a run works with: the request, the facts, and the ways to servers, balancers and reporters.

use std::sync::Arc;

use super::fetch::Fetch;
use super::hands::{Balance, Hands};
use super::stop::Stop;
use crate::config::Config;
use crate::facts::Facts;
use crate::name::{RunId, ServerName};
use crate::outcome::Emitter;
use crate::plan::run_server::RunServer;
use crate::script::Owner;
use crate::source::Package;

/// All that a run works with.
pub struct World {
    /// What was asked for.
    pub config: Arc<Config>,
    /// What was found.
    pub facts: Facts,
    /// The way to every server of the stack.
    pub hands: Arc<dyn Hands>,
    /// The way to the balancer, when the stack has one.
    pub balancer: Option<Arc<dyn Balance>>,
    /// The packed release, for a deploy that sends one.
    pub package: Option<Package>,
    /// The release that servers fetch instead.
    pub fetch: Option<Fetch>,
    /// The run's id.
    pub run: RunId,
    /// The owner that the run writes into its locks.
    pub owner: Owner,
    /// All servers of the stack, as the run writes them into its locks.
    pub roster: Vec<RunServer>,
    /// Servers whose lock the run took before it had a plan, because it waited for them.
    pub held: Vec<ServerName>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// Where events go.
    pub emitter: Emitter,
    /// The signals that the run has received.
    pub stop: Stop,
}
