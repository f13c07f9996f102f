//! A host on the way: few connections to it carry the streams to many servers.
//!
//! Connections to it are made one after another, so that its `MaxStartups` does not turn them away; its `MaxSessions` does
//! not count streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex as Locked, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::session::{Link, Session, Stream};
use super::{ConnectError, Shared, Target, auth};

/// Streams through one connection before the next is made: each connection is one task, which enciphers on one core.
const STREAMS: usize = 32;
/// Most connections to one host.
const MOST: usize = 8;

/// A host on the way.
pub struct Bastion {
    target: Target,
    shared: Arc<Shared>,
    lanes: Locked<Vec<Lane>>,
    /// Held while a connection is made; the last failure, and when it was.
    gate: Mutex<Option<(Instant, ConnectError)>>,
}

/// One connection, and one more count of its `load` for each stream.
#[derive(Clone)]
struct Lane {
    link: Arc<Link>,
    load: Arc<()>,
}

/// A place in a connection that is there.
pub(super) struct Place {
    session: Arc<Session>,
    load: Arc<()>,
}

impl fmt::Debug for Bastion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bastion").field(&auth::place(&self.target)).finish()
    }
}

impl Bastion {
    pub(super) fn new(target: Target, shared: Arc<Shared>) -> Self {
        Self { target, shared, lanes: Locked::default(), gate: Mutex::default() }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes a place in a connection; makes one where there is none, or too little room.
    pub(super) async fn place(&self) -> Result<Place, ConnectError> {
        let lane = self.lane();
        let began = Instant::now();
        let session = match lane.link.live() {
            Some(session) => session,
            None => {
                let mut failed = self.gate.lock().await;
                // It failed while this one waited for its turn: that is its answer too.
                if let Some((at, why)) = &*failed
                    && *at >= began
                {
                    return Err(why.clone());
                }
                match Box::pin(lane.link.session()).await {
                    Ok(session) => session,
                    Err(why) => {
                        *failed = Some((Instant::now(), why.clone()));
                        return Err(why);
                    }
                }
            }
        };
        Ok(Place { session, load: lane.load })
    }

    fn lane(&self) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |lane: &Lane| Arc::strong_count(&lane.load) - 1;
        let full = lanes.len();
        match lanes.iter().min_by_key(|lane| load(lane)) {
            Some(least) if load(least) < STREAMS || full >= MOST => least.clone(),
            _ => {
                let link = Arc::new(Link::new(self.target.clone(), self.shared.clone()));
                let lane = Lane { link, load: Arc::default() };
                lanes.push(lane.clone());
                lane
            }
        }
    }

    /// Ends its connections cleanly, within a limit.
    pub async fn close(&self) {
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(lanes.iter().map(|lane| lane.link.close())).await;
    }
}

impl Place {
    /// Opens a stream to a server; the error is a fragment, and tells whether the connection was lost.
    pub(super) async fn stream(self, host: &str, port: u16) -> Result<Through, (String, bool)> {
        match self.session.direct_tcpip(host, port).await {
            Ok(stream) => Ok(Through { stream, _session: self.session, _load: self.load }),
            Err(why) => Err((why, self.session.ended().is_some())),
        }
    }
}

/// A stream to a server; keeps its place and the connection it goes through.
pub(super) struct Through {
    stream: Box<dyn Stream>,
    _session: Arc<Session>,
    _load: Arc<()>,
}

impl AsyncRead for Through {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Through {
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
