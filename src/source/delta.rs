//! A release as what differs from another tree, made once for all servers that have that tree.
//!
//! Owns the payload's form: compressed names of what is to be removed, then a compressed tar of what is new. What differs is
//! [`super::manifest`]'s to say; the tar's parts are taken from the packed release, so nothing of the source is read again.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::error::SourceError;
use super::gzip::At;
use super::manifest::{Difference, Manifest, What, hex};
use super::pack::entry::REVISION;
use super::package::Package;
pub use super::package::{Delta, Packed};
use super::store::Store;
pub use super::tree::Tree;
use crate::ssh::Payload;
use crate::sync::lock;

const BUFFER: usize = 256 * 1024;
/// What ends a tar.
const TAR_END: [u8; 1024] = [0; 1024];
/// A difference is worth more time than the whole release: it is small, and made for slow lines.
const ZSTD_LEVEL: i32 = 9;
const GZIP_LEVEL: u32 = 6;

impl Package {
    /// Has listings of trees kept in a directory of this machine, so that they need not be asked for.
    #[must_use]
    pub fn remembering(mut self, directory: Option<PathBuf>) -> Self {
        self.deltas.store = Store::new(directory);
        self
    }

    /// Keeps the listing of this tree: servers have it now. Does so once, and says nothing when it cannot.
    pub async fn remember(&self) {
        let Some(tree) = self.tree.clone() else { return };
        let store = self.deltas.store.clone();
        let once = self.deltas.remembered.get_or_init(|| async {
            let _ = spawn_blocking(move || store.write(tree.digest(), &tree.manifest.listing())).await;
        });
        once.await;
    }

    /// What a server that has the tree `base` is to be sent; made once for all that have it.
    ///
    /// `learn` asks a server for that tree's listing when this machine does not know it; only one of many callers does.
    /// `None`: it is better sent as a whole.
    ///
    /// # Errors
    /// When the temporary directory is full or the package cannot be read back.
    pub async fn delta(
        &self,
        base: &str,
        packed: Packed,
        learn: impl Future<Output = Option<Vec<u8>>>,
    ) -> Result<Option<Delta>, SourceError> {
        let Some(tree) = &self.tree else { return Ok(None) };
        if base == tree.digest() {
            return Ok(Some(Delta { payload: None, gone: 0, files: 0, removed: 0 }));
        }
        let since = {
            let mut made = lock(&self.deltas.made);
            made.entry(base.to_owned()).or_default().clone()
        };
        let known = since.base.get_or_try_init(|| async {
            let (store, name) = (self.deltas.store.clone(), base.to_owned());
            let stored = spawn_blocking(move || store.read(&name)).await.ok().flatten();
            if let Some(found) = stored.as_deref().and_then(|listing| named(listing, base)) {
                return Ok(found);
            }
            learn.await.as_deref().and_then(|listing| named(listing, base)).ok_or(())
        });
        let Ok(known) = known.await else { return Ok(None) };
        let cell = match packed {
            Packed::Zstd => &since.zstd,
            Packed::Gzip => &since.gzip,
        };
        let made = cell.get_or_try_init(|| async {
            let (tree, from, known) = (tree.clone(), self.payload.clone(), known.clone());
            match spawn_blocking(move || make(&tree, &from, &known, packed)).await {
                Ok(made) => made.map_err(SourceError::NoSpace),
                Err(error) => Err(SourceError::NoSpace(io::Error::other(error))),
            }
        });
        made.await.cloned()
    }
}

/// Reads the listing of the tree of that name; `None`: it is not its listing.
fn named(listing: &[u8], name: &str) -> Option<Arc<Manifest>> {
    (hex(&Sha256::digest(listing)) == name).then(|| Manifest::parse(listing).ok().map(Arc::new))?
}

fn make(tree: &Tree, whole: &Payload, base: &Manifest, packed: Packed) -> io::Result<Option<Delta>> {
    let Difference { gone, sent } = tree.manifest.since(base);
    let mut places: Vec<&Range<u64>> = sent.iter().filter_map(|path| tree.places.get(path)).collect();
    places.sort_unstable_by_key(|place| place.start);
    let mut out = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
    let mut names = 0;
    if !gone.is_empty() {
        compress(packed, &mut out, |out| {
            // With `./` none of them can be taken for an option.
            gone.iter().try_for_each(|path| [b"./", &path[..], b"\0"].iter().try_for_each(|part| out.write_all(part)))
        })?;
        out.flush()?;
        names = out.get_ref().metadata()?.len();
    }
    compress(packed, &mut out, |out| {
        let input = BufReader::with_capacity(BUFFER, At { file: &whole.file, at: 0, len: whole.len });
        let mut tar = zstd::stream::read::Decoder::with_buffer(input)?;
        let mut at = 0;
        for place in &places {
            copy(&mut tar, &mut io::sink(), place.start - at)?;
            copy(&mut tar, out, place.end - place.start)?;
            at = place.end;
        }
        out.write_all(&TAR_END)
    })?;
    let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let len = file.metadata()?.len();
    if len >= whole.len {
        return Ok(None);
    }
    let counts = |path: &[u8]| path != REVISION && tree.manifest.get(path).is_some_and(|e| e.what != What::Directory);
    let files = sent.iter().filter(|path| counts(path)).count() as u64;
    let removed = gone.iter().filter(|path| tree.manifest.get(path).is_none()).count() as u64;
    Ok(Some(Delta { payload: Some(Payload::new(file, len)), gone: names, files, removed }))
}

fn compress<W: Write>(
    packed: Packed,
    out: &mut W,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match packed {
        Packed::Zstd => {
            let mut zstd = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
            zstd.include_checksum(true)?;
            fill(&mut zstd)?;
            zstd.finish().map(drop)
        }
        Packed::Gzip => {
            let mut gzip = GzBuilder::new().mtime(0).write(out, Compression::new(GZIP_LEVEL));
            fill(&mut gzip)?;
            gzip.finish().map(drop)
        }
    }
}

fn copy(from: &mut impl Read, to: &mut (impl Write + ?Sized), bytes: u64) -> io::Result<()> {
    if io::copy(&mut from.take(bytes), to)? == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
