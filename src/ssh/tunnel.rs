//! A byte stream through a channel that never holds up its connection.
//!
//! The library stops reading the whole connection when one channel is not drained, and leaves a writer waiting for ever
//! when the connection dies. So a task drains the channel at once, and wakes both sides when it ends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::peer::End;

/// What may wait to be read. The answers read through tunnels are small; one that is not is an error, not a stall.
const UNREAD_LIMIT: usize = 8 << 20;
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// A stream through one channel.
pub(super) struct Tunnel {
    shared: Arc<Mutex<Inbox>>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// Ends the draining task, which closes the channel.
    _drop: DropGuard,
}

#[derive(Default)]
struct Inbox {
    chunks: VecDeque<Bytes>,
    unread: usize,
    eof: bool,
    /// Nothing more can be written.
    closed: bool,
    failure: Option<String>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Tunnel {
    pub(super) fn new(channel: Channel<Msg>, end: End) -> Self {
        let (read, write) = channel.split();
        let writer = Box::pin(write.make_writer());
        let shared = Arc::<Mutex<Inbox>>::default();
        let dropped = CancellationToken::new();
        tokio::spawn(drain(read, write, shared.clone(), (dropped.clone(), end)));
        Self { shared, writer, _drop: dropped.drop_guard() }
    }
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn drain(
    mut read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    inbox: Arc<Mutex<Inbox>>,
    (dropped, end): (CancellationToken, End),
) {
    let mut open = true;
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            () = dropped.cancelled() => break,
        };
        let mut state = lock(&inbox);
        match message {
            Some(ChannelMsg::Data { data }) => {
                state.unread += data.len();
                state.chunks.push_back(data);
                if state.unread > UNREAD_LIMIT {
                    state.fail(format!("more than {} MiB were not read", UNREAD_LIMIT >> 20));
                    break;
                }
            }
            Some(ChannelMsg::Eof) => state.eof = true,
            Some(ChannelMsg::Close) => {
                open = false;
                state.end();
                break;
            }
            // Without a close the connection is gone: what was read is not all there was.
            None => {
                open = false;
                let why = end.get().unwrap_or_else(|| "the connection ended".into());
                state.fail(format!("the connection was lost: {why}"));
                break;
            }
            Some(_) => {}
        }
        state.wake();
    }
    // Closing waits for room in the connection's queue; the receiver is gone by then and holds nothing up.
    drop(read);
    if open {
        let _ = tokio::time::timeout(CLOSE_LIMIT, write.close()).await;
    }
}

impl Inbox {
    fn end(&mut self) {
        self.eof = true;
        self.closed = true;
        self.wake();
    }

    fn fail(&mut self, why: String) {
        self.failure = Some(why);
        self.end();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn broken(&self) -> io::Error {
        match &self.failure {
            Some(why) => io::Error::new(io::ErrorKind::ConnectionReset, why.clone()),
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

impl Tunnel {
    /// Registers for the end of the channel; an error once it has come.
    fn writable(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = lock(&self.shared);
        if state.closed {
            return Err(state.broken());
        }
        state.writer = Some(cx.waker().clone());
        Ok(())
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // The library takes an empty write for an error.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.writable(cx)?;
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?;
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing to end where the other side has closed.
        if self.writable(cx).is_err() {
            return Poll::Ready(Ok(()));
        }
        self.writer.as_mut().poll_shutdown(cx)
    }
}
