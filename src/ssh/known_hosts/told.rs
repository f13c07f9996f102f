//! What a `KnownHostsCommand` prints of one host, and why it prints nothing that counts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, HostName};
use super::line::Line;
use crate::ssh::io_fault::IoFault;

/// The host that is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// Its name.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// What the command has printed of it.
    pub told: &'a ToldKeys,
}

/// Lines that count for one connection.
#[derive(Debug, Clone, Default)]
pub struct ToldKeys(pub(super) Vec<Arc<Entry>>);

impl ToldKeys {
    /// Reads what a command has printed; a malformed line is passed over, as in a file.
    pub fn read(bytes: &[u8], program: &str) -> Self {
        let lines = String::from_utf8_lossy(bytes);
        let entry = |(at, text): (usize, &str)| {
            let line = Line::parse(text).ok().flatten()?;
            Some(Arc::new(Entry { line, file: PathBuf::from(program), number: at + 1 }))
        };
        Self(lines.lines().enumerate().filter_map(entry).collect())
    }

    /// Adds what was printed of it later.
    pub fn add(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(super) fn matching(&self, name: &str) -> impl Iterator<Item = Arc<Entry>> {
        self.0.iter().filter(move |entry| entry.line.matches(name)).cloned()
    }
}

impl Whom<'_> {
    pub(super) fn name(&self) -> HostName {
        HostName::new(self.host, self.port)
    }
}

/// Why a command has told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysCommandFault {
    /// It could not be started.
    NotStarted(IoFault),
    /// It did not end within this limit.
    Silent(Duration),
    /// It failed: how it ended, and what it said.
    Failed {
        /// Its exit status or signal.
        how: String,
        /// Its last words.
        said: String,
    },
}

impl fmt::Display for KeysCommandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(e) => e.fmt(f),
            Self::Silent(limit) => write!(f, "it did not end within {} s", limit.as_secs()),
            Self::Failed { how, said } if said.is_empty() => write!(f, "it ended with {how}"),
            Self::Failed { how, said } => write!(f, "it ended with {how}: {said}"),
        }
    }
}

impl std::error::Error for KeysCommandFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted(e) => Some(e),
            Self::Silent(_) | Self::Failed { .. } => None,
        }
    }
}
