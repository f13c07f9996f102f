//! A byte stream through a channel that never holds up its connection.
//!
//! The library stops reading the whole connection when one channel is not drained, and leaves a writer waiting for ever
//! when the connection dies. So one task drains the channel, and another writes to it. Both end with it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};

use super::end::End;
use super::lost::Lost;
use super::refused::NotOpen;
use super::sync::lock;

/// Bytes that may wait to be read.
///
/// Answers through tunnels are small: a larger one is an error, not a stall.
const UNREAD_LIMIT: usize = 8 << 20;
/// Limit on closing the channel.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Chunks that may wait to be written.
const UNWRITTEN: usize = 4;
/// Largest of them in bytes.
const CHUNK: usize = 64 * 1024;

/// A stream through one channel.
pub(super) struct Tunnel {
    shared: Arc<Mutex<Inbox>>,
    writer: PollSender<Bytes>,
    /// Ends the draining task, which closes the channel.
    _drop: DropGuard,
}

/// Why a tunnel broke.
enum Broken {
    /// Too much was not read.
    Unread,
    /// The connection ended.
    Lost(Lost),
}

/// The bytes that wait to be read.
#[derive(Default)]
struct Inbox {
    chunks: VecDeque<Bytes>,
    unread: usize,
    eof: bool,
    failure: Option<Broken>,
    reader: Option<Waker>,
}

impl Tunnel {
    pub(super) fn new(channel: Channel<Msg>, end: End) -> Self {
        let (read, write) = channel.split();
        let (writer, unwritten) = mpsc::channel(UNWRITTEN);
        let shared = Arc::<Mutex<Inbox>>::default();
        let dropped = CancellationToken::new();
        let over = CancellationToken::new();
        let write = Arc::new(write);
        tokio::spawn(over.clone().run_until_cancelled_owned(send(write.clone(), unwritten)));
        tokio::spawn(drain(
            read,
            write,
            shared.clone(),
            Ends { dropped: dropped.clone(), over: over.drop_guard(), end },
        ));
        Self { shared, writer: PollSender::new(writer), _drop: dropped.drop_guard() }
    }
}

/// The signals at the end of a tunnel.
struct Ends {
    /// The stream was dropped.
    dropped: CancellationToken,
    /// Ends the writing.
    over: DropGuard,
    /// The end of the connection.
    end: End,
}

/// Writes in a task of its own: a half-polled write could hold a lock that the session's task needs.
async fn send(write: Arc<ChannelWriteHalf<Msg>>, mut unwritten: mpsc::Receiver<Bytes>) {
    while let Some(chunk) = unwritten.recv().await {
        if write.data_bytes(chunk).await.is_err() {
            return;
        }
    }
    // An error means that the session is gone; the reading side reports that.
    let _ = write.eof().await;
}

async fn drain(mut read: ChannelReadHalf, write: Arc<ChannelWriteHalf<Msg>>, inbox: Arc<Mutex<Inbox>>, ends: Ends) {
    let mut open = true;
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            () = ends.dropped.cancelled() => break,
        };
        let mut state = lock(&inbox);
        match message {
            Some(ChannelMsg::Data { data }) => {
                state.unread += data.len();
                state.chunks.push_back(data);
                if state.unread > UNREAD_LIMIT {
                    state.fail(Broken::Unread);
                    break;
                }
            }
            Some(ChannelMsg::Eof) => state.eof = true,
            Some(ChannelMsg::Close) => {
                open = false;
                state.end();
                break;
            }
            // Without a close the connection is gone, and the bytes that were read are not all.
            None => {
                open = false;
                state.fail(Broken::Lost(ends.end.reason()));
                break;
            }
            Some(_) => {}
        }
        state.wake();
    }
    // Closing waits for room in the connection's queue. The receiver must be gone by then, so that it blocks nothing.
    drop(read);
    drop(ends.over);
    if open {
        let _ = tokio::time::timeout(CLOSE_LIMIT, write.close()).await;
    }
}

impl Inbox {
    fn end(&mut self) {
        self.eof = true;
        self.wake();
    }

    fn fail(&mut self, why: Broken) {
        self.failure = Some(why);
        self.end();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn broken(&self) -> io::Error {
        match &self.failure {
            Some(Broken::Unread) => {
                let what = format!("more than {} MiB were not read", UNREAD_LIMIT >> 20);
                io::Error::new(io::ErrorKind::ConnectionReset, what)
            }
            Some(Broken::Lost(why)) => io::Error::new(io::ErrorKind::ConnectionReset, NotOpen::Lost(why.clone())),
            None => io::Error::new(io::ErrorKind::BrokenPipe, "the other side closed the channel"),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        let state = &mut *state;
        if let Some(chunk) = state.chunks.front_mut() {
            let take = chunk.len().min(buf.remaining());
            buf.put_slice(chunk.get(..take).unwrap_or_default());
            chunk.advance(take);
            if chunk.is_empty() {
                state.chunks.pop_front();
            }
            state.unread -= take;
            return Poll::Ready(Ok(()));
        }
        if state.failure.is_some() {
            return Poll::Ready(Err(state.broken()));
        }
        if state.eof {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let chunk = buf.get(..CHUNK).unwrap_or(buf);
        let sent = match self.writer.poll_reserve(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => self.writer.send_item(Bytes::copy_from_slice(chunk)),
            Poll::Ready(Err(e)) => Err(e),
        };
        Poll::Ready(sent.map(|()| chunk.len()).map_err(|_| lock(&self.shared).broken()))
    }

    /// Written bytes leave by themselves. A caller waits for them by reading the answer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.close();
        Poll::Ready(Ok(()))
    }
}
