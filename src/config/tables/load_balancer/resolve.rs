//! Defaults of `[load_balancer]`, and keys that are out of place.

use std::time::Duration;

use toml::de::DeTable;

use super::capacity::{Rollout, capacity};
use super::haproxy::{self, VIAS};
use super::kind::KindOfBalancer;
use super::members::members;
use super::types::{LoadBalancer, OnDrainTimeout};
use super::{aws, command};
use crate::config::address::{parse_address, parse_run_on};
use crate::config::bad::Bad;
use crate::config::key::{ANY_DURATION, Form, SOME_DURATION, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::share::Least;
use crate::config::tables::{secrets, servers};
use crate::config::values;

const ENDINGS: [(&str, OnDrainTimeout); 3] =
    [("proceed", OnDrainTimeout::Proceed), ("kill", OnDrainTimeout::Kill), ("fail", OnDrainTimeout::Fail)];

/// The kinds by their words.
pub const KINDS: [(&str, KindOfBalancer); 4] =
    [("haproxy", haproxy::KIND), ("elb", aws::ELB), ("elb-classic", aws::CLASSIC), ("command", command::KIND)];

/// `[load_balancer]`.
pub const TABLE: Table = Table {
    name: "load_balancer",
    form: Form::One(&[
        key("kind", ValueKind::Choice(&words(&KINDS))).required(),
        key("at", ValueKind::Texts(address)),
        key("backends", ValueKind::Texts(values::haproxy_name)),
        key("via", ValueKind::Choice(&words(&VIAS))),
        key("user", ValueKind::Text(values::line)),
        key("password", ValueKind::Text(values::variable)),
        key("ca_file", ValueKind::Text(values::line)),
        key("check_addresses", ValueKind::Boolean),
        key("drain_timeout", ANY_DURATION),
        key("on_drain_timeout", ValueKind::Choice(&words(&ENDINGS))),
        key("wait_after_drain", ANY_DURATION),
        key("wait_after_restore", ANY_DURATION),
        key("restore_timeout", SOME_DURATION),
        key("min_healthy_time", ANY_DURATION),
        key("min_in_service", ValueKind::Least),
        key("capacity_timeout", ANY_DURATION),
        key("target_groups", ValueKind::Texts(values::line)),
        key("region", ValueKind::Text(values::line)),
        key("profile", ValueKind::Text(values::line)),
        key("names", ValueKind::Texts(values::line)),
        key("min_drain", ANY_DURATION),
        key("poll", SOME_DURATION),
        key("drain", ValueKind::Text(values::command)),
        key("status", ValueKind::Text(values::command)),
        key("restore", ValueKind::Text(values::command)),
        key("run_on", ValueKind::Text(run_on)),
    ]),
};

fn address(text: &str) -> Result<(), Bad> {
    parse_address(text).map(drop)
}

fn run_on(text: &str) -> Result<(), Bad> {
    parse_run_on(text).map(drop)
}

/// Resolves the balancer; reports what no drain could ever satisfy.
pub fn balancer(merged: &DeTable<'_>, walk: &Rollout<'_>, problems: &mut Problems<'_>) -> Option<LoadBalancer> {
    let section = Section::one(merged, &TABLE)?;
    let (word_of_kind, of) = *KINDS.iter().find(|(word, _)| Some(*word) == section.text("kind").map(|t| t.value))?;
    foreign_keys(&section, problems);
    let kind = (of.resolve)(&section, Section::one(merged, &secrets::TABLE).as_ref(), problems);
    let min_in_service = section.least("min_in_service");
    members(walk.servers, &Section::many(merged, &servers::TABLE), &kind, problems);
    capacity(&section, walk, min_in_service, problems);
    let seconds = |key: &str, default: u64| section.duration(key).map_or(Duration::from_secs(default), |d| d.value);
    let ending = section.word("on_drain_timeout", &ENDINGS);
    if let Some(found) = ending.filter(|e| e.value == OnDrainTimeout::Kill && !of.ends_connections) {
        let what =
            format!("`on_drain_timeout` cannot be \"kill\" with kind = \"{word_of_kind}\", which ends no connections");
        problems.at(found.at, what, "write \"proceed\" or \"fail\"");
    }
    if let Some(found) = ending {
        haproxy::ending(&kind, found, problems);
    }
    Some(LoadBalancer {
        kind,
        drain_timeout: seconds("drain_timeout", of.limits.0),
        on_drain_timeout: ending.map_or(OnDrainTimeout::Proceed, |e| e.value),
        wait_after_drain: seconds("wait_after_drain", 0),
        wait_after_restore: seconds("wait_after_restore", 0),
        restore_timeout: seconds("restore_timeout", of.limits.1),
        min_healthy_time: seconds("min_healthy_time", 0),
        min_in_service: min_in_service.map_or(Least::Count(1), |n| n.value),
        capacity_timeout: seconds("capacity_timeout", 30),
    })
}

fn foreign_keys(section: &Section<'_>, problems: &mut Problems<'_>) {
    let Some(kind) = section.text("kind") else { return };
    let own = KINDS.iter().find(|(name, _)| *name == kind.value).map_or(&[][..], |(_, of)| of.keys);
    let mut reported = Vec::new();
    for key in KINDS.iter().flat_map(|(_, of)| of.keys) {
        let Some(at) = section.wrote(key).filter(|_| !own.contains(key) && !reported.contains(key)) else { continue };
        reported.push(*key);
        let kinds: Vec<&str> = KINDS.iter().filter(|(_, of)| of.keys.contains(key)).map(|(name, _)| *name).collect();
        problems.at(
            at,
            format!("`{key}` in {} has no meaning with kind = \"{}\"", section.title, kind.value),
            format!("it belongs to kind = \"{}\"", kinds.join("\" or \"")),
        );
    }
}
