//! `[timeouts]`: how long each step may take.

use std::time::Duration;

use toml::de::DeTable;

use crate::config::key::{Form, SOME_DURATION, Table, ValueKind, key};
use crate::config::section::Section;
use crate::lease;

/// Limit of pitcrew's own short steps.
///
/// They do a few file operations; a server that needs longer is in trouble.
const STEP: Duration = Duration::from_secs(60);

/// `[timeouts]`.
pub const TABLE: Table = Table {
    name: "timeouts",
    form: Form::One(&[
        key("prepare", ValueKind::Limit),
        key("migrate", ValueKind::Limit),
        key("restart", ValueKind::Limit),
        key("step", SOME_DURATION),
        key("quiet", ValueKind::Limit),
        key("lease", ValueKind::AtLeast(lease::LEAST)),
    ]),
};

/// `[timeouts]`: hard limits for a step; `None` is `"none"`.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Transfer, link and build, each.
    pub prepare: Option<Duration>,
    /// Migrations.
    pub migrate: Option<Duration>,
    /// Restart with its proof.
    pub restart: Option<Duration>,
    /// `step`: each of pitcrew's own short steps, and each answer of a balancer.
    pub step: Duration,
    /// `lease`: without a sign of life for so long, other runs may take this one for dead.
    ///
    /// Locks are renewed several times in that time.
    pub lease: Duration,
    /// A step that prints nothing for so long is reported; zero (`"none"`): never.
    pub quiet: Duration,
}

/// Resolves the limits.
pub fn timeouts(merged: &DeTable<'_>) -> Timeouts {
    let section = Section::one(merged, &TABLE);
    let limit = |key: &str, default: Option<Duration>| section.as_ref().and_then(|s| s.limit(key)).unwrap_or(default);
    Timeouts {
        prepare: limit("prepare", Some(Duration::from_secs(30 * 60))),
        migrate: limit("migrate", None),
        restart: limit("restart", Some(Duration::from_secs(2 * 60))),
        step: section.as_ref().and_then(|s| s.duration("step")).map_or(STEP, |d| d.value),
        lease: section.as_ref().and_then(|s| s.duration("lease")).map_or(lease::DEFAULT, |d| d.value),
        quiet: limit("quiet", Some(Duration::from_secs(60))).unwrap_or(Duration::ZERO),
    }
}
