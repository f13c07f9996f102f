//! The ways to HAProxy's socket: from this machine, through an SSH channel, or by a program on the host that it lies on.
//!
//! Owns what a failure of each says and advises.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::ANSWER_LIMIT;
use super::relay::{Relay, socket_hint};
use crate::config::{BalancerAddress, Via};
use crate::ssh;

/// A way to one socket.
pub enum Route {
    /// On another host.
    Ssh(Box<Host>),
    /// On this machine.
    Unix(PathBuf),
    /// A port.
    Tcp {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
    /// There is none.
    None,
}

/// A socket on another host.
pub struct Host {
    link: Option<Arc<ssh::Link>>,
    path: String,
    relay: Relay,
    /// A program there passes the text on; no channel leads to the socket, or none that may open it.
    relayed: AtomicBool,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What happened, as a fragment.
    pub detail: String,
    /// What to do next; may be empty.
    pub hint: String,
    /// It stays so until somebody changes something; asking again would only be one more entry in a log.
    pub lasts: bool,
}

impl Failed {
    /// Makes one that may pass.
    pub fn new(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { detail: detail.into(), hint: hint.into(), lasts: false }
    }

    /// Makes one that will not.
    pub fn for_good(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { lasts: true, ..Self::new(detail, hint) }
    }
}

/// A byte stream to the socket.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Route {
    /// Makes a route; connects to nothing. An `ssh://` address needs a `link`.
    pub fn new(at: &BalancerAddress, via: Via, link: Option<Arc<ssh::Link>>) -> Self {
        match at {
            BalancerAddress::Ssh { path, .. } => Self::Ssh(Box::new(Host {
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

    /// Says one line and returns all that is answered, within a limit.
    pub async fn call(&self, line: &str, limit: Duration) -> Result<String, Failed> {
        // The connection to the host, and the wait for others on it, have limits of their own.
        let (session, _turn) = match self {
            Self::Ssh(host) => (Some(host.session().await?), host.turn(limit).await?),
            _ => (None, None),
        };
        let call = async {
            match (self, session) {
                (Self::Ssh(host), Some(session)) => host.call(&session, line, limit).await,
                (Self::Unix(path), _) => exchange(unix(path).await?, line).await,
                (Self::Tcp { host, port }, _) => exchange(tcp(host, *port).await?, line).await,
                (Self::Ssh(_) | Self::None, _) => Err(Failed::new("there is no socket to speak to", "")),
            }
        };
        match timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Failed::new(format!("it did not answer within {limit:?}"), STUCK_HINT)),
        }
    }
}

impl Host {
    async fn session(&self) -> Result<Arc<ssh::Session>, Failed> {
        let Some(link) = &self.link else {
            return Err(Failed::new("no SSH connection was set up for it", ""));
        };
        link.session().await.map_err(|e| Failed::new(e.detail, e.hint))
    }

    async fn turn(&self, limit: Duration) -> Result<Option<SemaphorePermit<'_>>, Failed> {
        if self.relayed.load(Ordering::Relaxed) { self.relay.turn(limit).await.map(Some) } else { Ok(None) }
    }

    async fn call(&self, session: &Arc<ssh::Session>, line: &str, limit: Duration) -> Result<String, Failed> {
        let (user, host) =
            self.link.as_ref().map(|l| (l.target().user.as_str(), l.target().host.as_str())).unwrap_or_default();
        if self.relayed.load(Ordering::Relaxed) {
            return self.relay.call(session, line).await.map_err(|e| e.told(user, host));
        }
        let why = match session.direct_streamlocal(&self.path).await {
            Ok(wire) => {
                session.hurry();
                return exchange(Box::new(wire), line).await;
            }
            Err(why) => why,
        };
        if let Some(ended) = session.ended() {
            return Err(Failed::new(format!("the connection was lost: {ended}"), ""));
        }
        // sshd does not tell whether it forbids such channels or may not open the socket; a program there does.
        let _turn = self.relay.turn(limit).await?;
        match self.relay.call(session, line).await {
            Ok(answer) => {
                self.relayed.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(e) => Err(e.after(&why, user, host)),
        }
    }
}

async fn unix(path: &PathBuf) -> Result<Box<dyn Wire>, Failed> {
    match UnixStream::connect(path).await {
        Ok(wire) => Ok(Box::new(wire)),
        Err(e) => {
            let shown = path.display().to_string();
            let hint = match e.kind() {
                ErrorKind::PermissionDenied => socket_hint(&shown, &local_user()),
                _ => "is haproxy running, and is this the path of its `stats socket`?".to_owned(),
            };
            Err(Failed::new(format!("cannot open {shown}: {e}"), hint))
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<Box<dyn Wire>, Failed> {
    match TcpStream::connect((host, port)).await {
        Ok(wire) => Ok(Box::new(wire)),
        Err(e) => Err(Failed::new(
            format!("cannot connect to {host} port {port}: {e}"),
            "is haproxy running, and is this the address of its `stats socket`?",
        )),
    }
}

const STUCK_HINT: &str =
    "haproxy serves 10 connections to its socket at a time (`stats maxconn`); are others holding them?";

fn local_user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |u| u.name)
}

/// Sends a line and reads to the end.
async fn exchange(mut wire: Box<dyn Wire>, line: &str) -> Result<String, Failed> {
    let cannot = |what: &str, e: std::io::Error| Failed::new(format!("cannot {what}: {e}"), "");
    // Only a whole line is answered, and the sending side stays open: some relays end both ways when one ends.
    wire.write_all(line.as_bytes()).await.map_err(|e| cannot("send to it", e))?;
    wire.flush().await.map_err(|e| cannot("send to it", e))?;
    let mut answer = Vec::new();
    wire.take(ANSWER_LIMIT + 1).read_to_end(&mut answer).await.map_err(|e| cannot("read its answer", e))?;
    if answer.len() as u64 > ANSWER_LIMIT {
        return Err(too_large());
    }
    Ok(String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The answer went beyond [`ANSWER_LIMIT`].
pub fn too_large() -> Failed {
    Failed::new(format!("its answer is larger than {} MiB", ANSWER_LIMIT >> 20), "")
}
