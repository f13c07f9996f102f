//! What a live connection refuses: a channel, or a command.

use std::fmt;
use std::time::Duration;

use russh::ChannelOpenFailure;

use super::lost::Lost;
use super::text::said;

/// Why the server ran no command, or opened no channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The connection took no request within the limit.
    NoRoom,
    /// The server did not confirm the command within the limit.
    NotStarted,
    /// The server refused to run a command.
    Command,
    /// The server did not open a channel within this limit.
    NoChannel(Duration),
    /// The server refused a channel.
    Channel {
        /// The reason code of the refusal (RFC 4254 section 5.1).
        why: ChannelRefusal,
        /// The server's words; they may be empty.
        words: String,
    },
}

/// Why a server refused a channel (RFC 4254 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelRefusal {
    /// The server's configuration forbids it.
    Forbidden,
    /// The server could not connect to the destination.
    NotReached,
    /// The server does not know this type of channel.
    UnknownType,
    /// The server has no room for one more.
    NoRoom,
    /// Another reason, as the library names it.
    Other(String),
}

impl Refused {
    /// Reads the refusal of a channel.
    pub(super) fn channel(why: &ChannelOpenFailure, words: Option<String>) -> Self {
        let why = match why {
            ChannelOpenFailure::AdministrativelyProhibited => ChannelRefusal::Forbidden,
            ChannelOpenFailure::ConnectFailed => ChannelRefusal::NotReached,
            ChannelOpenFailure::UnknownChannelType => ChannelRefusal::UnknownType,
            ChannelOpenFailure::ResourceShortage => ChannelRefusal::NoRoom,
            ChannelOpenFailure::Other { reason, .. } => ChannelRefusal::Other(reason.clone()),
        };
        Self::Channel { why, words: words.unwrap_or_default() }
    }
}

impl fmt::Display for ChannelRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str("the server's configuration forbids it"),
            Self::NotReached => f.write_str("the server could not connect to it"),
            Self::UnknownType => f.write_str("the server does not know how"),
            Self::NoRoom => f.write_str("the server has no room for it"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom => f.write_str("the connection has no room for the command"),
            Self::NotStarted => f.write_str("the server did not start the command in time"),
            Self::Command => f.write_str("the server refused to run a command"),
            Self::NoChannel(limit) => write!(f, "the server did not open a channel within {} s", limit.as_secs()),
            Self::Channel { why: why @ ChannelRefusal::Other(_), words } => {
                f.write_str(&said(&format!("{why} {words}")))
            }
            // sshd writes "open failed" where it has nothing to say.
            Self::Channel { why, words } if words.is_empty() || words == "open failed" => why.fmt(f),
            Self::Channel { words, .. } => {
                let mut chars = words.chars();
                chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).try_for_each(|c| write!(f, "{c}"))
            }
        }
    }
}

impl std::error::Error for Refused {}

/// Why a channel could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpen {
    /// The server refused it, or did not answer.
    Refused(Refused),
    /// The connection ended.
    Lost(Lost),
}

impl fmt::Display for NotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => why.fmt(f),
            Self::Lost(why) => write!(f, "the connection was lost: {why}"),
        }
    }
}

impl std::error::Error for NotOpen {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(why) => Some(why),
            Self::Lost(why) => Some(why),
        }
    }
}
