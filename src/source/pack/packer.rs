//! Writes a release's entries, in the order in which they come.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;

use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::super::error::SourceError;
use super::super::error::refused::{RefusedEntry, Unpackable};
use super::super::manifest::{Entry, Manifest, What};
use super::super::package::Package;
use super::super::tree::Tree;
use super::entry::{Attributes, REVISION};
use super::path::relative;
use super::seen::{Paths, Seen};
use super::writer::{Head, Writer};
use crate::name::Revision;
use crate::process::program::Stop;

const BUFFER: usize = 256 * 1024;
/// The permissions that every server's tar gives alike: some apply the umask of 022, and some do not.
const LISTED_MODE: u32 = 0o755;

/// Writes a release's entries, in the order in which they come.
pub struct Packer<'a> {
    out: Writer,
    paths: Paths,
    /// What the tree holds, for sources that are sent by difference.
    listed: Option<Listed>,
    buffer: Vec<u8>,
    stop: Stop<'a>,
}

/// What is written down of a tree while it is packed.
#[derive(Default)]
struct Listed {
    manifest: Manifest,
    /// The bytes of each path in the tar.
    places: HashMap<Vec<u8>, Range<u64>>,
}

/// Why a file's content could not be taken over.
#[derive(Debug)]
pub enum ContentError {
    /// It could not be read, or ended early ([`io::ErrorKind::UnexpectedEof`]).
    Read(io::Error),
    /// Anything else.
    Failed(SourceError),
}

impl From<SourceError> for ContentError {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Packer<'a> {
    /// Opens an unnamed file in the temporary directory.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn new(stop: Stop<'a>) -> Result<Self, SourceError> {
        let out = Writer::new().map_err(SourceError::NoSpace)?;
        Ok(Self { out, paths: Paths::default(), listed: None, buffer: vec![0; BUFFER], stop })
    }

    /// Also writes down what the tree holds, so that servers can be sent differences.
    ///
    /// Only the owner may write then.
    #[must_use]
    pub fn listing(self) -> Self {
        Self { listed: Some(Listed::default()), ..self }
    }

    /// Returns permissions as they are sent.
    fn sent(&self, mode: u32) -> u32 {
        if self.listed.is_some() { mode & LISTED_MODE } else { mode & 0o777 }
    }

    /// Writes down an entry whose header began at `from`.
    fn list(&mut self, path: Vec<u8>, from: u64, entry: Entry) {
        let to = self.out.at();
        if let Some(listed) = &mut self.listed {
            listed.places.insert(path.clone(), from..to);
            listed.manifest.insert(path, entry);
        }
    }

    /// Adds a directory; one that was added before is harmless.
    ///
    /// It always stays writable for its owner, so that its content can be unpacked and a pruned release removed.
    ///
    /// # Errors
    /// When it cannot be part of the release, or be written.
    pub fn directory(&mut self, path: &[u8], attributes: Attributes) -> Result<(), SourceError> {
        let Some(path) = self.place(path, Seen::Directory)? else { return Ok(()) };
        let mode = self.sent(attributes.mode | 0o700);
        let slashed = [&path[..], b"/"].concat();
        let attributes = Attributes { mode, ..attributes };
        let from = self.out.at();
        self.header(&Head { kind: EntryType::Directory, path: &slashed, target: &[], size: 0, attributes })?;
        self.list(path, from, Entry { mode, what: What::Directory });
        Ok(())
    }

    /// Adds a symbolic link; its target may be anything, as in git.
    ///
    /// # Errors
    /// When it cannot be part of the release, or be written.
    pub fn symlink(&mut self, path: &[u8], target: &[u8], mtime: u64) -> Result<(), SourceError> {
        if target.is_empty() || target.len() >= 4096 || target.contains(&0) {
            return Err(RefusedEntry::new(path, Unpackable::Target).into());
        }
        let Some(path) = self.place(path, Seen::Symlink(target.to_vec()))? else { return Ok(()) };
        let attributes = Attributes { mode: 0o777, mtime };
        let from = self.out.at();
        self.header(&Head { kind: EntryType::Symlink, path: &path, target, size: 0, attributes })?;
        self.list(path, from, Entry { mode: 0o777, what: What::Link(target.to_vec()) });
        Ok(())
    }

    /// Adds another name for an entry that was added before.
    ///
    /// # Errors
    /// When it cannot be part of the release, or be written.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8], attributes: Attributes) -> Result<(), SourceError> {
        let root = relative(target).map_err(|fault| RefusedEntry::new(path, Unpackable::HardLinkPath(fault)))?;
        match self.paths.get(&root) {
            // No two tars tell a link to a link apart in the same way; a copy means the same to all.
            Some(Seen::Symlink(aim)) => {
                let aim = aim.clone();
                self.symlink(path, &aim, attributes.mtime)
            }
            Some(Seen::File) => {
                let Some(path) = self.place(path, Seen::File)? else { return Ok(()) };
                // No part of a tar can do without what it links to.
                self.listed = None;
                self.header(&Head { kind: EntryType::Link, path: &path, target: &root, size: 0, attributes })
            }
            _ => match self.place(path, Seen::File)? {
                None => Ok(()),
                Some(_) => Err(RefusedEntry::new(path, Unpackable::HardLink(target.to_vec())).into()),
            },
        }
    }

    /// Adds a file with exactly `size` bytes of `content`.
    ///
    /// # Errors
    /// [`ContentError::Read`] is the source's fault and says nothing of the file's name.
    pub fn file(
        &mut self,
        path: &[u8],
        attributes: Attributes,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), ContentError> {
        let attributes = Attributes { mode: self.sent(attributes.mode), ..attributes };
        let from = self.out.at();
        let written = self.place(path, Seen::File)?;
        if let Some(path) = &written {
            self.header(&Head { kind: EntryType::Regular, path, target: &[], size, attributes })?;
        }
        // What is left out is read all the same: its bytes lie between two entries.
        let digest = self.content(size, content, written.is_some())?;
        if let Some(path) = written {
            self.out.pad(size).map_err(SourceError::NoSpace)?;
            self.paths.grow(size);
            if let Some(digest) = digest {
                self.list(path, from, Entry { mode: attributes.mode, what: What::File(digest) });
            }
        }
        Ok(())
    }

    /// Takes over a file's content, and digests it where the tree is written down.
    fn content(
        &mut self,
        size: u64,
        content: &mut dyn Read,
        is_written: bool,
    ) -> Result<Option<[u8; 32]>, ContentError> {
        let mut digest = self.listed.is_some().then(Sha256::new);
        let mut left = size;
        while left > 0 {
            self.go_on()?;
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let got = match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(ContentError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ContentError::Read(error)),
            };
            if is_written {
                self.out.write(&self.buffer[..got]).map_err(SourceError::NoSpace)?;
                if let Some(digest) = &mut digest {
                    digest.update(&self.buffer[..got]);
                }
            }
            left -= got as u64;
        }
        Ok(digest.map(|digest| digest.finalize().into()))
    }

    /// Ends the stream with the REVISION file, so that nothing cut short has one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, revision: &Revision) -> Result<Package, SourceError> {
        let content = format!("{revision}\n");
        let size = content.len() as u64;
        // The latest time so far, so that the same source makes the same bytes.
        let attributes = Attributes { mode: 0o644, mtime: self.out.latest() };
        let from = self.out.at();
        self.header(&Head { kind: EntryType::Regular, path: REVISION, target: &[], size, attributes })?;
        self.out.write(content.as_bytes()).map_err(SourceError::NoSpace)?;
        self.out.pad(size).map_err(SourceError::NoSpace)?;
        let what = What::File(Sha256::digest(content.as_bytes()).into());
        self.list(REVISION.to_vec(), from, Entry { mode: 0o644, what });
        let tree = self.listed.take().map(|mut listed| {
            for path in self.paths.parents() {
                listed.manifest.insert(path.to_vec(), Entry { mode: 0o755, what: What::Directory });
            }
            Tree::new(listed.manifest, listed.places)
        });
        let payload = self.out.finish().map_err(SourceError::NoSpace)?;
        Ok(Package::new(payload, self.paths.size(), tree))
    }

    fn place(&mut self, raw: &[u8], kind: Seen) -> Result<Option<Vec<u8>>, SourceError> {
        self.go_on()?;
        Ok(self.paths.add(raw, kind)?)
    }

    fn header(&mut self, head: &Head<'_>) -> Result<(), SourceError> {
        self.out.header(head).map_err(SourceError::NoSpace)
    }

    fn go_on(&self) -> Result<(), SourceError> {
        if (self.stop)() { Err(SourceError::Stopped) } else { Ok(()) }
    }
}
