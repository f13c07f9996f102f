//! A packed release, and what is made of it for servers that want another form.
//!
//! Owns the values; `gzip` and `delta` make them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::manifest::Manifest;
use super::store::Store;
use super::tree::Tree;
use crate::ssh::Payload;

/// A release, packed.
#[derive(Debug, Clone)]
pub struct Package {
    /// A tar compressed with zstd, in a file of the disk that has no name.
    pub payload: Payload,
    /// Files, links and directories that unpacking makes, REVISION included.
    pub entries: u64,
    /// Bytes when unpacked, each file and directory rounded up to 4 KiB.
    pub unpacked: u64,
    /// What it holds, where it can be sent by difference.
    pub tree: Option<Arc<Tree>>,
    /// The same tar with gzip, for servers without zstd.
    pub(super) gzipped: Arc<OnceCell<Payload>>,
    /// What was made for servers that have another tree.
    pub(super) deltas: Deltas,
}

/// The size of a packed release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Files, links and directories.
    pub(super) entries: u64,
    /// Bytes when unpacked.
    pub(super) unpacked: u64,
}

/// The compression of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packed {
    /// With zstd.
    Zstd,
    /// With gzip.
    Gzip,
}

/// What is sent to a server that has another tree.
#[derive(Debug, Clone)]
pub struct Delta {
    /// `None`: the trees are the same.
    pub payload: Option<Payload>,
    /// Bytes at its beginning that are names of what is to be removed.
    pub gone: u64,
    /// Files and links that are new or changed; REVISION, which always is, does not count.
    pub files: u64,
    /// Files, links and directories that are removed and not replaced.
    pub removed: u64,
}

/// What was made for other trees; all clones of a package share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Deltas {
    pub(super) store: Store,
    pub(super) made: Arc<Mutex<HashMap<String, Arc<Since>>>>,
    pub(super) remembered: Arc<OnceCell<()>>,
}

/// What was made for one other tree.
#[derive(Debug, Default)]
pub(super) struct Since {
    pub(super) base: OnceCell<Arc<Manifest>>,
    pub(super) zstd: OnceCell<Option<Delta>>,
    pub(super) gzip: OnceCell<Option<Delta>>,
}

impl Package {
    pub(super) fn new(payload: Payload, size: Size, tree: Option<Tree>) -> Self {
        let Size { entries, unpacked } = size;
        let tree = tree.filter(|tree| tree.manifest.can_be_listed()).map(Arc::new);
        Self { payload, entries, unpacked, tree, gzipped: Arc::default(), deltas: Deltas::default() }
    }
}
