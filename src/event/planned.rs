//! The plan as the first event shows it, and the names of places in it.
//!
//! It owns what a reader of events learns of a plan; deciding one is `plan`'s.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::warning::Warning;
use super::word::{DecidedBy, StageName, StepName};
use crate::name::{ReleaseId, Revision, ServerName};
use crate::policy::{OnFailure, Prepare, Strategy};

/// Where in the plan something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Stage.
    pub stage: StageName,
    /// Batch, from 0.
    pub batch: usize,
    /// Server; `here` for the operator's machine.
    pub server: ServerName,
    /// Step.
    pub step: StepName,
}

/// The plan as the first event shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// The stack's name.
    pub app: String,
    /// `deploy`, `rollback`.
    pub verb: String,
    /// Strategy.
    pub strategy: Strategy,
    /// Who decided it.
    pub decided_by: DecidedBy,
    /// The web server template's name.
    pub web_server: String,
    /// When preparation happens.
    pub prepare: Prepare,
    /// Failure policy.
    pub on_failure: OnFailure,
    /// The release that the run makes or returns to.
    pub release: ReleaseId,
    /// What it is made of.
    pub revision: Revision,
    /// Each server's release before the run.
    pub previous: Vec<(ServerName, Option<ReleaseId>)>,
    /// Servers in the order of the rollout.
    pub batches: Vec<Vec<ServerName>>,
    /// Where migrations run, when they do.
    pub migrate_on: Option<ServerName>,
    /// Every step, in order.
    pub steps: Vec<Place>,
    /// What the plan itself wants read.
    pub notices: Vec<Warning>,
    /// What makes the run impossible; nothing is touched while there is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

/// Something that makes a run impossible, found before anything was touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// Whom it is about; `None`: the run as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The step that could not succeed.
    pub step: StepName,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}
