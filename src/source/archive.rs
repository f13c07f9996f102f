//! Sources that are tar files: plain, gzipped or with zstd, told apart by content and not by name.
//!
//! They are packed anew, member by member, so that what servers unpack is what was checked here. Nothing is stripped:
//! a tarball with one directory at its top makes a release with one directory at its top. Duplicate members, devices,
//! sparse files and paths that leave the release are refused; links may point anywhere, but no path may lead through one.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::members::{Body, Malformed, Members};
use super::pack::{Attributes, ContentError, Packer};
use super::{Origin, Resolved, SourceError, quote, show};
use crate::name::Revision;

const BUFFER: usize = 256 * 1024;

/// Which modes a release gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modes {
    /// Those of the members.
    Kept,
    /// 0644, or 0755 for directories and what its owner may execute, as git has them.
    Git,
}

/// Digests the file and makes sure that it is a tar file.
///
/// # Errors
/// When it cannot be read, or begins like no tar file.
pub fn resolve(path: &Path) -> Result<Resolved, SourceError> {
    let mut file = open(path)?;
    let revision = digest(path, &mut file)?;
    let mut members = Members::new(decode(path, file)?);
    match members.next() {
        Ok(_) | Err(Malformed::Unfit(_)) => {}
        Err(error) => return Err(blame(path, error)),
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    let label = quote(name.as_encoded_bytes()).trim_matches('`').to_owned();
    Ok(Resolved { revision, label, subject: None, origin: Origin::Archive, notes: Vec::new() })
}

/// Packs the file's members, provided that it is still the file that was resolved.
pub(super) fn pack(path: &Path, revision: &Revision, packer: &mut Packer<'_>) -> Result<(), SourceError> {
    let mut file = open(path)?;
    let before = state(path, &file)?;
    if digest(path, &mut file)? != *revision {
        return Err(SourceError::changed(path));
    }
    let watched = file.try_clone().map_err(|error| unreadable(path, &error))?;
    let packed = repack(decode(path, file)?, packer, Modes::Kept).map_err(|error| match error {
        Trouble::Stream(malformed) => blame(path, malformed),
        Trouble::Failed(error) => error,
    });
    if state(path, &watched)? != before {
        return Err(SourceError::changed(path));
    }
    packed
}

/// Why a stream could not be packed.
pub(super) enum Trouble {
    Stream(Malformed),
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

/// Packs every member of a tar stream.
pub(super) fn repack(stream: impl Read, packer: &mut Packer<'_>, modes: Modes) -> Result<(), Trouble> {
    let mut members = Members::new(stream);
    while let Some(member) = members.next()? {
        let mode = match (modes, &member.body) {
            (Modes::Kept, _) => member.mode,
            (Modes::Git, Body::File(_)) if member.mode & 0o100 == 0 => 0o644,
            (Modes::Git, _) => 0o755,
        };
        let attributes = Attributes { mode, mtime: member.mtime };
        match member.body {
            Body::File(size) => match packer.file(&member.path, attributes, size, &mut members) {
                Ok(()) => {}
                Err(ContentError::Read(error)) => return Err(Malformed::from(error).into()),
                Err(ContentError::Failed(error)) => return Err(error.into()),
            },
            Body::Directory => packer.directory(&member.path, attributes)?,
            Body::Symlink(target) => packer.symlink(&member.path, &target, member.mtime)?,
            Body::HardLink(target) => packer.hard_link(&member.path, &target, attributes)?,
        }
    }
    Ok(())
}

/// Puts the decoder in front that the file's first bytes ask for.
fn decode(path: &Path, mut file: File) -> Result<Box<dyn Read>, SourceError> {
    file.rewind().map_err(|error| unreadable(path, &error))?;
    let mut input = BufReader::with_capacity(BUFFER, file);
    let magic = input.fill_buf().map_err(|error| unreadable(path, &error))?;
    let other = match magic {
        [] => Some("is empty"),
        [0x1f, 0x8b, ..] => {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))));
        }
        // RFC 8878: a frame, or a skippable one before it. The library refuses windows over 128 MiB, which bounds memory.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|error| unreadable(path, &error))?;
            return Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)));
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("is compressed with xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("is compressed with bzip2"),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some("is a zip file"),
        _ => None,
    };
    match other {
        None => Ok(Box::new(input)),
        Some(what) => Err(SourceError::new(format!("cannot release {}: it {what}", show(path)), FORMATS)),
    }
}

const FORMATS: &str = "pitcrew reads .tar, .tar.gz and .tar.zst, and directories.";

fn open(path: &Path) -> Result<File, SourceError> {
    // A pipe would block until somebody writes into it, and could be read only once.
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => File::open(path).map_err(|error| unreadable(path, &error)),
        Ok(_) => Err(SourceError::new(
            format!("cannot release {}: it is neither a file nor a directory", show(path)),
            FORMATS,
        )),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn digest(path: &Path, file: &mut File) -> Result<Revision, SourceError> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(super::revision(&sha.finalize())),
            Ok(got) => sha.update(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
}

fn state(path: &Path, file: &File) -> Result<(u64, i64, i64), SourceError> {
    let of = |m: Metadata| (m.len(), m.mtime(), m.mtime_nsec());
    file.metadata().map(of).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::new(format!("cannot read {}: {error}", show(path)), "")
}

fn blame(path: &Path, malformed: Malformed) -> SourceError {
    let path = show(path);
    let again = "Build the archive again, and deploy that.";
    match malformed {
        Malformed::Read(error) => SourceError::new(format!("cannot read the archive {path}: {error}"), again),
        Malformed::Truncated => SourceError::new(format!("cannot read the archive {path}: it ends too early"), again),
        Malformed::Corrupt(why) => {
            SourceError::new(format!("cannot read the archive {path}: {why}"), format!("{again} {FORMATS}"))
        }
        Malformed::Unfit(why) => SourceError::new(
            format!("cannot release the archive {path}: {why}"),
            "Nothing was sent. Build it without that.",
        ),
    }
}
