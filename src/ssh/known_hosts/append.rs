//! Records a host key: one line, in one write.
//!
//! A lock keeps other runs away, and since ssh-keygen takes none, each line is one write.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use russh::keys::PublicKey;

use super::error::NotRecorded;

/// Limit on waiting for another process that holds the file.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two attempts to lock it.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Writes a line for a host, without its newline.
pub(super) fn line(name: &str, key: &PublicKey) -> Result<String, NotRecorded> {
    // The file is read by pattern: no part of the name may be taken for syntax.
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || ",*?!|@#".contains(c)) {
        return Err(NotRecorded::Name(name.to_owned()));
    }
    let bare = PublicKey::new(key.key_data().clone(), "");
    let text = bare.to_openssh().map_err(|e| NotRecorded::Encoding(e.to_string()))?;
    Ok(format!("{name} {}", text.trim_end()))
}

/// Appends a line. Creates a missing file (0600) and its directory (0700).
pub(super) async fn append(file: &Path, line: &str) -> io::Result<()> {
    let path = file.to_path_buf();
    let mut open = blocking(move || open(&path)).await?;
    let deadline = tokio::time::Instant::now() + LOCK_LIMIT;
    let locked = loop {
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => break locked,
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) if tokio::time::Instant::now() < deadline => open = file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(io::Error::other("another process holds its lock")),
            Err((_, e)) => return Err(e.into()),
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    };
    let line = line.to_owned();
    blocking(move || write(&locked, &line)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn open(path: &PathBuf) -> io::Result<std::fs::File> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn write(mut file: &std::fs::File, line: &str) -> io::Result<()> {
    let mut text = String::with_capacity(line.len() + 2);
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    text.push('\n');
    // One write: with O_APPEND it lands whole even beside writers that take no lock.
    let written = file.write(text.as_bytes())?;
    if written != text.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "only a part of the line was written"));
    }
    file.sync_data()
}
