//! The one writer behind all sources: checked entries in, a tar with zstd in an unnamed file out.
//!
//! Owns which paths a release may hold, how entries are normalised and the REVISION file. Knows nothing of where
//! entries come from.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use zstd::stream::write::Encoder;

use super::delta::{Deltas, Tree};
use super::manifest::{Entry, Manifest, What};
use super::{Gzipped, Package, SourceError, Stop, quote};
use crate::name::Revision;
use crate::ssh::Payload;

/// The file that names a release's revision, as Capistrano writes it.
pub const REVISION: &[u8] = b"REVISION";
/// Kept by pitcrew for itself, wherever it occurs at the top of a source.
pub const RESERVED: &[u8] = b".pitcrew";

/// Chosen for the client's processor: on 6 MB of source code higher levels save up to a fifth of the bytes at several times
/// the time. Unpacking costs about a quarter of what gzip costs.
const LEVEL: i32 = 3;
const BUFFER: usize = 256 * 1024;
const BLOCK: usize = 512;
/// Linux's NAME_MAX and PATH_MAX: beyond them no server could unpack the entry.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096 - 256;
/// The largest time that fits eleven octal digits, which every tar reads.
const MTIME_MAX: u64 = 0o777_7777_7777;

/// Writes a release's entries, in the order in which they come.
pub struct Packer<'a> {
    out: Encoder<'static, BufWriter<File>>,
    seen: HashMap<Vec<u8>, Seen>,
    entries: u64,
    unpacked: u64,
    /// The latest time so far; REVISION gets it, so that the same source makes the same bytes.
    latest: u64,
    /// How long the tar is so far.
    at: u64,
    /// What the tree holds, for sources that are sent by difference.
    listed: Option<Listed>,
    buffer: Vec<u8>,
    stop: Stop<'a>,
}

/// What is written down of a tree while it is packed.
#[derive(Default)]
struct Listed {
    manifest: Manifest,
    /// Where in the tar each path lies.
    places: HashMap<Vec<u8>, Range<u64>>,
}

/// The permissions that every server's tar gives alike: some apply the umask of 022, and some do not.
const LISTED_MODE: u32 = 0o755;

/// What every entry has.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Permission bits; setuid, setgid and sticky are dropped.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
}

/// Why a file's content could not be taken over.
#[derive(Debug)]
pub enum ContentError {
    /// It could not be read, or ended early ([`io::ErrorKind::UnexpectedEof`]).
    Read(io::Error),
    /// Anything else, ready to be shown.
    Failed(SourceError),
}

impl From<SourceError> for ContentError {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// What a tar header says.
struct Head<'a> {
    kind: EntryType,
    path: &'a [u8],
    target: &'a [u8],
    size: u64,
    attributes: Attributes,
}

/// What lies at a path so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Directory,
    /// Only known as the parent of something.
    Parent,
    File,
    Symlink(Vec<u8>),
}

/// Whether an entry belongs into the release.
enum Placed {
    At(Vec<u8>),
    Left,
}

impl<'a> Packer<'a> {
    /// Opens an unnamed file in the temporary directory.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn new(stop: Stop<'a>) -> Result<Self, SourceError> {
        let file = tempfile::tempfile().map_err(|error| no_space(&error))?;
        let mut out = Encoder::new(BufWriter::with_capacity(BUFFER, file), LEVEL).map_err(|error| no_space(&error))?;
        // So that a server finds out about every changed byte, not only about those that break the format.
        out.include_checksum(true).map_err(|error| no_space(&error))?;
        let (seen, buffer) = (HashMap::new(), vec![0; BUFFER]);
        Ok(Self { out, seen, entries: 0, unpacked: 0, latest: 0, at: 0, listed: None, buffer, stop })
    }

    /// Also writes down what the tree holds, so that servers can be sent what differs from what they have. Nobody but the
    /// owner may write then.
    #[must_use]
    pub fn listing(self) -> Self {
        Self { listed: Some(Listed::default()), ..self }
    }

    /// Permissions as they are sent.
    fn sent(&self, mode: u32) -> u32 {
        if self.listed.is_some() { mode & LISTED_MODE } else { mode & 0o777 }
    }

    /// Writes down an entry whose header began at `from`.
    fn list(&mut self, path: Vec<u8>, from: u64, mode: u32, what: What) {
        let to = self.at;
        if let Some(listed) = &mut self.listed {
            listed.places.insert(path.clone(), from..to);
            listed.manifest.insert(path, Entry { mode, what });
        }
    }

    /// Adds a directory; one that was added before is harmless. It always stays writable for its owner, so that
    /// its content can be unpacked and a pruned release removed.
    pub fn directory(&mut self, path: &[u8], attributes: Attributes) -> Result<(), SourceError> {
        let Placed::At(path) = self.place(path, Seen::Directory)? else { return Ok(()) };
        let mode = self.sent(attributes.mode | 0o700);
        let slashed = [&path[..], b"/"].concat();
        let attributes = Attributes { mode, ..attributes };
        let from = self.at;
        self.header(&Head { kind: EntryType::Directory, path: &slashed, target: &[], size: 0, attributes })?;
        self.list(path, from, mode, What::Directory);
        Ok(())
    }

    /// Adds a symbolic link; its target may be anything, as in git.
    pub fn symlink(&mut self, path: &[u8], target: &[u8], mtime: u64) -> Result<(), SourceError> {
        if target.is_empty() || target.len() >= 4096 || target.contains(&0) {
            return Err(refused(path, "its target is not a path"));
        }
        let Placed::At(path) = self.place(path, Seen::Symlink(target.to_vec()))? else { return Ok(()) };
        let attributes = Attributes { mode: 0o777, mtime };
        let from = self.at;
        self.header(&Head { kind: EntryType::Symlink, path: &path, target, size: 0, attributes })?;
        self.list(path, from, 0o777, What::Link(target.to_vec()));
        Ok(())
    }

    /// Adds another name for an entry that was added before.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8], attributes: Attributes) -> Result<(), SourceError> {
        let root = relative(target).map_err(|why| refused(path, &format!("the target of its hard link {why}")))?;
        match self.seen.get(&root) {
            // A link to a link is told apart by no two tars in the same way; a copy means the same to all.
            Some(Seen::Symlink(aim)) => {
                let aim = aim.clone();
                self.symlink(path, &aim, attributes.mtime)
            }
            Some(Seen::File) => {
                let Placed::At(path) = self.place(path, Seen::File)? else { return Ok(()) };
                // No part of a tar can do without what it links to.
                self.listed = None;
                self.header(&Head { kind: EntryType::Link, path: &path, target: &root, size: 0, attributes })
            }
            _ => {
                if let Placed::Left = self.place(path, Seen::File)? {
                    return Ok(());
                }
                let why = format!("it is a hard link to {}, which is no earlier file of the source", quote(target));
                Err(refused(path, &why))
            }
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
        // What is left out is read all the same: its bytes lie between two entries.
        let attributes = Attributes { mode: self.sent(attributes.mode), ..attributes };
        let from = self.at;
        let written = match self.place(path, Seen::File)? {
            Placed::At(path) => {
                self.header(&Head { kind: EntryType::Regular, path: &path, target: &[], size, attributes })?;
                Some(path)
            }
            Placed::Left => None,
        };
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
            if written.is_some() {
                self.out.write_all(&self.buffer[..got]).map_err(|error| no_space(&error))?;
                self.at += got as u64;
                if let Some(digest) = &mut digest {
                    digest.update(&self.buffer[..got]);
                }
            }
            left -= got as u64;
        }
        if let Some(path) = written {
            self.pad(size)?;
            self.unpacked += size.next_multiple_of(4096);
            if let Some(digest) = digest {
                self.list(path, from, attributes.mode, What::File(digest.finalize().into()));
            }
        }
        Ok(())
    }

    /// Ends the stream with the REVISION file, so that nothing cut short has one.
    pub fn finish(mut self, revision: &Revision) -> Result<Package, SourceError> {
        let content = format!("{revision}\n");
        let size = content.len() as u64;
        let attributes = Attributes { mode: 0o644, mtime: self.latest };
        let from = self.at;
        self.header(&Head { kind: EntryType::Regular, path: REVISION, target: &[], size, attributes })?;
        self.write(content.as_bytes())?;
        self.pad(size)?;
        self.list(REVISION.to_vec(), from, 0o644, What::File(Sha256::digest(content.as_bytes()).into()));
        self.write(&[0; 2 * BLOCK])?;
        let tree = self.listed.take().map(|mut listed| {
            for (path, _) in self.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Parent)) {
                listed.manifest.insert(path.clone(), Entry { mode: 0o755, what: What::Directory });
            }
            Tree::new(listed.manifest, listed.places)
        });
        let parents = self.seen.values().filter(|seen| matches!(seen, Seen::Parent)).count() as u64;
        let file = self
            .out
            .finish()
            .and_then(|buffered| buffered.into_inner().map_err(io::IntoInnerError::into_error))
            .map_err(|error| no_space(&error))?;
        let len = file.metadata().map_err(|error| no_space(&error))?.len();
        Ok(Package {
            payload: Payload::new(file, len),
            entries: self.entries + parents + 1,
            unpacked: self.unpacked + 4096 * (parents + 1),
            gzipped: Gzipped::default(),
            tree: tree.filter(|tree| tree.manifest.can_be_listed()).map(Arc::new),
            deltas: Deltas::default(),
        })
    }

    /// Checks a path against all that came before, and remembers it.
    fn place(&mut self, raw: &[u8], kind: Seen) -> Result<Placed, SourceError> {
        self.go_on()?;
        let path = relative(raw).map_err(|why| refused(raw, &format!("its path {why}")))?;
        let top = path.split(|b| *b == b'/').next().unwrap_or_default();
        if path.is_empty() {
            return match kind {
                Seen::Directory => Ok(Placed::Left),
                _ => Err(refused(raw, "it would replace the release's own directory")),
            };
        }
        if top == RESERVED {
            return Ok(Placed::Left);
        }
        if top == REVISION {
            return if path == REVISION && kind != Seen::Directory {
                Ok(Placed::Left)
            } else {
                Err(refused(raw, "REVISION is a directory, and pitcrew writes a file of that name"))
            };
        }
        for (end, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let parent = &path[..end];
            match self.seen.get(parent) {
                Some(Seen::Directory | Seen::Parent) => {}
                None => {
                    self.seen.insert(parent.to_vec(), Seen::Parent);
                }
                Some(Seen::Symlink(_)) => {
                    return Err(refused(raw, &format!("its path leads through the symbolic link {}", quote(parent))));
                }
                Some(Seen::File) => {
                    return Err(refused(raw, &format!("its path leads through the file {}", quote(parent))));
                }
            }
        }
        match (self.seen.get(&path), &kind) {
            (None, Seen::Directory) | (Some(Seen::Parent), Seen::Directory) => self.unpacked += 4096,
            (None, _) => {}
            // A repeated directory only sets its mode again.
            (Some(Seen::Directory), Seen::Directory) => return Ok(Placed::At(path)),
            (Some(Seen::Directory | Seen::Parent), _) => return Err(refused(raw, "it is a directory, too")),
            (Some(_), _) => return Err(refused(raw, "it occurs twice")),
        }
        self.seen.insert(path.clone(), kind);
        self.entries += 1;
        Ok(Placed::At(path))
    }

    /// Writes a header that GNU tar and busybox tar read alike: GNU's own format, which has long names as entries.
    fn header(&mut self, head: &Head<'_>) -> Result<(), SourceError> {
        if head.target.len() > 100 {
            self.long(EntryType::GNULongLink, head.target)?;
        }
        if head.path.len() > 100 {
            self.long(EntryType::GNULongName, head.path)?;
        }
        self.block(head)
    }

    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<(), SourceError> {
        let size = name.len() as u64 + 1;
        let attributes = Attributes { mode: 0o644, mtime: 0 };
        self.block(&Head { kind, path: b"././@LongLink", target: &[], size, attributes })?;
        self.write(name)?;
        self.write(&[0])?;
        self.pad(size)
    }

    fn block(&mut self, head: &Head<'_>) -> Result<(), SourceError> {
        let mtime = head.attributes.mtime.min(MTIME_MAX);
        self.latest = self.latest.max(mtime);
        let mut header = Header::new_gnu();
        header.set_entry_type(head.kind);
        header.set_mode(head.attributes.mode & 0o777);
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(head.size);
        let old = header.as_old_mut();
        fill(&mut old.name, head.path);
        fill(&mut old.linkname, head.target);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<(), SourceError> {
        let over = (size % BLOCK as u64) as usize;
        if over > 0 { self.write(&[0; BLOCK][over..]) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| no_space(&error))
    }

    fn go_on(&self) -> Result<(), SourceError> {
        if (self.stop)() { Err(SourceError::stopped()) } else { Ok(()) }
    }
}

fn fill(field: &mut [u8], bytes: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(bytes) {
        *slot = *byte;
    }
}

/// Reduces a path to its components; why it cannot be one is a predicate: "is absolute".
fn relative(raw: &[u8]) -> Result<Vec<u8>, &'static str> {
    if raw.first() == Some(&b'/') {
        return Err("is absolute");
    }
    if raw.contains(&0) {
        return Err("holds a NUL byte");
    }
    let mut path = Vec::with_capacity(raw.len());
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err("holds `..`"),
            _ if part.len() > NAME_MAX => return Err("has a component longer than 255 bytes"),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    if path.len() > PATH_MAX { Err("is too long to be unpacked") } else { Ok(path) }
}

fn refused(path: &[u8], why: &str) -> SourceError {
    SourceError::new(format!("cannot release {}: {why}", quote(path)), "Nothing was sent. Correct the source.")
}

pub(super) fn no_space(error: &io::Error) -> SourceError {
    SourceError::new(
        format!("cannot write the packed release in {}: {error}", super::show(&std::env::temp_dir())),
        "Make room there, or point TMPDIR to a directory that has room.",
    )
}
