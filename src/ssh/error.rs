//! Why no connection could be made.
//!
//! The text is made here: `Display` has the fragment, [`ConnectError::hint`] the advice.

use std::fmt;
use std::path::PathBuf;

use super::config::ConfigError;
use super::known_hosts::KnownHostsError;
use super::not_accepted::NotAccepted;
use super::unreachable::{Obstacle, Unreachable};

/// Why no connection could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// The destination could not be reached.
    Unreachable(Box<Unreachable>),
    /// The host cannot be trusted.
    KnownHosts(Box<KnownHostsError>),
    /// The server accepted no login.
    NotAccepted(Box<NotAccepted>),
    /// This key file, which pitcrew.toml names, does not exist.
    NoKey(PathBuf),
    /// ssh_config cannot be used.
    Config(Box<ConfigError>),
    /// There is no way to the destination.
    NoWay {
        /// The destination's name.
        name: String,
        /// What is wrong with its way.
        why: Detour,
    },
    /// A host on the way could not be reached.
    Through {
        /// The destination as people type it.
        place: String,
        /// The name of the host on the way.
        by: String,
        /// Why the connection to that host failed.
        source: Box<Self>,
    },
    /// Something is wrong with the settings of one server.
    Of {
        /// The server's name.
        name: String,
        /// What is wrong.
        source: Box<Self>,
    },
}

/// What is wrong with a way through jump hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detour {
    /// It leads through this place again and again.
    Circle(String),
    /// It leads through more than this number of hosts.
    TooLong(usize),
}

/// The stage at which a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Name, route, refusal, silence, or handshake.
    Unreachable,
    /// The host key is unknown, changed or revoked.
    HostKey,
    /// No key was accepted.
    Auth,
    /// A local file is at fault: a key that cannot be read, known_hosts that cannot be parsed.
    Local,
}

impl ConnectError {
    /// Makes the error of an obstacle on the way to a place.
    pub(super) fn unreachable(place: String, why: Obstacle) -> Self {
        Self::Unreachable(Box::new(Unreachable { place, why }))
    }

    /// Returns the stage at which it failed.
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            Self::Unreachable(_) => ConnectErrorKind::Unreachable,
            Self::KnownHosts(e) if e.is_local() => ConnectErrorKind::Local,
            Self::KnownHosts(_) => ConnectErrorKind::HostKey,
            Self::NotAccepted(_) => ConnectErrorKind::Auth,
            Self::NoKey(_) | Self::Config(_) | Self::NoWay { .. } => ConnectErrorKind::Local,
            Self::Through { source, .. } | Self::Of { source, .. } => source.kind(),
        }
    }

    /// Says what to do next, as a sentence; may be empty.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreachable(e) => e.hint(),
            Self::KnownHosts(e) => e.hint(),
            Self::NotAccepted(e) => e.hint(),
            Self::NoKey(_) => "Correct identity_file, or leave it out to use the agent and the usual keys.".into(),
            Self::Config(e) => e.hint(),
            Self::NoWay { .. } => "Correct ProxyJump: `ProxyJump none` for the jump host itself ends its way.".into(),
            Self::Through { source, .. } | Self::Of { source, .. } => source.hint(),
        }
    }

    /// Adds the server's name, unless the error names the server already.
    pub(super) fn of(self, name: &str) -> Self {
        let named = match &self {
            Self::NoWay { name: own, .. } | Self::Of { name: own, .. } => own == name,
            Self::Config(e) => e.host() == Some(name),
            _ => false,
        };
        if named { self } else { Self::Of { name: name.to_owned(), source: Box::new(self) } }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(e) => e.fmt(f),
            Self::KnownHosts(e) => e.fmt(f),
            Self::NotAccepted(e) => e.fmt(f),
            Self::NoKey(path) => write!(f, "cannot read the key {}: there is no such file", path.display()),
            Self::Config(e) => e.fmt(f),
            Self::NoWay { name, why } => write!(f, "cannot find a way to {name}: {why}"),
            Self::Through { place, by, source } => write!(f, "cannot reach {place} through {by}: {source}"),
            Self::Of { name, source } => write!(f, "{name}: {source}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(e) => Some(e),
            Self::KnownHosts(e) => Some(e),
            Self::NotAccepted(e) => Some(e),
            Self::Config(e) => Some(e),
            Self::NoKey(_) | Self::NoWay { .. } => None,
            Self::Through { source, .. } | Self::Of { source, .. } => Some(source),
        }
    }
}

impl fmt::Display for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Circle(place) => write!(f, "it leads through {place} again and again"),
            Self::TooLong(most) => write!(f, "it leads through more than {most} hosts"),
        }
    }
}

impl From<KnownHostsError> for ConnectError {
    fn from(e: KnownHostsError) -> Self {
        Self::KnownHosts(Box::new(e))
    }
}

impl From<ConfigError> for ConnectError {
    fn from(e: ConfigError) -> Self {
        Self::Config(Box::new(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::lost::Lost;
    use crate::ssh::unreachable::ProxyCommand;

    #[test]
    fn an_error_names_its_server_once() {
        let unasked = |host: &str| ConnectError::from(ConfigError::Unanswered { host: host.into() });
        assert_eq!(unasked("web1").of("web1"), unasked("web1"));
        let other = unasked("jump").of("web1").of("web1");
        assert_eq!(other.to_string(), "web1: cannot tell what ssh's configuration says of jump");
        assert_eq!(other.kind(), ConnectErrorKind::Local);
        let circle = ConnectError::NoWay { name: "web1".into(), why: Detour::Circle("ann@a:22".into()) };
        assert_eq!(circle.clone().of("web1"), circle);
    }

    #[test]
    fn an_error_behind_a_jump_host_keeps_its_kind_its_advice_and_its_source() {
        let proxy = Some(ProxyCommand { command: "nc a 22".into(), said: Some("no route".into()) });
        let inner = ConnectError::unreachable("ann@a:22".into(), Obstacle::Handshake { source: Lost::Left, proxy });
        let (place, by) = ("deploy@web1:22".into(), "a".into());
        let outer = ConnectError::Through { place, by, source: Box::new(inner.clone()) };
        assert_eq!(
            outer.to_string(),
            "cannot reach deploy@web1:22 through a: cannot connect to ann@a:22: the server closed the connection; \
             its ProxyCommand said: no route"
        );
        assert_eq!((outer.kind(), outer.hint()), (ConnectErrorKind::Unreachable, inner.hint()));
        let mut deepest: &dyn std::error::Error = &outer;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        assert_eq!(deepest.to_string(), "the server closed the connection");
    }
}
