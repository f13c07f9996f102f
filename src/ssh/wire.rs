//! The TCP connection below SSH: acknowledged at once, and severed on demand.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A TCP stream that fails all reading and writing once its token is cancelled.
///
/// The library's session task has no other end while it exchanges keys or is blocked in a write.
pub(super) struct Wire {
    tcp: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    pub(super) fn new(tcp: TcpStream, cut: CancellationToken) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let wire = Self { tcp, cut: Box::pin(cut.cancelled_owned()) };
        wire.quick_ack();
        Ok(wire)
    }

    /// Acknowledges what was read at once: sshd has Nagle's algorithm on until a session starts, and a delayed
    /// acknowledgement there costs 40 ms per connection. The kernel forgets the option, so it is set after each read.
    fn quick_ack(&self) {
        #[cfg(target_os = "linux")]
        // A hint only: without it everything works, slower.
        let _ = self.tcp.set_quickack(true);
    }

    fn severed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.severed(cx)?;
        let done = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if matches!(done, Poll::Ready(Ok(()))) {
            self.quick_ack();
        }
        done
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.severed(cx)?;
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.severed(cx)?;
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.severed(cx)?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A failure here would hide the reason for which the connection ended: the library returns it instead.
        Pin::new(&mut self.tcp).poll_shutdown(cx).map(|_| Ok(()))
    }
}
