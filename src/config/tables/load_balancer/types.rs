//! What `[load_balancer]` resolves to.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::address::{BalancerAddress, SshHost};
use crate::config::share::Least;

/// `[load_balancer]`.
#[derive(Debug, Clone)]
pub struct LoadBalancer {
    /// `kind`, with the keys that belong to it alone.
    pub kind: BalancerKind,
    /// `drain_timeout`.
    pub drain_timeout: Duration,
    /// `on_drain_timeout`.
    pub on_drain_timeout: OnDrainTimeout,
    /// `wait_after_drain`.
    pub wait_after_drain: Duration,
    /// `wait_after_restore`.
    pub wait_after_restore: Duration,
    /// `restore_timeout`.
    pub restore_timeout: Duration,
    /// `min_healthy_time`: for how long without a break the balancer must report a restored member up.
    pub min_healthy_time: Duration,
    /// `min_in_service`: other members that must be up before one is drained.
    pub min_in_service: Least,
    /// `capacity_timeout`: how long a drain waits for others to be up.
    pub capacity_timeout: Duration,
}

impl LoadBalancer {
    /// The hosts that the balancer is reached through.
    pub fn hosts(&self) -> Vec<SshHost> {
        match &self.kind {
            BalancerKind::Haproxy { at, .. } => at.iter().filter_map(BalancerAddress::host).collect(),
            BalancerKind::Command(commands) => commands.run_on.iter().cloned().collect(),
            BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. } => Vec::new(),
        }
    }

    /// HAProxy's `backends`; `None`: another kind of balancer.
    pub fn backends(&self) -> Option<&[String]> {
        match &self.kind {
            BalancerKind::Haproxy { backends, .. } => Some(backends),
            BalancerKind::Command(_) | BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. } => None,
        }
    }
}

/// `[load_balancer] kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerKind {
    /// HAProxy.
    Haproxy {
        /// `at`: every one of them is drained.
        at: Vec<BalancerAddress>,
        /// `backends`, at least one.
        backends: Vec<String>,
        /// `via`, `user`, `password`, `ca_file`.
        access: HaproxyAccess,
    },
    /// Commands of the user's own.
    Command(SteeringCommands),
    /// Target groups of AWS's application and network load balancers.
    Elb {
        /// `target_groups`, at least one.
        target_groups: Vec<String>,
        /// What both kinds share.
        aws: Aws,
    },
    /// AWS's classic load balancers.
    ElbClassic {
        /// `names`, at least one.
        names: Vec<String>,
        /// What both kinds share.
        aws: Aws,
    },
}

/// The keys of both kinds of AWS's load balancers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    /// `region`, else that of the target groups, else AWS's own settings.
    pub region: Option<String>,
    /// `profile`, else AWS's own settings.
    pub profile: Option<String>,
    /// `min_drain`: how long requests may arrive after a drain began; `None`: the kind's usual time.
    pub min_drain: Option<Duration>,
    /// `poll`: the pause between two questions.
    pub poll: Duration,
}

/// `drain`, `status`, `restore` and `run_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeringCommands {
    /// Takes a server out.
    pub drain: String,
    /// Says by its exit status how a server stands.
    pub status: String,
    /// Puts a server back.
    pub restore: String,
    /// Where they run; `None`: on the operator's machine.
    pub run_on: Option<SshHost>,
}

/// What happens when connections are left at the end of `drain_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrainTimeout {
    /// Deploy all the same; a warning counts the connections.
    Proceed,
    /// End the connections.
    Kill,
    /// Fail the step.
    Fail,
}

/// How HAProxy is spoken to, beside its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HaproxyAccess {
    /// `via`.
    pub via: Via,
    /// `user` and `password`; `Some` exactly when an address is a Data Plane API's.
    pub login: Option<ApiLogin>,
    /// `check_addresses = false`: members are not held against the servers' addresses.
    pub unchecked: bool,
    /// `ca_file`: signers of a Data Plane API's certificate, instead of those that this machine trusts.
    pub ca_file: Option<PathBuf>,
}

/// The login at a Data Plane API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLogin {
    /// `user`.
    pub user: String,
    /// `password`: a name in `[secrets]`.
    pub secret: String,
}

/// How a socket of an `ssh://` address is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// Through a channel of the connection; where sshd opens none, by socat or nc there.
    #[default]
    Auto,
    /// By socat or nc there, through sudo, which must not ask for a password.
    Sudo,
}
