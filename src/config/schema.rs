//! Every table and key of `pitcrew.toml`, once.
//!
//! Reading, the search for unknown keys, and the test that the commented sample mentions every key share it. Owns what
//! each key takes and what is not built yet; not what the keys mean together.

use std::time::Duration;

use super::hosts;
use super::values::{self, Bad};

/// Tells what is wrong with a text, if anything is.
pub type Check = fn(&str) -> Result<(), Bad>;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A text.
    Text(Check),
    /// A text or a list of texts.
    Texts(Check),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Whole {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A duration.
    Duration {
        /// Whether zero makes sense.
        zero: bool,
    },
    /// A duration that is no shorter.
    AtLeast(Duration),
    /// A duration that is not zero, or `"none"`.
    Limit,
    /// Batch sizes.
    Batch,
    /// A whole number from 0, or a share of all like `"50%"`.
    Least,
    /// HTTP statuses and ranges of them.
    Statuses,
    /// A path, or `false`.
    PathOrFalse,
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether the table is wrong without it.
    pub required: bool,
}

/// How a table looks.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// `[name]`, once.
    One(&'static [Key]),
    /// `[[name]]`, any number of times.
    Many(&'static [Key]),
    /// `[web]`: the web server template knows the keys.
    Parameters,
    /// `[env]`: the keys are names of environment variables, the values texts.
    Variables,
    /// `[secrets]`: the keys are names of environment variables, the values tables of these keys.
    Secrets(&'static [Key]),
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// How it looks.
    pub form: Form,
}

impl Table {
    /// Returns the keys, where the schema knows them.
    pub fn keys(&self) -> &'static [Key] {
        match self.form {
            Form::One(keys) | Form::Many(keys) | Form::Secrets(keys) => keys,
            Form::Parameters | Form::Variables => &[],
        }
    }

    /// Returns its header, within a profile or not: `[app]`, `[[servers]]`, `[profiles.staging.app]`.
    pub fn title(&self, profile: Option<&str>) -> String {
        match (profile, self.form) {
            (None, Form::Many(_)) => format!("[[{}]]", self.name),
            (None, _) => format!("[{}]", self.name),
            (Some(profile), Form::Many(_)) => format!("[[profiles.{profile}.{}]]", self.name),
            (Some(profile), _) => format!("[profiles.{profile}.{}]", self.name),
        }
    }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: false }
}

impl Key {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

const ANY_DURATION: Kind = Kind::Duration { zero: true };
const SOME_DURATION: Kind = Kind::Duration { zero: false };
const PORT: Kind = Kind::Whole { least: 1, most: 65535 };

fn host(text: &str) -> Result<(), Bad> {
    hosts::parse(text).map(drop)
}

fn address(text: &str) -> Result<(), Bad> {
    values::parse_address(text).map(drop)
}

fn run_on(text: &str) -> Result<(), Bad> {
    values::parse_run_on(text).map(drop)
}

fn jump(text: &str) -> Result<(), Bad> {
    values::line(text)?;
    if text == "none" {
        return Ok(());
    }
    text.split(',').try_for_each(|one| hosts::parse_one(one.trim()).map(drop))
}

fn hook_point(text: &str) -> Result<(), Bad> {
    values::parse_hook_point(text).map(drop)
}

/// `[app] strategy`, in the order of the type.
pub const STRATEGIES: &[&str] = &["parallel", "serial", "rolling"];
/// `[source] kind`.
pub const SOURCES: &[&str] = &["push", "git", "archive"];
/// `[load_balancer] kind`.
pub const BALANCERS: &[&str] = &["haproxy", "elb", "elb-classic", "command"];

/// All tables, in the order of the sample; `[profiles.NAME]` holds any of them again.
pub const TABLES: &[Table] = &[
    Table {
        name: "app",
        form: Form::One(&[
            key("name", Kind::Text(values::name)).required(),
            key("deploy_to", Kind::Text(values::deploy_to)).required(),
            key("web_server", Kind::Text(values::line)).required(),
            key("strategy", Kind::Choice(STRATEGIES)),
            key("batch", Kind::Batch),
            key("prepare", Kind::Choice(&["in-turn", "ahead"])),
            key("on_failure", Kind::Choice(&["revert", "revert-all", "hold"])),
            key("keep_releases", Kind::Whole { least: 1, most: 10_000 }),
        ]),
    },
    Table { name: "web", form: Form::Parameters },
    Table {
        name: "source",
        form: Form::One(&[
            key("kind", Kind::Choice(SOURCES)),
            key("path", Kind::Text(values::line)),
            key("ref", Kind::Text(values::git_ref)),
            key("repo", Kind::Text(values::repository)),
            key("password", Kind::Text(values::variable)),
            key("deploy_key", Kind::Text(values::line)),
            key("host_keys", Kind::Texts(values::host_key)),
            key("at_once", Kind::Whole { least: 1, most: 10_000 }),
            key("url", Kind::Text(values::archive_url)),
            key("url_secret", Kind::Text(values::variable)),
            key("sha256", Kind::Text(values::sha256)),
            key("fetch", Kind::Choice(&["here", "servers"])),
            key("endpoint", Kind::Text(values::endpoint)),
            key("region", Kind::Text(values::line)),
        ]),
    },
    Table {
        name: "ssh",
        form: Form::One(&[
            key("user", Kind::Text(values::user)),
            key("port", PORT),
            key("identity_file", Kind::Texts(values::line)),
            key("known_hosts", Kind::Texts(values::line)),
            key("host_key_checking", Kind::Choice(&["strict", "accept-new"])),
            key("config_file", Kind::PathOrFalse),
            key("connect_timeout", SOME_DURATION),
            key("jump", Kind::Text(jump)),
            key("forward_agent", Kind::Boolean),
        ]),
    },
    Table {
        name: "servers",
        form: Form::Many(&[
            key("host", Kind::Text(host)).required(),
            key("roles", Kind::Texts(values::role)),
            key("lb", Kind::Text(values::line)),
        ]),
    },
    Table {
        name: "load_balancer",
        form: Form::One(&[
            key("kind", Kind::Choice(BALANCERS)).required(),
            key("at", Kind::Texts(address)),
            key("backends", Kind::Texts(values::haproxy_name)),
            key("via", Kind::Choice(&["auto", "sudo"])),
            key("user", Kind::Text(values::line)),
            key("password", Kind::Text(values::variable)),
            key("ca_file", Kind::Text(values::line)),
            key("drain_timeout", ANY_DURATION),
            key("on_drain_timeout", Kind::Choice(&["proceed", "kill", "fail"])),
            key("wait_after_drain", ANY_DURATION),
            key("wait_after_restore", ANY_DURATION),
            key("restore_timeout", SOME_DURATION),
            key("min_healthy_time", ANY_DURATION),
            key("min_in_service", Kind::Least),
            key("capacity_timeout", ANY_DURATION),
            key("target_groups", Kind::Texts(values::line)),
            key("region", Kind::Text(values::line)),
            key("profile", Kind::Text(values::line)),
            key("names", Kind::Texts(values::line)),
            key("min_drain", ANY_DURATION),
            key("poll", SOME_DURATION),
            key("drain", Kind::Text(values::command)),
            key("status", Kind::Text(values::command)),
            key("restore", Kind::Text(values::command)),
            key("run_on", Kind::Text(run_on)),
        ]),
    },
    Table {
        name: "health",
        form: Form::One(&[
            key("path", Kind::Text(values::url_path)),
            key("port", PORT),
            key("host", Kind::Text(values::host_header)),
            key("scheme", Kind::Choice(&["http", "https"])),
            key("accept", Kind::Statuses),
            key("timeout", SOME_DURATION),
            key("within", SOME_DURATION),
            key("interval", SOME_DURATION),
            key("successes", Kind::Whole { least: 1, most: 1000 }),
            key("command", Kind::Text(values::command)),
        ]),
    },
    Table {
        name: "build",
        form: Form::One(&[
            key("run", Kind::Texts(values::command)).required(),
            key("on", Kind::Choice(&["each", "here"])),
        ]),
    },
    Table {
        name: "migrate",
        form: Form::One(&[
            key("run", Kind::Text(values::command)).required(),
            key("server", Kind::Text(values::line)),
            key("when", Kind::Choice(&["always", "asked"])),
        ]),
    },
    Table {
        name: "shared",
        form: Form::One(&[
            key("dirs", Kind::Texts(values::shared_path)),
            key("files", Kind::Texts(values::shared_path)),
        ]),
    },
    Table { name: "env", form: Form::Variables },
    Table {
        name: "secrets",
        form: Form::Secrets(&[
            key("env", Kind::Text(values::variable)),
            key("file", Kind::Text(values::line)),
            key("command", Kind::Text(values::command)),
        ]),
    },
    Table {
        name: "hooks",
        form: Form::Many(&[
            key("at", Kind::Text(hook_point)).required(),
            key("run", Kind::Text(values::command)).required(),
            key("on", Kind::Choice(&["each", "one", "here"])),
            key("halt", Kind::Boolean),
        ]),
    },
    Table {
        name: "timeouts",
        form: Form::One(&[
            key("prepare", Kind::Limit),
            key("migrate", Kind::Limit),
            key("restart", Kind::Limit),
            key("step", SOME_DURATION),
            key("quiet", Kind::Limit),
            key("lease", Kind::AtLeast(crate::lease::LEAST)),
        ]),
    },
];

/// The word under which profiles are kept.
pub const PROFILES: &str = "profiles";

/// Finds a table by its name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|t| t.name == name)
}

/// Finds the tables that have a key of that name.
pub fn owners(key: &str) -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(move |t| !matches!(t.form, Form::Secrets(_)) && t.keys().iter().any(|k| k.name == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice() {
        for (i, table) in TABLES.iter().enumerate() {
            assert!(TABLES.iter().skip(i + 1).all(|t| t.name != table.name), "{}", table.name);
            for (j, key) in table.keys().iter().enumerate() {
                assert!(table.keys().iter().skip(j + 1).all(|k| k.name != key.name), "{}.{}", table.name, key.name);
            }
        }
    }
}
