//! The plan as the first event shows it, and the names of places in it.
//!
//! It owns what events tell of a plan; deciding on one is `plan`'s.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::warning::Warning;
use super::word::{DecidedBy, RunVerb, StageName, StepName};
use crate::name::{ReleaseId, Revision, ServerName};
use crate::policy::{OnFailure, Prepare, Strategy};

/// The place of a step in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its stage.
    pub stage: StageName,
    /// The batch of the stage, from 0.
    pub batch: usize,
    /// The server; `here` for the operator's machine.
    pub server: ServerName,
    /// The step.
    pub step: StepName,
}

/// The plan as the first event shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// The stack's name.
    pub app: String,
    /// The verb.
    pub verb: RunVerb,
    /// The strategy.
    pub strategy: Strategy,
    /// Where the strategy comes from.
    pub decided_by: DecidedBy,
    /// The web server template's name.
    pub web_server: String,
    /// When preparation happens.
    pub prepare: Prepare,
    /// What the run does about a failure.
    pub on_failure: OnFailure,
    /// The release that the run makes or returns to.
    pub release: ReleaseId,
    /// What the release is made of.
    pub revision: Revision,
    /// Each server's release before the run.
    pub previous: Vec<(ServerName, Option<ReleaseId>)>,
    /// The servers, batch by batch, in the order of the rollout.
    pub batches: Vec<Vec<ServerName>>,
    /// The server that runs migrations; `None`: the plan has none.
    pub migrate_on: Option<ServerName>,
    /// Every step, in order.
    pub steps: Vec<Place>,
    /// Warnings that the plan itself brings.
    pub notices: Vec<Warning>,
    /// What makes the run impossible; with any of these, the run changes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

/// Something that makes a run impossible, found before anything was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// The server that it is about; `None`: the run as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The step that cannot succeed.
    pub step: StepName,
    /// Why it cannot.
    #[serde(flatten)]
    pub failure: Failure,
}
