//! The names that travel through the whole program, each a type of its own.
//!
//! It owns their shape (what is a valid release id) and nothing about where they come from.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names one server as the summary, the events and the flags do.
///
/// The name is its host, or `host:port` where two servers share a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerName(pub String);

/// Identifies one release: a UTC timestamp `YYYYMMDDHHMMSS`, the same on all servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(String);

/// Identifies what a release was made from.
///
/// It is a commit's full SHA, or a content digest where there is no git.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

/// Identifies one execution of a plan; it is also the token of the run's locks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl ReleaseId {
    /// Accepts exactly fourteen ASCII digits, as Capistrano makes them.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// When it was made, in UTC; `None`: it is no date.
    pub fn time(&self) -> Option<Timestamp> {
        let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &self.0).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    }

    /// Makes an id for a directory that another tool has named: the same for the same name on every server.
    ///
    /// Fourteen digits with other signs between or behind them stay as they are, and a lower number is filled up with
    /// zeros. Any other name becomes a number that is no date of these years.
    pub fn of_name(name: &str) -> Self {
        use sha2::Digest as _;
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        let plain = digits.len() == name.len() && digits.len() < 14;
        match Self::parse(&digits) {
            Some(id) if id.time().is_some() => id,
            _ if plain => Self(format!("{digits:0>14}")),
            _ => {
                let sum = sha2::Sha256::digest(name.as_bytes());
                let number = sum.iter().take(5).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                Self(format!("{number:014}"))
            }
        }
    }

    /// The lowest id there can be; no release bears it.
    pub fn first() -> Self {
        Self("0".repeat(14))
    }

    /// The highest id there can be.
    pub fn last() -> Self {
        Self("9".repeat(14))
    }

    /// Returns the fourteen digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Revision {
    /// Returns the first seven characters, as people read them.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

impl ServerName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RunId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}
display!(ServerName, ReleaseId, Revision, RunId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_id_is_fourteen_digits() {
        assert!(ReleaseId::parse("20261123045900").is_some());
        for bad in
            ["", "2026112304590", "202611230459000", "2026112304590x", "releases/2026", "２０２６１１２３０４５９００"]
        {
            assert!(ReleaseId::parse(bad).is_none(), "{bad}");
        }
    }
}
