//! Values as they are written in the file: each kind's meaning, or what is wrong with it and where.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::bad::Bad;
use super::key::ValueKind;
use super::share::{self, BatchSize, Least};
use super::values;
use super::words::{alternatives, nearest, quoted};

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
pub fn validate(kind: ValueKind, value: &Spanned<DeValue<'_>>) -> Vec<Wrong> {
    let at = value.span().start;
    let written = value.get_ref();
    let checked = |result: Result<(), Bad>| result.err().map(|value| Found { value, at }).into_iter().collect();
    match kind {
        ValueKind::Text(check) => checked(text_of(written).and_then(check)),
        ValueKind::Texts(check) => match written {
            DeValue::Array(items) => items.iter().flat_map(|item| validate(ValueKind::Text(check), item)).collect(),
            DeValue::String(text) => checked(check(text)),
            other => checked(Err(wrong_type("text or a list of texts", other, ""))),
        },
        ValueKind::Choice(words) => checked(text_of(written).and_then(|text| choice(text, words))),
        ValueKind::Boolean if written.is_bool() => Vec::new(),
        ValueKind::Boolean => checked(Err(wrong_type("true or false", written, "write it without quotes"))),
        ValueKind::Whole { least, most } => checked(in_range(written, least, most)),
        ValueKind::Duration { zero } => checked(duration_of(written).and_then(|d| nonzero(d, zero)).map(drop)),
        ValueKind::AtLeast(least) => checked(duration_of(written).and_then(|d| no_shorter(d, least))),
        ValueKind::Limit if written.as_str() == Some("none") => Vec::new(),
        ValueKind::Limit => {
            checked(duration_of(written).and_then(|d| nonzero(d, false)).map(drop).map_err(|mut bad| {
                bad.hint = format!("{}; \"none\" means without a limit", bad.hint);
                bad
            }))
        }
        ValueKind::Batch => batch_of(value).err().into_iter().collect(),
        ValueKind::Least => checked(least_of(written).map(drop)),
        ValueKind::Statuses => statuses_of(value).err().unwrap_or_default(),
        ValueKind::PathOrFalse => match written {
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

pub(crate) fn duration_of(value: &DeValue<'_>) -> Result<Duration, Bad> {
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

pub(crate) fn batch_of(value: &Spanned<DeValue<'_>>) -> Result<Vec<BatchSize>, Wrong> {
    let wrong = |value: Bad, at: usize| Found { value, at };
    let one = |value: &Spanned<DeValue<'_>>| -> Result<Vec<BatchSize>, Wrong> {
        let at = value.span().start;
        let written = value.get_ref();
        match (written, whole(written).map(usize::try_from)) {
            (_, Some(Ok(count))) => share::batch_count(count).map(|size| vec![size]).map_err(|bad| wrong(bad, at)),
            (DeValue::Integer(number), _) => {
                Err(wrong(Bad::new(format!("cannot be {number} servers"), "a batch has at least 1 server"), at))
            }
            (DeValue::String(text), _) => share::parse_batch(text).map_err(|bad| wrong(bad, at)),
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

pub(crate) fn least_of(value: &DeValue<'_>) -> Result<Least, Bad> {
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

pub(crate) fn statuses_of(value: &Spanned<DeValue<'_>>) -> Result<Vec<(u16, u16)>, Vec<Wrong>> {
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
