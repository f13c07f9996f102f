//! Why a repository that servers fetch from cannot be used.

use std::fmt;
use std::process::ExitStatus;

use crate::source::quote::{list, quote};

/// Why a repository that servers fetch from cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryError {
    /// Its commit holds what servers cannot fetch.
    Unfetchable {
        /// The repository.
        url: String,
        /// The commit.
        sha: String,
        /// What it holds.
        holds: Unfetchable,
    },
    /// It cannot be asked.
    Failed {
        /// The repository.
        url: String,
        /// The git command.
        verb: String,
        /// Git's words.
        words: String,
        /// Git's exit status.
        status: ExitStatus,
    },
}

/// What servers cannot fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfetchable {
    /// Files in Git LFS.
    Lfs,
    /// Submodules, at these paths.
    Submodules(Vec<String>),
}

impl RepositoryError {
    /// Says what to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unfetchable { .. } => {
                "Release it with kind = \"push\" from a clone that has them, or a built tarball with kind = \"archive\"."
            }
            Self::Failed { words, .. } if words.contains("ost key verification failed") => {
                "Connect to it once with ssh, compare its key, and have ssh record it."
            }
            Self::Failed { .. } => {
                "This machine asks it once what a ref means; `git ls-remote` by hand tells more. A whole SHA is not \
                 asked about."
            }
        }
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfetchable { url, sha, holds } => write!(f, "cannot release {sha} of {url}: {holds}"),
            Self::Failed { url, verb, words, status } => {
                write!(f, "cannot ask {url}: git {verb} failed: {words} ({status})")
            }
        }
    }
}

impl fmt::Display for Unfetchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lfs => f.write_str("files are kept in Git LFS, which servers cannot fetch"),
            Self::Submodules(names) => {
                let names: Vec<String> = names.iter().map(|name| quote(name.as_bytes())).collect();
                write!(f, "it has submodules, which git archive leaves empty: {}", list(&names))
            }
        }
    }
}
