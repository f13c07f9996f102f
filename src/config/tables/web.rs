//! `[web]`: the web server template's parameters, as the template itself declares them.
//!
//! Owns checking; the template owns the parameters.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::app;
use crate::config::bad::Bad;
use crate::config::input::Input;
use crate::config::key::{Form, Table};
use crate::config::problem::Problems;
use crate::config::profile;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::{alternatives, neutral, quoted, suggest};
use crate::config::written::{Found, article, whole};
use crate::web::{Parameter, ParameterKind, Template, Web};

/// `[web]`.
pub const TABLE: Table = Table { name: "web", form: Form::Parameters };

/// Finds the template and fills in the stack's parameters.
///
/// Checks parameters in profiles that are not chosen too.
pub fn web(input: &Input<'_>, root: &DeTable<'_>, merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Web> {
    let wanted = web_server(merged);
    let mut templates: BTreeMap<String, Option<Template>> = BTreeMap::new();
    let mut template = |server: Found<&str>, problems: &mut Problems<'_>| -> Option<Template> {
        let known = templates.entry(server.value.to_owned()).or_insert_with(|| match (input.template)(server.value) {
            Ok(template) => Some(template),
            Err(found) => {
                problems.adopt(found, server.at);
                None
            }
        });
        known.clone()
    };
    // The file and each profile by itself first, so that messages name the table that was written.
    let mut seen: Vec<usize> = Vec::new();
    let file = std::iter::once((root, "[web]".to_owned()));
    let profiles = profile::names(root)
        .into_iter()
        .filter_map(|name| profile::find(root, name).map(|table| (table, format!("[profiles.{name}.web]"))));
    for (layer, title) in file.chain(profiles) {
        let (Some(server), Some(mut section)) = (web_server(layer).or(web_server(root)), Section::one(layer, &TABLE))
        else {
            continue;
        };
        if let Some(template) = template(server, problems) {
            section.title = title;
            read(&section, &template, &mut seen, problems);
        }
    }
    let chosen = wanted.as_ref().and_then(|server| template(*server, problems));
    let mut given = BTreeMap::new();
    if let Some(template) = &chosen {
        let section = Section::one(merged, &TABLE);
        if let Some(section) = &section {
            given = read(section, template, &mut seen, problems);
        }
        let at = section.as_ref().map(|s| s.at).or(wanted.map(|w| w.at)).unwrap_or_default();
        for (name, parameter) in &template.parameters {
            let written = section.as_ref().is_some_and(|s| s.wrote(name).is_some());
            if parameter.required && parameter.default.is_none() && !written {
                problems.at(
                    at,
                    format!("`{}` is missing in [web], and {} needs it", neutral(name), quoted(&template.name)),
                    about(name, parameter),
                );
            }
        }
    }
    Some(chosen?.fill(&given))
}

fn web_server<'a>(root: &'a DeTable<'_>) -> Option<Found<&'a str>> {
    Section::one(root, &app::TABLE)?.text("web_server")
}

/// Reads the parameters of one table; a key whose place is in `seen` is not reported again.
fn read(
    section: &Section<'_>,
    template: &Template,
    seen: &mut Vec<usize>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, String> {
    let (mut given, title) = (BTreeMap::new(), &section.title);
    for (name, value) in section.entries() {
        let first = !seen.contains(&name.at);
        seen.push(name.at);
        let Some(parameter) = template.parameters.get(name.value) else {
            if first {
                let known: Vec<&str> = template.parameters.keys().map(String::as_str).collect();
                problems.at(
                    name.at,
                    format!("{} is no parameter of {} in {title}", quoted(name.value), quoted(&template.name)),
                    suggest(name.value, "parameters", &known),
                );
            }
            continue;
        };
        match parse(&parameter.kind, value.get_ref()) {
            Ok(text) => {
                given.insert(name.value.to_owned(), text);
            }
            Err(bad) if first => {
                problems.at(value.span().start, format!("{} in {title} {}", quoted(name.value), bad.what), bad.hint);
            }
            Err(_) => {}
        }
    }
    given
}

/// Turns a written value into the text that the snippets see.
fn parse(kind: &ParameterKind, value: &DeValue<'_>) -> Result<String, Bad> {
    let wrong = |wanted: &str, hint: &str| Err(Bad::new(format!("must be {wanted}, not {}", article(value)), hint));
    match (kind, value) {
        (ParameterKind::Text, DeValue::String(text)) if text.contains('\0') => {
            Err(Bad::new("cannot contain a NUL character", ""))
        }
        (ParameterKind::Text, DeValue::String(text)) => Ok(text.to_string()),
        (ParameterKind::Text, _) => wrong("text", "write it in quotes"),
        (ParameterKind::Path, DeValue::String(path)) => values::line(path).map(|()| path.to_string()),
        (ParameterKind::Path, _) => wrong("a path", "write it in quotes"),
        (ParameterKind::Boolean, DeValue::Boolean(word)) => Ok(word.to_string()),
        (ParameterKind::Boolean, _) => wrong("true or false", "write it without quotes"),
        (ParameterKind::Integer, number) => match whole(number) {
            Some(number) => Ok(number.to_string()),
            None => wrong("a whole number", "write it without quotes"),
        },
        (ParameterKind::Choice(words), DeValue::String(text)) if words.iter().any(|w| w == text) => {
            Ok(text.to_string())
        }
        (ParameterKind::Choice(words), written) => {
            let words: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let hint = format!("write {}", alternatives(&words));
            match written {
                DeValue::String(text) => Err(Bad::new(format!("cannot be {}", quoted(text)), hint)),
                _ => wrong("text", &hint),
            }
        }
    }
}

fn about(name: &str, parameter: &Parameter) -> String {
    let value = match &parameter.kind {
        ParameterKind::Boolean => "true".to_owned(),
        ParameterKind::Integer => "1".to_owned(),
        ParameterKind::Choice(words) => format!("\"{}\"", words.first().map_or("…", String::as_str)),
        ParameterKind::Text | ParameterKind::Path => "\"…\"".to_owned(),
    };
    match parameter.about.trim() {
        "" => format!("add [web] {name} = {value}"),
        about => format!("add [web] {name} = {value}: {about}"),
    }
}
