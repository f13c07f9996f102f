//! Sends a command its input: the head, then the payload, then end of file.
//!
//! Waits for ever when the other side stops reading: the caller watches the progress and drops the future.

use std::sync::Arc;

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::watch;

use super::command::More;
use super::pace::Pace;
use super::payload::{Payload, PayloadError};

/// Bytes that are sent between two notes of progress.
const SLICE: usize = 64 * 1024;

/// Why sending stopped.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The channel is gone. Reading it tells why.
    Channel,
    /// The payload cannot be read.
    Payload(PayloadError),
}

/// The input of a command.
pub(super) struct Input {
    pub(super) head: Bytes,
    pub(super) payload: Option<Payload>,
    /// Whether more input follows, so that this is not the end of the file.
    pub(super) goes_on: bool,
}

/// Sends input as it comes, and then the end of file.
pub(super) async fn feed(to: Arc<ChannelWriteHalf<Msg>>, more: More) -> Result<(), Unsent> {
    while let Some(bytes) = more.next().await {
        if !bytes.is_empty() {
            to.data_bytes(bytes).await.map_err(|_| Unsent::Channel)?;
        }
    }
    to.eof().await.map_err(|_| Unsent::Channel)
}

/// Sends the input; `sent` counts the bytes of the payload.
pub(super) async fn upload(
    to: Arc<ChannelWriteHalf<Msg>>,
    input: Input,
    sent: watch::Sender<u64>,
    pace: Arc<Pace>,
) -> Result<(), Unsent> {
    // An empty write would be an error.
    if !input.head.is_empty() {
        to.data_bytes(input.head).await.map_err(|_| Unsent::Channel)?;
    }
    if let Some(payload) = input.payload {
        let mut at = 0;
        while at < payload.len {
            let mut chunk = payload.read(at).await.map_err(Unsent::Payload)?;
            while !chunk.is_empty() {
                let slice = chunk.split_to(chunk.len().min(SLICE));
                at += slice.len() as u64;
                pace.room(slice.len()).await;
                to.data_bytes(slice).await.map_err(|_| Unsent::Channel)?;
                sent.send_replace(at);
            }
        }
    }
    if input.goes_on {
        return Ok(());
    }
    to.eof().await.map_err(|_| Unsent::Channel)
}
