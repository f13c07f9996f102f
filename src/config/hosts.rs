//! Server addresses as they are written: `user@host:port`, host ranges, IPv6.
//!
//! Owns their grammar. What is done with the hosts is decided in `resolve` and `select`.

use super::bad::Bad;
use super::words::quoted;
use crate::ssh::address::{BadAddress, Parts, is_host, is_ip};

/// Most hosts that one text may stand for: more is a slip, and would only fill the memory.
const MOST: usize = 100_000;
/// How ranges are written.
const RANGE_HINT: &str = "write a range like web[1-4].example.com, web[01-10].example.com or web[a,b].example.com";

/// An address as written, its ranges expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The part before `@`.
    pub user: Option<String>,
    /// At least one.
    pub hosts: Vec<String>,
    /// The part after the last `:`.
    pub port: Option<u16>,
}

/// An address of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One {
    /// The part before `@`.
    pub user: Option<String>,
    /// Without brackets.
    pub host: String,
    /// The part after the last `:`.
    pub port: Option<u16>,
}

/// Reads `[user@]host[:port]`, whose host may contain ranges or be an address.
pub fn parse(text: &str) -> Result<Spec, Bad> {
    let Parts { user, host, port } = Parts::of(text).map_err(|bad| worded(bad, text))?;
    let hosts = if is_ip(host) { vec![host.to_owned()] } else { expand(host)? };
    if let Some(bad) = hosts.iter().find(|host| !is_host(host)) {
        return Err(worded(BadAddress::Host(bad.clone()), text));
    }
    Ok(Spec { user: user.map(str::to_owned), hosts, port })
}

/// Words what is wrong with an address.
fn worded(bad: BadAddress, text: &str) -> Bad {
    match bad {
        BadAddress::Empty => Bad::new("cannot be empty", "write a host name, as in \"web1.example.com\""),
        BadAddress::Scheme => {
            Bad::new(format!("has a scheme in it: {}", quoted(text)), "write user@host:port, and nothing before")
        }
        BadAddress::User => Bad::new(format!("has no proper user before the `@`: {}", quoted(text)), "write user@host"),
        BadAddress::Port(part) => Bad::new(
            format!("has {}, where a port from 1 to 65535 should be", quoted(&part)),
            "write host:port, and an IPv6 address with a port as [::1]:22",
        ),
        BadAddress::Host(part) => Bad::new(
            format!("has {}, which is no host name", quoted(&part)),
            "write user@host:port, where the host is a name of letters, digits, `.` and `-`, or an address",
        ),
    }
}

/// Reads the same, where one host must be meant.
pub fn parse_one(text: &str) -> Result<One, Bad> {
    let mut spec = parse(text)?;
    match (spec.hosts.pop(), spec.hosts.is_empty()) {
        (Some(host), true) => Ok(One { user: spec.user, host, port: spec.port }),
        _ => Err(Bad::new("stands for several hosts", "write each of them")),
    }
}

/// Expands every `[…]` of a text: `[1-4]`, `[01-10]`, `[a-c]`, `[a,b]`, and mixtures; several multiply.
pub fn expand(text: &str) -> Result<Vec<String>, Bad> {
    let mut names = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inside, behind)) = after.split_once(']') else {
            return Err(Bad::new(format!("has a range without its `]`: {}", quoted(text)), RANGE_HINT));
        };
        let choices = choices(inside)?;
        if before.contains(']') || names.len().saturating_mul(choices.len()) > MOST {
            return Err(if before.contains(']') { stray(text) } else { too_many(text) });
        }
        names =
            names.iter().flat_map(|name| choices.iter().map(move |choice| format!("{name}{before}{choice}"))).collect();
        rest = behind;
    }
    if rest.contains(']') {
        return Err(stray(text));
    }
    for name in &mut names {
        name.push_str(rest);
    }
    Ok(names)
}

fn stray(text: &str) -> Bad {
    Bad::new(format!("has a `]` without its `[`: {}", quoted(text)), RANGE_HINT)
}

fn too_many(text: &str) -> Bad {
    Bad::new(format!("stands for more than {MOST} hosts: {}", quoted(text)), RANGE_HINT)
}

/// Lists what one pair of brackets stands for.
fn choices(inside: &str) -> Result<Vec<String>, Bad> {
    let malformed =
        || Bad::new(format!("has a range that cannot be read: {}", quoted(&format!("[{inside}]"))), RANGE_HINT);
    let mut all = Vec::new();
    for item in inside.split(',') {
        let item = item.trim();
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match item.split_once('-') {
            None if word(item) => all.push(item.to_owned()),
            Some((low, high)) if word(low) && word(high) => all.extend(range(low, high).ok_or_else(malformed)??),
            _ => return Err(malformed()),
        }
        if all.len() > MOST {
            return Err(too_many(inside));
        }
    }
    Ok(all)
}

/// Counts from `low` to `high`: numbers, zero-padded as `low` is, or single letters. `None`: neither.
fn range(low: &str, high: &str) -> Option<Result<Vec<String>, Bad>> {
    let backwards =
        || Bad::new(format!("has the range {}, which runs backwards", quoted(&format!("[{low}-{high}]"))), RANGE_HINT);
    if let ([first], [last]) = (low.as_bytes(), high.as_bytes())
        && (first.is_ascii_lowercase() && last.is_ascii_lowercase()
            || first.is_ascii_uppercase() && last.is_ascii_uppercase())
    {
        if first > last {
            return Some(Err(backwards()));
        }
        return Some(Ok((*first..=*last).map(|b| char::from(b).to_string()).collect()));
    }
    // Longer than any number that fits: padding to such a width would only fill memory.
    if low.len() > 20 {
        return None;
    }
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse::<u64>().ok() } else { None };
    let (first, last) = (number(low)?, number(high)?);
    if first > last {
        return Some(Err(backwards()));
    }
    if last - first >= MOST as u64 {
        return Some(Err(too_many(&format!("[{low}-{high}]"))));
    }
    let width = if low.starts_with('0') { low.len() } else { 0 };
    Some(Ok((first..=last).map(|n| format!("{n:0width$}")).collect()))
}

/// Returns the first label of a host name; an address stays whole.
pub fn first_label(host: &str) -> &str {
    if is_ip(host) { host } else { host.split('.').next().unwrap_or(host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<String> {
        parse(text).unwrap_or_else(|bad| panic!("{text}: {bad:?}")).hosts
    }

    #[test]
    fn ranges() {
        assert_eq!(hosts("web[1-3].example.com"), ["web1.example.com", "web2.example.com", "web3.example.com"]);
        assert_eq!(hosts("web[08-10]"), ["web08", "web09", "web10"]);
        assert_eq!(hosts("web[098-101]").last().map(String::as_str), Some("web101"));
        assert_eq!(hosts("web[a,b]"), ["weba", "webb"]);
        assert_eq!(hosts("web[a-c]"), ["weba", "webb", "webc"]);
        assert_eq!(hosts("[eu,us]-web[1-2]"), ["eu-web1", "eu-web2", "us-web1", "us-web2"]);
        assert_eq!(hosts("web[1-2,5,x].a"), ["web1.a", "web2.a", "web5.a", "webx.a"]);
        assert_eq!(hosts("10.0.0.[1-2]"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(hosts("web[0-1]"), ["web0", "web1"]);
    }

    #[test]
    fn users_ports_and_addresses() {
        let spec = |user: Option<&str>, host: &str, port| One { user: user.map(Into::into), host: host.into(), port };
        for (text, expected) in [
            ("web1", spec(None, "web1", None)),
            ("deploy@web1:2222", spec(Some("deploy"), "web1", Some(2222))),
            ("[::1]:22", spec(None, "::1", Some(22))),
            ("[::1]", spec(None, "::1", None)),
            ("::1", spec(None, "::1", None)),
            ("u@fe80::1%eth0", spec(Some("u"), "fe80::1%eth0", None)),
            ("[fe80::1%eth0]:2200", spec(None, "fe80::1%eth0", Some(2200))),
            ("127.0.0.1:2201", spec(None, "127.0.0.1", Some(2201))),
            ("a\\b@web1", spec(Some("a\\b"), "web1", None)),
        ] {
            assert_eq!(parse_one(text), Ok(expected), "{text}");
        }
        assert_eq!(parse("u@web[1-2].x:2222").map(|s| (s.hosts.len(), s.port)), Ok((2, Some(2222))));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            " ",
            "@web1",
            "u@",
            "web1:",
            "web1:0",
            "web1:65536",
            "web1:ssh",
            "web1:+22",
            "web[1-4",
            "web1-4]",
            "web[4-1]",
            "web[]",
            "web[1-]",
            "web[-1]",
            "web[1--2]",
            "web[1-999999999]",
            "web[1-1000][1-1000]",
            "web[1,,2]",
            "web[[1-2]]",
            "web[a-10]",
            "web[a:b]",
            "ssh://web1",
            "web 1",
            "web\n1",
            "-oProxyCommand=x",
            "web..x",
            ".web",
            "wéb",
            "web[1-2]]",
            "[::1]x",
            "[::1]:",
            "web[99999999999999999999-1]",
            "a b@web1",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
        assert!(parse_one("web[1-2]").is_err());
    }

    #[test]
    fn labels() {
        assert_eq!(first_label("web1.example.com"), "web1");
        assert_eq!(first_label("10.0.0.1"), "10.0.0.1");
        assert_eq!(first_label("::1"), "::1");
    }
}
