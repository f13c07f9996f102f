//! `[health]`: defaults, and checks that could never pass.

use std::time::Duration;

use toml::de::DeTable;

use super::word;
use crate::config::problem::Problems;
use crate::config::profile::REQUEST;
use crate::config::raw::Section;
use crate::config::{Health, HttpProbe, Probe, Scheme};

/// Resolves the health check.
pub fn health(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Health> {
    let section = Section::one(merged, "health")?;
    let seconds = |key: &str, default: u64| section.duration(key).map_or(Duration::from_secs(default), |d| d.value);
    let probe = match section.wrote("command") {
        Some(_) => {
            for key in REQUEST {
                if let Some(at) = section.wrote(key) {
                    let what = format!("`{key}` in {} has no meaning beside `command`", section.title);
                    problems.at(at, what, "a check is a request or a command; keep one of the two");
                }
            }
            Probe::Command(section.text("command")?.value.to_owned())
        }
        None => {
            let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
            let scheme = word(Some(&section), "scheme", &schemes).map_or(Scheme::Http, |s| s.value);
            Probe::Http(HttpProbe {
                path: section.text("path").map_or("/", |p| p.value).to_owned(),
                port: section.whole("port").and_then(|p| p.value.try_into().ok()).unwrap_or(80),
                host: section.text("host").map_or("localhost", |h| h.value).to_owned(),
                scheme,
                accept: section.statuses("accept").unwrap_or_else(|| vec![(200, 200), (300, 399)]),
            })
        }
    };
    let health = Health {
        probe,
        timeout: seconds("timeout", 5),
        within: seconds("within", 60),
        interval: seconds("interval", 1),
        successes: section.whole("successes").and_then(|n| n.value.try_into().ok()).unwrap_or(2),
    };
    let waits = health.interval.saturating_mul(health.successes.saturating_sub(1));
    if waits >= health.within {
        let at = ["successes", "interval", "within"].iter().find_map(|key| section.wrote(key)).unwrap_or(section.at);
        problems.at(
            at,
            format!(
                "{} successes {:?} apart can never be had within {:?} in {}",
                health.successes, health.interval, health.within, section.title
            ),
            "write a longer `within`, a shorter `interval`, or fewer `successes`",
        );
    }
    Some(health)
}
