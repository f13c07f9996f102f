//! `[load_balancer]` of kind `command`.

use super::kind::KindOfBalancer;
use super::types::{BalancerKind, SteeringCommands};
use crate::config::address::parse_run_on;
use crate::config::problem::Problems;
use crate::config::section::Section;

/// Commands of the user's own.
pub(super) const KIND: KindOfBalancer = KindOfBalancer {
    keys: &["drain", "status", "restore", "run_on"],
    resolve: |section, _, problems| {
        BalancerKind::Command(SteeringCommands {
            drain: needed(section, "drain", problems),
            status: needed(section, "status", problems),
            restore: needed(section, "restore", problems),
            run_on: section.text("run_on").and_then(|t| parse_run_on(t.value).ok()).flatten(),
        })
    },
    ends_connections: false,
    limits: (30, 120),
};

fn needed(section: &Section<'_>, key: &str, problems: &mut Problems<'_>) -> String {
    if section.wrote(key).is_none() {
        let what = format!("`{key}` is missing in {}", section.title);
        problems.at(section.at, what, format!("add {key} = \"lb-ctl {key}\", a command"));
    }
    section.text(key).map(|t| t.value.to_owned()).unwrap_or_default()
}
