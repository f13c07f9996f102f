//! `[env]`: variables that every remote command gets.

use std::collections::BTreeMap;

use toml::de::DeTable;

use crate::config::key::{Form, Table};
use crate::config::section::Section;

/// `[env]`.
pub const TABLE: Table = Table { name: "env", form: Form::Variables };

/// Resolves the variables.
pub fn env(merged: &DeTable<'_>) -> BTreeMap<String, String> {
    let Some(section) = Section::one(merged, &TABLE) else {
        return BTreeMap::new();
    };
    let pairs = section
        .entries()
        .filter_map(|(name, value)| Some((name.value.to_owned(), value.get_ref().as_str()?.to_owned())));
    pairs.collect()
}
