//! The jump hosts of a `ProxyJump`: their grammar. Pure.

use std::fmt;

use super::address::{BadAddress, Parts};

/// A host on the way to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// The part before `@`.
    pub user: Option<String>,
    /// The host: a name, an alias or an address.
    pub host: String,
    /// The part after `:`.
    pub port: Option<u16>,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.port, self.host.contains(':')) {
            (None, _) => f.write_str(&self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

/// Most hosts of one `ProxyJump`.
const MOST: usize = 8;

/// What is wrong with a `ProxyJump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadHop {
    /// One host is malformed.
    Address {
        /// The host as it is written.
        text: String,
        /// What is wrong with it.
        source: BadAddress,
    },
    /// There are too many hosts.
    TooMany,
}

impl fmt::Display for BadHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { text, source } => write!(f, "{text:?} {source}"),
            Self::TooMany => write!(f, "has more than {MOST} hosts"),
        }
    }
}

impl std::error::Error for BadHop {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } => Some(source),
            Self::TooMany => None,
        }
    }
}

/// Reads `[user@]host[:port]`, or several of them with commas between, the nearest first.
///
/// `ssh://` may stand before each.
///
/// # Errors
/// When one is malformed, or there are too many.
pub fn parse(text: &str) -> Result<Vec<Hop>, BadHop> {
    let hops: Result<Vec<Hop>, BadHop> = text
        .split(',')
        .map(|one| {
            let one = one.trim();
            let bare = one.strip_prefix("ssh://").map_or(one, |rest| rest.trim_end_matches('/'));
            let Parts { user, host, port } =
                Parts::of_one(bare).map_err(|source| BadHop::Address { text: one.to_owned(), source })?;
            Ok(Hop { user: user.map(str::to_owned), host: host.to_owned(), port })
        })
        .collect();
    let hops = hops?;
    if hops.len() > MOST { Err(BadHop::TooMany) } else { Ok(hops) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(user: Option<&str>, host: &str, port: Option<u16>) -> Hop {
        Hop { user: user.map(Into::into), host: host.into(), port }
    }

    #[test]
    fn hops_are_read_in_order() {
        let read = parse("u@a:2222, ssh://b.example.com/,ssh://v@[::1]:22,::1").unwrap();
        let wanted = [
            hop(Some("u"), "a", Some(2222)),
            hop(None, "b.example.com", None),
            hop(Some("v"), "::1", Some(22)),
            hop(None, "::1", None),
        ];
        assert_eq!(read, wanted);
        assert_eq!(
            read.iter().map(Hop::to_string).collect::<Vec<_>>(),
            ["u@a:2222", "b.example.com", "v@[::1]:22", "::1"]
        );
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "a,,b", "a:0", "a b", "-oProxyCommand=x", "a[1-3]", "u@", &"a,".repeat(9)] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
