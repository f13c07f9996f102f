//! SSH: one connection per server for the whole run, with a limit on everything that waits.
//!
//! [`Link`] is a destination that can be (re)connected, [`Session`] one live connection. Owns authentication, host keys
//! and the discipline of the channels; knows nothing of deploys.

pub mod address;
mod algorithms;
pub mod auth;
pub mod bastion;
pub mod config;
mod connect;
mod exec;
mod forward;
pub mod hop;
mod keys;
pub mod known_hosts;
pub mod lines;
pub mod network;
mod offers;
pub mod options;
mod pace;
mod peer;
mod proxy;
pub mod session;
pub mod settings;
mod short_scalar;
mod signing;
mod tunnel;
mod upload;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

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
    /// Everything else that was decided.
    pub settings: Arc<settings::Settings>,
    /// The known hosts, parsed once.
    pub known_hosts: Arc<known_hosts::KnownHosts>,
    /// What carries the connection.
    pub via: Via,
    /// The places that it leads through, itself last: two targets with the same way are one.
    pub way: Vec<String>,
}

/// What carries a connection.
#[derive(Debug, Clone)]
pub enum Via {
    /// TCP from here.
    Direct,
    /// Another host.
    Jump(Arc<bastion::Bastion>),
    /// A command's standard input and output.
    Command(String),
}

/// What all connections of a run share; held in an `Arc`.
pub struct Shared {
    /// Limit on opening a channel and starting a command.
    pub channel_timeout: Duration,
    /// How many connections may be in their handshake at once.
    pub connecting: tokio::sync::Semaphore,
    /// Asks the person; without a terminal it answers `None` at once.
    pub ask: Arc<dyn Ask>,
    /// Keys read so far, so that a passphrase is asked for once.
    pub keys: auth::Keys,
    /// One question, or one touch of a security key, at a time.
    pub person: tokio::sync::Mutex<()>,
    /// The shell that runs a `ProxyCommand`.
    pub shell: Option<String>,
}

/// Limit on opening a channel and starting a command.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Handshakes at once: the key exchange is where connections cost processor time.
const CONNECTING: usize = 64;

impl Shared {
    /// Prepares what all connections share; `shell` is the environment's `SHELL`.
    pub fn new(ask: Arc<dyn Ask>, shell: Option<String>) -> Self {
        Self {
            channel_timeout: CHANNEL_TIMEOUT,
            connecting: tokio::sync::Semaphore::new(CONNECTING),
            ask,
            keys: auth::Keys::default(),
            person: tokio::sync::Mutex::default(),
            shell,
        }
    }
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
    /// Whether a configuration named it, or it is one of the usual ones.
    pub configured: bool,
    /// Whether it is an error when it is missing: pitcrew.toml named it. ssh passes over one that only its own names.
    pub must: bool,
}

/// Asks the person at the terminal.
pub trait Ask: Send + Sync {
    /// Asks for the passphrase of a key file. Blocks; `None`: nobody to ask, or nothing was typed.
    fn passphrase(&self, key: &Path) -> Option<String>;

    /// Tells whether there is anybody to ask.
    fn anybody(&self) -> bool {
        false
    }

    /// Asks what a server wants to know, a password for example; `echo`: what is typed may be seen. Blocks; `None`: nobody
    /// to ask.
    fn answer(&self, question: &str, echo: bool) -> Option<String> {
        let _ = (question, echo);
        None
    }

    /// Tells that a security key waits to be touched.
    fn touch(&self, key: &str) {
        let _ = key;
    }
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
    /// What the last line of its output holds, one of these: servers tell an exit status before the output that came first,
    /// and without that line more of it is waited for. Empty: nobody knows.
    pub last_words: Vec<String>,
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

/// One of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What is heard of a command while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line without its newline, cut at 8 KiB (an answer of a script of ours at 64 KiB); invalid UTF-8 is replaced; control characters are still in it.
    Line(Pipe, &'a str),
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

pub use exec::Left;
pub use network::Network;
pub use session::{Link, Session};
