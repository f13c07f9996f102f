//! Opens the stream below a connection and makes the SSH handshake on it, each within its limit.

use std::sync::Arc;
use std::time::Duration;

use russh::SshId;
use russh::client::{Config, Handle, connect_stream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::commons::Commons;
use super::dial::{Dialled, dial};
use super::end::End;
use super::error::ConnectError;
use super::forward::Lent;
use super::known_hosts::KnownHost;
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

/// A connection after its handshake.
pub(super) struct Shaken {
    pub(super) handle: Handle<Peer>,
    pub(super) made: Made,
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
    let wire = Wire::new(medium, cut.clone()).map_err(|e| failed(target, Obstacle::Socket(e.into()), false))?;
    let end = End::new();
    let (refused, refusals) = mpsc::unbounded_channel();
    let lent = Lent::new(settings.forward.as_ref());
    let peer = Peer { target: target.clone(), end: end.clone(), lent, refusals: refused };
    let (host, port) = settings.known_as();
    let config = Arc::new(config(target, &target.known_hosts.of(host, port)));
    let limit = settings.connect_timeout;
    match timeout(limit, connect_stream(config, wire, peer)).await {
        Ok(Ok(handle)) => {
            guard.disarm();
            let lends = settings.forward.is_some();
            Ok(Shaken { handle, made: Made { end, refusals, cut, lends, round_trip } })
        }
        Ok(Err(Broken::HostKey(e))) => Err(NotShaken { error: e.into(), is_passing: false }),
        Ok(Err(Broken::Ssh(e))) => {
            let told = end.get().filter(|_| matches!(e, russh::Error::Disconnect));
            let source = told.unwrap_or_else(|| Lost::from(&e));
            let proxy = match &target.via {
                Transport::Command(command) => {
                    Some(ProxyCommand { command: command.clone(), said: last_words(complaint).await })
                }
                Transport::Direct | Transport::Through(_) => None,
            };
            Err(failed(target, Obstacle::Handshake { source, proxy }, is_passing(&e)))
        }
        Err(_) => {
            let said = last_words(complaint).await;
            Err(failed(target, Obstacle::NoHandshake { limit, said }, false))
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
