//! `[secrets]`: where the values of secret variables come from.
//!
//! The values are read when a run starts, not here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::DeTable;

use super::env;
use crate::config::key::{Form, Table, ValueKind, key};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::quoted;

/// `[secrets]`.
pub const TABLE: Table = Table {
    name: "secrets",
    form: Form::Secrets(&[
        key("env", ValueKind::Text(values::variable)),
        key("file", ValueKind::Text(values::line)),
        key("command", ValueKind::Text(values::command)),
    ]),
};

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the operator.
    Env(String),
    /// A local file; one final newline is dropped.
    File(PathBuf),
    /// The output of a local command; one final newline is dropped.
    Command(String),
}

/// Resolves where secrets come from; reports those that are plain variables too.
pub fn secrets(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> BTreeMap<String, SecretSource> {
    let Some(section) = Section::one(merged, &TABLE) else {
        return BTreeMap::new();
    };
    let plain = Section::one(merged, &env::TABLE);
    let mut sources = BTreeMap::new();
    for (name, _) in section.entries() {
        if let Some(env) = &plain
            && let Some(other) = env.wrote(name.value)
        {
            problems.at(
                name.at,
                format!("{} is both in {} and in {}", quoted(name.value), env.title, section.title),
                format!("the other is on line {}; keep one of the two", problems.line_of(other)),
            );
        }
        let Some(source) = section.inner(name.value) else { continue };
        let found = if let Some(variable) = source.text("env") {
            SecretSource::Env(variable.value.to_owned())
        } else if let Some(file) = source.text("file") {
            SecretSource::File(PathBuf::from(file.value))
        } else if let Some(command) = source.text("command") {
            SecretSource::Command(command.value.to_owned())
        } else {
            continue;
        };
        sources.insert(name.value.to_owned(), found);
    }
    sources
}
