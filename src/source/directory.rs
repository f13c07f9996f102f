//! Sources that are directories, taken as they are.
//!
//! Owns the walk, what is left out (`.git` anywhere; `.pitcrew` and `REVISION` at the top) and the digest that stands
//! for a revision. Links are never followed; devices, pipes and sockets are refused.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::error::SourceError;
use super::error::unfit::{Misfit, Unfit};
use super::pack::entry::{Attributes, RESERVED, REVISION};
use super::pack::packer::{ContentError, Packer};
use super::quote::quote;
use super::resolved::{Resolved, SourceOrigin, revision};
use crate::name::Revision;

const BUFFER: usize = 256 * 1024;

struct Item {
    /// Relative to the source.
    path: Vec<u8>,
    attributes: Attributes,
    kind: Kind,
}

enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
}

/// Digests the whole tree: paths, modes, types and content, but no times.
///
/// # Errors
/// Names everything that cannot be read or must not be released, not just the first.
pub fn resolve(root: &Path) -> Result<Resolved, SourceError> {
    let Walked { items, mut unfit } = walk(root);
    let mut sum = Sum::new();
    let mut buffer = vec![0; BUFFER];
    for item in &items {
        let outcome = match item.kind {
            Kind::File => open(root, item).and_then(|(mut file, size)| {
                sum.begin(item, size);
                loop {
                    match file.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(got) => sum.update(&buffer[..got]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }),
            Kind::Directory | Kind::Symlink(_) => {
                sum.whole(item);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            unfit.push(Unfit { path: item.path.clone(), why: Misfit::Unreadable(error) });
        }
    }
    refuse(root, unfit)?;
    let name = root.file_name().unwrap_or(root.as_os_str());
    Ok(Resolved {
        revision: sum.revision(),
        label: quote(name.as_bytes()).trim_matches('`').to_owned(),
        subject: None,
        origin: SourceOrigin::Directory,
        notes: Vec::new(),
    })
}

/// Packs the tree, and makes sure that it is what was resolved.
pub(super) fn pack(root: &Path, revision: &Revision, packer: &mut Packer<'_>) -> Result<(), SourceError> {
    let Walked { items, unfit } = walk(root);
    refuse(root, unfit)?;
    let mut sum = Sum::new();
    for item in &items {
        match &item.kind {
            Kind::Directory => packer.directory(&item.path, item.attributes)?,
            Kind::Symlink(target) => packer.symlink(&item.path, target, item.attributes.mtime)?,
            Kind::File => {
                let (mut file, size) = open(root, item).map_err(|error| unreadable(root, item, error))?;
                sum.begin(item, size);
                let packed =
                    packer.file(&item.path, item.attributes, size, &mut Summed { file: &mut file, sum: &mut sum });
                match packed {
                    Ok(()) => {}
                    Err(ContentError::Failed(error)) => return Err(error),
                    Err(ContentError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(SourceError::Changed(full(root, item)));
                    }
                    Err(ContentError::Read(error)) => return Err(unreadable(root, item, error)),
                }
                if file.metadata().map_err(|error| unreadable(root, item, error))?.len() != size {
                    return Err(SourceError::Changed(full(root, item)));
                }
                continue;
            }
        }
        sum.whole(item);
    }
    if sum.revision() == *revision { Ok(()) } else { Err(SourceError::Changed(root.to_owned())) }
}

struct Walked {
    /// Sorted by path, so that a directory comes before what it holds.
    items: Vec<Item>,
    /// What cannot be released, with reasons.
    unfit: Vec<Unfit>,
}

fn walk(root: &Path) -> Walked {
    let mut walked = Walked { items: Vec::new(), unfit: Vec::new() };
    // A list instead of recursion: depth is the source's to choose, the stack is not.
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(parent) = waiting.pop() {
        let names = fs::read_dir(root.join(Path::new(OsStr::from_bytes(&parent))))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let names = match names {
            Ok(names) => names,
            Err(error) => {
                walked.unfit.push(Unfit { path: parent, why: Misfit::Unreadable(error) });
                continue;
            }
        };
        for name in names {
            let name = name.into_vec();
            if name == b".git" || (parent.is_empty() && name == RESERVED) {
                continue;
            }
            let path = if parent.is_empty() { name } else { [&parent[..], b"/", &name].concat() };
            match examine(root, path) {
                Ok(Some(item)) => {
                    if matches!(item.kind, Kind::Directory) {
                        waiting.push(item.path.clone());
                    }
                    walked.items.push(item);
                }
                Ok(None) => {}
                Err(why) => walked.unfit.push(why),
            }
        }
    }
    walked.items.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    walked.unfit.sort_by(|a, b| a.path.cmp(&b.path));
    walked
}

fn examine(root: &Path, path: Vec<u8>) -> Result<Option<Item>, Unfit> {
    let place = root.join(Path::new(OsStr::from_bytes(&path)));
    let metadata = match place.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Err(Unfit { path, why: Misfit::Unreadable(error) }),
    };
    let kind = metadata.file_type();
    if path == REVISION && !kind.is_dir() {
        return Ok(None);
    }
    let mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
    let mode = metadata.mode() & 0o777;
    let kind = match kind {
        kind if kind.is_dir() => Ok(Kind::Directory),
        kind if kind.is_symlink() => fs::read_link(&place)
            .map(|target| Kind::Symlink(target.into_os_string().into_vec()))
            .map_err(Misfit::Unreadable),
        kind if kind.is_fifo() => Err(Misfit::Pipe),
        kind if kind.is_socket() => Err(Misfit::Socket),
        kind if kind.is_block_device() || kind.is_char_device() => Err(Misfit::Device),
        _ => Ok(Kind::File),
    };
    match kind {
        Ok(kind) => Ok(Some(Item { path, attributes: Attributes { mode, mtime }, kind })),
        Err(why) => Err(Unfit { path, why }),
    }
}

/// Opens a file that the walk has found.
///
/// If it has become a link or a pipe since, this fails and does not wait.
fn open(root: &Path, item: &Item) -> io::Result<(File, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(full(root, item))?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(io::Error::other("it is no file any more")) }
}

fn full(root: &Path, item: &Item) -> PathBuf {
    root.join(Path::new(OsStr::from_bytes(&item.path)))
}

fn refuse(root: &Path, found: Vec<Unfit>) -> Result<(), SourceError> {
    if found.is_empty() { Ok(()) } else { Err(SourceError::Directory { root: root.to_owned(), found }) }
}

fn unreadable(root: &Path, item: &Item, source: io::Error) -> SourceError {
    SourceError::Unreadable { path: full(root, item), source }
}

/// The digest; every part has its length before it, so that no two trees give the same bytes.
struct Sum(Sha256);

impl Sum {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn begin(&mut self, item: &Item, size: u64) {
        self.0.update([match item.kind {
            Kind::File => b'f',
            Kind::Directory => b'd',
            Kind::Symlink(_) => b'l',
        }]);
        // A link's own mode differs between systems and means nothing.
        let mode = if let Kind::Symlink(_) = item.kind { 0 } else { item.attributes.mode };
        self.0.update(mode.to_le_bytes());
        self.0.update((item.path.len() as u64).to_le_bytes());
        self.0.update(&item.path);
        self.0.update(size.to_le_bytes());
    }

    fn whole(&mut self, item: &Item) {
        let content: &[u8] = if let Kind::Symlink(target) = &item.kind { target } else { &[] };
        self.begin(item, content.len() as u64);
        self.0.update(content);
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn revision(self) -> Revision {
        revision(&self.0.finalize())
    }
}

/// Digests a file's content while it is packed.
struct Summed<'a> {
    file: &'a mut File,
    sum: &'a mut Sum,
}

impl Read for Summed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(into)?;
        self.sum.update(&into[..got]);
        Ok(got)
    }
}
