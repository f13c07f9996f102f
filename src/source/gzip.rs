//! The packed release once more, with gzip: for servers that cannot unpack zstd.
//!
//! Made from the package itself, so both hold the same tar; not before a server asks, and once for all that do.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::FileExt as _;

use flate2::{Compression, GzBuilder};

use super::error::SourceError;
use super::package::Package;
use crate::ssh::Payload;

/// Level of compression.
///
/// Measured on 5 MB of source text with zlib-rs: level 1 takes 16 ms and leaves 28.2 %, 3 takes 27 ms and leaves 19.9 %, 5 takes
/// 37 ms and leaves 18.4 %, 6 takes 48 ms and leaves 18.3 %.
const LEVEL: u32 = 5;
const BUFFER: usize = 256 * 1024;

impl Package {
    /// Returns the release as a gzipped tar.
    ///
    /// The first call makes it on a blocking thread; calls meanwhile wait for it.
    ///
    /// # Errors
    /// When the temporary directory is full or the package cannot be read back.
    pub async fn gzipped(&self) -> Result<Payload, SourceError> {
        let made = self.gzipped.get_or_try_init(|| async {
            let from = self.payload.clone();
            match tokio::task::spawn_blocking(move || transcode(&from)).await {
                Ok(made) => made.map_err(SourceError::NoSpace),
                Err(error) => Err(SourceError::NoSpace(io::Error::other(error))),
            }
        });
        made.await.cloned()
    }
}

fn transcode(from: &Payload) -> io::Result<Payload> {
    let input = BufReader::with_capacity(BUFFER, At { file: &from.file, at: 0, len: from.len });
    let mut tar = zstd::stream::read::Decoder::with_buffer(input)?;
    let out = BufWriter::with_capacity(BUFFER, tempfile::tempfile()?);
    let mut out = GzBuilder::new().mtime(0).write(out, Compression::new(LEVEL));
    io::copy(&mut tar, &mut out)?;
    let file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    let len = file.metadata()?.len();
    Ok(Payload::new(file, len))
}

/// Reads a file that others read as well, from a position of its own.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.len - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}
