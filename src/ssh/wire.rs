//! The TCP connection below SSH: read in large pieces, acknowledged at once while that matters, and severed on demand.

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
    /// What was read and not taken yet: the library takes each packet's length and body apart.
    read: Box<[u8]>,
    from: usize,
    to: usize,
    /// How many reads are still acknowledged at once.
    quick: u32,
}

/// What is read from the kernel at once.
const READ: usize = 16 * 1024;
/// More reads than key exchange and authentication take.
const QUICK: u32 = 64;

impl Wire {
    pub(super) fn new(tcp: TcpStream, cut: CancellationToken) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let cut = Box::pin(cut.cancelled_owned());
        let mut wire = Self { tcp, cut, read: vec![0; READ].into(), from: 0, to: 0, quick: QUICK };
        wire.quick_ack();
        Ok(wire)
    }

    /// Acknowledges what was read at once: sshd has Nagle's algorithm on until a session starts, and a delayed
    /// acknowledgement there costs 40 ms per connection. The kernel forgets the option, so it is set after each read.
    fn quick_ack(&mut self) {
        if self.quick > 0 {
            self.quick -= 1;
            #[cfg(target_os = "linux")]
            // A hint only: without it everything works, slower.
            let _ = self.tcp.set_quickack(true);
        }
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
        let wire = &mut *self;
        if wire.from == wire.to {
            let mut fresh = ReadBuf::new(&mut wire.read);
            std::task::ready!(Pin::new(&mut wire.tcp).poll_read(cx, &mut fresh))?;
            (wire.from, wire.to) = (0, fresh.filled().len());
            wire.quick_ack();
        }
        let count = buf.remaining().min(wire.to - wire.from);
        buf.put_slice(&wire.read[wire.from..wire.from + count]);
        wire.from += count;
        Poll::Ready(Ok(()))
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
