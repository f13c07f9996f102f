//! `[env]` and `[secrets]`: what every remote command is given. Secrets stay unread: only where they are is known here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::de::DeTable;

use crate::config::SecretSource;
use crate::config::problem::Problems;
use crate::config::raw::Section;
use crate::config::words::quoted;

/// Resolves the variables.
pub fn env(merged: &DeTable<'_>) -> BTreeMap<String, String> {
    let Some(section) = Section::one(merged, "env") else {
        return BTreeMap::new();
    };
    let pairs = section
        .entries()
        .filter_map(|(name, value)| Some((name.value.to_owned(), value.get_ref().as_str()?.to_owned())));
    pairs.collect()
}

/// Resolves where secrets come from; reports those that are plain variables too.
pub fn secrets(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> BTreeMap<String, SecretSource> {
    let Some(section) = Section::one(merged, "secrets") else {
        return BTreeMap::new();
    };
    let plain = Section::one(merged, "env");
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
