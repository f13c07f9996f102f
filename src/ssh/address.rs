//! Addresses as people write them: `[user@]host[:port]`, IPv6 in brackets.
//!
//! Their grammar only, and pure.
//!
//! Host ranges (`web[1-4]`) belong to the configuration, which expands the host before it checks it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The parts of an address. The host is not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The part before the last `@`.
    pub user: Option<&'a str>,
    /// The host, without the brackets of an IPv6 address.
    pub host: &'a str,
    /// The part after the last `:`.
    pub port: Option<u16>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAddress {
    /// It is empty.
    Empty,
    /// It begins with a scheme, as `ssh://`.
    Scheme,
    /// The part before `@` is no login name.
    User,
    /// This part should be `:` and a port.
    Port(String),
    /// This part should be a host name or an address.
    Host(String),
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("cannot be empty"),
            Self::Scheme => f.write_str("has a scheme in it"),
            Self::User => f.write_str("has no proper user before the `@`"),
            Self::Port(part) => {
                write!(f, "has `{}`, where a port from 1 to 65535 should be", part.escape_debug())
            }
            Self::Host(part) => write!(f, "has `{}`, which is no host name", part.escape_debug()),
        }
    }
}

impl std::error::Error for BadAddress {}

/// Writes an address as ssh looks it up among the known hosts: `127.1` is `127.0.0.1`.
///
/// `None`: it is a name. ssh leaves the letters of an address as they are.
pub(super) fn numeric(host: &str) -> Option<String> {
    let address = host.parse().ok().or_else(|| short(host).map(IpAddr::V4));
    match address.map(|address: IpAddr| address.to_string()) {
        Some(text) if !text.eq_ignore_ascii_case(host) => Some(text),
        Some(_) => Some(host.to_owned()),
        // An address with a zone, whose letters mean something.
        None => host.contains([':', '%']).then(|| host.to_owned()),
    }
}

/// Reads an IPv4 address of one to four numbers, the last of which fills what is left (inet_aton(3)).
fn short(text: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => u32::from_str_radix(hex, 16).ok(),
        (None, Some(octal)) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, before) = numbers.split_last().filter(|(_, before)| before.len() < 4)?;
    let mut address = u64::from(*last);
    if address >= 1 << (8 * (4 - before.len())) || before.iter().any(|n| *n > 255) {
        return None;
    }
    for (i, number) in before.iter().enumerate() {
        address |= u64::from(*number) << (8 * (3 - i));
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

impl<'a> Parts<'a> {
    /// Splits an address.
    ///
    /// # Errors
    /// When it is empty, or its user or port is malformed.
    pub fn of(text: &'a str) -> Result<Self, BadAddress> {
        if text.trim().is_empty() {
            return Err(BadAddress::Empty);
        }
        if text.contains("://") {
            return Err(BadAddress::Scheme);
        }
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, _)) if !is_user(user) => return Err(BadAddress::User),
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = split_port(rest)?;
        Ok(Self { user, host, port })
    }

    /// Splits the address of one host and checks the host.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn of_one(text: &'a str) -> Result<Self, BadAddress> {
        let parts = Self::of(text)?;
        if is_host(parts.host) { Ok(parts) } else { Err(BadAddress::Host(parts.host.to_owned())) }
    }
}

/// Splits a port off.
fn split_port(text: &str) -> Result<(&str, Option<u16>), BadAddress> {
    if is_ip(text) {
        return Ok((text, None));
    }
    let bracketed = text.strip_prefix('[').and_then(|t| t.split_once(']')).filter(|(inside, _)| is_ip(inside));
    let (host, rest) = match bracketed {
        Some((host, rest)) => (host, rest),
        None => text.rfind(':').filter(|&at| !text[at..].contains(']')).map_or((text, ""), |at| text.split_at(at)),
    };
    if rest.is_empty() {
        return Ok((host, None));
    }
    let digits = rest.strip_prefix(':').unwrap_or("");
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port @ 1..=u16::MAX) if plain => Ok((host, Some(port))),
        _ => Err(BadAddress::Port(rest.to_owned())),
    }
}

/// Tells whether a text can be a login name.
pub fn is_user(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "/:@".contains(c))
}

/// Tells whether a text is an IPv4 or IPv6 address; an IPv6 address may name a zone.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_ipv6(text)
}

fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => {
            let plain = !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            plain && address.parse::<Ipv6Addr>().is_ok()
        }
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// Tells whether a text is an address or can be a host name.
///
/// RFC 1123 section 2.1 has the rules for names; `_` is allowed too, since people use it.
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    is_ip(text) || (text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_into_its_parts() {
        let parts = |user, host, port| Ok(Parts { user, host, port });
        assert_eq!(Parts::of_one("web1"), parts(None, "web1", None));
        assert_eq!(Parts::of_one("deploy@web1:2222"), parts(Some("deploy"), "web1", Some(2222)));
        assert_eq!(Parts::of_one("u@fe80::1%eth0"), parts(Some("u"), "fe80::1%eth0", None));
        assert_eq!(Parts::of_one("[::1]:22"), parts(None, "::1", Some(22)));
        assert_eq!(Parts::of("web[1-2].x:22"), parts(None, "web[1-2].x", Some(22)), "a range is left to others");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("", BadAddress::Empty),
            ("ssh://web1", BadAddress::Scheme),
            ("a b@web1", BadAddress::User),
            ("web1:0", BadAddress::Port(":0".into())),
            ("web1:+22", BadAddress::Port(":+22".into())),
            ("web[1-2]", BadAddress::Host("web[1-2]".into())),
            ("-oProxyCommand=x", BadAddress::Host("-oProxyCommand=x".into())),
        ] {
            assert_eq!(Parts::of_one(text), Err(wrong), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_ssh_writes_them() {
        for (text, written) in [
            ("127.1", "127.0.0.1"),
            ("1", "0.0.0.1"),
            ("10.258", "10.0.1.2"),
            ("10.01.0.7", "10.1.0.7"),
            ("0x7f.1", "127.0.0.1"),
            ("10.0.0.7", "10.0.0.7"),
            ("2001:db8:0:0::7", "2001:db8::7"),
            ("2001:DB8::7", "2001:DB8::7"),
            ("fe80::1%ETH0", "fe80::1%ETH0"),
        ] {
            assert_eq!(numeric(text).as_deref(), Some(written), "{text}");
        }
        for name in ["web1", "1.example", "256.1.1.1", "1.2.3.4.5", "1.16777216", "4294967296", "08", "", ".", "1."] {
            assert_eq!(numeric(name), None, "{name}");
        }
    }
}
