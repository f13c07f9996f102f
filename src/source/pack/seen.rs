//! The paths of a release so far: a new entry is checked against all that came before.

use std::collections::HashMap;

use super::super::error::refused::{RefusedEntry, Unpackable};
use super::super::package::Size;
use super::entry::{RESERVED, REVISION};
use super::path::relative;

/// What lies at a path so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A directory of the source.
    Directory,
    /// A directory that only the path of another entry names.
    Parent,
    /// A file.
    File,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
}

/// The paths so far.
#[derive(Default)]
pub(super) struct Paths {
    seen: HashMap<Vec<u8>, Seen>,
    entries: u64,
    unpacked: u64,
}

impl Paths {
    /// Returns what lies at a path.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Seen> {
        self.seen.get(path)
    }

    /// Checks a path against all that came before and remembers it; `None`: the entry is left out.
    ///
    /// # Errors
    /// When the path cannot be unpacked, or not beside the others.
    pub(super) fn add(&mut self, raw: &[u8], kind: Seen) -> Result<Option<Vec<u8>>, RefusedEntry> {
        let refused = |why| Err(RefusedEntry::new(raw, why));
        let path = relative(raw).map_err(|fault| RefusedEntry::new(raw, Unpackable::Path(fault)))?;
        let top = path.split(|b| *b == b'/').next().unwrap_or_default();
        match (top, &kind) {
            (b"", Seen::Directory) => return Ok(None),
            (b"", _) => return refused(Unpackable::Root),
            (RESERVED, _) => return Ok(None),
            (REVISION, Seen::Directory) => return refused(Unpackable::Revision),
            (REVISION, _) if path == REVISION => return Ok(None),
            (REVISION, _) => return refused(Unpackable::Revision),
            _ => {}
        }
        for (end, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let parent = &path[..end];
            match self.seen.get(parent) {
                Some(Seen::Directory | Seen::Parent) => {}
                None => {
                    self.seen.insert(parent.to_vec(), Seen::Parent);
                }
                Some(Seen::Symlink(_)) => return refused(Unpackable::ThroughLink(parent.to_vec())),
                Some(Seen::File) => return refused(Unpackable::ThroughFile(parent.to_vec())),
            }
        }
        match (self.seen.get(&path), &kind) {
            (None | Some(Seen::Parent), Seen::Directory) => self.unpacked += 4096,
            (None, _) => {}
            // A repeated directory only sets its mode again.
            (Some(Seen::Directory), Seen::Directory) => return Ok(Some(path)),
            (Some(Seen::Directory | Seen::Parent), _) => return refused(Unpackable::AlsoDirectory),
            (Some(_), _) => return refused(Unpackable::Twice),
        }
        self.seen.insert(path.clone(), kind);
        self.entries += 1;
        Ok(Some(path))
    }

    /// Counts the content of a file.
    pub(super) fn grow(&mut self, bytes: u64) {
        self.unpacked += bytes.next_multiple_of(4096);
    }

    /// Returns the directories that only the paths of other entries name.
    pub(super) fn parents(&self) -> impl Iterator<Item = &[u8]> {
        self.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Parent)).map(|(path, _)| path.as_slice())
    }

    /// Returns the size of the release, with the REVISION file that ends it.
    pub(super) fn size(&self) -> Size {
        let parents = self.parents().count() as u64;
        Size { entries: self.entries + parents + 1, unpacked: self.unpacked + 4096 * (parents + 1) }
    }
}
