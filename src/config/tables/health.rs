//! `[health]`: defaults, and checks that could never pass.

use std::time::Duration;

use toml::de::DeTable;

use crate::config::key::{Form, PORT, SOME_DURATION, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::url::Scheme;
use crate::config::values;

/// The keys of a request, which `command` stands instead of.
pub(crate) const REQUEST: [&str; 7] = ["path", "paths", "port", "host", "scheme", "accept", "release"];

const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];

/// `[health]`.
pub const TABLE: Table = Table {
    name: "health",
    form: Form::One(&[
        key("path", ValueKind::Text(values::url_path)),
        key("paths", ValueKind::Texts(values::url_path)),
        key("port", PORT),
        key("host", ValueKind::Text(values::host_header)),
        key("scheme", ValueKind::Choice(&words(&SCHEMES))),
        key("accept", ValueKind::Statuses),
        key("release", ValueKind::Text(values::header)),
        key("timeout", SOME_DURATION),
        key("within", SOME_DURATION),
        key("interval", SOME_DURATION),
        key("successes", ValueKind::Whole { least: 1, most: 1000 }),
        key("command", ValueKind::Text(values::command)),
    ]),
};

/// `[health]`.
#[derive(Debug, Clone)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// `timeout`: one attempt.
    pub timeout: Duration,
    /// `within`: all attempts.
    pub within: Duration,
    /// `interval` between attempts.
    pub interval: Duration,
    /// `successes` in a row.
    pub successes: u32,
}

/// What a health check asks a server.
#[derive(Debug, Clone)]
pub enum Probe {
    /// An HTTP request to the server's own port.
    Http(HttpProbe),
    /// A command in `current`; exit status 0 is healthy.
    Command(String),
}

/// An HTTP request through the SSH connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// `paths`, or the one `path`, with their queries; all of them must answer well.
    pub paths: Vec<String>,
    /// `port` on the server's loopback.
    pub port: u16,
    /// `host`: the Host header.
    pub host: String,
    /// `scheme`.
    pub scheme: Scheme,
    /// `accept`: inclusive ranges of statuses.
    pub accept: Vec<(u16, u16)>,
    /// `release`: where an answer must name its release.
    pub release: Option<Named>,
}

impl Health {
    /// Tells whether an answer must name its release.
    pub fn names_release(&self) -> bool {
        matches!(&self.probe, Probe::Http(http) if http.release.is_some())
    }
}

/// Where an answer names its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// In this header.
    Header(String),
    /// In the beginning of its body.
    Body,
}

/// Reads `path` or `paths`.
fn paths(section: &Section<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    let one = section.text("path");
    let Some(at) = section.wrote("paths") else { return vec![one.map_or("/", |p| p.value).to_owned()] };
    if let Some(one) = one {
        let what = format!("`path` in {} has no meaning beside `paths`", section.title);
        problems.at(one.at, what, "keep one of the two");
    }
    let all = section.texts("paths").unwrap_or_default();
    if section.texts("paths").is_some_and(|p| p.is_empty()) {
        problems.at(
            at,
            format!("`paths` in {} is empty", section.title),
            "write what is asked, as in [\"/up\", \"/\"]",
        );
    }
    all.into_iter().map(|p| p.value.to_owned()).collect()
}

/// Resolves the health check.
pub fn health(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Health> {
    let section = Section::one(merged, &TABLE)?;
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
            let scheme = section.word("scheme", &SCHEMES).map_or(Scheme::Http, |s| s.value);
            Probe::Http(HttpProbe {
                paths: paths(&section, problems),
                port: section.whole("port").and_then(|p| p.value.try_into().ok()).unwrap_or(80),
                host: section.text("host").map_or("localhost", |h| h.value).to_owned(),
                scheme,
                accept: section.statuses("accept").unwrap_or_else(|| vec![(200, 299)]),
                release: section.text("release").map(|r| match r.value {
                    "body" => Named::Body,
                    header => Named::Header(header.to_ascii_lowercase()),
                }),
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
