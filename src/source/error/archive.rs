//! Why a tar file cannot be used.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use super::malformed::Malformed;
use crate::source::quote::show;

const FORMATS: &str = "pitcrew reads .tar, .tar.gz and .tar.zst, and directories.";

/// Why a tar file cannot be used.
#[derive(Debug)]
pub enum ArchiveError {
    /// It is neither a file nor a directory.
    NoFile(PathBuf),
    /// It has another format.
    Format {
        /// The file.
        path: PathBuf,
        /// A predicate: "is a zip file".
        is: &'static str,
    },
    /// Its content cannot be used.
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Malformed,
    },
}

impl ArchiveError {
    /// Says what to do next.
    pub fn hint(&self) -> String {
        let again = "Build the archive again, and deploy that.";
        match self {
            Self::NoFile(_) | Self::Format { .. } => FORMATS.into(),
            Self::Content { source: Malformed::Corrupt(_), .. } => format!("{again} {FORMATS}"),
            Self::Content { source: Malformed::Unfit(_), .. } => "Nothing was sent. Build it without that.".into(),
            Self::Content { .. } => again.into(),
        }
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile(path) => write!(f, "cannot release {}: it is neither a file nor a directory", show(path)),
            Self::Format { path, is } => write!(f, "cannot release {}: it {is}", show(path)),
            Self::Content { path, source: Malformed::Unfit(_) } => {
                write!(f, "cannot release the archive {}", show(path))
            }
            Self::Content { path, .. } => write!(f, "cannot read the archive {}", show(path)),
        }
    }
}

impl Error for ArchiveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Content { source, .. } => Some(source),
            Self::NoFile(_) | Self::Format { .. } => None,
        }
    }
}
