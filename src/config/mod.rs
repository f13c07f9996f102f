//! What the run was asked to do: `pitcrew.toml`, a profile and flags, resolved to one value without defaults left open.
//!
//! [`schema`] lists every key once; [`check`] holds the file against it, [`raw`] reads what is good, [`profile`] lays a
//! profile over it, [`resolve`] applies defaults and finds contradictions, [`select`] picks servers, [`sample`] writes the
//! commented file. [`load()`] runs them in that order. Synchronous and pure: text and a few paths come in, a [`Config`] or
//! the list of all [`Problem`]s goes out.

pub mod check;
pub mod haproxy;
pub mod hosts;
pub mod load;
pub mod problem;
pub mod profile;
pub mod raw;
pub mod resolve;
pub mod sample;
pub mod schema;
pub mod select;
pub mod source;
pub mod values;
pub mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::ServerName;
pub use crate::ssh::options::{ConfigFile, HostKeyChecking, Ssh};
use crate::web::Web;

pub use haproxy::{ApiUrl, ApiVersion, BalancerAddress, HaproxyAccess, Login, Via};
pub use load::{Input, load};
pub use problem::Problem;
pub use source::{Source, SourceKind};

pub use crate::policy::{OnFailure, Prepare, Strategy};

/// Is everything one run needs to know about its stack.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, as given.
    pub file: PathBuf,
    /// The directory that relative local paths (`[source] path`, key files) start from: the file's own.
    pub base: PathBuf,
    /// `[app]`.
    pub app: App,
    /// The web server template with this stack's parameters filled in (`[app] web_server`, `[web]`).
    pub web: Web,
    /// `[source]`.
    pub source: Source,
    /// `[ssh]`.
    pub ssh: Ssh,
    /// `[[servers]]`, host ranges expanded, in the file's order; names are unique.
    pub servers: Vec<Server>,
    /// `[load_balancer]`.
    pub balancer: Option<LoadBalancer>,
    /// `[health]`.
    pub health: Option<Health>,
    /// `[build] run`, in order.
    pub build: Vec<String>,
    /// `[build] on`.
    pub build_on: BuildPlace,
    /// `[migrate]`.
    pub migrate: Option<Migrate>,
    /// `[shared]`.
    pub shared: Shared,
    /// `[env]`.
    pub env: BTreeMap<String, String>,
    /// `[secrets]`: where each value comes from; the values themselves are read when a run starts.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `[[hooks]]`, in the file's order.
    pub hooks: Vec<Hook>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
}

impl Config {
    /// Finds a server by its name.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.servers.iter().find(|s| &s.name == name)
    }
}

/// `[app]`.
#[derive(Debug, Clone)]
pub struct App {
    /// Names the stack; also the directory of its run logs.
    pub name: String,
    /// As written: absolute, `~/…`, or relative to the login user's home directory.
    pub deploy_to: String,
    /// `strategy`, when the file sets it.
    pub strategy: Option<Strategy>,
    /// `batch` for rolling runs; default two servers at a time.
    pub batch: Vec<BatchSize>,
    /// `prepare`.
    pub prepare: Prepare,
    /// `on_failure`.
    pub on_failure: OnFailure,
    /// `keep_releases`, at least 1.
    pub keep_releases: usize,
}

/// One element of a batch ramp; the last one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// That many servers.
    Count(usize),
    /// That many percent of the servers of the run, rounded down, at least one server.
    Percent(u8),
}

/// One SSH destination that receives the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Unique in the stack: the host, or `host:port` where two servers share a host.
    pub name: ServerName,
    /// Host name or address to connect to.
    pub host: String,
    /// From `user@host`; else [`Ssh::user`].
    pub user: Option<String>,
    /// From `host:port`; else [`Ssh::port`].
    pub port: Option<u16>,
    /// `roles`; default `["web"]`.
    pub roles: Vec<String>,
    /// Its name in the balancer; default: the first label of the host name (an address stays whole).
    pub lb: String,
    /// The line of its `host` in the file, from 1.
    pub line: usize,
}

impl Server {
    /// Tells whether the server takes web traffic and so is drained and restored.
    pub fn is_web(&self) -> bool {
        self.roles.iter().any(|r| r == "web")
    }
}

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
    /// `min_drain`: how long requests may arrive after the balancer was told; `None`: as its kind is known to be.
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

/// A host that is reached through SSH and is no server of the stack, or need not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshHost {
    /// Login user, else `[ssh] user`.
    pub user: Option<String>,
    /// Host.
    pub host: String,
    /// Port, else `[ssh] port`.
    pub port: Option<u16>,
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
}

/// How many must stay in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// So many.
    Count(usize),
    /// A share of all, rounded up; 0 to 100.
    Percent(u8),
}

impl Least {
    /// Says how many of `all` that are.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => all.saturating_mul(usize::from(percent)).div_ceil(100),
        }
    }
}

impl std::fmt::Display for Least {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What happens when connections are left at the end of `drain_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrainTimeout {
    /// Deploy all the same; the connections are warned about.
    Proceed,
    /// End the connections.
    Kill,
    /// Fail the step.
    Fail,
}

/// `[health]`.
#[derive(Debug, Clone)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// `timeout`: one attempt.
    pub timeout: Duration,
    /// `within`: all attempts.
    pub within: Duration,
    /// `interval` between attempts.
    pub interval: Duration,
    /// `successes` in a row.
    pub successes: u32,
}

/// What a health check asks a server.
#[derive(Debug, Clone)]
pub enum Probe {
    /// An HTTP request to the server's own port.
    Http(HttpProbe),
    /// A command in `current`; exit status 0 is healthy.
    Command(String),
}

/// An HTTP request through the SSH connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// `path`, with its query.
    pub path: String,
    /// `port` on the server's loopback.
    pub port: u16,
    /// `host`: the Host header.
    pub host: String,
    /// `scheme`.
    pub scheme: Scheme,
    /// `accept`: inclusive ranges of statuses.
    pub accept: Vec<(u16, u16)>,
}

/// Of an [`HttpProbe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS; the certificate is not verified, since the name asked is the server's loopback.
    Https,
}

/// Where the build commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildPlace {
    /// In the new release, on each server.
    Each,
    /// On the operator's machine, once, before the source is read.
    Here,
}

/// `[migrate]`.
#[derive(Debug, Clone)]
pub struct Migrate {
    /// `run`, in the new release's directory.
    pub run: String,
    /// The server that runs it: `server`, else the first with the role `db`, else the first.
    pub server: ServerName,
    /// `when`.
    pub when: MigrateWhen,
}

/// When migrations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateWhen {
    /// On every deploy, unless `--no-migrate`.
    Always,
    /// Only with `--migrate`.
    Asked,
}

/// `[shared]`: paths relative to the release, linked into `shared/`.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Created when missing.
    pub dirs: Vec<String>,
    /// Must exist.
    pub files: Vec<String>,
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the operator.
    Env(String),
    /// A local file; one final newline is dropped.
    File(PathBuf),
    /// The output of a local command; one final newline is dropped.
    Command(String),
}

/// `[[hooks]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `at`.
    pub at: HookPoint,
    /// `run`.
    pub run: String,
    /// `on`.
    pub on: HookPlace,
    /// `halt = true`: a failing hook fails the run.
    pub halt: bool,
    /// The line in the file, from 1.
    pub line: usize,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// `before STEP`.
    Before(HookStep),
    /// `after STEP`.
    After(HookStep),
    /// `on success`.
    OnSuccess,
    /// `on failure`.
    OnFailure,
}

/// The steps that hooks can stand around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the file")]
pub enum HookStep {
    Lock,
    Prepare,
    Migrate,
    Drain,
    Switch,
    Restore,
    Finish,
}

impl std::fmt::Display for HookPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |step: &HookStep| format!("{step:?}").to_lowercase();
        match self {
            Self::Before(step) => write!(f, "before {}", word(step)),
            Self::After(step) => write!(f, "after {}", word(step)),
            Self::OnSuccess => f.write_str("on success"),
            Self::OnFailure => f.write_str("on failure"),
        }
    }
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPlace {
    /// On each server of the step.
    Each,
    /// On the first server of the run.
    One,
    /// On the operator's machine.
    Here,
}

/// `[timeouts]`: hard limits for a step; `None` is `"none"`.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Transfer, link and build, each.
    pub prepare: Option<Duration>,
    /// Migrations.
    pub migrate: Option<Duration>,
    /// Restart with its proof.
    pub restart: Option<Duration>,
    /// Each of pitcrew's own short steps (lock, switch, prune, …), and the most that a balancer or a channel may take to answer.
    pub step: Duration,
    /// Without a sign of life for so long, others may take the run for dead; locks are renewed several times in that time.
    pub lease: Duration,
    /// A step that prints nothing for so long is reported; zero (`"none"`): never.
    pub quiet: Duration,
}
