//! The file as written, held against the schema: every unknown key, wrong type and bad value.
//!
//! Looks at one layer at a time (the file, or one profile), chosen or not. Knows no defaults and no contradictions.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::bad::Bad;
use super::key::{Form, Key, PROFILES, Table, ValueKind};
use super::problem::Problems;
use super::schema;
use super::values;
use super::words::{alternatives, nearest, quoted, suggest};
use super::written::{Found, Wrong, article, validate};

/// Which part of the file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer<'a> {
    /// All of it but what profiles hold.
    File,
    /// One profile.
    Profile(&'a str),
}

/// One line of a table: a key or a table's name, where it is written, and its value.
struct Entry<'a, 'd> {
    name: &'a str,
    at: usize,
    value: &'a Spanned<DeValue<'d>>,
}

/// Reports every unknown key, wrong type and bad value of a layer.
///
/// The file's layer includes all its profiles.
pub fn check(layer: Layer<'_>, root: &DeTable<'_>, problems: &mut Problems<'_>) {
    let profile = match layer {
        Layer::File => None,
        Layer::Profile(name) => Some(name),
    };
    for (name, value) in root {
        let at = name.span().start;
        let name = name.get_ref().as_ref();
        match schema::table(name) {
            Some(table) => check_table(table, profile, &Entry { name, at, value }, problems),
            None if name == PROFILES && layer == Layer::File => check_profiles(at, value, problems),
            None => unknown_at_top(&Entry { name, at, value }, profile, problems),
        }
    }
}

fn check_profiles(at: usize, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) {
    let Some(profiles) = value.get_ref().as_table() else {
        return problems.at(at, "`profiles` must be a table", "write [profiles.staging], one for each profile");
    };
    for (name, value) in profiles {
        let at = name.span().start;
        let name = name.get_ref().as_ref();
        if values::name(name).is_err() {
            problems.at(
                at,
                format!("{} cannot be a profile's name", quoted(name)),
                "use letters, digits, `.`, `_` and `-`, a letter or digit first",
            );
        }
        match value.get_ref().as_table() {
            Some(table) => check(Layer::Profile(name), table, problems),
            None => problems.at(
                at,
                format!("the profile {} must be a table", quoted(name)),
                format!("write [profiles.{name}] and below it, for example, app.deploy_to = \"/srv/shop-staging\""),
            ),
        }
    }
}

fn unknown_at_top(entry: &Entry<'_, '_>, profile: Option<&str>, problems: &mut Problems<'_>) {
    let &Entry { name, at, value } = entry;
    let value = value.get_ref();
    let place = profile.map_or_else(|| "at the top of the file".to_owned(), |p| format!("in [profiles.{p}]"));
    let nested = profile.is_none().then_some(PROFILES);
    let tables: Vec<&str> = schema::TABLES.iter().map(|t| t.name).chain(nested).collect();
    let owners: Vec<String> = schema::owners(name).map(|t| t.title(profile)).collect();
    if !is_tabular(value) && !owners.is_empty() {
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        return problems.at(
            at,
            format!("unknown key {} {place}", quoted(name)),
            format!("it belongs in {}", alternatives(&owners)),
        );
    }
    let noun = if is_tabular(value) { "table" } else { "key" };
    problems.at(at, format!("unknown {noun} {} {place}", quoted(name)), suggest(name, "tables", &tables));
}

/// Tells a table or an array of tables.
fn is_tabular(value: &DeValue<'_>) -> bool {
    value.is_table() || value.as_array().is_some_and(is_tables)
}

fn is_tables(array: &DeArray<'_>) -> bool {
    !array.is_empty() && array.iter().all(|v| v.get_ref().is_table())
}

fn check_table(table: &Table, profile: Option<&str>, entry: &Entry<'_, '_>, problems: &mut Problems<'_>) {
    let &Entry { at, value, .. } = entry;
    let title = table.title(profile);
    let name = table.name;
    let written = value.get_ref();
    if let Form::Many(keys) = table.form {
        return match written {
            DeValue::Array(items) if items.iter().all(|v| v.get_ref().is_table()) => {
                for item in items.iter().filter_map(|v| v.get_ref().as_table()) {
                    check_keys(&title, keys, item, problems);
                }
            }
            DeValue::Table(item) => {
                problems.at(
                    at,
                    format!("`{name}` must be an array of tables"),
                    format!("write {title} with two brackets"),
                );
                check_keys(&title, keys, item, problems);
            }
            _ => problems.at(
                at,
                format!("`{name}` must be an array of tables, not {}", article(written)),
                format!("write {title}, once for each, and its keys below it"),
            ),
        };
    }
    let Some(contents) = written.as_table() else {
        let hint = if is_tabular(written) { "with one bracket, and only once" } else { "and its keys below it" };
        return problems.at(
            at,
            format!("`{name}` must be a table, not {}", article(written)),
            format!("write {title} {hint}"),
        );
    };
    match table.form {
        Form::One(keys) | Form::Many(keys) => check_keys(&title, keys, contents, problems),
        // The template knows these; `resolve` asks it.
        Form::Parameters => {}
        Form::Variables => {
            for (name, value) in contents {
                check_variable(&title, name, problems);
                report(&title, name.get_ref(), validate(ValueKind::Text(no_nul), value), problems);
            }
        }
        Form::Secrets(keys) => {
            for (name, value) in contents {
                check_variable(&title, name, problems);
                check_secret(&title, keys, &Entry { name: name.get_ref(), at: name.span().start, value }, problems);
            }
        }
    }
}

fn no_nul(text: &str) -> Result<(), Bad> {
    if text.contains('\0') { Err(Bad::new("cannot contain a NUL character", "")) } else { Ok(()) }
}

fn check_variable(title: &str, name: &Spanned<Cow<'_, str>>, problems: &mut Problems<'_>) {
    if let Err(bad) = values::variable(name.get_ref()) {
        problems.at(name.span().start, format!("{} in {title} {}", quoted(name.get_ref()), bad.what), bad.hint);
    }
}

fn check_secret(title: &str, keys: &'static [Key], entry: &Entry<'_, '_>, problems: &mut Problems<'_>) {
    let &Entry { name, value, .. } = entry;
    let forms = "write { env = \"…\" }, { file = \"…\" } or { command = \"…\" }";
    let Some(table) = value.get_ref().as_table() else {
        let what = format!("{} in {title} must say where its value comes from, not hold it", quoted(name));
        return problems.at(value.span().start, what, forms);
    };
    check_keys(&format!("{title} {name}"), keys, table, problems);
    let known: Vec<&str> = keys.iter().map(|k| k.name).filter(|k| table.contains_key(*k)).collect();
    if known.len() > 1 {
        let what = format!("{} in {title} has {} sources: {}", quoted(name), known.len(), known.join(", "));
        problems.at(value.span().start, what, "keep one of them");
    } else if known.is_empty() && table.is_empty() {
        problems.at(value.span().start, format!("{} in {title} has no source", quoted(name)), forms);
    }
}

fn check_keys(title: &str, keys: &'static [Key], table: &DeTable<'_>, problems: &mut Problems<'_>) {
    for (name, value) in table {
        let at = name.span().start;
        let name = name.get_ref().as_ref();
        if let Some(key) = keys.iter().find(|k| k.name == name) {
            report(title, name, validate(key.kind, value), problems);
            continue;
        }
        let known: Vec<&str> = keys.iter().map(|k| k.name).collect();
        let owners: Vec<String> = schema::owners(name).map(|t| t.title(None)).collect();
        let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
        let hint = if owners.is_empty() || nearest(name, known.iter().copied()).is_some() {
            suggest(name, "keys", &known)
        } else {
            format!("`{name}` belongs in {}; known keys here: {}", alternatives(&owners), known.join(", "))
        };
        problems.at(at, format!("unknown key {} in {title}", quoted(name)), hint);
    }
}

fn report(title: &str, name: &str, wrongs: Vec<Wrong>, problems: &mut Problems<'_>) {
    for Found { value: bad, at } in wrongs {
        problems.at(at, format!("{} in {title} {}", quoted(name), bad.what), bad.hint);
    }
}
