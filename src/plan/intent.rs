//! What a run means to do to one server, as it is kept beside the server's lock. Pure.

use serde::{Deserialize, Serialize};

use super::run_server::RunServer;
use super::shape::{Plan, Verb};
use crate::config::{OnFailure, Strategy};
use crate::name::{ReleaseId, Revision, ServerName};

/// What a run meant to do to one server; one line of JSON beside its lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Deploy or rollback.
    pub verb: Verb,
    /// How the rollout walks.
    pub strategy: Strategy,
    /// What to do about a failing batch.
    pub on_failure: OnFailure,
    /// The release to be made or returned to.
    pub release: ReleaseId,
    /// What it is made of.
    pub revision: Revision,
    /// The server's batch, from 0; `None`: only its lock was taken.
    pub batch: Option<usize>,
    /// The server's release before the run.
    pub previous: Option<ReleaseId>,
    /// Who began it.
    pub who: String,
    /// Where its migrations run.
    #[serde(default)]
    pub migrate_on: Option<ServerName>,
    /// The server's name in the run's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// All servers of the run, whose locks it takes as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<RunServer>,
}

impl Intent {
    /// What the plan means to do to a server.
    pub fn of(plan: &Plan, server: &ServerName, who: &str) -> Self {
        Self {
            verb: plan.verb,
            strategy: plan.strategy,
            on_failure: plan.on_failure,
            release: plan.release.clone(),
            revision: plan.revision.clone(),
            batch: plan.batches.iter().position(|b| b.contains(server)),
            previous: plan.previous.iter().find(|(s, _)| s == server).and_then(|(_, r)| r.clone()),
            who: who.to_owned(),
            migrate_on: plan.migrate_on.clone(),
            server: Some(server.clone()),
            servers: Vec::new(),
        }
    }

    /// Adds all servers of the run.
    ///
    /// The next file may not name them, and the copies on those servers may differ.
    #[must_use]
    pub fn among(self, plan: &Plan, servers: &[RunServer]) -> Self {
        let batch = |server: &RunServer| plan.batches.iter().position(|b| b.contains(&server.name));
        let servers = servers.iter().map(|server| RunServer { batch: batch(server), ..server.clone() });
        Self { servers: servers.collect(), ..self }
    }

    /// Writes it as one line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the plan that a lock holds.
    pub fn read(lines: &[String]) -> Option<Self> {
        lines.iter().find_map(|line| serde_json::from_str(line).ok())
    }
}
