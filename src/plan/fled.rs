//! Revisions that failed here or were rolled back from: `--if-changed` leaves them alone.

use crate::config::Server;
use crate::event::{Flight, Warning};
use crate::facts::Facts;
use crate::name::Revision;
use crate::release::ReleaseState;

/// Finds a release of the revision that a server of the run failed on, or was rolled back from.
pub fn find(facts: &Facts, servers: &[&Server], revision: &Revision) -> Option<Warning> {
    servers.iter().find_map(|server| {
        let found = facts.servers.get(&server.name)?;
        if let Some((unbuilt, release)) = found.unbuilt.clone().filter(|(unbuilt, _)| unbuilt == revision) {
            return Some(Warning::Fled { revision: unbuilt, release, on: server.name.clone(), how: Flight::Unbuilt });
        }
        let of_it = found.releases.iter().rev().filter(|r| r.revision.as_ref() == Some(revision));
        let (release, how) = of_it.into_iter().find_map(|r| match r.state {
            ReleaseState::Failed => Some((r, Flight::Failed)),
            // A later release that is proven and not current: it was left for an older one.
            ReleaseState::Good if found.current.as_ref().is_some_and(|c| *c < r.id) => Some((r, Flight::RolledBack)),
            _ => None,
        })?;
        let (revision, release) = (revision.clone(), release.id.clone());
        Some(Warning::Fled { revision, release, on: server.name.clone(), how })
    })
}
