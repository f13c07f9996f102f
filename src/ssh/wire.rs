//! What lies below SSH: TCP that is acknowledged at once, a stream through another host, or a command. Severed on demand.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::session::Stream;

/// What carries the connection.
pub(super) enum Carrier {
    /// TCP from here.
    Tcp(TcpStream),
    /// A stream through another connection, or a command's.
    Other(Box<dyn Stream>),
}

/// A stream that fails all reading and writing once its token is cancelled.
///
/// The library's session task has no other end while it exchanges keys or is blocked in a write.
pub(super) struct Wire {
    carrier: Carrier,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    pub(super) fn new(carrier: Carrier, cut: CancellationToken) -> io::Result<Self> {
        if let Carrier::Tcp(tcp) = &carrier {
            tcp.set_nodelay(true)?;
        }
        let wire = Self { carrier, cut: Box::pin(cut.cancelled_owned()) };
        wire.quick_ack();
        Ok(wire)
    }

    /// Acknowledges what was read at once: sshd has Nagle's algorithm on until a session starts, and a delayed
    /// acknowledgement there costs 40 ms per connection. The kernel forgets the option, so it is set after each read.
    fn quick_ack(&self) {
        #[cfg(target_os = "linux")]
        if let Carrier::Tcp(tcp) = &self.carrier {
            // A hint only: without it everything works, slower.
            let _ = tcp.set_quickack(true);
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
        let done = match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Carrier::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if matches!(done, Poll::Ready(Ok(()))) {
            self.quick_ack();
        }
        done
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.severed(cx)?;
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Carrier::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.severed(cx)?;
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Carrier::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Tcp(tcp) => tcp.is_write_vectored(),
            Carrier::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.severed(cx)?;
        match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Carrier::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A failure here would hide the reason for which the connection ended: the library returns it instead.
        let done = match &mut self.carrier {
            Carrier::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        done.map(|_| Ok(()))
    }
}
