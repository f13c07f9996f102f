//! One forwarded connection: to a port of the server's loopback, or to a socket in its tree.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::faults::Fault;
use super::faults::PointKind;
use super::log::Kind;
use super::place::place_of;
use super::shared::Shared;

/// Where a forwarded connection goes.
pub(super) enum Destination {
    Tcp { label: String, to: Option<SocketAddr> },
    Unix { label: String, to: Option<PathBuf> },
}

impl Destination {
    /// Resolves a host and port as seen from the server: only loopback is reachable.
    pub(super) fn tcp(server: &Shared, host: &str, port: u32) -> Self {
        let to = place_of(host, server.options.at.ip())
            .zip(u16::try_from(port).ok())
            .map(|(ip, port)| SocketAddr::new(ip, port));
        Self::Tcp { label: format!("tcp:{port}"), to }
    }

    /// Resolves a socket's path: under the server's root if it exists there, else as it is.
    pub(super) fn unix(server: &Shared, path: &str) -> Self {
        let to = path.strip_prefix('/').map(|relative| {
            let inside = server.options.root.join(relative);
            if inside.exists() { inside } else { Path::new(path).to_owned() }
        });
        Self::Unix { label: format!("unix:{path}"), to }
    }

    fn label(&self) -> &str {
        match self {
            Self::Tcp { label, .. } | Self::Unix { label, .. } => label,
        }
    }
}

/// A connection that a client asks for.
pub(super) struct Forward {
    pub(super) server: Arc<Shared>,
    pub(super) to: Destination,
    pub(super) channel: Channel<Msg>,
    pub(super) reply: ChannelOpenHandle,
    pub(super) cut: CancellationToken,
}

impl Forward {
    /// Connects, answers the client and carries bytes both ways until both ends are done.
    pub(super) async fn run(self) {
        let Self { server, to, channel, reply, cut } = self;
        server.add(Kind::Stream { to: to.label().to_owned() });
        let fault = server.options.faults.pass(&server.options.name, PointKind::Stream, to.label());
        if let Some(fault) = &fault {
            server.add(Kind::Fault { label: to.label().to_owned(), fault: fault.clone() });
        }
        match &fault {
            Some(Fault::ErrorBefore { .. } | Fault::Killed { .. } | Fault::Garbage) => {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            }
            Some(Fault::CutBefore) => return cut.cancel(),
            Some(Fault::Dead) => return server.kill(),
            Some(Fault::Hang | Fault::Stall) => return cut.cancelled().await,
            Some(Fault::EffectThenError { .. } | Fault::CutAfter | Fault::DoneThenDead) | None => {}
        }
        let carried = match to {
            Destination::Tcp { to: Some(to), .. } => match TcpStream::connect(to).await {
                Ok(tcp) => {
                    reply.accept().await;
                    carry(channel, tcp, fault.as_ref(), &cut).await
                }
                Err(_) => return reply.reject(ChannelOpenFailure::ConnectFailed).await,
            },
            Destination::Unix { to: Some(to), .. } => match UnixStream::connect(to).await {
                Ok(unix) => {
                    reply.accept().await;
                    carry(channel, unix, fault.as_ref(), &cut).await
                }
                Err(_) => return reply.reject(ChannelOpenFailure::ConnectFailed).await,
            },
            Destination::Tcp { to: None, .. } | Destination::Unix { to: None, .. } => {
                return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            }
        };
        // A connection that breaks is closed towards the client.
        drop(carried);
        match fault {
            Some(Fault::CutAfter) => cut.cancel(),
            Some(Fault::DoneThenDead) => server.kill(),
            _ => {}
        }
    }
}

async fn carry(
    channel: Channel<Msg>,
    mut peer: impl AsyncRead + AsyncWrite + Unpin,
    fault: Option<&Fault>,
    cut: &CancellationToken,
) -> io::Result<()> {
    let mut near = channel.into_stream();
    let carry = async {
        if fault.is_none() {
            return tokio::io::copy_bidirectional(&mut near, &mut peer).await.map(drop);
        }
        // The answer is lost: what was asked is carried over, the first byte of the reply ends it all.
        let (mut from_near, _keep_open) = tokio::io::split(near);
        let (mut from_peer, mut to_peer) = tokio::io::split(peer);
        let mut byte = [0];
        let asked = async {
            tokio::io::copy(&mut from_near, &mut to_peer).await?;
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            error = asked => error,
            read = from_peer.read(&mut byte) => read.map(drop),
        }
    };
    tokio::select! {
        () = cut.cancelled() => Ok(()),
        done = carry => done,
    }
}
