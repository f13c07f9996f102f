//! Listings of trees that were sent before, kept on the operator's machine.
//!
//! Nothing depends on it: a listing that is not here is asked of a server. A listing's name is its digest, so that its
//! reader knows whether it is right.

use std::fs::{self, DirBuilder};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

/// Listings kept; more are of trees that no server has any more.
const KEPT: usize = 50;
/// The longest listing that is read, in bytes: a million files of long names.
pub const LISTING_MAX: u64 = 256 * 1024 * 1024;

/// A directory of listings, or none.
#[derive(Debug, Clone, Default)]
pub struct Store(Option<PathBuf>);

impl Store {
    /// Names the directory; it need not exist.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self(directory)
    }

    /// Reads what is kept under a name.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = fs::File::open(self.0.as_ref()?.join(name)).ok()?;
        let mut listing = Vec::new();
        zstd::stream::read::Decoder::new(file).ok()?.take(LISTING_MAX).read_to_end(&mut listing).ok()?;
        Some(listing)
    }

    /// Keeps a listing, whole or not at all, and lets the oldest go.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, name: &str, listing: &[u8]) -> std::io::Result<()> {
        let Some(directory) = &self.0 else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        zstd::stream::copy_encode(listing, &mut file, 3)?;
        file.persist(directory.join(name)).map_err(|error| error.error)?;
        let mut kept: Vec<(SystemTime, PathBuf)> = fs::read_dir(directory)?
            .filter_map(|entry| entry.ok().and_then(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))))
            .collect();
        kept.sort_unstable();
        let over = kept.len().saturating_sub(KEPT);
        for (_, path) in &kept[..over] {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_oldest_goes() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(Some(home.path().join("cache/trees")));
        assert_eq!(store.read("a"), None);
        for n in 0..KEPT + 5 {
            store.write(&format!("{n}"), format!("./{n}\0").as_bytes()).unwrap();
        }
        assert_eq!(store.read(&format!("{}", KEPT + 4)), Some(format!("./{}\0", KEPT + 4).into_bytes()));
        assert_eq!(fs::read_dir(home.path().join("cache/trees")).unwrap().count(), KEPT);
        fs::write(home.path().join("cache/trees/b"), "no zstd").unwrap();
        assert_eq!(store.read("b"), None);
        assert_eq!(Store::default().read("b"), None);
    }
}
