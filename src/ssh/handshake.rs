//! Opens the stream below a connection and makes the SSH handshake on it, each within its limit.

use std::sync::Arc;
use std::time::Duration;

use russh::SshId;
use russh::client::{Config, Handle, connect_stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::commons::Commons;
use super::dial::{Dialled, dial};
use super::end::End;
use super::error::ConnectError;
use super::forward::Lending;
use super::gate::{Gate, Stage, Turn};
use super::keys_command;
use super::known_hosts::{KnownHost, ToldKeys, Whom};
use super::lost::Lost;
use super::peer::{Broken, Peer};
use super::proxy::{Complaint, LAST_WORDS, Proxy};
use super::refused::NotOpen;
use super::session::Made;
use super::target::{Passage, Target, Transport};
use super::unreachable::{NoStream, Obstacle, ProxyCommand};
use super::wire::{Medium, Wire};

/// The only limit on a blocked write.
///
/// It exceeds the interval of keepalives, which are not sent meanwhile.
const INACTIVITY: Duration = Duration::from_secs(90);

/// How sshd turns away a connection beyond `MaxStartups`.
const BUSY: &str = "Exceeded MaxStartups";

/// A connection after its handshake.
pub(super) struct Shaken {
    pub(super) handle: Handle<Peer>,
    pub(super) made: Made,
    /// Its turn at key exchanges, which authentication keeps.
    pub(super) turn: Turn,
}

/// Why one handshake failed.
pub(super) struct NotShaken {
    pub(super) error: ConnectError,
    /// Whether the server or the name server looks busy, before anything was proven or refused.
    pub(super) is_passing: bool,
}

/// The stream below a connection.
struct Ground {
    medium: Medium,
    /// The last words of the `ProxyCommand` that carries it.
    complaint: Option<Complaint>,
    round_trip: Option<Duration>,
}

/// Makes one attempt; `passage` is the place in the connection to the host on the way.
pub(super) async fn handshake(
    target: &Target,
    commons: &Commons,
    passage: Option<Box<dyn Passage>>,
) -> Result<Shaken, NotShaken> {
    let settings = &target.settings;
    let Ground { medium, complaint, round_trip } = ground(target, commons, passage).await?;
    let cut = CancellationToken::new();
    // The library's task would outlive a handshake that is given up.
    let guard = cut.clone().drop_guard();
    let (gate, turn, stage) = Gate::new(Arc::clone(&commons.exchanging));
    // As in ssh, what a jump host or a command reaches is not local, wherever it leads.
    let is_local =
        matches!(&medium, Medium::Tcp(tcp) if tcp.peer_addr().is_ok_and(|a| a.ip().to_canonical().is_loopback()));
    let wire =
        Wire::new(medium, cut.clone(), Some(gate)).map_err(|e| failed(target, Obstacle::Socket(e.into()), false))?;
    let end = End::new();
    let (refused, refusals) = mpsc::unbounded_channel();
    let lent = settings.forward.clone().map(Lending::new);
    let told = if is_local && settings.trusts_localhost {
        Ok(ToldKeys::default())
    } else {
        keys_command::ask(settings, None).await
    };
    let told = told.map_err(|e| NotShaken { error: e.into(), is_passing: false })?;
    let (host, port) = settings.known_as();
    let config = Arc::new(config(target, &target.known_hosts.of(Whom { host, port, told: &told })));
    let peer = Peer { target: target.clone(), is_local, told, end: end.clone(), lent: lent.clone(), refusals: refused };
    let limit = settings.connect_timeout;
    match patiently(limit, stage.clone(), connect_stream(config, wire, peer)).await {
        Some(Ok(handle)) => {
            guard.disarm();
            if let Some(lending) = &lent {
                lending.bind(handle.agent_session_binding());
            }
            Ok(Shaken { handle, made: Made { end, refusals, cut, lent, round_trip }, turn })
        }
        Some(Err(Broken::HostKey(e))) => Err(NotShaken { error: e.into(), is_passing: false }),
        Some(Err(Broken::Ssh(e))) => {
            let told = end.get().filter(|_| matches!(e, russh::Error::Disconnect));
            let source = told.unwrap_or_else(|| Lost::from(&e));
            let proxy = match &target.via {
                Transport::Command(command) => {
                    Some(ProxyCommand { command: command.clone(), said: last_words(complaint).await })
                }
                Transport::Direct | Transport::Through(_) => None,
            };
            let is_busy = matches!(&source, Lost::Answered(text) if text.starts_with(BUSY)) || is_passing(&e);
            // A command that did not come to speak SSH has failed for a reason of its own: it may open a browser each time.
            let is_mute = proxy.is_some() && *stage.borrow() == Stage::Silent;
            Err(failed(target, Obstacle::Handshake { source, proxy }, is_busy && !is_mute))
        }
        None => {
            let said = last_words(complaint).await;
            Err(failed(target, Obstacle::NoHandshake { limit, said }, false))
        }
    }
}

/// Waits for a handshake: so long for the first word, and so long for the key exchange.
///
/// Waiting for the turn does not count.
async fn patiently<T>(
    limit: Duration,
    mut stage: watch::Receiver<Stage>,
    handshake: impl Future<Output = T>,
) -> Option<T> {
    let mut handshake = std::pin::pin!(handshake);
    loop {
        let now = *stage.borrow_and_update();
        let next = async {
            // The gate goes when the exchange begins, and with it the last change.
            if now == Stage::Exchanging || stage.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let over = async {
            match now {
                Stage::Queued => std::future::pending().await,
                Stage::Silent | Stage::Exchanging => sleep(limit).await,
            }
        };
        tokio::select! {
            biased;
            done = &mut handshake => return Some(done),
            () = next => {}
            () = over => return None,
        }
    }
}

/// Opens the stream.
async fn ground(target: &Target, commons: &Commons, passage: Option<Box<dyn Passage>>) -> Result<Ground, NotShaken> {
    let limit = target.settings.connect_timeout;
    match (&target.via, passage) {
        (Transport::Through(carrier), Some(passage)) => {
            let refused = |why: NoStream, is_passing| {
                failed(target, Obstacle::Through(carrier.target().name.clone(), why), is_passing)
            };
            let stream = timeout(limit, passage.stream(&target.host, target.port)).await;
            let stream = stream.map_err(|_| refused(NoStream::Silent(limit), false))?;
            let stream = stream.map_err(|why| {
                let is_lost = matches!(why, NotOpen::Lost(_));
                refused(NoStream::NotOpen(why), is_lost)
            })?;
            Ok(Ground { medium: Medium::Other(stream), complaint: None, round_trip: None })
        }
        (Transport::Command(command), _) => {
            let started = Proxy::start(command, commons.shell.as_deref());
            let (proxy, complaint) = started.map_err(|e| {
                let why = Obstacle::NoProxy { command: command.clone(), source: e.into() };
                failed(target, why, false)
            })?;
            Ok(Ground { medium: Medium::Other(Box::new(proxy)), complaint: Some(complaint), round_trip: None })
        }
        _ => {
            let dialled = dial(target, limit).await.map_err(|e| failed(target, e.why, e.is_passing))?;
            let Dialled { stream, took } = dialled;
            Ok(Ground { medium: Medium::Tcp(stream), complaint: None, round_trip: Some(took) })
        }
    }
}

/// Returns the last words of a `ProxyCommand`: one that failed may be about to say why.
async fn last_words(complaint: Option<Complaint>) -> Option<String> {
    let complaint = complaint?;
    sleep(LAST_WORDS).await;
    complaint.text()
}

fn failed(target: &Target, why: Obstacle, is_passing: bool) -> NotShaken {
    NotShaken { error: ConnectError::unreachable(target.place(), why), is_passing }
}

/// Tells whether a handshake failed as it does when sshd is busy.
///
/// sshd drops connections beyond `MaxStartups`.
fn is_passing(e: &russh::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match e {
        russh::Error::Disconnect | russh::Error::HUP => true,
        russh::Error::IO(e) => matches!(e.kind(), ConnectionReset | BrokenPipe | ConnectionAborted | UnexpectedEof),
        _ => false,
    }
}

fn config(target: &Target, known: &KnownHost) -> Config {
    let settings = &target.settings;
    Config {
        client_id: SshId::Standard(concat!("SSH-2.0-pitcrew_", env!("CARGO_PKG_VERSION")).into()),
        nodelay: true,
        keepalive_interval: Some(settings.keepalive),
        keepalive_max: settings.keepalives,
        inactivity_timeout: Some(INACTIVITY.max(settings.keepalive * 4)),
        preferred: settings.algorithms.preferred(known),
        ..Config::default()
    }
}
