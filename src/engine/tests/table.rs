//! What a run did, as a table that is written in the test.
//!
//! A line is `SERVERS: CALLS`: the servers make these calls side by side, each call of all of them at the same moment, and one
//! call after the other. Where servers do different things at one moment, they share a line: `web1: CALL | web2: CALL`.

use std::collections::BTreeMap;

use super::recorder::Made;

/// Writes the table of these calls.
pub fn table(made: &[Made]) -> String {
    let mut moments: BTreeMap<_, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for Made { at, server, call } in made {
        moments.entry(*at).or_default().entry(call).or_default().push(server);
    }
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for calls in moments.values_mut() {
        calls.values_mut().for_each(|servers| servers.sort_unstable());
        match calls.iter().collect::<Vec<_>>().as_slice() {
            [(call, servers)] => {
                let servers = servers.join(" ");
                match lines.last_mut().filter(|(last, calls)| *last == servers && !calls.is_empty()) {
                    Some((_, calls)) => calls.push(call),
                    None => lines.push((servers, vec![call])),
                }
            }
            several => {
                let mut parts: Vec<String> =
                    several.iter().map(|(call, servers)| format!("{}: {call}", servers.join(" "))).collect();
                parts.sort();
                lines.push((parts.join(" | "), Vec::new()));
            }
        }
    }
    let line = |(servers, calls): &(String, Vec<&str>)| match calls.as_slice() {
        [] => servers.clone(),
        calls => format!("{servers}: {}", calls.join(" ")),
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table as a test writes it, without its indentation.
pub fn written(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
