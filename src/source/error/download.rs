//! Why an archive cannot be downloaded.

use std::error::Error;
use std::fmt;
use std::io;

/// Why an archive cannot be downloaded; `name` is its URL without what is secret in it.
#[derive(Debug)]
pub enum DownloadError {
    /// The system refused a thread.
    NoThread {
        /// The archive.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The HTTP client failed, in its own words without what is secret.
    Client {
        /// The archive.
        name: String,
        /// The client's words.
        words: String,
    },
    /// The download did not end in time.
    TooLong {
        /// The archive.
        name: String,
        /// The limit in minutes.
        minutes: u64,
    },
    /// Nothing came for this long.
    Silent {
        /// The archive.
        name: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// The thread that downloads ended.
    Ended {
        /// The archive.
        name: String,
    },
    /// The archive has another checksum.
    Another {
        /// The archive.
        name: String,
        /// Its SHA-256.
        found: String,
        /// The one that was asked for.
        wanted: String,
    },
}

impl DownloadError {
    /// Says what to do next; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Another { .. } => "It is another archive, or was damaged. Nothing was sent.",
            _ => "",
        }
    }
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread { name, .. } => write!(f, "cannot download {name}"),
            Self::Client { name, words } => write!(f, "cannot download {name}: {words}"),
            Self::TooLong { name, minutes } => {
                write!(f, "cannot download {name}: it did not end within {minutes} minutes")
            }
            Self::Silent { name, seconds } => write!(f, "cannot download {name}: nothing has come for {seconds} s"),
            Self::Ended { name } => write!(f, "cannot download {name}: the download ended without a word"),
            Self::Another { name, found, wanted } => {
                write!(f, "cannot release {name}: its SHA-256 is {found}, expected {wanted}")
            }
        }
    }
}

impl Error for DownloadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread { source, .. } => Some(source),
            _ => None,
        }
    }
}
