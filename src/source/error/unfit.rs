//! What a directory holds that cannot be released.

use std::fmt;
use std::io;

use crate::source::quote::quote;

/// Something in a directory that cannot be released.
#[derive(Debug)]
pub struct Unfit {
    /// Its path below the directory.
    pub path: Vec<u8>,
    /// Why it cannot be released.
    pub why: Misfit,
}

/// Why something in a directory cannot be released.
#[derive(Debug)]
pub enum Misfit {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is a named pipe.
    Pipe,
    /// It is a socket.
    Socket,
    /// It is a device.
    Device,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", quote(if self.path.is_empty() { b"." } else { &self.path }), self.why)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Pipe => f.write_str("a named pipe"),
            Self::Socket => f.write_str("a socket"),
            Self::Device => f.write_str("a device"),
        }
    }
}
