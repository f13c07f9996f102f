//! The words for a plan as a whole: what it will do, and with which strategy.

use crate::event::{DecidedBy, Planned, RunVerb};
use crate::policy::Strategy;
use crate::text::units::count;

/// Says what a run will do, in one line.
pub fn planned(planned: &Planned) -> String {
    let servers = planned.batches.iter().map(Vec::len).sum();
    let to = if planned.verb == RunVerb::Rollback { "to" } else { "release" };
    // A source that cannot be used has no known revision.
    let revision = match planned.revision.short() {
        "" => String::new(),
        short => format!(" ({short})"),
    };
    format!("{}: {} {to} {}{revision} on {}", planned.app, planned.verb, planned.release, count(servers, "server"))
}

/// Says which strategy a run has and where it comes from: `serial (pitcrew.toml)`.
pub fn strategy(strategy: Strategy, by: DecidedBy, web_server: &str) -> String {
    match by {
        DecidedBy::Template => format!("{strategy} ({web_server}'s default)"),
        DecidedBy::File => format!("{strategy} (pitcrew.toml)"),
        DecidedBy::Fact => format!("{strategy} (what the servers say of a restart)"),
        DecidedBy::Flag => format!("{strategy} (--{strategy})"),
    }
}
