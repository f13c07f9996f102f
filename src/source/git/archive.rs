//! The files of a commit below a directory, as `git archive` prints them.
//!
//! Git 2.39 and earlier pass over the attributes of the directories above the one that it runs in. So it always runs at the
//! top, and is asked for the directory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::super::error::SourceError;
use super::super::error::git::{Emptied, GitError};
use super::super::members::{Body, Members};
use super::super::pack::packer::Packer;
use super::super::repack::{MadeBy, Trouble, inside, repack};
use super::program::{SILENCE, command, unended};
use crate::name::Revision;
use crate::process::program::{Program, Stop};

const BUFFER: usize = 256 * 1024;

/// A directory in a repository.
struct Place {
    /// The repository's top.
    top: PathBuf,
    /// The directory below it, with a slash at its end; empty: the top.
    below: Vec<u8>,
}

impl Place {
    /// Finds the repository's top above a directory.
    fn of(path: &Path) -> Result<Self, SourceError> {
        let (below, ended) = command(path, ["rev-parse", "--show-prefix"])
            .silent_for_at_most(SILENCE)
            .run(&|| false, |stream| {
                let mut line = Vec::new();
                let _ = stream.read_to_end(&mut line);
                line.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(line)
            })
            .map_err(|error| unended("rev-parse", error))?;
        if !ended.status.success() {
            return Err(GitError::failed(path, "rev-parse", &ended).into());
        }
        let levels = below.iter().filter(|byte| **byte == b'/').count();
        let top = path.ancestors().nth(levels).unwrap_or(path).to_owned();
        Ok(Self { top, below })
    }

    /// Prepares the archive of a commit.
    fn archive(&self, sha: &str) -> Program {
        let pinned = ["core.autocrlf=false", "core.eol=lf", "tar.umask=0022", "core.attributesFile=/dev/null"];
        let pinned = pinned.iter().flat_map(|setting| ["-c", setting]);
        // Not `SHA:directory`, which would lose the commit, and with it export-subst.
        let program = command(&self.top, pinned.chain(["--literal-pathspecs", "archive", "--format=tar", sha, "--"]));
        let directory = self.below.strip_suffix(b"/").map(|below| OsString::from_vec(below.to_vec()));
        // Git 2.41 and later would read the attributes elsewhere where `attr.tree` says so, 2.43 and 2.44 in every bare
        // repository; earlier ones pass over the variable, and read those of the commit.
        program.args(directory).env([("GIT_ATTR_NOSYSTEM", "1"), ("GIT_ATTR_SOURCE", sha)]).silent_for_at_most(SILENCE)
    }
}

/// Packs the tracked files of a commit, below `path` only.
///
/// # Errors
/// When git fails, the files cannot be released, or `stop` answers true.
pub(crate) fn pack(path: &Path, sha: &Revision, packer: &mut Packer<'_>, stop: Stop<'_>) -> Result<(), SourceError> {
    let place = Place::of(path)?;
    let mut pointers = Vec::new();
    let (packed, ended) = place
        .archive(&sha.0)
        .run(stop, |stream| {
            let by = MadeBy::Git { below: &place.below, pointers: &mut pointers };
            repack(BufReader::with_capacity(BUFFER, stream), packer, by)
        })
        .map_err(|error| unended("archive", error))?;
    let count = match packed {
        Err(Trouble::Failed(error)) => return Err(error),
        // Where git failed, its own words say more than what is wrong with half a stream.
        _ if !ended.status.success() => return Err(GitError::failed(path, "archive", &ended).into()),
        Err(Trouble::Stream(malformed)) => return Err(GitError::Garbled(malformed).into()),
        Ok(count) => count,
    };
    if count == 0 {
        let why = Emptied::Ignored;
        return Err(GitError::Nothing { path: path.to_owned(), reference: sha.0.clone(), why }.into());
    }
    if !pointers.is_empty() {
        return Err(GitError::Pointers { path: path.to_owned(), names: pointers }.into());
    }
    Ok(())
}

/// Refuses a commit without files below `path`, and one with submodules.
///
/// Submodules would be released as empty directories.
pub(super) fn check(path: &Path, reference: &str, sha: &str) -> Result<(), SourceError> {
    let (any, mut submodules) = listed(path, sha)?;
    if !any {
        let (path, reference) = (path.to_owned(), reference.to_owned());
        return Err(GitError::Nothing { path, reference, why: Emptied::Untracked }.into());
    }
    if !submodules.is_empty() {
        // Those marked export-ignore are left out by git archive, and so do no harm.
        let archived = directories(path, sha)?;
        submodules.retain(|name| archived.contains(name));
    }
    if submodules.is_empty() {
        return Ok(());
    }
    Err(GitError::Submodules { path: path.to_owned(), names: submodules.into_iter().collect() }.into())
}

/// Tells whether a commit tracks anything below `path`, and which submodules.
fn listed(path: &Path, sha: &str) -> Result<(bool, BTreeSet<Vec<u8>>), SourceError> {
    let (read, ended) = command(path, ["ls-tree", "-r", "-z", sha])
        .silent_for_at_most(SILENCE)
        .run(&|| false, |stream| {
            let mut any = false;
            let mut submodules = BTreeSet::new();
            for line in BufReader::with_capacity(BUFFER, stream).split(0) {
                let line = line?;
                any = true;
                // "160000 commit SHA\tPATH"
                if let Some(rest) = line.strip_prefix(b"160000 ") {
                    submodules.insert(rest.splitn(2, |b| *b == b'\t').nth(1).unwrap_or(rest).to_vec());
                }
            }
            Ok::<_, io::Error>((any, submodules))
        })
        .map_err(|error| unended("ls-tree", error))?;
    if !ended.status.success() {
        return Err(GitError::failed(path, "ls-tree", &ended).into());
    }
    read.map_err(|source| GitError::Unrun { verb: "ls-tree".to_owned(), source }.into())
}

/// Lists the directories of the archive of a commit, below `path`.
fn directories(path: &Path, sha: &str) -> Result<BTreeSet<Vec<u8>>, SourceError> {
    let place = Place::of(path)?;
    let (found, ended) = place
        .archive(sha)
        .run(&|| false, |stream| {
            let mut members = Members::new(BufReader::with_capacity(BUFFER, stream));
            let mut found = BTreeSet::new();
            while let Some(member) = members.next()? {
                if member.body == Body::Directory {
                    found.extend(inside(member.path.strip_suffix(b"/").unwrap_or(&member.path), &place.below));
                }
            }
            Ok(found)
        })
        .map_err(|error| unended("archive", error))?;
    if !ended.status.success() {
        return Err(GitError::failed(path, "archive", &ended).into());
    }
    found.map_err(|malformed| GitError::Garbled(malformed).into())
}
