//! The connection itself: kept, shared, ended; and what is opened on it.
//!
//! How a connection is made lies in `connect`, how a command is run in `exec`.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, Disconnect};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::peer::{End, Peer, reason, said};
use super::tunnel::Tunnel;
use super::{ConnectError, Ended, Exec, Heard, Shared, Target, connect, exec};

/// Limit on saying goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Limit on what was left in the middle: being told to end, and ending.
const LAST_WORDS: Duration = Duration::from_millis(1000);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long a channel may still be waited for after the caller gave up, only to close it.
const ABANDONED_LIMIT: Duration = Duration::from_secs(300);
/// Pauses between attempts to connect again.
const REGAIN: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_millis(700), Duration::from_secs(2), Duration::from_secs(3)];
/// Limit on a command that is there for its effect on the connection.
const HURRY_LIMIT: Duration = Duration::from_secs(10);
/// The description of a refusal follows the refusal itself at once.
const DESCRIPTION_LIMIT: Duration = Duration::from_millis(200);

/// A destination that is connected when first needed, and again when its connection was lost.
pub struct Link {
    target: Target,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Attempts that have ended, for callers to see that one ended while they waited.
    attempts: std::sync::atomic::AtomicU64,
    /// It was connected before and is worth waiting for: a restart of sshd, a moment without network.
    hopeful: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    failure: Option<ConnectError>,
}

/// One live connection.
pub struct Session {
    pub(super) handle: Arc<Handle<Peer>>,
    pub(super) end: End,
    pub(super) channel_timeout: Duration,
    /// Commands that run.
    pub(super) running: std::sync::atomic::AtomicUsize,
    /// Commands that were left in the middle and have not been told to end yet.
    pub(super) leaving: exec::Leaving,
    /// Whether commands are given the agent.
    pub(super) lends: bool,
    /// How long a packet took there and back when the connection was made; `None` behind other hosts and commands.
    pub(super) round_trip: Option<Duration>,
    /// The channel for the next command, opened while one runs: that saves it a round trip.
    ahead: std::sync::Mutex<Ahead>,
    /// It has had a command.
    commanded: std::sync::atomic::AtomicBool,
    refusals: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
    cut: CancellationToken,
    /// Severs the connection when the session is dropped: tunnels hold parts of it that would keep it alive.
    _cut_on_drop: DropGuard,
}

/// A byte stream through the connection (`direct-tcpip`, `direct-streamlocal`); it ends with its [`Session`].
///
/// Reading never holds the connection up: what is not read is kept, up to 8 MiB, beyond which reading fails.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

impl Link {
    /// Makes a link; nothing is connected yet.
    pub fn new(target: Target, shared: Arc<Shared>) -> Self {
        Self { target, shared, state: Mutex::default(), attempts: Default::default(), hopeful: Default::default() }
    }

    /// A link to the same destination, with a connection of its own.
    pub fn beside(&self) -> Self {
        Self::new(self.target.clone(), self.shared.clone())
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The live session; connects, or connects again when the one before was lost. Concurrent callers share one attempt.
    pub async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        use std::sync::atomic::Ordering::SeqCst;
        let seen = self.attempts.load(SeqCst);
        let mut state = self.state.lock().await;
        if let Some(live) = state.session.as_ref().filter(|s| s.ended().is_none()) {
            return Ok(live.clone());
        }
        // An attempt failed while this caller waited for it: that is its answer too.
        if self.attempts.load(SeqCst) != seen
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        *state = State::default();
        let made = connect::connect(&self.target, &self.shared).await;
        match &made {
            Ok(session) => {
                state.session = Some(session.clone());
                self.hopeful.store(true, SeqCst);
            }
            Err(failure) => state.failure = Some(failure.clone()),
        }
        self.attempts.fetch_add(1, SeqCst);
        made
    }

    /// The session, if it is there and nobody makes it anew right now.
    pub(super) fn live(&self) -> Option<Arc<Session>> {
        self.state.try_lock().ok()?.session.as_ref().filter(|s| s.ended().is_none()).cloned()
    }

    /// The live session; one that was lost is tried for again for some seconds, once.
    ///
    /// # Errors
    /// As [`Self::session`], after the last attempt.
    pub async fn regain(&self) -> Result<Arc<Session>, ConnectError> {
        use std::sync::atomic::Ordering::SeqCst;
        for pause in REGAIN {
            match self.session().await {
                Err(e) if e.kind == super::ConnectErrorKind::Unreachable && self.hopeful.load(SeqCst) => {
                    tokio::time::sleep(pause).await;
                }
                other => return other,
            }
        }
        // Whoever asks next need not wait as long for nothing.
        self.hopeful.store(false, SeqCst);
        self.session().await
    }

    /// Ends the connection cleanly, within a limit.
    pub async fn close(&self) {
        // Whoever connects right now holds the state; dropping it all severs that connection later.
        let Ok(mut state) = timeout(CLOSE_LIMIT, self.state.lock()).await else { return };
        if let Some(session) = state.session.take() {
            session.close().await;
        }
    }
}

/// Where the channel for the next command stands.
#[derive(Default)]
enum Ahead {
    #[default]
    None,
    /// Being opened, or open.
    Asked(oneshot::Receiver<Channel<Msg>>),
    /// The server has refused one: it is not asked again.
    Never,
}

/// What belongs to a connection beside its handle.
pub(super) struct Made {
    pub(super) end: End,
    pub(super) refusals: mpsc::UnboundedReceiver<String>,
    pub(super) cut: CancellationToken,
    pub(super) lends: bool,
    pub(super) round_trip: Option<Duration>,
}

/// Why a channel could not be opened.
pub(super) enum NotOpen {
    /// The server refused it, or did not answer.
    Refused(String),
    /// The connection is gone.
    Lost(String),
}

impl Session {
    pub(super) fn new(handle: Handle<Peer>, made: Made, channel_timeout: Duration) -> Self {
        let Made { end, refusals, cut, lends, round_trip } = made;
        let _cut_on_drop = cut.clone().drop_guard();
        let (handle, refusals) = (Arc::new(handle), Arc::new(Mutex::new(refusals)));
        Self {
            handle,
            end,
            channel_timeout,
            running: Default::default(),
            leaving: Default::default(),
            lends,
            round_trip,
            ahead: Default::default(),
            commanded: Default::default(),
            refusals,
            cut,
            _cut_on_drop,
        }
    }

    /// Runs a command to its end. Never hangs: limits, the session's end and `stop` are all watched. Errors are values of
    /// [`Ended`]. `heard` must not block: while it runs, nothing of this connection is read.
    pub async fn exec(&self, exec: Exec, heard: &mut (dyn FnMut(Heard<'_>) + Send), stop: &CancellationToken) -> Ended {
        self.commanded.store(true, std::sync::atomic::Ordering::SeqCst);
        exec::run(self, exec, heard, stop).await
    }

    /// Has the server send small answers at once, also through tunnels: sshd sets TCP_NODELAY with the first command of a
    /// connection, and holds each second packet back for a round trip until then. Waits for nothing; where commands are
    /// refused it stays as it is.
    pub fn hurry(self: &Arc<Self>) {
        if self.commanded.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        let session = self.clone();
        tokio::spawn(async move {
            let exec = Exec { command: "true".to_owned(), limit: Some(HURRY_LIMIT), ..Exec::default() };
            exec::run(&session, exec, &mut |_| {}, &CancellationToken::new()).await;
        });
    }

    /// Opens a TCP connection from the server to `host:port`; the error is a fragment: "connection refused".
    pub async fn direct_tcpip(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, String> {
        let (handle, host) = (self.handle.clone(), host.to_owned());
        let open = async move { handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await };
        self.tunnel(open).await
    }

    /// Opens a unix socket on the server.
    pub async fn direct_streamlocal(&self, path: &str) -> Result<Box<dyn Stream>, String> {
        let (handle, path) = (self.handle.clone(), path.to_owned());
        self.tunnel(async move { handle.channel_open_direct_streamlocal(path).await }).await
    }

    async fn tunnel<F>(&self, open: F) -> Result<Box<dyn Stream>, String>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        match self.open(open).await {
            Ok(channel) => Ok(Box::new(Tunnel::new(channel, self.end.clone()))),
            Err(NotOpen::Refused(why)) => Err(why),
            Err(NotOpen::Lost(why)) => Err(format!("the connection was lost: {why}")),
        }
    }

    /// Takes the channel that was opened ahead, if there is one and the server has not closed it since.
    pub(super) async fn take_ahead(&self) -> Option<Channel<Msg>> {
        let asked = {
            let mut ahead = self.ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match std::mem::take(&mut *ahead) {
                Ahead::Asked(asked) => asked,
                other => {
                    *ahead = other;
                    return None;
                }
            }
        };
        let answer = tokio::select! {
            answer = timeout(self.channel_timeout, asked) => answer,
            _ = self.end.wait() => return None,
        };
        match answer {
            Ok(Ok(mut channel)) => loop {
                match channel.wait().now_or_never() {
                    None => return Some(channel),
                    Some(None | Some(ChannelMsg::Close | ChannelMsg::Eof)) => return None,
                    Some(Some(_)) => {}
                }
            },
            Ok(Err(_)) => {
                *self.ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Ahead::Never;
                None
            }
            Err(_) => None,
        }
    }

    /// Opens the channel for the next command, unless that is done.
    pub(super) fn open_ahead(&self) {
        let mut ahead = self.ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if matches!(*ahead, Ahead::None) {
            let (opened, asked) = oneshot::channel();
            *ahead = Ahead::Asked(asked);
            let (handle, refusals) = (self.handle.clone(), self.refusals.clone());
            // A refusal is not waited for by anybody but the next command, which then opens its own.
            tokio::spawn(async move {
                match timeout(ABANDONED_LIMIT, handle.channel_open_session()).await {
                    Ok(Ok(channel)) => {
                        if let Err(late) = opened.send(channel) {
                            let _ = timeout(CLOSE_LIMIT, late.close()).await;
                        }
                    }
                    // Its description must not be taken for that of another.
                    Ok(Err(_)) => drop(timeout(DESCRIPTION_LIMIT, latest(&refusals)).await),
                    Err(_) => {}
                }
            });
        }
    }

    /// Opens a channel within the limit. A channel that opens later than that is closed at once.
    pub(super) async fn open<F>(&self, open: F) -> Result<Channel<Msg>, NotOpen>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        let (opened, answer) = oneshot::channel();
        let refusals = self.refusals.clone();
        let end = self.end.clone();
        tokio::spawn(async move {
            let result = match timeout(ABANDONED_LIMIT, open).await {
                Ok(Ok(channel)) => Ok(channel),
                Ok(Err(russh::Error::ChannelOpenFailure(kind))) => {
                    let text = timeout(DESCRIPTION_LIMIT, latest(&refusals)).await;
                    Err(NotOpen::Refused(refusal(&kind, text.ok().flatten())))
                }
                Ok(Err(e)) => Err(NotOpen::Lost(end.get().unwrap_or_else(|| reason(&e)))),
                Err(_) => return,
            };
            // Nobody waits any more: an open channel would count against the server's limit for ever.
            if let Err(Ok(late)) = opened.send(result) {
                let _ = timeout(CLOSE_LIMIT, late.close()).await;
            }
        });
        let limit = self.channel_timeout;
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| Err(NotOpen::Lost(self.lost()))),
            why = self.end.wait() => Err(NotOpen::Lost(why)),
            () = tokio::time::sleep(limit) => {
                Err(NotOpen::Refused(format!("the server did not open a channel within {} s", limit.as_secs())))
            }
        }
    }

    /// Tells whether the connection has ended, and why.
    pub fn ended(&self) -> Option<String> {
        self.end.get()
    }

    pub(super) fn lost(&self) -> String {
        self.ended().unwrap_or_else(|| "the connection ended".into())
    }

    /// Cuts the connection off without a word: whoever needs it next connects anew.
    pub(super) fn sever(&self, why: &str) {
        self.end.set(|| why.to_owned());
        self.cut.cancel();
    }

    /// Counts something that has to end before the connection does: it waits a moment for that.
    pub fn leave(&self) -> exec::Left {
        self.leaving.one()
    }

    /// Ends the connection: a goodbye, and a cut when that takes too long.
    pub(super) async fn close(&self) {
        let told = async {
            while !self.leaving.is_done() && self.ended().is_none() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = timeout(LAST_WORDS, told).await;
        let goodbye = async {
            self.handle.disconnect(Disconnect::ByApplication, "", "").await.ok();
            // The packet leaves only while the session's task still runs.
            self.end.wait().await
        };
        if timeout(CLOSE_LIMIT, goodbye).await.is_err() {
            self.end.set(|| "it was closed".into());
        }
        self.cut.cancel();
    }
}

/// The newest description: the library gives it without saying whose it is, and an older one was missed by its own.
async fn latest(refusals: &Mutex<mpsc::UnboundedReceiver<String>>) -> Option<String> {
    let mut refusals = refusals.lock().await;
    let mut text = refusals.recv().await?;
    while let Ok(newer) = refusals.try_recv() {
        text = newer;
    }
    Some(text)
}

fn refusal(kind: &ChannelOpenFailure, text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let kind = match kind {
        ChannelOpenFailure::AdministrativelyProhibited => "the server's configuration forbids it",
        ChannelOpenFailure::ConnectFailed => "the server could not connect to it",
        ChannelOpenFailure::UnknownChannelType => "the server does not know how",
        ChannelOpenFailure::ResourceShortage => "the server has no room for it",
        ChannelOpenFailure::Other { reason, .. } => return said(&format!("{reason} {text}")),
    };
    // sshd says "open failed" where it has nothing to say.
    if text.is_empty() || text == "open failed" {
        return kind.into();
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}
