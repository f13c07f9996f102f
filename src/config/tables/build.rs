//! `[build]`: commands that make a release from its source.

use toml::de::DeTable;

use crate::config::key::{Form, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::tables::source::{Source, SourceKind};
use crate::config::values;

const PLACES: [(&str, BuildPlace); 2] = [("each", BuildPlace::Each), ("here", BuildPlace::Here)];

/// `[build]`.
pub const TABLE: Table = Table {
    name: "build",
    form: Form::One(&[
        key("run", ValueKind::Texts(values::command)).required(),
        key("on", ValueKind::Choice(&words(&PLACES))),
    ]),
};

/// Where the build commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildPlace {
    /// In the new release, on each server.
    Each,
    /// On the operator's machine, once, before the source is read.
    Here,
}

/// Resolves the commands, in order.
pub fn build(merged: &DeTable<'_>) -> Vec<String> {
    let commands = Section::one(merged, &TABLE).and_then(|s| s.texts("run")).unwrap_or_default();
    commands.iter().map(|c| c.value.to_owned()).collect()
}

/// Resolves where they run; reports a place where the source is not.
pub fn build_on(merged: &DeTable<'_>, source: Option<&Source>, problems: &mut Problems<'_>) -> BuildPlace {
    let section = Section::one(merged, &TABLE);
    let Some(on) = section.as_ref().and_then(|s| s.word("on", &PLACES)) else { return BuildPlace::Each };
    let fetched = source.is_some_and(|s| s.kind == SourceKind::Git || s.download.is_some());
    if on.value == BuildPlace::Here && fetched {
        let what = "on = \"here\" in [build] has no meaning for a source that is fetched from elsewhere";
        problems.at(on.at, what, "build on each server, or release a local directory");
    }
    on.value
}
