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

use super::error::SourceError;
use super::error::archive::ArchiveError;
use super::error::malformed::Malformed;
use super::members::Members;
use super::pack::packer::Packer;
use super::quote::quote;
use super::repack::{MadeBy, Trouble, repack};
use super::resolved::{Resolved, SourceOrigin, revision};
use crate::name::Revision;

const BUFFER: usize = 256 * 1024;

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
        Err(error) => return Err(content(path, error)),
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    let label = quote(name.as_encoded_bytes()).trim_matches('`').to_owned();
    Ok(Resolved { revision, label, subject: None, origin: SourceOrigin::Archive, notes: Vec::new() })
}

/// Packs the file's members, provided that it is still the file that was resolved.
pub(super) fn pack(path: &Path, revision: &Revision, packer: &mut Packer<'_>) -> Result<(), SourceError> {
    let mut file = open(path)?;
    let before = state(path, &file)?;
    if digest(path, &mut file)? != *revision {
        return Err(SourceError::Changed(path.to_owned()));
    }
    let watched = file.try_clone().map_err(|error| unreadable(path, error))?;
    let packed = repack(decode(path, file)?, packer, MadeBy::Person).map_err(|error| match error {
        Trouble::Stream(malformed) => content(path, malformed),
        Trouble::Failed(error) => error,
    });
    if state(path, &watched)? != before {
        return Err(SourceError::Changed(path.to_owned()));
    }
    packed.map(drop)
}

/// Puts the decoder in front that the file's first bytes ask for.
fn decode(path: &Path, mut file: File) -> Result<Box<dyn Read>, SourceError> {
    file.rewind().map_err(|error| unreadable(path, error))?;
    let mut input = BufReader::with_capacity(BUFFER, file);
    let magic = input.fill_buf().map_err(|error| unreadable(path, error))?;
    let other = match magic {
        [] => Some("is empty"),
        [0x1f, 0x8b, ..] => {
            return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))));
        }
        // RFC 8878: a frame, or a skippable one before it. The library refuses windows over 128 MiB, which bounds memory.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|error| unreadable(path, error))?;
            return Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)));
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("is compressed with xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("is compressed with bzip2"),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some("is a zip file"),
        _ => None,
    };
    match other {
        None => Ok(Box::new(input)),
        Some(is) => Err(ArchiveError::Format { path: path.to_owned(), is }.into()),
    }
}

fn open(path: &Path) -> Result<File, SourceError> {
    // A pipe would block until another process writes into it, and could be read only once.
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => File::open(path).map_err(|error| unreadable(path, error)),
        Ok(_) => Err(ArchiveError::NoFile(path.to_owned()).into()),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn digest(path: &Path, file: &mut File) -> Result<Revision, SourceError> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(revision(&sha.finalize())),
            Ok(got) => sha.update(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, error)),
        }
    }
}

fn state(path: &Path, file: &File) -> Result<(u64, i64, i64), SourceError> {
    let of = |m: Metadata| (m.len(), m.mtime(), m.mtime_nsec());
    file.metadata().map(of).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: io::Error) -> SourceError {
    SourceError::Unreadable { path: path.to_owned(), source }
}

fn content(path: &Path, source: Malformed) -> SourceError {
    ArchiveError::Content { path: path.to_owned(), source }.into()
}
