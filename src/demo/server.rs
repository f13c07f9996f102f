//! An SSH server in this process that stands for one machine.
//!
//! It has its own address, directory tree and host key.
//!
//! Owns listening, connections and their end. One connection is `session`, one command `exec`, one forward `stream`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey, PublicKey};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::held::held;
use super::log::Kind;
pub use super::shared::ServerOptions;
use super::shared::{Shared, home};
use super::{session, wire};

/// How long a client may take from connecting to its last key exchange packet.
const GREETING: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends its connections; the processes it started are the fleet's to end.
#[derive(Debug)]
pub struct SshServer {
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

impl SshServer {
    /// Makes a host key, creates the directory tree and listens.
    ///
    /// # Errors
    ///
    /// Directories cannot be created, or nothing can listen at [`ServerOptions::at`].
    pub async fn start(mut options: ServerOptions) -> std::io::Result<Self> {
        std::fs::create_dir_all(home(&options))?;
        let listener = TcpListener::bind(options.at).await?;
        options.at = listener.local_addr()?;
        let host_key =
            PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map_err(std::io::Error::other)?;
        let public = host_key.public_key().clone();
        let config = russh::server::Config {
            keys: vec![host_key],
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            methods: russh::MethodSet::from(&[russh::MethodKind::PublicKey][..]),
            max_auth_attempts: 6,
            // Bounds what a command that does not read its input can make us hold, without blocking the connection and
            // so the signal that is to end that command: 1024 packets of at most 32 KiB.
            channel_buffer_size: 1024,
            inactivity_timeout: None,
            nodelay: true,
            ..Default::default()
        };
        let shared = Arc::new(Shared {
            options,
            config: Arc::new(config),
            host_key: public,
            connections: Mutex::default(),
            up: watch::channel(true).0,
            listening: watch::channel(true).0,
            connected: AtomicU64::new(0),
            execs: AtomicU64::new(0),
            received: Arc::default(),
            may_spawn: Mutex::new(true),
        });
        let listening = tokio::spawn(listen(Arc::clone(&shared), listener));
        Ok(Self { shared, listening })
    }

    /// Returns its name in the fleet.
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// Returns where it listens.
    pub fn at(&self) -> SocketAddr {
        self.shared.options.at
    }

    /// Returns its address.
    pub fn ip(&self) -> IpAddr {
        self.shared.options.at.ip()
    }

    /// Returns the root of its directory tree.
    pub fn root(&self) -> &Path {
        &self.shared.options.root
    }

    /// Returns the login user's home directory.
    pub fn home(&self) -> PathBuf {
        home(&self.shared.options)
    }

    /// Returns how many bytes it has been sent over all its connections, everything that SSH adds included.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Returns its host key.
    pub fn host_key(&self) -> &PublicKey {
        &self.shared.host_key
    }

    /// Returns its line for a known_hosts file.
    ///
    /// # Errors
    ///
    /// The key cannot be encoded.
    pub fn known_hosts_line(&self) -> std::io::Result<String> {
        let key = self.shared.host_key.to_openssh().map_err(std::io::Error::other)?;
        Ok(format!("[{}]:{} {key}", self.ip(), self.at().port()))
    }

    /// Cuts all its connections; new ones are welcome.
    pub fn cut(&self) {
        self.shared.cut_all();
    }

    /// Cuts all its connections and refuses new ones.
    ///
    /// Its processes go on, as on a machine whose network is gone.
    /// Returns when the port is closed.
    pub async fn kill(&self) {
        self.shared.kill();
        let _ = self.shared.listening.subscribe().wait_for(|listening| !listening).await;
    }

    /// Listens again after [`Self::kill`], with the same key at the same place. Returns when it does.
    pub async fn revive(&self) {
        self.shared.up.send_replace(true);
        let _ = self.shared.listening.subscribe().wait_for(|listening| *listening).await;
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.listening.abort();
        *held(&self.shared.may_spawn) = false;
        self.shared.up.send_replace(false);
        self.shared.cut_all();
    }
}

async fn listen(shared: Arc<Shared>, first: TcpListener) {
    let mut up = shared.up.subscribe();
    let mut listener = Some(first);
    loop {
        let Some(open) = &listener else {
            if up.wait_for(|up| *up).await.map(drop).is_err() {
                return;
            }
            match TcpListener::bind(shared.options.at).await {
                Ok(bound) => {
                    listener = Some(bound);
                    shared.listening.send_replace(true);
                }
                // Old connections may still hold the port for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => match accepted {
                Ok((tcp, _)) => {
                    tokio::spawn(connection(Arc::clone(&shared), tcp));
                }
                // Out of file descriptors, or a client that is gone already.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            _ = async { up.wait_for(|up| !up).await.map(drop) } => {
                listener = None;
                shared.listening.send_replace(false);
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, tcp: tokio::net::TcpStream) {
    let id = shared.connected.fetch_add(1, Ordering::Relaxed);
    let cut = CancellationToken::new();
    held(&shared.connections).insert(id, cut.clone());
    // Killed between accepting and registering: the cut has passed this connection by.
    if !*shared.up.borrow() {
        cut.cancel();
    }
    let _ = tcp.set_nodelay(true);
    let peer = tcp.peer_addr().ok();
    let received = Arc::clone(&shared.received);
    let near = InspectReader::new(wire::lay(tcp, shared.options.delay, cut.clone()), move |bytes: &[u8]| {
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let handler = session::Connection::new(Arc::clone(&shared), id, peer, cut.clone());
    let greeted =
        tokio::time::timeout(GREETING, russh::server::run_stream(Arc::clone(&shared.config), near, handler)).await;
    if let Ok(Ok(running)) = greeted {
        let _ = running.await;
    }
    // Whatever still serves this connection's channels hears of its end by this.
    cut.cancel();
    held(&shared.connections).remove(&id);
    shared.add(Kind::Disconnected { connection: id });
}
