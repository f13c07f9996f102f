//! Why a connection ended.

use std::fmt;

use super::gate::NotBanner;
use super::io_fault::IoFault;
use super::known_hosts::KnownHostsError;
use super::nothing_shared::NothingShared;
use super::payload::PayloadError;
use super::text::said;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// It ended, and nothing says why.
    Ended,
    /// This run closed it.
    Closed,
    /// The server no longer answered keepalives.
    Silent,
    /// Nothing could be sent or received any more.
    Stuck,
    /// The server closed it without a word.
    Left,
    /// The server closed it with these words.
    Told(String),
    /// The server was too slow to end a command.
    ///
    /// An `end.sh` may still run there: it would send its signal to a later command of the connection.
    TooSlow,
    /// The other side does not speak SSH 2.
    NotSsh,
    /// The other side said this in place of a banner.
    Answered(String),
    /// Client and server share no algorithm of one kind.
    NothingShared(NothingShared),
    /// The host key was refused.
    HostKey(Box<KnownHostsError>),
    /// The input of the command could not be read on this machine.
    Payload(PayloadError),
    /// The network failed.
    Io(IoFault),
    /// The SSH library failed, in its own words.
    Protocol(String),
}

impl From<&russh::Error> for Lost {
    fn from(e: &russh::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, UnexpectedEof};
        match e {
            russh::Error::KeepaliveTimeout => Self::Silent,
            russh::Error::InactivityTimeout => Self::Stuck,
            russh::Error::Disconnect | russh::Error::HUP | russh::Error::RecvError | russh::Error::SendError => {
                Self::Left
            }
            russh::Error::IO(e) if matches!(e.kind(), UnexpectedEof | BrokenPipe) => Self::Left,
            russh::Error::IO(e) if e.get_ref().is_some_and(|e| e.is::<NotBanner>()) => Self::Answered(e.to_string()),
            // The library keeps its error: a copy has the kind and the words.
            russh::Error::IO(e) => Self::Io(std::io::Error::new(e.kind(), e.to_string()).into()),
            russh::Error::Version => Self::NotSsh,
            russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                Self::NothingShared(NothingShared::new(format!("{kind:?}").to_lowercase(), theirs))
            }
            e => Self::Protocol(said(&e.to_string())),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the connection ended"),
            Self::Closed => f.write_str("it was closed"),
            Self::Silent => f.write_str("the server stopped answering"),
            Self::Stuck => f.write_str("nothing could be sent or received any more"),
            Self::Left => f.write_str("the server closed the connection"),
            Self::Told(words) => write!(f, "the server ended the connection: {words}"),
            Self::TooSlow => f.write_str("the server was too slow to end a command"),
            Self::NotSsh => f.write_str("it does not speak SSH 2"),
            Self::Answered(text) => write!(f, "it does not speak SSH 2: it answered \"{text}\""),
            Self::NothingShared(it) => {
                write!(f, "no common {} algorithm; the server offers {}", it.kind(), it.offered.join(", "))
            }
            Self::HostKey(e) => e.fmt(f),
            Self::Payload(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
            Self::Protocol(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::HostKey(e) => Some(e),
            Self::Payload(e) => Some(e),
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}
