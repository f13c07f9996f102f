//! Defaults of `[load_balancer]`, and keys that are out of place.

use std::time::Duration;

use toml::de::DeTable;

use super::capacity::{Rollout, capacity};
use super::haproxy::{self, VIAS};
use super::members::members;
use super::types::{Aws, BalancerKind, LoadBalancer, OnDrainTimeout, SteeringCommands};
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

/// The kinds, and the keys that belong to some of them only.
pub const OF_KIND: [(&str, &[&str]); 4] = [
    ("haproxy", &["at", "backends", "via", "user", "password", "ca_file", "check_addresses"]),
    ("elb", &["target_groups", "region", "profile", "min_drain", "poll"]),
    ("elb-classic", &["names", "region", "profile", "min_drain", "poll"]),
    ("command", &["drain", "status", "restore", "run_on"]),
];

/// `[load_balancer]`.
pub const TABLE: Table = Table {
    name: "load_balancer",
    form: Form::One(&[
        key("kind", ValueKind::Choice(&words(&OF_KIND))).required(),
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
    let word_of_kind = section.text("kind")?.value;
    foreign_keys(&section, problems);
    let kind = match word_of_kind {
        "haproxy" => haproxy::kind(&section, Section::one(merged, &secrets::TABLE).as_ref(), problems),
        word => kind(word, &section, problems),
    };
    let aws = matches!(kind, BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. });
    let min_in_service = section.least("min_in_service");
    members(walk.servers, &Section::many(merged, &servers::TABLE), &kind, problems);
    capacity(&section, walk, min_in_service, problems);
    let seconds = |key: &str, default: u64| section.duration(key).map_or(Duration::from_secs(default), |d| d.value);
    let ending = section.word("on_drain_timeout", &ENDINGS);
    if let Some(found) =
        ending.filter(|e| e.value == OnDrainTimeout::Kill && !matches!(kind, BalancerKind::Haproxy { .. }))
    {
        let what =
            format!("`on_drain_timeout` cannot be \"kill\" with kind = \"{word_of_kind}\", which ends no connections");
        problems.at(found.at, what, "write \"proceed\" or \"fail\"");
    }
    if let Some(found) = ending {
        haproxy::ending(&kind, found, problems);
    }
    Some(LoadBalancer {
        kind,
        // A target group's own delay is 300 s by default, and a shorter wait proves nothing.
        drain_timeout: seconds("drain_timeout", if aws { 330 } else { 30 }),
        on_drain_timeout: ending.map_or(OnDrainTimeout::Proceed, |e| e.value),
        wait_after_drain: seconds("wait_after_drain", 0),
        wait_after_restore: seconds("wait_after_restore", 0),
        restore_timeout: seconds("restore_timeout", if aws { 600 } else { 120 }),
        min_healthy_time: seconds("min_healthy_time", 0),
        min_in_service: min_in_service.map_or(Least::Count(1), |n| n.value),
        capacity_timeout: seconds("capacity_timeout", 30),
    })
}

/// Resolves what belongs to one kind only.
fn kind(word: &str, section: &Section<'_>, problems: &mut Problems<'_>) -> BalancerKind {
    let text = |key: &str| section.text(key).map(|t| t.value.to_owned());
    let texts = |key: &str, hint: &str, problems: &mut Problems<'_>| -> Vec<String> {
        section.list(key, hint, problems).iter().map(|t| t.value.to_owned()).collect()
    };
    match word {
        "elb" => BalancerKind::Elb {
            target_groups: texts("target_groups", "add target_groups = [\"arn:…\"], one for each group", problems),
            aws: aws(section),
        },
        "elb-classic" => BalancerKind::ElbClassic {
            names: texts("names", "add names = [\"shop-elb\"], as AWS lists them", problems),
            aws: aws(section),
        },
        _ => {
            let mut needed = |key: &str| {
                if section.wrote(key).is_none() {
                    let what = format!("`{key}` is missing in {}", section.title);
                    problems.at(section.at, what, format!("add {key} = \"lb-ctl {key}\", a command"));
                }
                text(key).unwrap_or_default()
            };
            BalancerKind::Command(SteeringCommands {
                drain: needed("drain"),
                status: needed("status"),
                restore: needed("restore"),
                run_on: section.text("run_on").and_then(|t| parse_run_on(t.value).ok()).flatten(),
            })
        }
    }
}

/// Resolves the keys of both of AWS's kinds.
fn aws(section: &Section<'_>) -> Aws {
    let text = |key: &str| section.text(key).map(|t| t.value.to_owned());
    Aws {
        region: text("region"),
        profile: text("profile"),
        min_drain: section.duration("min_drain").map(|d| d.value),
        // An account's allowance is shared by all who ask.
        poll: section.duration("poll").map_or(Duration::from_secs(5), |d| d.value),
    }
}

fn foreign_keys(section: &Section<'_>, problems: &mut Problems<'_>) {
    let Some(kind) = section.text("kind") else { return };
    let own = OF_KIND.iter().find(|(name, _)| *name == kind.value).map_or(&[][..], |(_, keys)| *keys);
    let mut reported = Vec::new();
    for key in OF_KIND.iter().flat_map(|(_, keys)| *keys) {
        let Some(at) = section.wrote(key).filter(|_| !own.contains(key) && !reported.contains(key)) else { continue };
        reported.push(*key);
        let kinds: Vec<&str> = OF_KIND.iter().filter(|(_, keys)| keys.contains(key)).map(|(name, _)| *name).collect();
        problems.at(
            at,
            format!("`{key}` in {} has no meaning with kind = \"{}\"", section.title, kind.value),
            format!("it belongs to kind = \"{}\"", kinds.join("\" or \"")),
        );
    }
}
