//! Files that are sent to commands: shared by many uploads, read at offsets.

use std::fmt;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::io_fault::IoFault;

/// Bytes per read: large reads cost the least per byte.
const READ: usize = 256 * 1024;
/// Largest payload in bytes that is kept in memory as a whole, once for all servers.
const WHOLE: u64 = 16 * 1024 * 1024;

/// A file to send. All clones share it.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Open for reading; pitcrew reads it at offsets and never seeks in it.
    pub file: Arc<std::fs::File>,
    /// Length in bytes.
    pub len: u64,
    /// The content of a small file, read once for all servers.
    whole: Arc<tokio::sync::OnceCell<Bytes>>,
}

/// Why a payload could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadError {
    /// The file is shorter than this length in bytes, which it had before.
    Shorter(u64),
    /// The system refused to read it.
    Io(IoFault),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot read what is to be sent: ")?;
        match self {
            Self::Shorter(len) => write!(f, "the file is shorter than {len} bytes"),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PayloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Shorter(_) => None,
            Self::Io(e) => Some(e),
        }
    }
}

impl Payload {
    /// Makes a payload of a file.
    pub fn new(file: std::fs::File, len: u64) -> Self {
        Self { file: Arc::new(file), len, whole: Arc::default() }
    }

    /// Reads the next bytes from the offset `at`.
    pub(super) async fn read(&self, at: u64) -> Result<Bytes, PayloadError> {
        if self.len <= WHOLE {
            let len = usize::try_from(self.len).unwrap_or(usize::MAX);
            let whole = self.whole.get_or_try_init(|| self.piece(0, len)).await?;
            return Ok(whole.slice(usize::try_from(at).unwrap_or(usize::MAX).min(whole.len())..));
        }
        let want = usize::try_from(self.len - at).map_or(READ, |left| left.min(READ));
        self.piece(at, want).await
    }

    async fn piece(&self, at: u64, want: usize) -> Result<Bytes, PayloadError> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; want];
            file.read_exact_at(&mut buffer, at).map(|()| buffer)
        });
        match read.await {
            Ok(Ok(buffer)) => Ok(buffer.into()),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(PayloadError::Shorter(self.len)),
            Ok(Err(e)) => Err(PayloadError::Io(e.into())),
            Err(e) => Err(PayloadError::Io(e.into())),
        }
    }
}
