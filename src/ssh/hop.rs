//! The jump hosts of a `ProxyJump`: their grammar. Pure.

use super::address::Parts;

/// A host on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// The part before `@`.
    pub user: Option<String>,
    /// Host, alias or address.
    pub host: String,
    /// The part after `:`.
    pub port: Option<u16>,
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// Most hops of one way; more is a slip.
const MOST: usize = 8;

/// Reads `[user@]host[:port]`, or several with commas between them; `ssh://` may stand before each. The nearest is first.
///
/// # Errors
/// A fragment that says what is wrong.
pub fn parse(text: &str) -> Result<Vec<Hop>, String> {
    let hops: Result<Vec<Hop>, String> = text
        .split(',')
        .map(|one| {
            let one = one.trim();
            let bare = one.strip_prefix("ssh://").map_or(one, |rest| rest.trim_end_matches('/'));
            let Parts { user, host, port } = Parts::of_one(bare).map_err(|bad| format!("{one:?} {bad}"))?;
            Ok(Hop { user: user.map(str::to_owned), host: host.to_owned(), port })
        })
        .collect();
    let hops = hops?;
    if hops.len() > MOST { Err(format!("has more than {MOST} hosts")) } else { Ok(hops) }
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
