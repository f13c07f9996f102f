//! What HAProxy itself has against a call.

use std::error::Error;
use std::fmt;

use super::failed::CallFailed;
use super::protocol::{ChangeRefusal, LEVEL_HINT};
use super::table::nearest;
use crate::balancer::error::{BalancerErrorKind as Kind, BalancerFault};

/// A failure of one HAProxy instance.
#[derive(Debug, Clone)]
pub enum HaproxyFault {
    /// The call came to nothing.
    Call(CallFailed),
    /// A name that HAProxy cannot have, as the text says.
    BadName(String),
    /// The socket grants only this level.
    Level(String),
    /// The instance has no such backend.
    NoBackend {
        /// The backend.
        backend: String,
        /// The backends that there are.
        names: Vec<String>,
    },
    /// The backend has no such server.
    NoServer {
        /// The backend.
        backend: String,
        /// The server.
        server: String,
        /// The servers that there are.
        names: Vec<String>,
    },
    /// HAProxy refused a change.
    Refused(ChangeRefusal),
    /// The answer cannot be read, as the text says.
    Senseless(String),
    /// Something other than its administrative state holds the server out; its status.
    HeldOut(String),
}

/// What to look at where something other than its administrative state holds a server out.
pub const HELD_HINT: &str = "look at the server it tracks, or at the resolution of its name, in haproxy.cfg";

impl Error for HaproxyFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Call(failed) => Some(failed),
            _ => None,
        }
    }
}

impl fmt::Display for HaproxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(failed) => failed.fmt(f),
            Self::BadName(what) => write!(f, "cannot ask for {what}"),
            Self::Level(level) => write!(f, "its socket grants only the level {level}, and draining needs admin"),
            Self::NoBackend { backend, .. } => write!(f, "it has no backend {backend}"),
            Self::NoServer { backend, server, .. } => write!(f, "the backend {backend} has no server {server}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Senseless(text) => f.write_str(text),
            Self::HeldOut(status) => write!(f, "something else holds it out by now: {status}"),
        }
    }
}

impl BalancerFault for HaproxyFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Call(_) => Kind::Unreachable,
            Self::NoBackend { .. } | Self::NoServer { .. } => Kind::Unknown,
            Self::BadName(_) | Self::Level(_) | Self::Refused(_) | Self::Senseless(_) => Kind::Refused,
            Self::HeldOut(_) => Kind::Unproven,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Call(failed) => failed.hint(),
            Self::BadName(_) => {
                "compare `lb` in [[servers]] and `backends` in [load_balancer] with haproxy.cfg".to_owned()
            }
            Self::Level(_) => LEVEL_HINT.to_owned(),
            Self::NoBackend { backend, names } => {
                format!("{}; set `backends` in [load_balancer]", nearest(backend, names))
            }
            Self::NoServer { server, names, .. } => {
                format!("{}; set `lb` in [[servers]] to its name there", nearest(server, names))
            }
            Self::Refused(refusal) => refusal.hint().to_owned(),
            Self::Senseless(_) => String::new(),
            Self::HeldOut(_) => HELD_HINT.to_owned(),
        }
    }
}
