//! The engine: executes a plan, reports through events, and decides nothing but what to take back.
//!
//! `run` walks stages, batches and phases; `step` does one act: through `call` (scripts), `balance` (balancers), `prove` (restart and
//! health), `transfer` and `fetch` (the release) and `hooks`. `unwind` takes back, and `recover` does so for a run that is dead.
//! `remote` executes a script, `standing` many in one exec; `stop` knows of signals; `lease` keeps the locks alive.

pub mod balance;
pub mod call;
pub mod fetch;
pub mod hooks;
pub mod last_word;
pub mod lease;
pub use crate::process::local;
pub mod prove;
pub mod recover;
pub mod run;
pub mod step;
pub mod stop;
pub mod transfer;
pub mod unwind;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::balancer::{Balancer, Snapshot};
use crate::config::{Config, Server};
use crate::event::{Place, Sent, Stuck};
use crate::facts::Facts;
use crate::name::{RunId, ServerName};
use crate::plan::Plan;
use crate::plan::journal::Wreck;
use crate::plan::unwind::Record;
use crate::remote::Owner;
use crate::remote::calls::Site;
use crate::report::Emitter;
use crate::source::Package;
use crate::ssh::Link;
use crate::sync::lock;

pub use crate::remote::execute as remote;
pub use crate::remote::ready as standing;
pub use run::run;
pub use stop::Stop;

/// All that a run works with.
pub struct World {
    /// What was asked for.
    pub config: Arc<Config>,
    /// What was found.
    pub facts: Facts,
    /// The connection to each server of the stack.
    pub links: BTreeMap<ServerName, Arc<Link>>,
    /// Execs that stand ready on them.
    pub standings: Arc<standing::ReadyExecs>,
    /// The balancer, when the stack has one.
    pub balancer: Option<Arc<Balancer>>,
    /// The packed release, for a deploy that sends one.
    pub package: Option<Package>,
    /// What servers fetch instead.
    pub fetch: Option<fetch::Fetch>,
    /// The run.
    pub run: RunId,
    /// What is written into locks.
    pub owner: Owner,
    /// Servers whose lock the run has taken already: it waited for them.
    pub held: Vec<ServerName>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// Where events go.
    pub emitter: Emitter,
    /// Signals.
    pub stop: Stop,
}

/// A run under way: the world, the plan, and what has been done to each server.
pub struct Running {
    /// The world.
    pub world: World,
    /// The plan.
    pub plan: Plan,
    /// The locks that it holds.
    pub leases: lease::Leases,
    records: Mutex<BTreeMap<ServerName, Record>>,
    snapshots: Mutex<BTreeMap<ServerName, Snapshot>>,
    kept_for: Mutex<Vec<(ServerName, Stuck)>>,
    sent: Mutex<BTreeMap<ServerName, Sent>>,
    /// The balancers' last word has been heard.
    spoken: std::sync::atomic::AtomicBool,
}

impl Running {
    /// Begins with nothing done.
    pub fn new(world: World, plan: Plan) -> Self {
        let running = Self {
            world,
            plan,
            leases: lease::Leases::default(),
            records: Mutex::default(),
            snapshots: Mutex::default(),
            kept_for: Mutex::default(),
            sent: Mutex::default(),
            spoken: std::sync::atomic::AtomicBool::new(false),
        };
        for server in &running.world.held {
            running.note(server, |r| r.locked = true);
            running.leases.taken(server);
        }
        running
    }

    /// Begins where a dead run ended.
    pub fn inheriting(world: World, wreck: Wreck) -> Self {
        let Wreck { plan, records, snapshots, .. } = wreck;
        let running = Self::new(world, plan);
        for (server, _) in records.iter().filter(|(_, record)| record.locked) {
            running.leases.taken(server);
        }
        *lock(&running.records) = records;
        *lock(&running.snapshots) = snapshots;
        running
    }

    /// What all remote scripts of the stack share.
    pub fn site(&self) -> Site<'_> {
        let config = &self.world.config;
        Site { deploy_to: &config.app.deploy_to, app: &config.app.name, web: &config.web, env: &self.world.env }
    }

    /// The server of the configuration; `None` for the operator's machine.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.world.config.servers.iter().find(|s| s.name == *name)
    }

    /// What has been done to the server so far.
    pub fn record(&self, server: &ServerName) -> Record {
        lock(&self.records).get(server).cloned().unwrap_or_default()
    }

    /// Notes what is about to be done to the server: before it is done, so that half done counts.
    pub fn note(&self, server: &ServerName, change: impl FnOnce(&mut Record)) {
        change(lock(&self.records).entry(server.clone()).or_default());
    }

    /// Servers that anything has been done to.
    pub fn touched(&self) -> Vec<ServerName> {
        lock(&self.records).keys().cloned().collect()
    }

    /// How the server was found in its balancers.
    pub fn snapshot(&self, server: &ServerName) -> Option<Snapshot> {
        lock(&self.snapshots).get(server).cloned()
    }

    /// Keeps how the server was found; the first finding stands.
    pub fn found(&self, server: &ServerName, snapshot: Snapshot) {
        lock(&self.snapshots).entry(server.clone()).or_insert(snapshot);
    }

    /// Keeps how it was found in place of the first finding.
    pub fn found_anew(&self, server: &ServerName, snapshot: Snapshot) {
        lock(&self.snapshots).insert(server.clone(), snapshot);
    }

    /// Keeps what was sent to the server until its step is told of.
    fn sent(&self, server: &ServerName, sent: Sent) {
        lock(&self.sent).insert(server.clone(), sent);
    }

    fn place(&self, of: (crate::event::StageName, usize), server: &ServerName, step: crate::event::StepName) -> Place {
        Place { stage: of.0, batch: of.1, server: server.clone(), step }
    }
}
