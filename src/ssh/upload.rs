//! Sends a command its input: the head, then the payload, then end of file.
//!
//! Waits for ever when the other side stops reading: the caller watches progress and drops it.

use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::watch;

use super::pace::Pace;
use super::{More, Payload};

/// What is read at once: large reads cost the least per byte.
const READ: usize = 256 * 1024;
/// What is kept in memory as a whole, once for all servers, is no larger.
const WHOLE: u64 = 16 * 1024 * 1024;
/// What is sent between two notes of progress.
const SLICE: usize = 64 * 1024;

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum Failed {
    /// The channel is gone: whoever reads it knows why.
    Channel,
    /// The file cannot be read, or is shorter than it was.
    Local(String),
}

/// Sends what comes, and then the end of file.
pub(super) async fn feed(to: &ChannelWriteHalf<Msg>, more: &More) -> Result<(), Failed> {
    while let Some(bytes) = more.next().await {
        if !bytes.is_empty() {
            to.data_bytes(bytes).await.map_err(|_| Failed::Channel)?;
        }
    }
    to.eof().await.map_err(|_| Failed::Channel)
}

/// Sends everything; `sent` counts the payload's bytes. The end of file follows unless there is more to come.
pub(super) async fn upload(
    to: &ChannelWriteHalf<Msg>,
    head: Bytes,
    payload: Option<Payload>,
    (sent, pace): (&watch::Sender<u64>, &Pace),
    more: bool,
) -> Result<(), Failed> {
    // An empty write would be an error.
    if !head.is_empty() {
        to.data_bytes(head).await.map_err(|_| Failed::Channel)?;
    }
    if let Some(payload) = payload {
        let mut at = 0;
        while at < payload.len {
            let mut chunk = read(&payload, at).await?;
            while !chunk.is_empty() {
                let slice = chunk.split_to(chunk.len().min(SLICE));
                at += slice.len() as u64;
                pace.room(slice.len()).await;
                to.data_bytes(slice).await.map_err(|_| Failed::Channel)?;
                sent.send_replace(at);
            }
        }
    }
    if more {
        return Ok(());
    }
    to.eof().await.map_err(|_| Failed::Channel)
}

/// Reads on from `at`.
async fn read(payload: &Payload, at: u64) -> Result<Bytes, Failed> {
    if payload.len <= WHOLE {
        let len = usize::try_from(payload.len).unwrap_or(usize::MAX);
        let whole = payload.whole.get_or_try_init(|| piece(payload, 0, len)).await?;
        return Ok(whole.slice(usize::try_from(at).unwrap_or(usize::MAX).min(whole.len())..));
    }
    let want = usize::try_from(payload.len - at).map_or(READ, |left| left.min(READ));
    piece(payload, at, want).await
}

async fn piece(payload: &Payload, at: u64, want: usize) -> Result<Bytes, Failed> {
    let (file, len) = (payload.file.clone(), payload.len);
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; want];
        file.read_exact_at(&mut buffer, at).map(|()| buffer)
    });
    match read.await {
        Ok(Ok(buffer)) => Ok(buffer.into()),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Failed::Local(format!("cannot read what is to be sent: the file is shorter than {len} bytes")))
        }
        Ok(Err(e)) => Err(Failed::Local(format!("cannot read what is to be sent: {e}"))),
        Err(e) => Err(Failed::Local(format!("cannot read what is to be sent: {e}"))),
    }
}
