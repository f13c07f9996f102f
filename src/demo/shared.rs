//! What all connections of one server share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::PublicKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::held::held;
use super::log::{Kind, Log};

/// What makes one server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// As the fleet names it.
    pub name: String,
    /// Where it listens; port 0 is replaced by a free one.
    pub at: SocketAddr,
    /// Its directory tree; HOME is `home/deploy` in it.
    pub root: PathBuf,
    /// The one user it knows.
    pub user: String,
    /// The one key that user has.
    pub key: PublicKey,
    /// The login shell and its first arguments; `-c COMMAND` follows.
    pub shell: Vec<String>,
    /// Environment of every command, besides HOME, USER, LOGNAME, SHELL, PATH and LANG.
    pub env: Vec<(String, String)>,
    /// Sessions open at once on one connection, as sshd's MaxSessions.
    pub max_sessions: usize,
    /// Added to everything that is sent, in each direction.
    pub delay: Duration,
    /// Where it writes what happens.
    pub log: Log,
    /// What goes wrong.
    pub faults: Faults,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ServerOptions,
    pub(super) config: Arc<russh::server::Config>,
    pub(super) host_key: PublicKey,
    pub(super) connections: Mutex<HashMap<u64, CancellationToken>>,
    pub(super) up: watch::Sender<bool>,
    pub(super) listening: watch::Sender<bool>,
    pub(super) connected: AtomicU64,
    pub(super) execs: AtomicU64,
    pub(super) received: Arc<AtomicU64>,
    /// False once the server is gone; locked while a process starts, so that none outlives the fleet.
    pub(super) may_spawn: Mutex<bool>,
}

impl Shared {
    pub(super) fn add(&self, kind: Kind) {
        self.options.log.add(&self.options.name, kind);
    }

    pub(super) fn next_exec(&self) -> u64 {
        self.execs.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn home(&self) -> PathBuf {
        home(&self.options)
    }

    pub(super) fn kill(&self) {
        self.up.send_replace(false);
        self.cut_all();
    }

    pub(super) fn cut_all(&self) {
        for (_, cut) in held(&self.connections).drain() {
            cut.cancel();
        }
    }
}

pub(super) fn home(options: &ServerOptions) -> PathBuf {
    options.root.join("home").join(&options.user)
}
