//! Values as written: what is wrong with one, and tables read by key.
//!
//! [`Section`] hands out only what is good: what is not has been reported by `check`, so that nothing is said twice. It
//! knows no defaults and no contradictions.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use super::schema::{self, Key, Kind};
use super::values::{self, Bad};
use super::words::{alternatives, nearest, quoted};
use super::{BatchSize, Least};

/// A value with the byte offset of where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Byte offset in the file.
    pub at: usize,
}

/// Something wrong with a value, with the byte offset of where it is written.
pub type Wrong = Found<Bad>;

/// Names a value's type for messages.
pub fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads a TOML integer, in any of its notations.
pub fn whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Finds everything wrong with a value of a kind.
pub fn validate(kind: Kind, value: &Spanned<DeValue<'_>>) -> Vec<Wrong> {
    let at = value.span().start;
    let written = value.get_ref();
    let checked = |result: Result<(), Bad>| result.err().map(|value| Found { value, at }).into_iter().collect();
    match kind {
        Kind::Text(check) => checked(text_of(written).and_then(check)),
        Kind::Texts(check) => match written {
            DeValue::Array(items) => items.iter().flat_map(|item| validate(Kind::Text(check), item)).collect(),
            DeValue::String(text) => checked(check(text)),
            other => checked(Err(wrong_type("text or a list of texts", other, ""))),
        },
        Kind::Choice(words) => checked(text_of(written).and_then(|text| choice(text, words))),
        Kind::Boolean if written.is_bool() => Vec::new(),
        Kind::Boolean => checked(Err(wrong_type("true or false", written, "write it without quotes"))),
        Kind::Whole { least, most } => checked(in_range(written, least, most)),
        Kind::Duration { zero } => checked(duration_of(written).and_then(|d| nonzero(d, zero)).map(drop)),
        Kind::AtLeast(least) => checked(duration_of(written).and_then(|d| no_shorter(d, least))),
        Kind::Limit if written.as_str() == Some("none") => Vec::new(),
        Kind::Limit => checked(duration_of(written).and_then(|d| nonzero(d, false)).map(drop).map_err(|mut bad| {
            bad.hint = format!("{}; \"none\" means without a limit", bad.hint);
            bad
        })),
        Kind::Batch => batch_of(value).err().into_iter().collect(),
        Kind::Least => checked(least_of(written).map(drop)),
        Kind::Statuses => statuses_of(value).err().unwrap_or_default(),
        Kind::PathOrFalse => match written {
            DeValue::Boolean(false) => Vec::new(),
            DeValue::Boolean(true) => checked(Err(Bad::new("cannot be true", "write a path, or false"))),
            other => checked(text_of(other).and_then(values::line)),
        },
    }
}

fn wrong_type(wanted: &str, value: &DeValue<'_>, hint: &str) -> Bad {
    Bad::new(format!("must be {wanted}, not {}", article(value)), hint)
}

fn text_of<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Bad> {
    value.as_str().ok_or_else(|| {
        let hint = match value {
            DeValue::Integer(number) => format!("write it in quotes: \"{number}\""),
            DeValue::Float(number) => format!("write it in quotes: \"{number}\""),
            DeValue::Boolean(word) => format!("write it in quotes: \"{word}\""),
            DeValue::Datetime(date) => format!("write it in quotes: \"{date}\""),
            DeValue::Array(_) | DeValue::Table(_) | DeValue::String(_) => String::new(),
        };
        wrong_type("text", value, &hint)
    })
}

fn choice(text: &str, words: &[&str]) -> Result<(), Bad> {
    if words.contains(&text) {
        return Ok(());
    }
    let all = words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let hint = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write {}", alternatives(&all)),
    };
    Err(Bad::new(format!("cannot be {}", quoted(text)), hint))
}

fn in_range(value: &DeValue<'_>, least: i64, most: i64) -> Result<(), Bad> {
    let range = format!("write a whole number from {least} to {most}");
    match (value, whole(value)) {
        (_, Some(number)) if (least..=most).contains(&number) => Ok(()),
        (DeValue::Integer(number), _) => Err(Bad::new(format!("cannot be {number}"), range)),
        (DeValue::String(text), _) if text.parse::<i64>().is_ok() => {
            Err(wrong_type("a whole number", value, "write it without quotes"))
        }
        _ => Err(wrong_type("a whole number", value, &range)),
    }
}

fn duration_of(value: &DeValue<'_>) -> Result<Duration, Bad> {
    match value {
        DeValue::String(text) => values::parse_duration(text),
        DeValue::Integer(number) => {
            Err(wrong_type("a duration", value, &format!("write \"{number}s\" if seconds are meant")))
        }
        _ => Err(wrong_type("a duration", value, "write for example \"10s\" or \"2m\"")),
    }
}

fn nonzero(duration: Duration, zero: bool) -> Result<Duration, Bad> {
    if duration.is_zero() && !zero {
        return Err(Bad::new("cannot be zero", "write for example \"10s\" or \"2m\""));
    }
    Ok(duration)
}

fn no_shorter(duration: Duration, least: Duration) -> Result<(), Bad> {
    if duration < least {
        return Err(Bad::new("cannot be that short", format!("write \"{}s\" or more", least.as_secs())));
    }
    Ok(())
}

fn batch_of(value: &Spanned<DeValue<'_>>) -> Result<Vec<BatchSize>, Wrong> {
    let wrong = |value: Bad, at: usize| Found { value, at };
    let one = |value: &Spanned<DeValue<'_>>| -> Result<Vec<BatchSize>, Wrong> {
        let at = value.span().start;
        let written = value.get_ref();
        match (written, whole(written).map(usize::try_from)) {
            (_, Some(Ok(count))) => values::batch_count(count).map(|size| vec![size]).map_err(|bad| wrong(bad, at)),
            (DeValue::Integer(number), _) => {
                Err(wrong(Bad::new(format!("cannot be {number} servers"), "a batch has at least 1 server"), at))
            }
            (DeValue::String(text), _) => values::batch_sizes(text).map_err(|bad| wrong(bad, at)),
            (other, _) => {
                let hint = "write 2, \"25%\", or a ramp like [1, \"25%\", \"100%\"]";
                Err(wrong(wrong_type("a number of servers or a share of them", other, hint), at))
            }
        }
    };
    match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => {
            Err(wrong(Bad::new("cannot be an empty list", "write 2, \"25%\", or a ramp"), value.span().start))
        }
        DeValue::Array(items) => items.iter().map(one).collect::<Result<Vec<_>, _>>().map(|sizes| sizes.concat()),
        _ => one(value),
    }
}

fn least_of(value: &DeValue<'_>) -> Result<Least, Bad> {
    let hint = "write a whole number from 0 to 10000, or a share like \"50%\"";
    match value {
        DeValue::String(text) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<u8>().ok()).filter(|p| *p <= 100);
            percent.map(Least::Percent).ok_or_else(|| match text.parse::<usize>() {
                Ok(_) => wrong_type("a whole number or a percentage", value, "write it without quotes"),
                Err(_) => Bad::new(format!("cannot be {}", quoted(text)), hint),
            })
        }
        DeValue::Integer(number) => match whole(value).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= 10_000) {
            Some(count) => Ok(Least::Count(count)),
            None => Err(Bad::new(format!("cannot be {number}"), hint)),
        },
        other => Err(wrong_type("a whole number or a percentage", other, hint)),
    }
}

fn statuses_of(value: &Spanned<DeValue<'_>>) -> Result<Vec<(u16, u16)>, Vec<Wrong>> {
    let single = std::slice::from_ref(value);
    let items = match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => {
            let bad = Bad::new("cannot be an empty list", "write for example [\"200\", \"300-399\"]");
            return Err(vec![Found { value: bad, at: value.span().start }]);
        }
        DeValue::Array(items) => items.iter().collect::<Vec<_>>(),
        _ => single.iter().collect(),
    };
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for item in items {
        let parsed = match item.get_ref() {
            DeValue::String(text) => values::parse_statuses(text),
            DeValue::Integer(number) => values::parse_statuses(&number.to_string()),
            other => Err(wrong_type("statuses", other, "write for example [\"200\", \"300-399\"]")),
        };
        match parsed {
            Ok(range) => good.push(range),
            Err(value) => wrong.push(Found { value, at: item.span().start }),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(wrong) }
}

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
    /// Finds the table `[name]`.
    pub fn one(root: &'a DeTable<'a>, name: &str) -> Option<Self> {
        let table = schema::table(name)?;
        let value = root.get(name)?;
        let contents = value.get_ref().as_table()?;
        Some(Self { title: table.title(None), at: value.span().start, keys: table.keys(), table: contents })
    }

    /// Finds the tables `[[name]]`, in the file's order.
    pub fn many(root: &'a DeTable<'a>, name: &str) -> Vec<Self> {
        let (Some(table), Some(items)) = (schema::table(name), root.get(name).and_then(|v| v.get_ref().as_array()))
        else {
            return Vec::new();
        };
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
        Kind::Choice(words) => {
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
        let section = Section::one(document.get_ref(), "ssh").unwrap();
        assert!(section.text("user").is_none() && section.whole("port").is_none());
        assert!(section.texts("identity_file").is_none());
        assert!(section.wrote("port").is_some() && section.wrote("jump").is_none());
        assert_eq!(section.duration("connect_timeout").map(|d| d.value), Some(Duration::from_secs(5)));
    }
}
