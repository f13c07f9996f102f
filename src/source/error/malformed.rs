//! Why a tar stream cannot be read on.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a tar stream cannot be read on.
#[derive(Debug)]
pub enum Malformed {
    /// The reader below failed.
    Read(io::Error),
    /// It ends too early.
    Truncated,
    /// It is no tar, or two tars would read it differently; a fragment.
    Corrupt(String),
    /// It holds what a release must not; a fragment that names it.
    Unfit(String),
}

impl From<io::Error> for Malformed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Truncated => f.write_str("it ends too early"),
            Self::Corrupt(why) | Self::Unfit(why) => f.write_str(why),
        }
    }
}

impl Error for Malformed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            _ => None,
        }
    }
}
