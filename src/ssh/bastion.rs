//! A host on the way: few connections to it carry the streams to many servers.
//!
//! Connections to it are made one after another, so that its `MaxStartups` does not turn them away. Its `MaxSessions` does
//! not count streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::commons::Commons;
use super::error::ConnectError;
use super::link::Link;
use super::refused::NotOpen;
use super::session::Session;
use super::stream::ByteStream;
use super::sync::lock;
use super::target::{Carrier, Passage, Target};

/// Streams through one connection before the next is made.
///
/// A connection is one task, which enciphers on one core.
const STREAMS: usize = 32;
/// Most connections to one host.
const MOST: usize = 8;

/// A host on the way to others.
pub struct Bastion {
    target: Target,
    commons: Arc<Commons>,
    lanes: std::sync::Mutex<Vec<Lane>>,
    /// Held while a connection is made. It guards the last failure and its time.
    gate: Mutex<Option<(Instant, ConnectError)>>,
}

/// One connection; its `load` has one more reference for each stream.
#[derive(Clone)]
struct Lane {
    link: Arc<Link>,
    load: Arc<()>,
}

/// A place in a live connection.
struct Berth {
    session: Arc<Session>,
    /// Counts as load of the connection.
    _load: Arc<()>,
}

impl fmt::Debug for Bastion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bastion").field(&self.target.place()).finish()
    }
}

impl Bastion {
    pub(super) fn new(target: Target, commons: Arc<Commons>) -> Self {
        Self { target, commons, lanes: std::sync::Mutex::default(), gate: Mutex::default() }
    }

    /// Returns its destination.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the number of connections that were made to it.
    pub fn connections(&self) -> usize {
        lock(&self.lanes).len()
    }

    async fn berth(&self) -> Result<Berth, ConnectError> {
        let lane = self.lane();
        let began = Instant::now();
        let session = match lane.link.live() {
            Some(session) => session,
            None => {
                let mut failed = self.gate.lock().await;
                // An attempt that failed while this caller waited for its turn is the answer to this caller too.
                if let Some((at, why)) = &*failed
                    && *at >= began
                {
                    return Err(why.clone());
                }
                match lane.link.session().await {
                    Ok(session) => session,
                    Err(why) => {
                        *failed = Some((Instant::now(), why.clone()));
                        return Err(why);
                    }
                }
            }
        };
        Ok(Berth { session, _load: lane.load })
    }

    fn lane(&self) -> Lane {
        let mut lanes = lock(&self.lanes);
        let load = |lane: &Lane| Arc::strong_count(&lane.load) - 1;
        let full = lanes.len();
        match lanes.iter().min_by_key(|lane| load(lane)) {
            Some(least) if load(least) < STREAMS || full >= MOST => least.clone(),
            _ => {
                let link = Arc::new(Link::new(self.target.clone(), self.commons.clone()));
                let lane = Lane { link, load: Arc::default() };
                lanes.push(lane.clone());
                lane
            }
        }
    }

    /// Ends its connections cleanly, within a limit.
    pub async fn close(&self) {
        let lanes = std::mem::take(&mut *lock(&self.lanes));
        futures::future::join_all(lanes.iter().map(|lane| lane.link.close())).await;
    }
}

impl Carrier for Bastion {
    fn target(&self) -> &Target {
        &self.target
    }

    fn place(&self) -> BoxFuture<'_, Result<Box<dyn Passage>, ConnectError>> {
        async { Ok(Box::new(self.berth().await?) as Box<dyn Passage>) }.boxed()
    }
}

impl Passage for Berth {
    fn stream<'a>(self: Box<Self>, host: &'a str, port: u16) -> BoxFuture<'a, Result<Box<dyn ByteStream>, NotOpen>> {
        async move {
            match self.session.direct_tcpip(host, port).await {
                Ok(stream) => Ok(Box::new(Kept { stream, _berth: self }) as Box<dyn ByteStream>),
                // A refusal of a connection that has just ended is no answer about the server.
                Err(why) => Err(self.session.ended().map_or(why, NotOpen::Lost)),
            }
        }
        .boxed()
    }
}

/// A stream to a server; keeps its place and the connection it goes through.
struct Kept {
    stream: Box<dyn ByteStream>,
    _berth: Box<Berth>,
}

impl AsyncRead for Kept {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Kept {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
