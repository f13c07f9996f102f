//! What a plan is: its stages, batches, phases and lanes, as plain values.
//!
//! It decides nothing.

use serde::{Deserialize, Serialize};

use super::act::Act;
use crate::config::{OnFailure, Prepare, Strategy};
use crate::event::{Blocker, DecidedBy, Place, StageName, StepName, Warning};
use crate::name::{ReleaseId, Revision, ServerName};
use crate::policy::HERE;

/// What a run will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the user asked for.
    pub verb: Verb,
    /// How the rollout walks.
    pub strategy: Strategy,
    /// Who decided that.
    pub decided_by: DecidedBy,
    /// When preparation happens.
    pub prepare: Prepare,
    /// What to do about a failing batch.
    pub on_failure: OnFailure,
    /// The release to be made or returned to.
    pub release: ReleaseId,
    /// What it is made of.
    pub revision: Revision,
    /// Each server's release before the run, in the order of the rollout.
    pub previous: Vec<(ServerName, Option<ReleaseId>)>,
    /// Servers in the order of the rollout.
    pub batches: Vec<Vec<ServerName>>,
    /// Servers that are locked and not deployed to (left out by `--only`).
    pub bystanders: Vec<ServerName>,
    /// Servers that nothing checks: no web server, or files without a health check.
    pub unchecked: Vec<ServerName>,
    /// Servers that could not be reached and are left behind (`--skip-unreachable`).
    pub skipped: Vec<ServerName>,
    /// Where migrations run.
    pub migrate_on: Option<ServerName>,
    /// The build runs on the operator's machine, before anything is asked of the source.
    pub built_here: bool,
    /// In order.
    pub stages: Vec<Stage>,
    /// What the plan itself wants read.
    pub notices: Vec<Warning>,
    /// What makes it impossible.
    pub blockers: Vec<Blocker>,
    /// With `--if-changed`: every server is on that revision already, and there are no stages.
    pub unchanged: bool,
}

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// A new release.
    Deploy,
    /// An old one.
    Rollback,
}

/// A stage: a barrier before it and after it.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// One after the other; only a rollout has more than one.
    pub batches: Vec<Batch>,
}

/// Servers that go through a stage together, and succeed or are taken back as a whole.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One after the other: no server enters a phase before all have left the one before.
    pub phases: Vec<Phase>,
}

/// What the servers of a batch do side by side.
#[derive(Debug, Clone)]
pub struct Phase {
    /// One per server concerned.
    pub lanes: Vec<Lane>,
}

/// What one server does in a phase.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Which server; `here` for the operator's machine.
    pub server: ServerName,
    /// One after the other.
    pub steps: Vec<Act>,
}

/// Where the build on the operator's machine stands: before all stages.
pub fn build_here() -> Place {
    Place { stage: StageName::Prepare, batch: 0, server: ServerName(HERE.into()), step: StepName::Build }
}

impl Plan {
    /// The server's release before the run; `None`: it had none.
    pub fn previous(&self, server: &ServerName) -> Option<&ReleaseId> {
        self.previous.iter().find(|(name, _)| name == server).and_then(|(_, release)| release.as_ref())
    }

    /// Tells whether anything is asked of a server to prove a release.
    pub fn is_checked(&self, server: &ServerName) -> bool {
        !self.unchecked.contains(server)
    }

    /// Lists every step in order, as the `planned` event does.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        places.extend(self.built_here.then(build_here));
        for stage in &self.stages {
            for (batch, b) in stage.batches.iter().enumerate() {
                for phase in &b.phases {
                    for lane in &phase.lanes {
                        places.extend(lane.steps.iter().map(|s| Place {
                            stage: stage.name,
                            batch,
                            server: lane.server.clone(),
                            step: s.name(),
                        }));
                    }
                }
            }
        }
        places
    }
}
