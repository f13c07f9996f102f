//! What lies below SSH: TCP read in large pieces and acknowledged at once while that matters, a stream through another
//! host, or a command. Severed on demand.

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
    pub(super) fn new(carrier: Carrier, cut: CancellationToken) -> io::Result<Self> {
        if let Carrier::Tcp(tcp) = &carrier {
            tcp.set_nodelay(true)?;
        }
        let cut = Box::pin(cut.cancelled_owned());
        let mut wire = Self { carrier, cut, read: vec![0; READ].into(), from: 0, to: 0, quick: QUICK };
        wire.quick_ack();
        Ok(wire)
    }

    /// Acknowledges what was read at once: sshd has Nagle's algorithm on until a session starts, and a delayed
    /// acknowledgement there costs 40 ms per connection. The kernel forgets the option, so it is set after each read.
    fn quick_ack(&mut self) {
        if self.quick > 0 {
            self.quick -= 1;
            #[cfg(target_os = "linux")]
            if let Carrier::Tcp(tcp) = &self.carrier {
                // A hint only: without it everything works, slower.
                let _ = tcp.set_quickack(true);
            }
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
            std::task::ready!(match &mut wire.carrier {
                Carrier::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut fresh),
                Carrier::Other(stream) => Pin::new(stream).poll_read(cx, &mut fresh),
            })?;
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Two who answer each other in turn: then the kernel would rather acknowledge late, with what is sent next.
    async fn in_turn(near: &mut (impl AsyncRead + AsyncWrite + Unpin), far: &mut TcpStream) -> io::Result<()> {
        let mut byte = [0];
        for _ in 0..20 {
            near.write_all(b"?").await?;
            far.read_exact(&mut byte).await?;
            far.write_all(b"!").await?;
            near.read_exact(&mut byte).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_read_is_acknowledged_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut plain = TcpStream::connect(at).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        in_turn(&mut plain, &mut far).await.unwrap();
        assert!(!plain.quickack().unwrap(), "without asking for it, it is not so");

        let carrier = Carrier::Tcp(TcpStream::connect(at).await.unwrap());
        let mut wire = Wire::new(carrier, CancellationToken::new()).unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        in_turn(&mut wire, &mut far).await.unwrap();
        let Carrier::Tcp(tcp) = &wire.carrier else { panic!("another carrier") };
        assert!(tcp.quickack().unwrap() && tcp.nodelay().unwrap());
    }
}
