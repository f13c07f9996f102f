//! One line of a known hosts file: markers, host patterns, key. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit as _, Mac as _};
use russh::keys::PublicKey;

use crate::ssh::wildcard::wildcard;

/// A well-formed line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) marker: Option<Marker>,
    hosts: Hosts,
    pub(super) key: PublicKey,
}

/// The marker of a line, which gives its key another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    CertAuthority,
    Revoked,
}

#[derive(Debug, Clone)]
enum Hosts {
    Patterns(Vec<Pattern>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Debug, Clone)]
struct Pattern {
    negated: bool,
    text: String,
}

/// The malformed part of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Marker,
    Hosts,
    Key,
}

impl Line {
    /// Reads a line; `None`: it is empty or a comment.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Bad> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let mut words = text.split_ascii_whitespace();
        let mut first = words.next().ok_or(Bad::Hosts)?;
        let mut marker = None;
        if first.starts_with('@') {
            marker = Some(match first {
                "@cert-authority" => Marker::CertAuthority,
                "@revoked" => Marker::Revoked,
                _ => return Err(Bad::Marker),
            });
            first = words.next().ok_or(Bad::Hosts)?;
        }
        let hosts = Hosts::parse(first)?;
        let (kind, data) = (words.next().ok_or(Bad::Key)?, words.next().ok_or(Bad::Key)?);
        let key = russh::keys::parse_public_key_base64(data).map_err(|_| Bad::Key)?;
        // A line whose type contradicts its key has been damaged or tampered with.
        if key.algorithm().as_str() != kind {
            return Err(Bad::Key);
        }
        Ok(Some(Self { marker, hosts, key }))
    }

    /// Lists the names of a line that holds neither wildcard nor negation nor hash.
    pub(super) fn plain_names(&self) -> Option<impl Iterator<Item = &str>> {
        let Hosts::Patterns(patterns) = &self.hosts else { return None };
        let plain = patterns.iter().all(|p| !p.negated && !p.text.contains(['*', '?']));
        plain.then(|| patterns.iter().map(|p| p.text.as_str()))
    }

    /// Tells whether the line is about `name`, which is in lower case.
    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.hosts {
            Hosts::Patterns(patterns) => {
                let mut any = false;
                for pattern in patterns {
                    if wildcard(pattern.text.as_bytes(), name.as_bytes()) {
                        if pattern.negated {
                            return false;
                        }
                        any = true;
                    }
                }
                any
            }
            Hosts::Hashed { salt, hash } => {
                let Ok(mut mac) = hmac::Hmac::<sha1::Sha1>::new_from_slice(salt) else { return false };
                mac.update(name.as_bytes());
                mac.verify_slice(hash).is_ok()
            }
        }
    }
}

/// Returns a name as `HashKnownHosts` has it: `|1|SALT|HASH` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
pub(super) fn hashed(name: &str, salt: &[u8; 20]) -> String {
    // A key of any length makes an HMAC.
    let Ok(mut mac) = hmac::Hmac::<sha1::Sha1>::new_from_slice(salt) else { return name.to_owned() };
    mac.update(name.as_bytes());
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(mac.finalize().into_bytes()))
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, Bad> {
        if let Some(rest) = text.strip_prefix("|1|") {
            let (salt, hash) = rest.split_once('|').ok_or(Bad::Hosts)?;
            let salt = STANDARD.decode(salt).map_err(|_| Bad::Hosts)?;
            let hash = STANDARD.decode(hash).map_err(|_| Bad::Hosts)?;
            if hash.len() != 20 {
                return Err(Bad::Hosts);
            }
            return Ok(Self::Hashed { salt, hash });
        }
        if text.starts_with('|') {
            return Err(Bad::Hosts);
        }
        let patterns: Vec<_> = text
            .split(',')
            .filter(|p| !p.is_empty())
            .map(|p| match p.strip_prefix('!') {
                Some(rest) => Pattern { negated: true, text: rest.to_lowercase() },
                None => Pattern { negated: false, text: p.to_lowercase() },
            })
            .collect();
        if patterns.is_empty() { Err(Bad::Hosts) } else { Ok(Self::Patterns(patterns)) }
    }
}
