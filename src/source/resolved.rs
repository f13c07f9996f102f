//! What a source resolved to.

use crate::name::Revision;

/// What a run's source resolved to, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit's full SHA, or the first 40 hex digits of a content digest.
    pub revision: Revision,
    /// The user's name for it: `main`, `HEAD`, a file name.
    pub label: String,
    /// The commit's first line, where there is one.
    pub subject: Option<String>,
    /// The kind of source.
    pub origin: SourceOrigin,
    /// Sentences for the person: uncommitted changes that stay behind, an ambiguous name.
    pub notes: Vec<String>,
}

/// The kind of a source, as it turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceOrigin {
    /// A git repository, or a directory inside one.
    Git,
    /// A directory, taken as it is.
    Directory,
    /// A tar file.
    Archive,
    /// A repository that servers fetch from.
    Repository,
    /// A tar file that is downloaded.
    Download,
}

/// Shortens a digest to the length of a commit's SHA.
pub(super) fn revision(digest: &[u8]) -> Revision {
    Revision(digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect())
}
