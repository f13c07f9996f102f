//! Why a call to HAProxy's socket came to nothing.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::limits::ANSWER_LIMIT;
use super::not_relayed::{NotRelayed, RUNNING_HINT, socket_hint};
use crate::ssh::{ConnectError, Lost};

/// Why a call came to nothing.
#[derive(Debug, Clone)]
pub enum CallFailed {
    /// No way leads to a socket.
    NoWay,
    /// No SSH connection was set up for its host.
    NoLink,
    /// Its host cannot be reached.
    Host(ConnectError),
    /// The SSH connection to its host was lost.
    Lost(Lost),
    /// The calls before this one took too long.
    Crowded,
    /// The socket did not answer within this time.
    Late(Duration),
    /// The socket on this machine cannot be opened.
    Open {
        /// The socket.
        path: PathBuf,
        /// The user that pitcrew runs as.
        user: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The port cannot be reached.
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The socket was opened and then failed.
    Broken {
        /// What was tried: "send to it".
        what: &'static str,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The answer is larger than the limit.
    TooLarge,
    /// The answer broke off, or is not one, as the text says.
    Senseless(String),
    /// A program on its host passed nothing on.
    NotRelayed(Box<NotRelayed>),
}

impl CallFailed {
    /// Tells whether the failure stays until a person changes something.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::NotRelayed(not) if not.lasts())
    }

    /// Says what to do next; may be empty.
    pub fn hint(&self) -> String {
        match self {
            Self::Host(error) => error.hint(),
            Self::Crowded => "use smaller batches".to_owned(),
            Self::Late(_) => {
                "haproxy serves 10 connections to its socket at a time (`stats maxconn`); are others holding them?"
                    .to_owned()
            }
            Self::Open { path, user, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                socket_hint(&path.display().to_string(), user)
            }
            Self::Open { .. } => RUNNING_HINT.to_owned(),
            Self::Connect { .. } => "is haproxy running, and is this the address of its `stats socket`?".to_owned(),
            Self::NotRelayed(not) => not.hint(),
            _ => String::new(),
        }
    }
}

impl Error for CallFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Connect { source, .. } | Self::Broken { source, .. } => {
                Some(source.as_ref())
            }
            _ => None,
        }
    }
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWay => write!(f, "there is no socket to speak to"),
            Self::NoLink => write!(f, "no SSH connection was set up for it"),
            Self::Host(error) => error.fmt(f),
            Self::Lost(why) => write!(f, "the connection was lost: {why}"),
            Self::Crowded => write!(f, "too many calls to it wait for each other"),
            Self::Late(limit) => write!(f, "it did not answer within {limit:?}"),
            Self::Open { path, source, .. } => write!(f, "cannot open {}: {source}", path.display()),
            Self::Connect { host, port, source } => write!(f, "cannot connect to {host} port {port}: {source}"),
            Self::Broken { what, source } => write!(f, "cannot {what}: {source}"),
            Self::TooLarge => write!(f, "its answer is larger than {} MiB", ANSWER_LIMIT >> 20),
            Self::Senseless(text) => f.write_str(text),
            Self::NotRelayed(not) => not.fmt(f),
        }
    }
}
