//! Where a balancer is reached: `ssh://`, `unix://`, `tcp://`, or the URL of a Data Plane API.

use std::fmt;
use std::path::PathBuf;

use super::bad::Bad;
use super::hosts;
use super::url::{self, ApiUrl, Scheme, bracketed};
use super::words::quoted;

/// A host that is reached through SSH and is no server of the stack, or need not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshHost {
    /// Login user, else `[ssh] user`.
    pub user: Option<String>,
    /// Host.
    pub host: String,
    /// Port, else `[ssh] port`.
    pub port: Option<u16>,
}

/// Where one HAProxy is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerAddress {
    /// `ssh://[user@]host[:port]/path`: a unix socket on that host, through SSH.
    Ssh {
        /// Login user, else `[ssh] user`.
        user: Option<String>,
        /// Host.
        host: String,
        /// Port, else `[ssh] port`.
        port: Option<u16>,
        /// Absolute path of the socket there.
        path: String,
    },
    /// `unix:///path`: a socket on this machine.
    Unix(PathBuf),
    /// `tcp://host:port`.
    Tcp {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
    /// `https://host[:port][/path]`, `http://…`: a Data Plane API.
    Api(ApiUrl),
}

impl BalancerAddress {
    /// The host that an `ssh://` address is reached through.
    pub fn host(&self) -> Option<SshHost> {
        match self {
            Self::Ssh { user, host, port, .. } => Some(SshHost { user: user.clone(), host: host.clone(), port: *port }),
            Self::Unix(_) | Self::Tcp { .. } | Self::Api(_) => None,
        }
    }
}

/// Writes it as the configuration does.
impl fmt::Display for BalancerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh { user, host, port, path } => {
                let user = user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                write!(f, "ssh://{user}{}{port}{path}", bracketed(host))
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Api(url) => url.fmt(f),
        }
    }
}

/// Reads the address of one HAProxy.
///
/// `ssh://[user@]host[:port]/path`, `unix:///path`, `tcp://host:port`, `https://host[:port]` or `http://host[:port]`.
pub fn parse_address(text: &str) -> Result<BalancerAddress, Bad> {
    let hint = "write \"ssh://lb1.example.com/run/haproxy/admin.sock\", \"unix:///run/haproxy/admin.sock\", \
                \"tcp://lb1.example.com:9999\", or \"https://lb1.example.com:5555\" for its Data Plane API";
    let cannot = |why: &str| Bad::new(format!("has the address {}, {why}", quoted(text)), hint);
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(cannot("which has spaces or control characters in it"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(cannot("which names no scheme"));
    };
    match scheme {
        "https" => url::parse_api(Scheme::Https, rest).map(BalancerAddress::Api),
        "http" => url::parse_api(Scheme::Http, rest).map(BalancerAddress::Api),
        "unix" if rest.starts_with('/') && !rest.ends_with('/') => Ok(BalancerAddress::Unix(PathBuf::from(rest))),
        "unix" => Err(cannot("which has no absolute path of a socket")),
        "tcp" => {
            let spec =
                hosts::parse_one(rest.strip_suffix('/').unwrap_or(rest)).map_err(|bad| cannot(&relative(&bad)))?;
            match (spec.user, spec.port) {
                (Some(_), _) => Err(cannot("which has a user, and a TCP address has none")),
                (None, None) => Err(cannot("which has no port")),
                (None, Some(port)) => Ok(BalancerAddress::Tcp { host: spec.host, port }),
            }
        }
        "ssh" => {
            let Some((destination, path)) = rest.split_once('/') else {
                return Err(cannot("which has no path of a socket"));
            };
            if path.is_empty() || path.ends_with('/') {
                return Err(cannot("which has no path of a socket"));
            }
            let spec = hosts::parse_one(destination).map_err(|bad| cannot(&relative(&bad)))?;
            Ok(BalancerAddress::Ssh { user: spec.user, host: spec.host, port: spec.port, path: format!("/{path}") })
        }
        _ => Err(cannot("whose scheme is unknown")),
    }
}

/// Reads where a balancer's commands run: `here`, which is `None`, or `ssh://[user@]host[:port]`.
pub fn parse_run_on(text: &str) -> Result<Option<SshHost>, Bad> {
    let hint = "write \"here\" or \"ssh://lb1.example.com\"";
    if text == "here" {
        return Ok(None);
    }
    let cannot = |why: &str| Bad::new(format!("cannot be {}{why}", quoted(text)), hint);
    let rest = text.strip_prefix("ssh://").ok_or_else(|| cannot(""))?;
    let spec = hosts::parse_one(rest.strip_suffix('/').unwrap_or(rest))
        .map_err(|bad| cannot(&format!(", {}", relative(&bad))))?;
    Ok(Some(SshHost { user: spec.user, host: spec.host, port: spec.port }))
}

fn relative(bad: &Bad) -> String {
    format!("which {}", bad.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ssh = |user: Option<&str>, host: &str, port, path: &str| {
            Ok(BalancerAddress::Ssh { user: user.map(Into::into), host: host.into(), port, path: path.into() })
        };
        assert_eq!(parse_address("ssh://lb1/run/h.sock"), ssh(None, "lb1", None, "/run/h.sock"));
        assert_eq!(parse_address("ssh://ops@lb1:2222/s"), ssh(Some("ops"), "lb1", Some(2222), "/s"));
        assert_eq!(parse_address("ssh://[::1]:22/s"), ssh(None, "::1", Some(22), "/s"));
        assert_eq!(parse_address("unix:///run/h.sock"), Ok(BalancerAddress::Unix("/run/h.sock".into())));
        assert_eq!(parse_address("tcp://lb1:9999"), Ok(BalancerAddress::Tcp { host: "lb1".into(), port: 9999 }));
        assert_eq!(parse_address("tcp://[::1]:9999"), Ok(BalancerAddress::Tcp { host: "::1".into(), port: 9999 }));
        for text in [
            "",
            "lb1",
            "/run/h.sock",
            "http://",
            "ftp://lb1/",
            "ssh://lb1",
            "ssh://lb1/",
            "ssh:///s",
            "ssh://lb[1-2]/s",
            "unix://run/h.sock",
            "unix:///",
            "tcp://lb1",
            "tcp://lb1:0",
            "tcp://u@lb1:1",
            "tcp://lb1:99999",
            "ssh://lb1/a b",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_shown_as_written() {
        let ssh = |user: Option<&str>, host: &str, port| BalancerAddress::Ssh {
            user: user.map(Into::into),
            host: host.into(),
            port,
            path: "/run/haproxy/admin.sock".into(),
        };
        let shown = |at: BalancerAddress| at.to_string();
        assert_eq!(shown(ssh(None, "lb1", None)), "ssh://lb1/run/haproxy/admin.sock");
        assert_eq!(shown(ssh(Some("ops"), "::1", Some(2222))), "ssh://ops@[::1]:2222/run/haproxy/admin.sock");
        assert_eq!(shown(BalancerAddress::Unix("/a".into())), "unix:///a");
        assert_eq!(shown(BalancerAddress::Tcp { host: "lb".into(), port: 9 }), "tcp://lb:9");
    }
}
