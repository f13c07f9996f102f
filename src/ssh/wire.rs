//! The stream below SSH: TCP, a stream through another host, or a command. It can be severed.
//!
//! TCP is read in large pieces, and acknowledged at once while that matters.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::gate::Gate;
use super::stream::ByteStream;

/// The stream that SSH runs on.
pub(super) enum Medium {
    /// TCP from here.
    Tcp(TcpStream),
    /// A stream through another connection, or the pipes of a command.
    Other(Box<dyn ByteStream>),
}

/// A stream that fails all reading and writing once its token is cancelled.
///
/// The library's session task can be ended in no other way while it exchanges keys or is blocked in a write.
pub(super) struct Wire {
    medium: Medium,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes that were read and not taken yet: the library reads each packet's length and body apart.
    read: Box<[u8]>,
    from: usize,
    to: usize,
    /// The number of reads that are still acknowledged at once.
    quick: u32,
    /// Until the key exchange begins.
    gate: Option<Gate>,
}

/// Bytes that are read from the kernel at once.
const READ: usize = 16 * 1024;
/// More reads than key exchange and authentication take.
const QUICK: u32 = 64;

impl Wire {
    pub(super) fn new(medium: Medium, cut: CancellationToken, gate: Option<Gate>) -> io::Result<Self> {
        if let Medium::Tcp(tcp) = &medium {
            tcp.set_nodelay(true)?;
        }
        let cut = Box::pin(cut.cancelled_owned());
        let read = vec![0; READ].into();
        let mut wire = Self { medium, cut, read, from: 0, to: 0, quick: QUICK, gate };
        wire.quick_ack();
        Ok(wire)
    }

    /// Has the kernel acknowledge at once what was read.
    ///
    /// sshd has Nagle's algorithm on until a session starts, so that a delayed acknowledgement costs 40 ms per
    /// connection. The kernel forgets the option, so it is set after each read.
    fn quick_ack(&mut self) {
        if self.quick > 0 {
            self.quick -= 1;
            #[cfg(target_os = "linux")]
            if let Medium::Tcp(tcp) = &self.medium {
                // A hint only: without it everything works, slower.
                let _ = tcp.set_quickack(true);
            }
        }
    }

    /// Reads from the medium into the buffer; no bytes: it has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read.len() < READ {
            self.read = vec![0; READ].into();
        }
        let mut fresh = ReadBuf::new(&mut self.read);
        std::task::ready!(match &mut self.medium {
            Medium::Tcp(tcp) => Pin::new(tcp).poll_read(cx, &mut fresh),
            Medium::Other(stream) => Pin::new(stream).poll_read(cx, &mut fresh),
        })?;
        (self.from, self.to) = (0, fresh.filled().len());
        self.quick_ack();
        Poll::Ready(Ok(()))
    }

    /// Reads until the banner, and waits there for the turn.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(mut gate) = self.gate.take() {
            if gate.has_banner() {
                let Poll::Ready(begun) = gate.poll(cx) else {
                    self.gate = Some(gate);
                    return Poll::Pending;
                };
                (self.from, self.to) = (0, begun.len());
                self.read = begun.into();
                return Poll::Ready(Ok(()));
            }
            let filled = self.poll_fill(cx);
            if let Poll::Ready(Ok(())) = filled {
                let took = gate.take(&self.read[..self.to]);
                let ended = self.to == 0;
                (self.from, self.to) = (0, 0);
                took?;
                if ended {
                    return Poll::Ready(Ok(()));
                }
            }
            if matches!(&filled, Poll::Ready(Err(e)) if is_closed(e)) {
                // What it said before tells more.
                gate.take(&[])?;
            }
            self.gate = Some(gate);
            std::task::ready!(filled)?;
        }
        Poll::Ready(Ok(()))
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
            if wire.gate.is_some() {
                std::task::ready!(wire.poll_gate(cx))?;
            } else {
                std::task::ready!(wire.poll_fill(cx))?;
            }
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
        let wrote = match &mut self.medium {
            Medium::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Medium::Other(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        match wrote {
            // A server that turned the connection away has said why: that is still to be read.
            Poll::Ready(Err(e)) if self.gate.is_some() && is_closed(&e) => Poll::Ready(Ok(buf.len())),
            wrote => wrote,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.severed(cx)?;
        match &mut self.medium {
            Medium::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Medium::Other(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.medium {
            Medium::Tcp(tcp) => tcp.is_write_vectored(),
            Medium::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.severed(cx)?;
        match &mut self.medium {
            Medium::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Medium::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library would return a failure here instead of the reason for which the connection ended.
        let done = match &mut self.medium {
            Medium::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Medium::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        done.map(|_| Ok(()))
    }
}

fn is_closed(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Has two sides answer in turn.
    ///
    /// The kernel then prefers to acknowledge late, with the next bytes that it sends.
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

        let medium = Medium::Tcp(TcpStream::connect(at).await.unwrap());
        let mut wire = Wire::new(medium, CancellationToken::new(), None).unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        in_turn(&mut wire, &mut far).await.unwrap();
        let Medium::Tcp(tcp) = &wire.medium else { panic!("another medium") };
        assert!(tcp.quickack().unwrap() && tcp.nodelay().unwrap());
    }
}
