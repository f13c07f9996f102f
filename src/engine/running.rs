//! A run under way: its world, its plan, the ledger of what it has done, and the locks that it holds.

use super::leases::Leases;
use super::ledger::Ledger;
use super::world::World;
use crate::config::Server;
use crate::event::{Place, StageName, StepName};
use crate::name::ServerName;
use crate::plan::Plan;
use crate::plan::journal::Wreck;
use crate::script::calls::Site;

/// A run under way.
pub struct Running {
    /// What it works with.
    pub world: World,
    /// What it is to do.
    pub plan: Plan,
    /// What it has done so far.
    pub ledger: Ledger,
    /// The locks that it holds.
    pub leases: Leases,
}

impl Running {
    /// Begins with nothing done but the locks that the run already holds.
    pub fn new(world: World, plan: Plan) -> Self {
        let running = Self { world, plan, ledger: Ledger::default(), leases: Leases::default() };
        for server in &running.world.held {
            running.ledger.note(server, |r| r.locked = true);
            running.leases.taken(server);
        }
        running
    }

    /// Begins where a dead run ended.
    pub fn inheriting(world: World, wreck: Wreck) -> Self {
        let Wreck { plan, records, snapshots, .. } = wreck;
        let running = Self { ledger: Ledger::inheriting(records, snapshots), ..Self::new(world, plan) };
        for server in running.ledger.locked() {
            running.leases.taken(&server);
        }
        running
    }

    /// What all remote scripts of the stack share.
    pub fn site(&self) -> Site<'_> {
        let config = &self.world.config;
        Site { deploy_to: &config.app.deploy_to, app: &config.app.name, web: &config.web, env: &self.world.env }
    }

    /// The server of that name in the configuration; `None` for the operator's machine.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.world.config.servers.iter().find(|s| s.name == *name)
    }

    /// The place of a step in a batch of a stage.
    pub(super) fn place(&self, of: (StageName, usize), server: &ServerName, step: StepName) -> Place {
        Place { stage: of.0, batch: of.1, server: server.clone(), step }
    }
}
