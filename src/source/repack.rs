//! Packs a tar stream anew, member by member.
//!
//! Owns which modes and paths of the stream the release gets, and tells of Git LFS pointers in it.

use std::io::Read;

use super::error::SourceError;
use super::error::malformed::Malformed;
use super::members::{Body, Members, TarMember};
use super::pack::entry::Attributes;
use super::pack::packer::{ContentError, Packer};

/// Bytes that no pointer of Git LFS exceeds (git-lfs, docs/spec.md: "must be less than 1024 bytes").
const POINTER_MAX: u64 = 1024;

/// What made a tar stream.
pub(super) enum MadeBy<'a> {
    /// A person: members keep their modes.
    Person,
    /// `git archive` at the top of a repository.
    Git {
        /// The directory that is released, with a slash at its end; empty: the top.
        below: &'a [u8],
        /// Gets the paths of files that are pointers of Git LFS.
        pointers: &'a mut Vec<Vec<u8>>,
    },
}

/// Why a stream could not be packed.
pub(super) enum Trouble {
    /// The stream cannot be used.
    Stream(Malformed),
    /// Anything else.
    Failed(SourceError),
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Self::Stream(malformed)
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// Packs the members of a tar stream, and returns how many there were.
pub(super) fn repack(stream: impl Read, packer: &mut Packer<'_>, mut by: MadeBy<'_>) -> Result<u64, Trouble> {
    let mut members = Members::new(stream);
    let mut count = 0;
    while let Some(mut member) = members.next()? {
        if let MadeBy::Git { below, pointers } = &mut by {
            let Some(path) = inside(&member.path, below) else { continue };
            member = TarMember { mode: git_mode(&member), path, ..member };
            if let Body::File(size @ 1..=POINTER_MAX) = member.body {
                let mut content = Vec::new();
                members.by_ref().take(size).read_to_end(&mut content).map_err(Malformed::from)?;
                if is_pointer(&content) {
                    pointers.push(member.path.clone());
                }
                one(packer, &member, &mut content.as_slice())?;
                count += 1;
                continue;
            }
        }
        one(packer, &member, &mut members)?;
        count += 1;
    }
    Ok(count)
}

fn one(packer: &mut Packer<'_>, member: &TarMember, content: &mut dyn Read) -> Result<(), Trouble> {
    let attributes = Attributes { mode: member.mode, mtime: member.mtime };
    match &member.body {
        Body::File(size) => packer.file(&member.path, attributes, *size, content).map_err(|error| match error {
            ContentError::Read(error) => Trouble::Stream(error.into()),
            ContentError::Failed(error) => Trouble::Failed(error),
        })?,
        Body::Directory => packer.directory(&member.path, attributes)?,
        Body::Symlink(target) => packer.symlink(&member.path, target, member.mtime)?,
        Body::HardLink(target) => packer.hard_link(&member.path, target, attributes)?,
    }
    Ok(())
}

/// Returns a path as the release has it; `None`: it is the directory that is released, or one above.
pub(super) fn inside(path: &[u8], below: &[u8]) -> Option<Vec<u8>> {
    let inner = path.strip_prefix(below)?;
    (!inner.is_empty()).then(|| inner.to_vec())
}

/// Returns 0644, or 0755 for directories and what its owner may execute, as git has them.
fn git_mode(member: &TarMember) -> u32 {
    match member.body {
        Body::File(_) if member.mode & 0o100 == 0 => 0o644,
        _ => 0o755,
    }
}

/// Tells whether a file's content is a pointer of Git LFS (docs/spec.md of git-lfs).
fn is_pointer(content: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content) else { return false };
    let version = text.lines().next().and_then(|line| line.strip_prefix("version ")).unwrap_or_default();
    ["https://git-lfs.github.com/spec/", "https://hawser.github.com/spec/", "http://git-media.io/v/"]
        .iter()
        .any(|spec| version.starts_with(spec))
        && text.lines().any(|line| line.starts_with("oid sha256:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_of_git_lfs_are_told_from_other_files() {
        let oid = "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
        assert!(is_pointer(format!("version https://git-lfs.github.com/spec/v1\n{oid}").as_bytes()));
        assert!(is_pointer(format!("version https://git-lfs.github.com/spec/v1\next-0-x sha256:1\n{oid}").as_bytes()));
        assert!(!is_pointer(b"version https://git-lfs.github.com/spec/v1\n"));
        assert!(!is_pointer(oid.as_bytes()));
        assert!(!is_pointer(b"\xff"));
    }

    #[test]
    fn paths_lose_what_lies_above() {
        assert_eq!(inside(b"a/b/c", b"a/b/").as_deref(), Some(&b"c"[..]));
        assert_eq!(inside(b"a/b/", b"a/b/"), None);
        assert_eq!(inside(b"a/", b"a/b/"), None);
        assert_eq!(inside(b"c", b"").as_deref(), Some(&b"c"[..]));
    }
}
