//! `[[servers]]`: ranges expanded, names and balancer names given, duplicates found.

use std::collections::BTreeMap;

use toml::de::DeTable;

use crate::config::bad::Bad;
use crate::config::hosts;
use crate::config::key::{Form, Table, ValueKind, key};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::quoted;
use crate::config::written::Found;
use crate::name::ServerName;

/// `[[servers]]`.
pub const TABLE: Table = Table {
    name: "servers",
    form: Form::Many(&[
        key("host", ValueKind::Text(host)).required(),
        key("roles", ValueKind::Texts(values::role)),
        key("lb", ValueKind::Texts(values::line)),
    ]),
};

/// One SSH destination that receives the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Unique in the stack: the host, or `host:port` where two servers share a host.
    pub name: ServerName,
    /// Host name or address to connect to.
    pub host: String,
    /// From `user@host`; else [`Ssh::user`].
    pub user: Option<String>,
    /// From `host:port`; else [`Ssh::port`].
    pub port: Option<u16>,
    /// `roles`; default `["web"]`.
    pub roles: Vec<String>,
    /// Its names in the balancer, at least one.
    ///
    /// By default that is the first label of the host name; an address stays whole.
    pub lb: Vec<String>,
    /// The line of its `host` in the file, from 1.
    pub line: usize,
}

impl Server {
    /// Tells whether the balancer's member of that name is the server.
    pub fn is_member(&self, name: &str) -> bool {
        self.lb.iter().any(|own| own == name)
    }

    /// Tells whether the server takes web traffic and so is drained and restored.
    pub fn is_web(&self) -> bool {
        self.roles.iter().any(|r| r == "web")
    }
}

fn host(text: &str) -> Result<(), Bad> {
    hosts::parse(text).map(drop)
}

/// A server before it has its name.
struct Unnamed<'a> {
    written: Found<&'a str>,
    host: String,
    user: Option<String>,
    port: Option<u16>,
    roles: Vec<String>,
    lb: Vec<String>,
}

/// Resolves the servers, in the file's order; reports those that are there twice, and having none.
///
/// When one of them cannot be read there are none: nothing true could be said of how many there are.
pub fn servers(merged: &DeTable<'_>, ssh_port: u16, problems: &mut Problems<'_>) -> Vec<Server> {
    let sections = Section::many(merged, &TABLE);
    if sections.is_empty() {
        if merged.get("servers").is_none_or(|v| v.get_ref().as_array().is_some_and(|a| a.is_empty())) {
            problems.nowhere("there are no servers", "add [[servers]] and below it host = \"web1.example.com\"");
        }
        return Vec::new();
    }
    let all: Vec<Unnamed<'_>> = sections.iter().flat_map(|section| expand(section, problems)).collect();
    let mut sharing: BTreeMap<String, usize> = BTreeMap::new();
    for server in &all {
        *sharing.entry(server.host.to_lowercase()).or_default() += 1;
    }
    let mut seen: BTreeMap<(String, u16), usize> = BTreeMap::new();
    let mut named = Vec::new();
    for server in all {
        let line = problems.line_of(server.written.at);
        let port = server.port.unwrap_or(ssh_port);
        if let Some(first) = seen.insert((server.host.to_lowercase(), port), line) {
            let what = format!("{} is there twice, with port {port}", quoted(&server.host));
            problems.at(server.written.at, what, format!("the first is on line {first}; keep one of the two"));
            continue;
        }
        let shared = sharing.get(&server.host.to_lowercase()).is_some_and(|count| *count > 1);
        let name = match (shared, server.host.contains(':')) {
            (false, _) => server.host.clone(),
            (true, false) => format!("{}:{port}", server.host),
            (true, true) => format!("[{}]:{port}", server.host),
        };
        named.push(Server {
            name: ServerName(name),
            host: server.host,
            user: server.user,
            port: server.port,
            roles: server.roles,
            lb: server.lb,
            line,
        });
    }
    let complete = sections.iter().all(|section| section.text("host").is_some());
    if complete { named } else { Vec::new() }
}

/// Finds a server by its name, or by its address as it is written in the file.
pub fn find<'s>(servers: &'s [Server], text: &str) -> Option<&'s Server> {
    servers.iter().find(|s| s.name.as_str() == text).or_else(|| {
        let one = hosts::parse_one(text).ok()?;
        let mut same = servers.iter().filter(|s| {
            s.host.eq_ignore_ascii_case(&one.host)
                && one.port.is_none_or(|port| s.port == Some(port))
                && one.user.as_ref().is_none_or(|user| s.user.as_ref() == Some(user))
        });
        // A host that two servers share names neither.
        same.next().filter(|_| same.next().is_none())
    })
}

fn expand<'a>(section: &Section<'a>, problems: &mut Problems<'_>) -> Vec<Unnamed<'a>> {
    let Some(written) = section.text("host") else { return Vec::new() };
    let Ok(spec) = hosts::parse(written.value) else { return Vec::new() };
    let roles: Vec<String> = match section.texts("roles") {
        Some(roles) => roles.iter().map(|r| r.value.to_owned()).collect(),
        None => vec!["web".to_owned()],
    };
    let members = members(section, &spec.hosts, problems);
    spec.hosts
        .into_iter()
        .zip(members)
        .map(|(host, lb)| Unnamed { written, host, user: spec.user.clone(), port: spec.port, roles: roles.clone(), lb })
        .collect()
}

/// Gives each host its names in the balancer.
fn members(section: &Section<'_>, hosts: &[String], problems: &mut Problems<'_>) -> Vec<Vec<String>> {
    let written = section.texts("lb").unwrap_or_default();
    let mut all: Vec<Vec<String>> = vec![Vec::new(); hosts.len()];
    for entry in &written {
        let names = entry_names(section, entry, hosts.len(), problems);
        all.iter_mut().zip(names).for_each(|(own, name)| own.push(name));
    }
    let default = |(own, host): (Vec<String>, &String)| match own.is_empty() {
        true => vec![hosts::first_label(host).to_owned()],
        false => own,
    };
    all.into_iter().zip(hosts).map(default).collect()
}

/// Expands one of the names of `lb`; none where it cannot be given to each host.
fn entry_names(section: &Section<'_>, written: &Found<&str>, hosts: usize, problems: &mut Problems<'_>) -> Vec<String> {
    let expanded = match hosts::expand(written.value) {
        // An address in brackets is one name.
        Err(_) if hosts::parse_one(written.value).is_ok() => vec![written.value.to_owned()],
        Err(bad) => {
            problems.at(written.at, format!("`lb` in {} {}", section.title, bad.what), bad.hint);
            return Vec::new();
        }
        Ok(expanded) => expanded,
    };
    if expanded.len() != hosts {
        let what =
            format!("`lb` in {} stands for {}, and `host` for {}", section.title, names(expanded.len()), names(hosts));
        let hint = "give `lb` the same range as `host`, or leave it out: it is the first label of each host name then";
        problems.at(written.at, what, hint);
        return Vec::new();
    }
    expanded
}

fn names(count: usize) -> String {
    if count == 1 { "1 name".to_owned() } else { format!("{count} names") }
}
