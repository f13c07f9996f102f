//! Tables read by key.
//!
//! [`Section`] hands out only what is good: `check` has reported the rest, so that nothing is said twice. It knows no
//! defaults and no contradictions.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Table, ValueKind};
use super::problem::Problems;
use super::share::{BatchSize, Least};
use super::words::{alternatives, quoted};
use super::written::{Found, batch_of, duration_of, least_of, statuses_of, validate, whole};

/// One table of the (merged) file, read by key. What `check` has reported is not there.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// Its header, for messages.
    pub title: String,
    /// Byte offset of its header, or of where it is first mentioned.
    pub at: usize,
    keys: &'static [Key],
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// Finds a table that is there once.
    pub fn one(root: &'a DeTable<'a>, table: &Table) -> Option<Self> {
        let value = root.get(table.name)?;
        let contents = value.get_ref().as_table()?;
        Some(Self { title: table.title(None), at: value.span().start, keys: table.keys(), table: contents })
    }

    /// Finds tables that are there any number of times, in the file's order.
    pub fn many(root: &'a DeTable<'a>, table: &Table) -> Vec<Self> {
        let Some(items) = root.get(table.name).and_then(|v| v.get_ref().as_array()) else { return Vec::new() };
        items
            .iter()
            .filter_map(|item| {
                let contents = item.get_ref().as_table()?;
                Some(Self { title: table.title(None), at: item.span().start, keys: table.keys(), table: contents })
            })
            .collect()
    }

    /// Iterates over what is written, unchecked: for tables whose keys are free.
    pub fn entries(&self) -> impl Iterator<Item = (Found<&'a str>, &'a Spanned<DeValue<'a>>)> {
        self.table.iter().map(|(k, v)| (Found { value: k.get_ref().as_ref(), at: k.span().start }, v))
    }

    /// Reads a table that is the value of a free key.
    pub fn inner(&self, name: &str) -> Option<Self> {
        let (key, value) = self.table.get_key_value(name)?;
        let table = value.get_ref().as_table()?;
        Some(Self { title: format!("{} {name}", self.title), at: key.span().start, keys: self.keys, table })
    }

    /// Tells where a key is written, whether its value is good or not.
    pub fn wrote(&self, name: &str) -> Option<usize> {
        self.table.get_key_value(name).map(|(key, _)| key.span().start)
    }

    /// Reports required keys that are not there.
    pub fn complain(&self, problems: &mut Problems<'_>) {
        for key in self.keys {
            if key.required && !self.table.contains_key(key.name) {
                problems.at(self.at, format!("`{}` is missing in {}", key.name, self.title), example(key));
            }
        }
    }

    fn good(&self, name: &str) -> Option<(&'static Key, &'a Spanned<DeValue<'a>>)> {
        let key = self.keys.iter().find(|k| k.name == name)?;
        let value = self.table.get(name)?;
        validate(key.kind, value).is_empty().then_some((key, value))
    }

    /// Reads a text or a choice.
    pub fn text(&self, name: &str) -> Option<Found<&'a str>> {
        let (_, value) = self.good(name)?;
        Some(Found { value: value.get_ref().as_str()?, at: value.span().start })
    }

    /// Reads a text or a list of texts as a list.
    pub fn texts(&self, name: &str) -> Option<Vec<Found<&'a str>>> {
        let (_, value) = self.good(name)?;
        let text = |v: &'a Spanned<DeValue<'a>>| Some(Found { value: v.get_ref().as_str()?, at: v.span().start });
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(text).collect(),
            _ => Some(vec![text(value)?]),
        }
    }

    /// Reads one of several words as its meaning.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Option<Found<T>> {
        let written = self.text(name)?;
        let (_, value) = words.iter().find(|(word, _)| *word == written.value)?;
        Some(Found { value: *value, at: written.at })
    }

    /// Reads a list that must name something, and nothing twice; reports where it does not.
    pub fn list(&self, name: &str, hint: &str, problems: &mut Problems<'_>) -> Vec<Found<&'a str>> {
        let Some(wrote) = self.wrote(name) else {
            problems.at(self.at, format!("`{name}` is missing in {}", self.title), hint);
            return Vec::new();
        };
        let Some(items) = self.texts(name) else { return Vec::new() };
        if items.is_empty() {
            problems.at(wrote, format!("`{name}` in {} is empty", self.title), hint);
        }
        for (i, item) in items.iter().enumerate() {
            if items.iter().take(i).any(|earlier| earlier.value == item.value) {
                let what = format!("{} is there twice in `{name}` of {}", quoted(item.value), self.title);
                problems.at(item.at, what, "keep one of the two");
            }
        }
        items
    }

    /// Reads a whole number.
    pub fn whole(&self, name: &str) -> Option<Found<i64>> {
        let (_, value) = self.good(name)?;
        Some(Found { value: whole(value.get_ref())?, at: value.span().start })
    }

    /// Reads how many must stay in service.
    pub fn least(&self, name: &str) -> Option<Found<Least>> {
        let (_, value) = self.good(name)?;
        Some(Found { value: least_of(value.get_ref()).ok()?, at: value.span().start })
    }

    /// Reads `true` or `false`.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.good(name)?.1.get_ref().as_bool()
    }

    /// Reads a path, or `false`, which is the inner `None`.
    pub fn path_or_false(&self, name: &str) -> Option<Option<&'a str>> {
        Some(self.good(name)?.1.get_ref().as_str())
    }

    /// Reads a duration.
    pub fn duration(&self, name: &str) -> Option<Found<Duration>> {
        let (_, value) = self.good(name)?;
        Some(Found { value: duration_of(value.get_ref()).ok()?, at: value.span().start })
    }

    /// Reads a duration or `"none"`, which is the inner `None`.
    pub fn limit(&self, name: &str) -> Option<Option<Duration>> {
        let (_, value) = self.good(name)?;
        match value.get_ref().as_str() {
            Some("none") => Some(None),
            _ => duration_of(value.get_ref()).ok().map(Some),
        }
    }

    /// Reads batch sizes.
    pub fn batch(&self, name: &str) -> Option<Found<Vec<BatchSize>>> {
        let (_, value) = self.good(name)?;
        Some(Found { value: batch_of(value).ok()?, at: value.span().start })
    }

    /// Reads HTTP statuses.
    pub fn statuses(&self, name: &str) -> Option<Vec<(u16, u16)>> {
        statuses_of(self.good(name)?.1).ok()
    }
}

fn example(key: &Key) -> String {
    match key.kind {
        ValueKind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            format!("add {} = {}", key.name, alternatives(&words))
        }
        _ => {
            let value = match key.name {
                "name" => "shop",
                "deploy_to" => "/srv/shop",
                "web_server" => "unicorn",
                "host" => "web1.example.com",
                "at" => "after switch",
                _ => "…",
            };
            format!("add {} = \"{value}\"", key.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_hands_out_only_what_is_good() {
        let text = "[ssh]\nuser = \"a b\"\nport = 70000\nidentity_file = [\"a\", 1]\nconnect_timeout = \"5s\"\n";
        let document = DeTable::parse(text).unwrap();
        let section = Section::one(document.get_ref(), &crate::config::tables::ssh::TABLE).unwrap();
        assert!(section.text("user").is_none() && section.whole("port").is_none());
        assert!(section.texts("identity_file").is_none());
        assert!(section.wrote("port").is_some() && section.wrote("jump").is_none());
        assert_eq!(section.duration("connect_timeout").map(|d| d.value), Some(Duration::from_secs(5)));
    }
}
