//! SSH: one connection per server for the whole run, with a limit on everything that waits.
//!
//! [`Link`] is a destination that can be (re)connected, [`Session`] one live connection. Owns authentication, host keys
//! and the discipline of the channels; knows nothing of deploys.

pub mod auth;
mod connect;
mod exec;
mod keys;
pub mod known_hosts;
pub mod lines;
mod peer;
pub mod session;
mod tunnel;
mod upload;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::config::HostKeyChecking;
use crate::event::Stream;

/// A destination, with all that is needed to connect to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// As people name it, for messages.
    pub name: String,
    /// Host or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login user.
    pub user: String,
}

/// What all connections of a run share; built once, held in an `Arc`.
pub struct Shared {
    /// Key files to offer, `~` expanded; a missing default one is skipped, a missing configured one is an error.
    pub identities: Vec<Identity>,
    /// Path of the agent's socket (`SSH_AUTH_SOCK`).
    pub agent: Option<PathBuf>,
    /// The known hosts, parsed once.
    pub known_hosts: known_hosts::KnownHosts,
    /// What an unknown key means.
    pub checking: HostKeyChecking,
    /// Limit on TCP, handshake and authentication, each.
    pub connect_timeout: Duration,
    /// Limit on opening a channel and starting a command.
    pub channel_timeout: Duration,
    /// How many connections may be in their handshake at once.
    pub connecting: tokio::sync::Semaphore,
    /// Asks for a passphrase; without a terminal it answers `None` at once.
    pub ask: Arc<dyn Ask>,
    /// Keys read so far, so that a passphrase is asked for once.
    pub keys: auth::Keys,
}

/// Limit on opening a channel and starting a command.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Handshakes at once: the key exchange is where connections cost processor time.
const CONNECTING: usize = 64;
/// Key files offered when none is configured, best first; a missing one is passed over.
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

impl Shared {
    /// Prepares what all connections share: expands paths and reads the known hosts. `home` and `agent` are the
    /// environment's `HOME` and `SSH_AUTH_SOCK`.
    pub fn new(
        ssh: &crate::config::Ssh,
        home: &Path,
        agent: Option<PathBuf>,
        ask: Arc<dyn Ask>,
    ) -> Result<Self, ConnectError> {
        let dot_ssh = home.join(".ssh");
        let mut identities: Vec<_> =
            ssh.identity_files.iter().map(|p| Identity { path: expand(p, home), configured: true }).collect();
        if identities.is_empty() {
            identities.extend(USUAL_KEYS.map(|name| Identity { path: dot_ssh.join(name), configured: false }));
        }
        let mut files: Vec<_> = ssh.known_hosts.iter().map(|p| expand(p, home)).collect();
        if files.is_empty() {
            files.extend(["known_hosts", "known_hosts2"].map(|name| dot_ssh.join(name)));
            files.push("/etc/ssh/ssh_known_hosts".into());
        }
        Ok(Self {
            identities,
            agent: agent.filter(|path| !path.as_os_str().is_empty()),
            known_hosts: known_hosts::KnownHosts::load(&files)?,
            checking: ssh.host_key_checking,
            connect_timeout: ssh.connect_timeout,
            channel_timeout: CHANNEL_TIMEOUT,
            connecting: tokio::sync::Semaphore::new(CONNECTING),
            ask,
            keys: auth::Keys::default(),
        })
    }
}

/// Replaces a leading `~/` by the home directory.
fn expand(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_path_buf(), |rest| home.join(rest))
}

/// Allows this process as many open files as the system lets it have: every connection takes one. A refusal changes
/// nothing; the connections that then find no room say so.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// macOS refuses more (`OPEN_MAX`), though its hard limit claims to be unlimited.
    const MOST: u64 = if cfg!(target_os = "macos") { 10_240 } else { 65_536 };
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(MOST);
        if soft < wanted {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
        }
    }
}

/// A key file to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the configuration named it, or it is one of the usual ones.
    pub configured: bool,
}

/// Asks the person at the terminal.
pub trait Ask: Send + Sync {
    /// Asks for the passphrase of a key file. Blocks; `None`: nobody to ask, or nothing was typed.
    fn passphrase(&self, key: &Path) -> Option<String>;
}

/// A command to execute, with all its input.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// The command line, as the login shell gets it.
    pub command: String,
    /// Sent first on its standard input.
    pub head: Bytes,
    /// Sent next.
    pub payload: Option<Payload>,
    /// Sent after that, as it comes; end of file when its senders are gone. Such a command waits for its input when there is
    /// none, which is no fault of anybody's.
    pub more: Option<More>,
    /// Ends the command (TERM, grace, KILL) when it runs longer.
    pub limit: Option<Duration>,
    /// [`Heard::Quiet`] is reported after so much silence; zero: never.
    pub quiet: Duration,
}

/// Input that is not there yet.
#[derive(Debug, Clone)]
pub struct More(Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>>);

impl More {
    /// Makes one, and what it is fed by.
    pub fn channel() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(Arc::new(tokio::sync::Mutex::new(receiver))))
    }

    async fn next(&self) -> Option<Bytes> {
        self.0.lock().await.recv().await
    }
}

/// A file that is sent, shared by all who send it.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Open for reading; read at offsets, never sought.
    pub file: Arc<std::fs::File>,
    /// Bytes.
    pub len: u64,
    /// Its content, where that is little: read once for all who send it.
    whole: Arc<tokio::sync::OnceCell<Bytes>>,
}

impl Payload {
    /// Sends a file.
    pub fn new(file: std::fs::File, len: u64) -> Self {
        Self { file: Arc::new(file), len, whole: Arc::default() }
    }
}

/// What is heard of a command while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line without its newline, cut at 8 KiB; invalid UTF-8 is replaced; control characters are still in it.
    Line(Stream, &'a str),
    /// So much of the input has been sent (head not counted).
    Sent(u64),
    /// Nothing has been heard or sent for so long.
    Quiet(Duration),
}

/// How a command ended. Only `Exit(0)` is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exit(u32),
    /// By this signal, without SIG.
    Signal(String),
    /// The channel closed without saying how.
    NoStatus,
    /// The connection was lost, for this reason.
    Lost(String),
    /// It ran into [`Exec::limit`] and was ended.
    TimedOut(Duration),
    /// The caller asked for its end, and it was ended.
    Stopped,
    /// The server refused the channel or the command: why.
    Refused(String),
}

/// Why no connection could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// At what point.
    pub kind: ConnectErrorKind,
    /// What happened, as a fragment that names host, port, key or file.
    pub detail: String,
    /// What to do next, as a sentence.
    pub hint: String,
}

/// At what point a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Name, route, refusal, silence, or handshake.
    Unreachable,
    /// The host key is unknown, changed or revoked.
    HostKey,
    /// No key was accepted.
    Auth,
    /// A local file is at fault: a key that cannot be read, known_hosts that cannot be parsed.
    Local,
}

pub use session::{Link, Session};
