//! Entries that cannot be part of a release.

use std::fmt;

use crate::source::quote::quote;

/// An entry that cannot be part of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Its path, as the source has it.
    pub path: Vec<u8>,
    /// Why it cannot be.
    pub why: Unpackable,
}

/// Why an entry cannot be part of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpackable {
    /// Its path cannot be unpacked.
    Path(PathFault),
    /// It would replace the release's own directory.
    Root,
    /// It is a directory of the name of pitcrew's own file.
    Revision,
    /// Its path leads through this symbolic link.
    ThroughLink(Vec<u8>),
    /// Its path leads through this file.
    ThroughFile(Vec<u8>),
    /// The source has a directory of the same path.
    AlsoDirectory,
    /// The source has two of the same path.
    Twice,
    /// It is a symbolic link to what is no path.
    Target,
    /// It is a hard link whose target cannot be unpacked.
    HardLinkPath(PathFault),
    /// It is a hard link to this, which is no earlier file.
    HardLink(Vec<u8>),
}

/// Why a path cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    /// It is absolute.
    Absolute,
    /// It holds a NUL byte.
    Nul,
    /// It leads out of its directory.
    Parent,
    /// A component is longer than any file system allows.
    Component,
    /// It is longer than any system allows.
    TooLong,
}

impl RefusedEntry {
    pub(crate) fn new(path: &[u8], why: Unpackable) -> Self {
        Self { path: path.to_vec(), why }
    }
}

impl fmt::Display for RefusedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot release {}: {}", quote(&self.path), self.why)
    }
}

impl fmt::Display for Unpackable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(fault) => write!(f, "its path {fault}"),
            Self::Root => f.write_str("it would replace the release's own directory"),
            Self::Revision => f.write_str("REVISION is a directory, and pitcrew writes a file of that name"),
            Self::ThroughLink(link) => write!(f, "its path leads through the symbolic link {}", quote(link)),
            Self::ThroughFile(file) => write!(f, "its path leads through the file {}", quote(file)),
            Self::AlsoDirectory => f.write_str("it is a directory, too"),
            Self::Twice => f.write_str("it occurs twice"),
            Self::Target => f.write_str("its target is not a path"),
            Self::HardLinkPath(fault) => write!(f, "the target of its hard link {fault}"),
            Self::HardLink(target) => {
                write!(f, "it is a hard link to {}, which is no earlier file of the source", quote(target))
            }
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absolute => "is absolute",
            Self::Nul => "holds a NUL byte",
            Self::Parent => "holds `..`",
            Self::Component => "has a component longer than 255 bytes",
            Self::TooLong => "is too long to be unpacked",
        })
    }
}
