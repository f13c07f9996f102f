//! The ways to HAProxy's socket: from here, through an SSH channel, or by a program on its host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::failed::CallFailed;
use super::not_relayed::{NotRelayed, Why};
use super::relay::Relay;
use super::wire::{exchange, tcp, unix};
use crate::config::{BalancerAddress, Via};
use crate::ssh;

/// A way to one socket.
pub enum SocketRoute {
    /// A socket on another host.
    Ssh(Box<RemoteSocket>),
    /// A socket on this machine.
    Unix(PathBuf),
    /// A port.
    Tcp {
        /// The host's name or address.
        host: String,
        /// The port's number.
        port: u16,
    },
    /// No way: the address is not a socket's.
    None,
}

/// A socket on another host.
pub struct RemoteSocket {
    link: Option<Arc<ssh::Link>>,
    path: String,
    relay: Relay,
    /// A program there passes the text on: no channel leads to the socket, or none that may open it.
    relayed: AtomicBool,
}

impl SocketRoute {
    /// Makes a route; connects to nothing. An `ssh://` address needs a `link`.
    pub fn new(at: &BalancerAddress, via: Via, link: Option<Arc<ssh::Link>>) -> Self {
        match at {
            BalancerAddress::Ssh { path, .. } => Self::Ssh(Box::new(RemoteSocket {
                link,
                path: path.clone(),
                relay: Relay::new(path, via),
                relayed: AtomicBool::new(via == Via::Sudo),
            })),
            BalancerAddress::Unix(path) => Self::Unix(path.clone()),
            BalancerAddress::Tcp { host, port } => Self::Tcp { host: host.clone(), port: *port },
            BalancerAddress::Api(_) => Self::None,
        }
    }

    /// Says one line and returns the whole answer, within a limit.
    ///
    /// # Errors
    /// When the socket cannot be reached, or no whole answer came.
    pub async fn call(&self, line: &str, limit: Duration) -> Result<String, CallFailed> {
        // The connection to the host, and the wait for other calls on it, have limits of their own.
        let (session, _turn) = match self {
            Self::Ssh(socket) => (Some(socket.session().await?), socket.turn(limit).await?),
            _ => (None, None),
        };
        let call = async {
            match (self, session) {
                (Self::Ssh(socket), Some(session)) => socket.call(&session, line, limit).await,
                (Self::Unix(path), _) => exchange(unix(path).await?, line).await,
                (Self::Tcp { host, port }, _) => exchange(tcp(host, *port).await?, line).await,
                (Self::Ssh(_) | Self::None, _) => Err(CallFailed::NoWay),
            }
        };
        timeout(limit, call).await.unwrap_or(Err(CallFailed::Late(limit)))
    }
}

impl RemoteSocket {
    async fn session(&self) -> Result<Arc<ssh::Session>, CallFailed> {
        let link = self.link.as_ref().ok_or(CallFailed::NoLink)?;
        link.session().await.map_err(CallFailed::Host)
    }

    async fn turn(&self, limit: Duration) -> Result<Option<SemaphorePermit<'_>>, CallFailed> {
        if self.relayed.load(Ordering::Relaxed) { self.relay.turn(limit).await.map(Some) } else { Ok(None) }
    }

    async fn call(&self, session: &Arc<ssh::Session>, line: &str, limit: Duration) -> Result<String, CallFailed> {
        if self.relayed.load(Ordering::Relaxed) {
            return self.relay.call(session, line).await.map_err(|why| self.not_relayed(why, None));
        }
        let refused = match session.direct_streamlocal(&self.path).await {
            Ok(wire) => {
                session.hurry();
                return exchange(wire, line).await;
            }
            Err(refused) => refused,
        };
        if let Some(ended) = session.ended() {
            return Err(CallFailed::Lost(ended));
        }
        // sshd does not tell whether it forbids such channels or may not open the socket; a program there does.
        let _turn = self.relay.turn(limit).await?;
        let answer = self.relay.call(session, line).await.map_err(|why| self.not_relayed(why, Some(refused)))?;
        self.relayed.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    fn not_relayed(&self, why: Why, refused: Option<ssh::NotOpen>) -> CallFailed {
        let (user, host) = match &self.link {
            Some(link) => (link.target().user.clone(), link.target().host.clone()),
            None => Default::default(),
        };
        CallFailed::NotRelayed(Box::new(NotRelayed {
            path: self.path.clone(),
            user,
            host,
            sudo: self.relay.sudo(),
            refused,
            why,
        }))
    }
}
