//! Reads single keywords, and notes each value with its origin.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::values::{Explained, Part};
use crate::ssh::config::{
    ConfigError, Local, Mistake, Question, Says, SettingOrigin, Tokens, UNKNOWN, Unexpanded, WrittenSetting,
    passed_over,
};
use crate::ssh::options::Ssh;

/// Everything that settings are decided from.
pub(in crate::ssh) struct Sources<'a> {
    pub(in crate::ssh) toml: &'a Ssh,
    pub(in crate::ssh) says: &'a Says,
    pub(in crate::ssh) local: &'a Local,
    pub(in crate::ssh) part: Part,
    /// The address as written.
    pub(in crate::ssh) asked: &'a Question,
}

/// A setting: its name in ssh_config(5), and its keyword in lower case.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) keyword: &'static str,
}

/// Makes a key of its name and its keyword.
pub(super) const fn key(name: &'static str, keyword: &'static str) -> Key {
    Key { name, keyword }
}

/// The settings that are noted so far.
pub(super) struct Deciding<'a> {
    pub(super) sources: &'a Sources<'a>,
    pub(super) explained: Vec<Explained>,
}

impl<'a> Deciding<'a> {
    pub(super) fn note(&mut self, name: &'static str, value: impl Into<String>, from: SettingOrigin) {
        self.explained.push(Explained { name, value: value.into(), from });
    }

    /// Returns what ssh_config says, and notes it.
    pub(super) fn written(&mut self, key: Key) -> Option<&'a WrittenSetting> {
        let written = self.sources.says.first(key.keyword)?;
        self.note(key.name, written.words.join(" "), written.from.clone());
        Some(written)
    }

    /// Returns the first word of what ssh_config says, and notes it.
    pub(super) fn says(&mut self, key: Key) -> Option<&'a str> {
        self.written(key)?.words.first().map(String::as_str)
    }

    /// Notes what ssh_config says and pitcrew does not honour, where it would make a difference.
    pub(super) fn passed_over(&mut self) {
        for (keyword, name) in passed_over() {
            let Some(written) = self.sources.says.first(keyword) else { continue };
            let value = written.words.join(" ");
            if !["no", "none", "false"].iter().any(|without| value.eq_ignore_ascii_case(without)) {
                self.note(name, format!("{value} (not honoured)"), written.from.clone());
            }
        }
        for written in self.sources.says.all(UNKNOWN) {
            let told = format!("{} (not honoured: ssh does not know it, and refuses the file)", written.words.concat());
            self.note("Unknown keyword", told, written.from.clone());
        }
    }

    pub(super) fn flag(&mut self, key: Key) -> Result<Option<bool>, ConfigError> {
        let Some(written) = self.written(key) else { return Ok(None) };
        match word(written).as_str() {
            "yes" | "true" => Ok(Some(true)),
            "no" | "false" => Ok(Some(false)),
            // Which extension the server must support, for forwarded agents: the method is used all the same.
            "unbound" | "host-bound" if key.name == "PubkeyAuthentication" => Ok(Some(true)),
            other => Err(bad(written, key.name, "yes or no", Some(other))),
        }
    }

    pub(super) fn number(&mut self, key: Key) -> Result<Option<usize>, ConfigError> {
        let Some(written) = self.written(key) else { return Ok(None) };
        word(written).parse().map(Some).map_err(|_| bad(written, key.name, "a number", None))
    }

    /// Reads a duration; zero and `none` are none.
    pub(super) fn duration(&mut self, key: Key) -> Result<Option<Duration>, ConfigError> {
        let Some(written) = self.written(key) else { return Ok(None) };
        let text = word(written);
        if text == "none" {
            return Ok(None);
        }
        let must = "a number of seconds, or a time like 1m30s";
        let seconds = seconds(&text).ok_or_else(|| bad(written, key.name, must, None))?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    pub(super) fn address(&mut self, key: Key) -> Result<Option<IpAddr>, ConfigError> {
        let Some(written) = self.written(key) else { return Ok(None) };
        let text = word(written);
        let address = text.trim_start_matches('[').trim_end_matches(']').parse();
        address.map(Some).map_err(|_| bad(written, key.name, "an address", Some(&text)))
    }

    /// Reads the paths of all lines of a keyword; `none` alone means none.
    pub(super) fn paths(&mut self, key: Key, tokens: &Tokens<'_>) -> Result<Vec<PathBuf>, ConfigError> {
        let mut paths = Vec::new();
        for line in self.sources.says.all(key.keyword) {
            for text in &line.words {
                if text.eq_ignore_ascii_case("none") {
                    self.note(key.name, "none", line.from.clone());
                    continue;
                }
                let path = tokens.path(text).map_err(|why| unexpanded(&line.from, key.name, why))?;
                self.note(key.name, path.display().to_string(), line.from.clone());
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

/// Refuses the value of a line.
pub(super) fn bad(at: &WrittenSetting, name: &'static str, must: &'static str, value: Option<&str>) -> ConfigError {
    ConfigError::setting(&at.from, Mistake::Value { name, must, value: value.map(str::to_owned) })
}

/// Refuses a value that cannot be expanded.
pub(super) fn unexpanded(at: &SettingOrigin, name: &'static str, source: Unexpanded) -> ConfigError {
    ConfigError::setting(at, Mistake::Unexpanded { name, source })
}

/// Returns the first word of a line, in lower case.
pub(super) fn word(written: &WrittenSetting) -> String {
    written.words.first().map(|w| w.to_lowercase()).unwrap_or_default()
}

/// Reads a time by sshd_config(5), TIME FORMATS: `90`, `1m30s`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let mut chars = rest.chars();
        let unit = match chars.next() {
            None | Some('s' | 'S') => 1,
            Some('m' | 'M') => 60,
            Some('h' | 'H') => 3600,
            Some('d' | 'D') => 86400,
            Some('w' | 'W') => 604_800,
            Some(_) => return None,
        };
        rest = chars.as_str();
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}
