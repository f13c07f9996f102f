//! What an ssh_config says of one host.

use std::collections::BTreeMap;

use super::keywords::{Keyword, Reading, UNKNOWN};
use super::line::Line;
use super::origin::SettingOrigin;
use crate::ssh::wildcard::wildcard;

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

    /// Tells whether an earlier line decides in place of this one.
    ///
    /// As ssh has it: a jump host rules out later commands, a command later jump hosts; `ProxyJump none` only the latter.
    fn has_way(&self, name: &str, words: &[String]) -> bool {
        let is_none = |words: &[String]| words.concat().eq_ignore_ascii_case("none");
        let (jump, command) = (self.first("proxyjump"), self.first("proxycommand"));
        match name {
            "proxyjump" => jump.is_some() || (command.is_some() && !is_none(words)),
            _ => command.is_some() || jump.is_some_and(|jump| !is_none(&jump.words)),
        }
    }

    /// Adds a line, unless an earlier one wins.
    pub(super) fn add(&mut self, keyword: &Keyword, words: Vec<String>, from: SettingOrigin) {
        if keyword.reading == Reading::Proxy && self.has_way(keyword.name, &words) {
            return;
        }
        // To ssh this is as if it were not said: a later line has the value.
        if ["connecttimeout", "serveraliveinterval"].contains(&keyword.name) && words == ["none"] {
            return;
        }
        let values = self.0.entry(keyword.name).or_default();
        let again = values.iter().any(|v| v.words == words);
        if values.is_empty() || (keyword.reading == Reading::Every && !again) {
            values.push(WrittenSetting { words, from });
        }
    }

    /// Adds a line with a keyword that ssh does not know, unless `IgnoreUnknown` has named it before.
    pub(super) fn add_unknown(&mut self, line: &Line, from: SettingOrigin) {
        let ignored = self.first("ignoreunknown").is_some_and(|w| {
            w.words.concat().split(',').any(|p| wildcard(p.to_lowercase().as_bytes(), line.keyword.as_bytes()))
        });
        if !ignored {
            let words = vec![line.written.clone()];
            self.0.entry(UNKNOWN).or_default().push(WrittenSetting { words, from });
        }
    }
}
