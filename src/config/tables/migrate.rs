//! `[migrate]`: the command that changes the database, and the server that runs it.

use toml::de::DeTable;

use super::servers::{self, Server};
use crate::config::key::{Form, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::{quoted, suggest};
use crate::name::ServerName;

const WHEN: [(&str, MigrateWhen); 2] = [("always", MigrateWhen::Always), ("asked", MigrateWhen::Asked)];

/// `[migrate]`.
pub const TABLE: Table = Table {
    name: "migrate",
    form: Form::One(&[
        key("run", ValueKind::Text(values::command)).required(),
        key("server", ValueKind::Text(values::line)),
        key("when", ValueKind::Choice(&words(&WHEN))),
    ]),
};

/// `[migrate]`.
#[derive(Debug, Clone)]
pub struct Migrate {
    /// `run`, in the new release's directory.
    pub run: String,
    /// The server that runs it: `server`, else the first with the role `db`, else the first.
    pub server: ServerName,
    /// `when`.
    pub when: MigrateWhen,
}

/// When migrations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrateWhen {
    /// On every deploy, unless `--no-migrate`.
    Always,
    /// Only with `--migrate`.
    Asked,
}

/// Resolves migrations; reports a server that is none of the stack's.
pub fn migrate(merged: &DeTable<'_>, servers: &[Server], problems: &mut Problems<'_>) -> Option<Migrate> {
    let section = Section::one(merged, &TABLE)?;
    let server = match section.text("server") {
        Some(named) => {
            let known = servers::find(servers, named.value);
            if known.is_none() && !servers.is_empty() {
                let names: Vec<&str> = servers.iter().map(|s| s.name.as_str()).collect();
                problems.at(
                    named.at,
                    format!("{} in {} is none of the servers", quoted(named.value), section.title),
                    suggest(named.value, "servers", &names),
                );
            }
            known
        }
        None => servers.iter().find(|s| s.roles.iter().any(|r| r == "db")).or(servers.first()),
    }?;
    let when = section.word("when", &WHEN);
    Some(Migrate {
        run: section.text("run")?.value.to_owned(),
        server: server.name.clone(),
        when: when.map_or(MigrateWhen::Always, |w| w.value),
    })
}
