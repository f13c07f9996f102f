//! Lays one profile over the file: tables are merged key by key, all else is replaced.
//!
//! A profile's value removes values of the file that contradict it. Values keep their place in the file, so that a mistake
//! in a profile points at the profile's own line.

use toml::de::{DeTable, DeValue};

use super::key::PROFILES;
use super::problem::Problems;
use super::tables::health::REQUEST;
use super::tables::load_balancer::KINDS;
use super::words::{neutral, quoted, suggest};

/// Returns the file's tables with the chosen profile laid over them; reports an unknown profile.
pub fn lay<'a>(root: &DeTable<'a>, profile: Option<&str>, problems: &mut Problems<'_>) -> DeTable<'a> {
    let mut merged = root.clone();
    merged.remove(PROFILES);
    let Some(name) = profile else { return merged };
    match find(root, name) {
        Some(over) => {
            make_room(&mut merged, over);
            merge(&mut merged, over);
        }
        None => {
            let known: Vec<&str> = names(root);
            let hint = match known.as_slice() {
                [] => "the file has no [profiles.NAME]".to_owned(),
                known => {
                    let near = suggest(name, "profiles", known);
                    if near.starts_with("known") {
                        near
                    } else {
                        format!("{near} known profiles: {}", neutral(&known.join(", ")))
                    }
                }
            };
            problems.nowhere(format!("there is no profile {}", quoted(name)), hint);
        }
    }
    merged
}

/// Finds a profile's table.
pub fn find<'t, 'a>(root: &'t DeTable<'a>, name: &str) -> Option<&'t DeTable<'a>> {
    root.get(PROFILES)?.get_ref().as_table()?.get(name)?.get_ref().as_table()
}

/// Lists the profiles' names.
pub fn names<'t>(root: &'t DeTable<'_>) -> Vec<&'t str> {
    let profiles = root.get(PROFILES).and_then(|v| v.get_ref().as_table());
    profiles.map(|p| p.keys().map(|k| k.get_ref().as_ref()).collect()).unwrap_or_default()
}

/// Removes from the file's tables what contradicts the profile.
fn make_room(base: &mut DeTable<'_>, over: &DeTable<'_>) {
    let theirs = |table: &str, key: &str| value(over, table, key);
    let text = |root: &DeTable<'_>, table: &str, key: &str| Some(value(root, table, key)?.as_str()?.to_owned());
    // Another web server has other parameters: those of the file's own would only be unknown to it.
    let server = text(over, "app", "web_server");
    if server.is_some() && server != text(base, "app", "web_server") {
        base.remove("web");
    }
    if text(over, "app", "strategy").is_some_and(|strategy| strategy != "rolling") {
        forget(base, "app", &["batch"]);
    }
    let kind = text(over, "load_balancer", "kind");
    if kind.is_some() && kind != text(base, "load_balancer", "kind") {
        forget(base, "load_balancer", &KINDS.map(|(_, of)| of.keys).concat());
    }
    // What goes with addresses of one kind would only be out of place with another.
    if let Some(at) = theirs("load_balancer", "at") {
        let items: Vec<&str> = match at {
            DeValue::Array(items) => items.iter().filter_map(|i| i.get_ref().as_str()).collect(),
            one => one.as_str().into_iter().collect(),
        };
        for (scheme, keys) in [("ssh://", &["via"][..]), ("http", &["user", "password"]), ("https://", &["ca_file"])] {
            if !items.iter().any(|at| at.starts_with(scheme)) {
                forget(base, "load_balancer", keys);
            }
        }
    }
    if theirs("source", "kind").is_some() {
        forget(base, "source", &["ref", "repo", "fetch", "checksum"]);
    }
    if theirs("health", "command").is_some() {
        forget(base, "health", &REQUEST);
    }
    if REQUEST.iter().any(|key| theirs("health", key).is_some()) {
        forget(base, "health", &["command"]);
    }
    // A secret has one source: the profile's replaces the file's, whatever its kind.
    if let Some(secrets) = over.get("secrets").and_then(|v| v.get_ref().as_table()) {
        let names: Vec<&str> = secrets.keys().map(|k| k.get_ref().as_ref()).collect();
        forget(base, "secrets", &names);
    }
}

fn value<'t, 'a>(root: &'t DeTable<'a>, table: &str, key: &str) -> Option<&'t DeValue<'a>> {
    root.get(table)?.get_ref().as_table()?.get(key).map(toml::Spanned::get_ref)
}

fn forget(root: &mut DeTable<'_>, table: &str, keys: &[&str]) {
    if let Some(DeValue::Table(table)) = root.get_mut(table).map(toml::Spanned::get_mut) {
        for key in keys {
            table.remove(*key);
        }
    }
}

fn merge<'a>(base: &mut DeTable<'a>, over: &DeTable<'a>) {
    for (key, value) in over {
        let both = base.get_mut(key.get_ref().as_ref()).map(toml::Spanned::get_mut);
        if let (Some(DeValue::Table(below)), DeValue::Table(above)) = (both, value.get_ref()) {
            merge(below, above);
        } else {
            // The key's own place must be the profile's too, and `insert` would keep the old one.
            base.remove(key.get_ref().as_ref());
            base.insert(key.clone(), value.clone());
        }
    }
}
