//! Sources: from a git ref, a directory or a tarball to one compressed stream, made once for all servers.
//!
//! Blocking code (git, files, compression): callers run it on a blocking thread.

use std::path::Path;

use crate::config::Source;
use crate::name::Revision;
use crate::ssh::Payload;

pub mod archive;
pub mod directory;
pub mod git;
pub mod pack;

/// What a run's source resolved to, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit's full SHA, or a content digest.
    pub revision: Revision,
    /// What the user called it: `main`, `HEAD`, a file name.
    pub label: String,
    /// The commit's first line, where there is one.
    pub subject: Option<String>,
}

/// A release, packed.
#[derive(Debug, Clone)]
pub struct Package {
    /// A gzipped tar on disk; the file has no name any more.
    pub payload: Payload,
    /// Entries: files, links, directories.
    pub entries: u64,
    /// Bytes when unpacked, each file rounded up to 4 KiB.
    pub unpacked: u64,
}

/// Why a source cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// A fragment: "cannot resolve `v9`: …".
    pub what: String,
    /// What to do next.
    pub hint: String,
}

/// Resolves the source (with `reference` instead of the file's, when given) to one revision.
pub fn resolve(_source: &Source, _base: &Path, _reference: Option<&str>) -> Result<Resolved, SourceError> {
    Err(SourceError { what: "not written yet".into(), hint: String::new() })
}

/// Packs exactly the files of `resolved`, with a REVISION file, into one gzipped tar.
pub fn pack(_source: &Source, _base: &Path, _resolved: &Resolved) -> Result<Package, SourceError> {
    Err(SourceError { what: "not written yet".into(), hint: String::new() })
}
