//! The plan: what a run will do, as a value.
//!
//! [`build`] is pure and the only place that decides; the engine executes a [`Plan`] and decides nothing but what to
//! take back, and for that it asks [`unwind`].

pub mod batches;
pub mod build;
pub mod capacity;
pub mod journal;
pub mod past;
pub mod stages;
pub mod unwind;

use serde::{Deserialize, Serialize};

use crate::config::{HookPlace, OnFailure, Prepare, Strategy};
use crate::event::{Blocker, DecidedBy, Place, StageName, StepName, Warning};
use crate::name::{ReleaseId, Revision, ServerName};

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
    /// Servers whose lock is taken without them being rolled out (left out by `--only`).
    pub bystanders: Vec<ServerName>,
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
    pub steps: Vec<Step>,
}

/// One thing done on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub act: Act,
    /// How it is taken back, where it changes something outside.
    pub undo: Option<Undo>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Has a connection to the server.
    Connect,
    /// Takes the server's lock.
    Lock,
    /// Sends the release and unpacks it.
    Transfer,
    /// Links shared directories and files.
    Link,
    /// Runs the build commands.
    Build,
    /// Runs the migrations.
    Migrate,
    /// Takes the server out of every balancer.
    Drain,
    /// Points `current` to another release.
    Switch {
        /// From what.
        from: Option<ReleaseId>,
        /// To what.
        to: ReleaseId,
    },
    /// Restarts the web server and proves that it did.
    Restart,
    /// Asks for health, and proves that the processes are the new ones.
    Check,
    /// Puts the server back as it was found.
    Restore,
    /// Removes old releases.
    Prune,
    /// Releases the lock.
    Unlock,
    /// Runs a hook of the configuration.
    Hook {
        /// Its index in the file.
        index: usize,
        /// Where.
        on: HookPlace,
    },
}

/// How a step is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// Releases the lock.
    Unlock,
    /// Removes the prepared release.
    RemoveRelease,
    /// Points `current` back.
    SwitchBack,
    /// Restarts on the previous release.
    Restart,
    /// Puts the server back as it was found.
    Restore,
    /// Takes it out again.
    Drain,
}

impl Act {
    /// The step's name in events.
    pub fn name(&self) -> StepName {
        match self {
            Self::Connect => StepName::Connect,
            Self::Lock => StepName::Lock,
            Self::Transfer => StepName::Transfer,
            Self::Link => StepName::Link,
            Self::Build => StepName::Build,
            Self::Migrate => StepName::Migrate,
            Self::Drain => StepName::Drain,
            Self::Switch { .. } => StepName::Switch,
            Self::Restart => StepName::Restart,
            Self::Check => StepName::Check,
            Self::Restore => StepName::Restore,
            Self::Prune => StepName::Prune,
            Self::Unlock => StepName::Unlock,
            Self::Hook { .. } => StepName::Hook,
        }
    }
}

impl Plan {
    /// Lists every step in order, as the `planned` event does.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        places.extend(self.built_here.then(stages::build_here));
        for stage in &self.stages {
            for (batch, b) in stage.batches.iter().enumerate() {
                for phase in &b.phases {
                    for lane in &phase.lanes {
                        places.extend(lane.steps.iter().map(|s| Place {
                            stage: stage.name,
                            batch,
                            server: lane.server.clone(),
                            step: s.act.name(),
                        }));
                    }
                }
            }
        }
        places
    }
}
