//! What a packed release holds, and where in its tar.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::manifest::Manifest;

/// What a packed release holds, and where in its tar.
#[derive(Debug)]
pub struct Tree {
    /// What it holds.
    pub manifest: Manifest,
    /// The bytes of each path in the tar, headers included.
    pub(super) places: HashMap<Vec<u8>, Range<u64>>,
    digests: OnceLock<(String, String)>,
}

impl Tree {
    /// Makes a tree of what a packer has written down.
    pub fn new(manifest: Manifest, places: HashMap<Vec<u8>, Range<u64>>) -> Self {
        Self { manifest, places, digests: OnceLock::new() }
    }

    /// Returns the digest of its listing: its name.
    pub fn digest(&self) -> &str {
        &self.digests().0
    }

    /// Returns the digest of its listing without permissions.
    pub fn loose_digest(&self) -> &str {
        &self.digests().1
    }

    fn digests(&self) -> &(String, String) {
        self.digests.get_or_init(|| (self.manifest.digest(), self.manifest.loose_digest()))
    }
}
