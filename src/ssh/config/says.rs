//! What an ssh_config says of one host.

use std::collections::BTreeMap;

use super::keywords::{Keyword, Reading};
use super::origin::SettingOrigin;

/// One setting as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSetting {
    /// Its words; a command is one word.
    pub words: Vec<String>,
    /// The place of the line.
    pub from: SettingOrigin,
}

/// What the files say of one host, by keyword in lower case.
///
/// Most keywords have one value, the first; some collect the values of all lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Says(pub BTreeMap<&'static str, Vec<WrittenSetting>>);

impl Says {
    /// Returns the value of a keyword that has one value.
    pub fn first(&self, keyword: &str) -> Option<&WrittenSetting> {
        self.0.get(keyword)?.first()
    }

    /// Returns the values of a keyword that collects them.
    pub fn all(&self, keyword: &str) -> &[WrittenSetting] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// Adds a line, unless an earlier one wins.
    pub(super) fn add(&mut self, keyword: &Keyword, words: Vec<String>, from: SettingOrigin) {
        if keyword.reading == Reading::Proxy && ["proxycommand", "proxyjump"].iter().any(|k| self.0.contains_key(k)) {
            return;
        }
        let values = self.0.entry(keyword.name).or_default();
        let again = values.iter().any(|v| v.words == words);
        if values.is_empty() || (keyword.reading == Reading::Every && !again) {
            values.push(WrittenSetting { words, from });
        }
    }
}
