//! Refs that do not mean one commit.

use std::fmt;
use std::path::PathBuf;

use crate::source::quote::{quote, show};

/// A ref that means no commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRef {
    /// The ref as written.
    pub reference: String,
    /// Why it means none.
    pub fault: RefFault,
}

/// Why a ref means no commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefFault {
    /// Git allows no such name.
    Malformed,
    /// This directory lies in no repository.
    NoRepository(PathBuf),
    /// The source is a tar file of this machine.
    Archive,
    /// The source is a tar file that is downloaded.
    Download,
    /// HEAD has no commit yet.
    Unborn {
        /// The directory.
        path: PathBuf,
        /// Whether the repository has no commit at all.
        is_empty: bool,
    },
    /// More than one object of the repository begins so.
    Ambiguous(PathBuf),
    /// The clone has no such commit.
    Missing {
        /// The directory.
        path: PathBuf,
        /// Refs that are spelled alike.
        near: Vec<String>,
    },
    /// A branch and a tag are called so, and are not the same commit.
    BranchAndTag {
        /// The repository.
        url: String,
    },
    /// It may be a shortened SHA, which no clone of this machine knows.
    Short {
        /// The repository.
        url: String,
    },
    /// The repository has no such branch or tag.
    NotThere {
        /// The repository.
        url: String,
        /// Refs that are spelled alike.
        near: Vec<String>,
    },
}

impl UnknownRef {
    pub(crate) fn new(reference: &str, fault: RefFault) -> Self {
        Self { reference: reference.to_owned(), fault }
    }

    /// Says what to do next.
    pub fn hint(&self) -> String {
        let reference = &self.reference;
        match &self.fault {
            RefFault::Malformed => "Name a branch, a tag or a SHA.".into(),
            RefFault::NoRepository(_) => "Leave the ref out to release the directory as it is.".into(),
            RefFault::Archive => "Leave the ref out, or set `kind = \"push\"` in [source].".into(),
            RefFault::Download => "Leave it out, or write the archive's SHA-256.".into(),
            RefFault::Unborn { is_empty: true, .. } => "Commit first.".into(),
            RefFault::Unborn { .. } => "Check out a branch that has commits, or name one.".into(),
            RefFault::Ambiguous(_) => "Give more digits of the SHA.".into(),
            RefFault::Missing { near, .. } if near.is_empty() => {
                "Name a branch, a tag or a SHA that this clone has; `git fetch` may bring it, and in a shallow one `git fetch --unshallow`.".into()
            }
            RefFault::Missing { near, .. } => {
                format!("Did you mean {}? If it is newer than this clone: `git fetch`.", near.join(" or "))
            }
            RefFault::BranchAndTag { .. } => format!("Write refs/heads/{reference} or refs/tags/{reference}."),
            RefFault::Short { .. } => "Write the whole SHA.".into(),
            RefFault::NotThere { near, .. } if near.is_empty() => {
                "Name a branch, a tag or a SHA that is pushed there.".into()
            }
            RefFault::NotThere { near, .. } => format!("Did you mean {}?", near.join(" or ")),
        }
    }
}

impl fmt::Display for UnknownRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}: {}", quote(self.reference.as_bytes()), self.fault)
    }
}

impl fmt::Display for RefFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is no ref"),
            Self::NoRepository(path) => write!(f, "{} is not in a git repository", show(path)),
            Self::Archive | Self::Download => f.write_str("an archive has no refs"),
            Self::Unborn { path, .. } => write!(f, "{} has no commit there yet", show(path)),
            Self::Ambiguous(path) => write!(f, "more than one object in {} begins so", show(path)),
            Self::Missing { path, .. } => write!(f, "{} has no such commit", show(path)),
            Self::BranchAndTag { url } => {
                write!(f, "it is both a branch and a tag, of different commits, in {url}")
            }
            Self::Short { url } => {
                write!(f, "no branch and no tag of {url} is called so, and no clone here has such a commit")
            }
            Self::NotThere { url, .. } => write!(f, "{url} has no such branch or tag"),
        }
    }
}
