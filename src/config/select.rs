//! Picks servers by flags: `--only`, `--except`; and reads `--rolling=`.
//!
//! Owns the grammar of such a word: a name, a host range, a pattern with `*`, or `@ROLE`; several with commas.

use super::bad::Bad;
use super::hosts;
use super::problem::Problem;
use super::tables::servers::{Server, find};
use super::words::{quoted, suggest};
use crate::name::ServerName;

/// Picks the servers that `only` names and `except` does not, in the file's order.
///
/// An empty `only` names all.
///
/// Every word must name at least one server: a slip in `--except` would deploy where it must not.
pub fn select(servers: &[Server], only: &[String], except: &[String]) -> Result<Vec<ServerName>, Vec<Problem>> {
    let mut problems = Vec::new();
    let wanted = named(servers, "--only", only, &mut problems);
    let unwanted = named(servers, "--except", except, &mut problems);
    let picked: Vec<ServerName> = servers
        .iter()
        .enumerate()
        .filter(|(i, _)| (only.is_empty() || wanted.contains(i)) && !unwanted.contains(i))
        .map(|(_, server)| server.name.clone())
        .collect();
    if problems.is_empty() && picked.is_empty() {
        let flags = if only.is_empty() { "--except leaves" } else { "--only and --except together leave" };
        problems.push(Problem::of_flag(format!("{flags} no server"), "name fewer servers in --except"));
    }
    if problems.is_empty() { Ok(picked) } else { Err(problems) }
}

/// Lists the indices of the servers that the words of one flag name.
fn named(servers: &[Server], flag: &str, words: &[String], problems: &mut Vec<Problem>) -> Vec<usize> {
    let mut indices = Vec::new();
    for word in words.iter().flat_map(|word| split(word)) {
        match matching(servers, word) {
            Ok(found) => indices.extend(found),
            Err(bad) => problems.push(Problem::of_flag(format!("{flag}: {}", bad.what), bad.hint)),
        }
    }
    indices
}

/// Splits at commas that are not in brackets.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .map(str::trim)
    .collect()
}

fn matching(servers: &[Server], word: &str) -> Result<Vec<usize>, Bad> {
    let picking = |pick: &dyn Fn(&Server) -> bool| -> Vec<usize> {
        servers.iter().enumerate().filter(|(_, s)| pick(s)).map(|(i, _)| i).collect()
    };
    let names: Vec<&str> = servers.iter().map(|s| s.name.as_str()).collect();
    if let Some(role) = word.strip_prefix('@') {
        let found = picking(&|s| s.roles.iter().any(|r| r == role));
        if found.is_empty() {
            let mut roles: Vec<&str> = servers.iter().flat_map(|s| &s.roles).map(String::as_str).collect();
            roles.sort_unstable();
            roles.dedup();
            return Err(Bad::new(format!("no server has the role {}", quoted(role)), suggest(role, "roles", &roles)));
        }
        return Ok(found);
    }
    if word.contains('*') {
        let found = picking(&|s| glob(word, s.name.as_str()) || glob(word, &s.host));
        if found.is_empty() {
            return Err(Bad::new(format!("no server's name is like {}", quoted(word)), suggest("", "servers", &names)));
        }
        return Ok(found);
    }
    let one = |name: &str| -> Result<Vec<usize>, Bad> {
        if let Some(server) = find(servers, name) {
            return Ok(picking(&|s| s.name == server.name));
        }
        // A host that several servers share means all of them.
        let mut found = picking(&|s| s.host.eq_ignore_ascii_case(name));
        if found.is_empty() {
            // The name that the balancer shows.
            found = picking(&|s| s.is_web() && s.is_member(name));
        }
        if found.is_empty() {
            return Err(Bad::new(format!("there is no server {}", quoted(name)), suggest(name, "servers", &names)));
        }
        Ok(found)
    };
    if !word.contains('[') || hosts::parse_one(word).is_ok() {
        return one(word);
    }
    let expanded = hosts::expand(word).map_err(|bad| Bad::new(format!("{} {}", quoted(word), bad.what), bad.hint))?;
    expanded.iter().map(|name| one(name)).collect::<Result<Vec<_>, _>>().map(|found| found.concat())
}

/// Tells whether a name is like a pattern, in which `*` stands for any characters.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Vec<Server> {
        let server = |name: &str, host: &str, port, roles: &[&str]| Server {
            name: ServerName(name.into()),
            host: host.into(),
            user: None,
            port,
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            lb: Vec::new(),
            line: 1,
        };
        vec![
            server("web1.example.com", "web1.example.com", None, &["web", "db"]),
            server("web2.example.com", "web2.example.com", None, &["web"]),
            server("web10.example.com", "web10.example.com", None, &["web"]),
            server("jobs:22", "jobs", None, &["jobs"]),
            server("jobs:2222", "jobs", Some(2222), &["jobs"]),
            server("::1", "::1", None, &["web"]),
        ]
    }

    fn pick(only: &[&str], except: &[&str]) -> Result<Vec<String>, Vec<String>> {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        select(&fleet(), &owned(only), &owned(except))
            .map(|names| names.into_iter().map(|n| n.0).collect())
            .map_err(|problems| problems.iter().map(Problem::render).collect())
    }

    #[test]
    fn nothing_said_means_all() {
        assert_eq!(pick(&[], &[]).map(|all| all.len()), Ok(6));
    }

    #[test]
    fn words_name_servers_in_the_files_order() {
        for (only, except, expected) in [
            (&["web1.example.com"][..], &[][..], &["web1.example.com"][..]),
            (&["web2.example.com", "web1.example.com"], &[], &["web1.example.com", "web2.example.com"]),
            (&["web2.example.com,web1.example.com"], &[], &["web1.example.com", "web2.example.com"]),
            (&["@db"], &[], &["web1.example.com"]),
            (&["@jobs"], &[], &["jobs:22", "jobs:2222"]),
            (&["web[1-2].example.com"], &[], &["web1.example.com", "web2.example.com"]),
            (&["web[1,10].example.com"], &[], &["web1.example.com", "web10.example.com"]),
            (&["web*"], &["web10*"], &["web1.example.com", "web2.example.com"]),
            (&["*1*.example.com"], &[], &["web1.example.com", "web10.example.com"]),
            (&["jobs"], &[], &["jobs:22", "jobs:2222"]),
            (&["jobs:2222"], &[], &["jobs:2222"]),
            (&["WEB1.example.com"], &[], &["web1.example.com"]),
            (&["::1"], &[], &["::1"]),
            (&["[::1]"], &[], &["::1"]),
            (&[], &["@web"], &["jobs:22", "jobs:2222"]),
            (&["@web"], &["@db", "::1"], &["web2.example.com", "web10.example.com"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|n| (*n).to_owned()).collect();
            assert_eq!(pick(only, except), Ok(expected), "{only:?} {except:?}");
        }
    }

    #[test]
    fn a_word_that_names_no_server_is_refused() {
        for (only, except, expected) in [
            (
                &["web1.exmaple.com"][..],
                &[][..],
                &["--only: there is no server `web1.exmaple.com`\n  hint: did you mean `web1.example.com`?"][..],
            ),
            (&["web1"], &[], &["--only: there is no server `web1`\n  hint: did you mean `web1.example.com`?"]),
            (
                &["@wbe"],
                &["web[1-3].example.com"],
                &[
                    "--only: no server has the role `wbe`\n  hint: did you mean `web`?",
                    "--except: there is no server `web3.example.com`\n  hint: did you mean `web1.example.com`?",
                ],
            ),
            (
                &["@db"],
                &["@web"],
                &["--only and --except together leave no server\n  hint: name fewer servers in --except"],
            ),
            (&[], &["*"], &["--except leaves no server\n  hint: name fewer servers in --except"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|n| (*n).to_owned()).collect();
            assert_eq!(pick(only, except), Err(expected), "{only:?} {except:?}");
        }
        for only in ["", "db*", "web[", "web[2-1].example.com", "@", "web1.example.com,", "\u{1b}[2J"] {
            assert!(pick(&[only], &[]).is_err(), "{only:?}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name) in [("*", ""), ("*", "a"), ("a*", "a"), ("a*c", "abc"), ("a*b*c", "aXbYc"), ("**", "x")] {
            assert!(glob(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a*", "ba"), ("a*a", "a"), ("*b", "a"), ("a*b*c", "acb"), ("a", "ab")] {
            assert!(!glob(pattern, name), "{pattern} {name}");
        }
    }
}
