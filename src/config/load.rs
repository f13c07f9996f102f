//! From text to a [`Config`], or to every mistake in it.
//!
//! Owns the order in which the file is read; each part's own rules are in its module.

use toml::de::DeTable;

use super::check::{self, Layer};
use super::input::Input;
use super::problem::{Problem, Problems};
use super::settings::Config;
use super::words::neutral;
use super::{profile, resolve};

/// Reads the configuration, or finds every mistake in it, in the file's order.
pub fn load(input: &Input<'_>) -> Result<Config, Vec<Problem>> {
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(input.text);
    let mut problems = Problems::new(input.file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let root = document.get_ref();
    check::check(Layer::File, root, &mut problems);
    if !errors.is_empty() {
        // What the parser could not read may hide keys: nothing can be said of what is missing or contradictory.
        syntax(&errors, &mut problems);
        return Err(problems.finish());
    }
    let merged = profile::lay(root, input.profile, &mut problems);
    let resolved = resolve::resolve(input, root, &merged, &mut problems);
    match resolved {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems.finish()),
    }
}

/// Reports what is no TOML, once a line, and drops what was found in the parts that it spoilt.
fn syntax(errors: &[toml::de::Error], problems: &mut Problems<'_>) {
    let mut found: Vec<(usize, usize, &str)> = errors
        .iter()
        .map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (problems.line_of(at), at, error.message())
        })
        .collect();
    // Of several on one line the most telling first: the others follow from it.
    found.sort_by_key(|(line, at, message)| (*line, !message.contains("must be quoted"), *at));
    found.dedup_by_key(|(line, _, _)| *line);
    let lines: Vec<usize> = found.iter().map(|(line, _, _)| *line).collect();
    // Until the next header it is unknown which table a key was meant for.
    let mut spoilt = std::collections::BTreeSet::new();
    for &line in &lines {
        spoilt.insert(line);
        let last = problems.lines();
        spoilt.extend((line + 1..=last).take_while(|l| !problems.line(*l).trim_start().starts_with('[')));
    }
    problems.drop_lines(|line| spoilt.contains(&line));
    for (line, at, message) in found {
        let written = problems.line(line);
        if written.trim_end().ends_with('=') {
            problems.at(
                at,
                "cannot be read as TOML: there is no value behind `=`",
                "write a value, or remove the line",
            );
        } else {
            problems.at(at, format!("cannot be read as TOML: {}", neutral(message)), hint(message, written));
        }
    }
}

fn hint(message: &str, line: &str) -> String {
    if message.contains("must be quoted") {
        return "put text in quotes, as in name = \"shop\"".to_owned();
    }
    if message.contains("duplicate key") {
        let table = line.trim_start().starts_with('[');
        let hint = if table { "write each table once, with all its keys" } else { "keep one of the two" };
        return hint.to_owned();
    }
    if message.contains("string") {
        return "close the quotes on the same line".to_owned();
    }
    if message.contains("array") {
        return "put a `,` between the elements and a `]` behind the last".to_owned();
    }
    if message.contains("table") {
        return "write a table's header as [app], and tables in lists as [[servers]]".to_owned();
    }
    "write KEY = VALUE, one a line".to_owned()
}
