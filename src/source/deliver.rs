//! From `[source]` of the configuration to what servers get.
//!
//! Owns which kind of source is asked; each kind does its own work.

use std::path::{Path, PathBuf};

use super::error::SourceError;
use super::error::sum::SettingError;
use super::error::unknown_ref::{RefFault, UnknownRef};
use super::pack::packer::Packer;
use super::package::Package;
use super::resolved::{Resolved, SourceOrigin};
use super::{archive, directory, download, git, repository, secrets};
use crate::config::source::{Address, Fetcher, Hidden};
use crate::config::{Source, SourceKind};
use crate::process::program::Stop;

/// How servers come by a release.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// It is sent to them.
    Packed(Package),
    /// They fetch it from a repository.
    Fetched(repository::Remote),
    /// They download it.
    Downloaded(download::ArchiveLink),
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

/// What is to be released.
#[derive(Clone, Copy)]
pub struct SourceWanted<'a> {
    /// `[source]` of the configuration.
    pub source: &'a Source,
    /// The directory that its paths start from.
    pub base: &'a Path,
    /// The ref, in place of the file's.
    pub reference: Option<&'a str>,
    /// The values of `[secrets]`.
    pub secrets: &'a [(String, String)],
}

/// Resolves the source and makes it ready for the servers.
///
/// # Errors
/// As [`resolve`] and [`pack`], and when something that is elsewhere cannot be reached.
pub fn deliver(wanted: SourceWanted<'_>, stop: Stop<'_>) -> Result<(Resolved, Delivery), SourceError> {
    let SourceWanted { source, base, reference, secrets: values } = wanted;
    if let Some(repository) = &source.repository {
        let remote = repository::Remote::new(repository, values)?;
        let resolved = repository::resolve(&remote, base, reference.unwrap_or(&source.reference), stop)?;
        return Ok((resolved, Delivery::Fetched(remote)));
    }
    if let Some(wanted) = &source.download {
        let (resolved, link) = download::resolve(wanted, values, reference)?;
        if wanted.by == Fetcher::Servers {
            return Ok((resolved, Delivery::Downloaded(link)));
        }
        let directory = tempfile::Builder::new().prefix("pitcrew-archive-").tempdir().map_err(SourceError::NoSpace)?;
        let file = directory.path().join("archive");
        download::fetch(&link, &file, stop)?;
        let mut packer = Packer::new(stop)?;
        archive::pack(&file, &resolved.revision, &mut packer)?;
        let package = packer.finish(&resolved.revision)?;
        return Ok((resolved, Delivery::Packed(package)));
    }
    let resolved = resolve(source, base, reference)?;
    let package = pack(source, base, &resolved, stop)?;
    Ok((resolved, Delivery::Packed(package)))
}

/// What must not be shown of what `[source]` itself holds; `values` are those of `[secrets]`.
pub fn hidden(source: &Source, values: &[(String, String)]) -> Vec<String> {
    let of_repository =
        source.repository.iter().filter_map(|r| repository::Remote::new(r, values).ok()).flat_map(|r| r.secrets());
    let of_download = source.download.iter().flat_map(|d| match &d.from {
        Address::Written(Hidden(url)) => download::hidden(url),
        Address::Secret(name) => secrets::value(values, name).map(|url| download::hidden(&url)).unwrap_or_default(),
    });
    of_repository.chain(of_download).collect()
}

/// Tells whether what is released are the tracked files of a git work tree.
pub fn is_tracked(source: &Source, base: &Path) -> bool {
    source.kind == SourceKind::Push && locate(source, base).is_ok_and(|path| git::is_repository(&path).unwrap_or(false))
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
                return Err(SettingError::NoDirectory(path).into());
            }
            match git::resolve(&path, wanted)? {
                Some(resolved) => Ok(resolved),
                None if wanted == "HEAD" => directory::resolve(&path),
                None => Err(UnknownRef::new(wanted, RefFault::NoRepository(path)).into()),
            }
        }
        SourceKind::Archive => {
            if let Some(reference) = reference {
                return Err(UnknownRef::new(reference, RefFault::Archive).into());
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
    let mut packer = Packer::new(stop)?;
    if source.kind == SourceKind::Push {
        packer = packer.listing();
    }
    match resolved.origin {
        SourceOrigin::Git => git::pack(&path, &resolved.revision, &mut packer, stop)?,
        SourceOrigin::Directory => directory::pack(&path, &resolved.revision, &mut packer)?,
        SourceOrigin::Repository => return Err(SourceError::Fetched),
        SourceOrigin::Archive | SourceOrigin::Download => archive::pack(&path, &resolved.revision, &mut packer)?,
    }
    packer.finish(&resolved.revision)
}

fn locate(source: &Source, base: &Path) -> Result<PathBuf, SettingError> {
    let path = base.join(&source.path);
    path.canonicalize().map_err(|source| SettingError::Path { path, source })
}
