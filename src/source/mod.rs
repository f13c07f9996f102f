//! Sources: from a git ref, a directory or a tarball to one compressed stream, made once for all servers.
//!
//! Owns what goes into a release and what is refused; it sends nothing. [`git`], [`directory`] and [`archive`] each
//! know one kind of source, and all write through [`pack`]. Blocking code (git, files, compression): callers run it
//! on a blocking thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::source::{Address, Fetcher, Hidden};
use crate::config::{Source, SourceKind};
use crate::name::Revision;
pub use crate::process::program::Stop;
use crate::ssh::Payload;
use gzip::Gzipped;

pub mod archive;
pub mod delta;
pub mod directory;
pub mod download;
pub mod git;
mod gzip;
pub mod manifest;
pub mod members;
pub mod pack;
pub mod repository;
pub mod s3;
pub mod store;

/// What a run's source resolved to, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit's full SHA, or the first 40 hex digits of a content digest.
    pub revision: Revision,
    /// What the user called it: `main`, `HEAD`, a file name.
    pub label: String,
    /// The commit's first line, where there is one.
    pub subject: Option<String>,
    /// What kind of thing the source turned out to be.
    pub origin: Origin,
    /// What a person should know of it, in sentences: uncommitted changes that stay behind, an ambiguous name.
    pub notes: Vec<String>,
}

/// What kind of thing a source turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
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

/// How servers come by a release.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// It is sent to them.
    Packed(Package),
    /// They fetch it from a repository.
    Fetched(repository::Remote),
    /// They download it.
    Downloaded(download::Link),
}

impl Delivery {
    /// What must not be shown, beyond the values of `[secrets]`.
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Packed(_) => Vec::new(),
            Self::Fetched(remote) => remote.secrets(),
            Self::Downloaded(link) => link.secrets(),
        }
    }

    /// Keeps listings of trees here, where something is sent.
    #[must_use]
    pub fn remembering(self, trees: Option<PathBuf>) -> Self {
        match self {
            Self::Packed(package) => Self::Packed(package.remembering(trees)),
            other => other,
        }
    }

    /// The package, where there is one.
    pub fn package(&self) -> Option<&Package> {
        match self {
            Self::Packed(package) => Some(package),
            Self::Fetched(_) | Self::Downloaded(_) => None,
        }
    }
}

/// A release, packed.
#[derive(Debug, Clone)]
pub struct Package {
    /// A tar compressed with zstd, on disk; the file has no name any more.
    pub payload: Payload,
    /// Files, links and directories that unpacking makes, REVISION included.
    pub entries: u64,
    /// Bytes when unpacked, each file and directory rounded up to 4 KiB.
    pub unpacked: u64,
    /// The same tar with gzip, for servers without zstd; [`Package::gzipped`] makes it.
    gzipped: Gzipped,
    /// What it holds, where it can be sent by difference.
    pub tree: Option<Arc<delta::Tree>>,
    /// What was made for servers that have another tree.
    deltas: delta::Deltas,
}

/// Why a source cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// A fragment: "cannot resolve `v9`: …".
    pub what: String,
    /// What to do next.
    pub hint: String,
    /// Somebody else's machine did not answer, or not with what was asked for.
    pub unreachable: bool,
}

/// Resolves the source and makes it ready for the servers; `secrets` are the values of `[secrets]`.
///
/// # Errors
/// As [`resolve`] and [`pack`], and when something that is elsewhere cannot be reached.
pub fn deliver(
    source: &Source,
    base: &Path,
    reference: Option<&str>,
    secrets: &[(String, String)],
    stop: Stop<'_>,
) -> Result<(Resolved, Delivery), SourceError> {
    if let Some(repository) = &source.repository {
        let remote = repository::Remote::new(repository, secrets)?;
        let resolved = repository::resolve(&remote, base, reference.unwrap_or(&source.reference), stop)?;
        return Ok((resolved, Delivery::Fetched(remote)));
    }
    if let Some(wanted) = &source.download {
        let (resolved, link) = download::resolve(wanted, secrets, reference)?;
        if wanted.by == Fetcher::Servers {
            return Ok((resolved, Delivery::Downloaded(link)));
        }
        let directory =
            tempfile::Builder::new().prefix("pitcrew-archive-").tempdir().map_err(|e| pack::no_space(&e))?;
        let file = directory.path().join("archive");
        download::fetch(&link, &file, stop)?;
        let mut packer = pack::Packer::new(stop)?;
        archive::pack(&file, &resolved.revision, &mut packer)?;
        let package = packer.finish(&resolved.revision)?;
        return Ok((resolved, Delivery::Packed(package)));
    }
    let resolved = resolve(source, base, reference)?;
    let package = pack(source, base, &resolved, stop)?;
    Ok((resolved, Delivery::Packed(package)))
}

/// What must not be shown of what `[source]` itself holds; `secrets` are the values of `[secrets]`.
pub fn hidden(source: &Source, secrets: &[(String, String)]) -> Vec<String> {
    let of_repository =
        source.repository.iter().filter_map(|r| repository::Remote::new(r, secrets).ok()).flat_map(|r| r.secrets());
    let of_download = source.download.iter().flat_map(|d| match &d.from {
        Address::Written(Hidden(url)) => download::hidden(url),
        Address::Secret(name) => secret(secrets, name).map(|url| download::hidden(&url)).unwrap_or_default(),
    });
    of_repository.chain(of_download).collect()
}

/// Tells whether what is released are the tracked files of a git work tree.
pub fn is_tracked(source: &Source, base: &Path) -> bool {
    source.kind == SourceKind::Push && locate(source, base).is_ok_and(|path| git::is_repository(&path).unwrap_or(false))
}

/// Finds the value of a secret.
fn secret(secrets: &[(String, String)], name: &str) -> Result<String, SourceError> {
    let found = secrets.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    found.ok_or_else(|| SourceError::new(format!("cannot find the secret {name}"), "Add it to [secrets]."))
}

/// Resolves the source (with `reference` instead of the file's, when given) to one revision.
///
/// # Errors
/// When the path does not exist, the ref does not, or something in the source can never be released (a submodule, a
/// device, a file that cannot be read).
pub fn resolve(source: &Source, base: &Path, reference: Option<&str>) -> Result<Resolved, SourceError> {
    let path = locate(source, base)?;
    let wanted = reference.unwrap_or(&source.reference);
    match source.kind {
        SourceKind::Git | SourceKind::Push => {
            if !path.is_dir() {
                return Err(SourceError::new(
                    format!("cannot release {}: it is not a directory", show(&path)),
                    "Set `kind = \"archive\"` in [source] to release a tar file.",
                ));
            }
            match git::resolve(&path, wanted)? {
                Some(resolved) => Ok(resolved),
                None if wanted == "HEAD" => directory::resolve(&path),
                None => Err(SourceError::new(
                    format!("cannot resolve {}: {} is not in a git repository", quote(wanted.as_bytes()), show(&path)),
                    "Leave the ref out to release the directory as it is.",
                )),
            }
        }
        SourceKind::Archive => {
            if let Some(reference) = reference {
                return Err(SourceError::new(
                    format!("cannot resolve {}: an archive has no refs", quote(reference.as_bytes())),
                    "Leave the ref out, or set `kind = \"push\"` in [source].",
                ));
            }
            if path.is_dir() { directory::resolve(&path) } else { archive::resolve(&path) }
        }
    }
}

/// Packs exactly the files of `resolved`, with a REVISION file, into one tar with zstd.
///
/// # Errors
/// When the source has changed since it was resolved, holds something that must not be sent, cannot be read, when the
/// temporary directory is full, or when `stop` answered true.
pub fn pack(source: &Source, base: &Path, resolved: &Resolved, stop: Stop<'_>) -> Result<Package, SourceError> {
    let path = locate(source, base)?;
    let mut packer = pack::Packer::new(stop)?;
    if source.kind == SourceKind::Push {
        packer = packer.listing();
    }
    match resolved.origin {
        Origin::Git => git::pack(&path, &resolved.revision, &mut packer, stop)?,
        Origin::Directory => directory::pack(&path, &resolved.revision, &mut packer)?,
        Origin::Repository => {
            return Err(SourceError::new("cannot pack what servers fetch", ""));
        }
        Origin::Archive | Origin::Download => archive::pack(&path, &resolved.revision, &mut packer)?,
    }
    packer.finish(&resolved.revision)
}

fn locate(source: &Source, base: &Path) -> Result<PathBuf, SourceError> {
    let path = base.join(&source.path);
    path.canonicalize().map_err(|error| {
        SourceError::new(format!("cannot open {}: {error}", show(&path)), "Correct `path` in [source] of pitcrew.toml.")
    })
}

impl SourceError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), unreachable: false }
    }

    fn stopped() -> Self {
        Self::new("cannot finish packing: the run was interrupted", "")
    }

    fn changed(path: &Path) -> Self {
        Self::new(
            format!("cannot pack {}: it has changed since the run began", show(path)),
            "Wait until whatever writes there is done, and deploy again.",
        )
    }
}

/// Quotes a name for a message, so that no control character of it reaches a terminal.
fn quote(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('`');
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('`');
    text
}

fn show(path: &Path) -> String {
    quote(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
}

/// Lists a few of many names: "`a`, `b` and 7 more".
fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let head = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => head,
        more => format!("{head} and {more} more"),
    }
}

/// Shortens a digest to the length of a commit's SHA.
fn revision(digest: &[u8]) -> Revision {
    Revision(digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_without_control_characters() {
        assert_eq!(quote(b"a b"), "`a b`");
        assert_eq!(quote("é\u{1b}[31m\n".as_bytes()), "`é\\u{1b}[31m\\n`");
        assert_eq!(quote(b"\xff\\"), "`\\xff\\\\`");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<_> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(list(&names), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
        assert_eq!(list(&names[..2]), "0, 1");
    }
}
