//! Makes a connection: name, TCP, handshake, authentication, each within its limit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use russh::SshId;
use russh::client::{Config, Handle, connect_stream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::auth::{self, Outcome};
use super::bastion::Place;
use super::forward::Lent;
use super::known_hosts::Known;
use super::peer::{Broken, End, Peer, reason};
use super::proxy::{LAST_WORDS, Proxy};
use super::session::{Made, Session};
use super::settings::Family;
use super::wire::{Carrier, Wire};
use super::{ConnectError, ConnectErrorKind, Shared, Target, Via};
/// The only bound on a blocked write; must exceed the keepalive's interval, which is not watched meanwhile.
const INACTIVITY: Duration = Duration::from_secs(90);
/// Attempts, when a server that is busy (sshd's `MaxStartups`) or a name server failed.
const ATTEMPTS: u32 = 6;

/// Connects and authenticates.
pub(super) async fn connect(target: &Target, shared: &Arc<Shared>) -> Result<Arc<Session>, ConnectError> {
    // Each passphrase costs one connection more: none is held while a person types.
    let mut asked = 0;
    loop {
        let Shaken { mut handle, made, permit } = handshake_with_retries(target, shared).await?;
        let outcome = auth::authenticate(&mut handle, &made.end, target, shared, permit).await;
        if let Outcome::Silent(limit) = outcome {
            made.cut.cancel();
            let what = format!("no answer to authentication within {} s", limit.as_secs_f32());
            return Err(unreachable(target, what, "Look at the server's sshd log, or raise connect_timeout."));
        }
        let session = Session::new(handle, made, shared.channel_timeout);
        match outcome {
            Outcome::Accepted => return Ok(Arc::new(session)),
            Outcome::Failed(e) => {
                session.close().await;
                return Err(e);
            }
            Outcome::Locked(path) => {
                session.close().await;
                asked += 1;
                if asked > target.settings.identities.len() {
                    return Err(unreachable(target, format!("{} stays locked", path.display()), ""));
                }
                shared.keys.unlock(&path, shared).await;
            }
            Outcome::Silent(_) => {}
        }
    }
}

/// A connection whose handshake is done.
struct Shaken<'a> {
    handle: Handle<Peer>,
    made: Made,
    permit: SemaphorePermit<'a>,
}

/// One attempt's failure.
struct Failure {
    error: ConnectError,
    /// It looks like a busy server or name server, before anything was proven or refused.
    passing: bool,
}

fn lasting(error: ConnectError) -> Failure {
    Failure { error, passing: false }
}

async fn handshake_with_retries<'a>(target: &Target, shared: &'a Arc<Shared>) -> Result<Shaken<'a>, ConnectError> {
    let mut deadline = None;
    let mut attempt = 1;
    loop {
        // The way there first: whoever waits for it holds nobody else up.
        let place = match &target.via {
            Via::Jump(bastion) => Some(bastion.place().await.map_err(|e| behind(target, bastion.target(), e))?),
            Via::Direct | Via::Command(_) => None,
        };
        let permit = shared.connecting.acquire().await.map_err(|_| unreachable(target, "shutting down".into(), ""))?;
        // Waiting for one's turn does not count.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + target.settings.connect_timeout);
        let failure = match handshake(target, shared, place).await {
            Ok((handle, made)) => return Ok(Shaken { handle, made, permit }),
            Err(failure) => failure,
        };
        drop(permit);
        // Jitter, so that connections refused together do not come back together.
        let pause = Duration::from_millis(rand::rng().random_range(150..450)) * attempt;
        if !failure.passing || attempt >= ATTEMPTS || Instant::now() + pause >= deadline {
            return Err(failure.error);
        }
        attempt += 1;
        sleep(pause).await;
    }
}

/// Says that the way to a server failed, and where.
fn behind(target: &Target, at: &Target, e: ConnectError) -> ConnectError {
    let detail = format!("cannot reach {} through {}: {}", auth::place(target), at.name, e.detail);
    ConnectError { detail, ..e }
}

async fn handshake(
    target: &Target,
    shared: &Arc<Shared>,
    place: Option<Place>,
) -> Result<(Handle<Peer>, Made), Failure> {
    let settings = &target.settings;
    let limit = settings.connect_timeout;
    let (mut complaint, mut round_trip) = (None, None);
    let carrier = match (&target.via, place) {
        (Via::Jump(bastion), Some(place)) => {
            let stream = timeout(limit, place.stream(&target.host, target.port)).await;
            let stream = stream.unwrap_or_else(|_| Err((format!("no answer within {} s", limit.as_secs_f32()), false)));
            let stream = stream.map_err(|(why, passing)| {
                let why = format!("{} cannot reach it: {why}", bastion.target().name);
                let hint = "Check the address and port as the jump host sees them, and AllowTcpForwarding there.";
                Failure { error: unreachable(target, why, hint), passing }
            })?;
            Carrier::Other(Box::new(stream))
        }
        (Via::Command(command), _) => {
            let started = Proxy::start(command, shared.shell.as_deref());
            let (proxy, said) = started.map_err(|e| {
                let why = format!("its ProxyCommand `{command}` cannot be started: {e}");
                lasting(unreachable(target, why, "Correct ProxyCommand."))
            })?;
            complaint = Some(said);
            Carrier::Other(Box::new(proxy))
        }
        _ => {
            let (stream, took) = tcp(target, limit).await?;
            round_trip = Some(took);
            Carrier::Tcp(stream)
        }
    };
    let cut = CancellationToken::new();
    // The library's task would outlive a handshake that is given up.
    let guard = cut.clone().drop_guard();
    let wire = Wire::new(carrier, cut.clone()).map_err(|e| lasting(unreachable(target, e.to_string(), "")))?;
    let end = End::new();
    let (refused, refusals) = mpsc::unbounded_channel();
    let lent = Lent::new(settings.forward.as_ref());
    let peer = Peer { target: target.clone(), end: end.clone(), lent, refusals: refused };
    let (host, port) = settings.known_as();
    let config = Arc::new(config(target, &target.known_hosts.of(host, port)));
    let result = timeout(limit, connect_stream(config, wire, peer)).await;
    // A command that failed has said why, or is about to.
    let said = || async {
        let complaint = complaint.as_ref()?;
        sleep(LAST_WORDS).await;
        complaint.text().map(|text| format!("; its ProxyCommand said: {text}"))
    };
    match result {
        Ok(Ok(handle)) => {
            guard.disarm();
            Ok((handle, Made { end, refusals, cut, lends: settings.forward.is_some(), round_trip }))
        }
        Ok(Err(Broken::HostKey(error))) => Err(lasting(error)),
        Ok(Err(Broken::Ssh(e))) => {
            let why = end.get().filter(|_| matches!(e, russh::Error::Disconnect)).unwrap_or_else(|| reason(&e));
            let (why, hint) = match (&target.via, said().await) {
                (Via::Command(command), said) => (
                    format!("{why}{}", said.unwrap_or_else(|| "; its ProxyCommand said nothing".into())),
                    format!("Run `{command}` by hand: a line that begins with SSH-2.0 must appear."),
                ),
                _ => (
                    why,
                    "Check that sshd listens there, and whether MaxStartups or a firewall turns connections away."
                        .into(),
                ),
            };
            Err(Failure { error: unreachable(target, why, &hint), passing: passing(&e) })
        }
        Err(_) => {
            let why =
                format!("it accepted the connection, but no SSH handshake was made within {} s", limit.as_secs_f32());
            let why = format!("{why}{}", said().await.unwrap_or_default());
            Err(lasting(unreachable(target, why, "Check that sshd listens on that port, or raise connect_timeout.")))
        }
    }
}

/// Tells whether a handshake failed as it does when sshd is busy: it drops connections beyond `MaxStartups`.
fn passing(e: &russh::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match e {
        russh::Error::Disconnect | russh::Error::HUP => true,
        russh::Error::IO(e) => matches!(e.kind(), ConnectionReset | BrokenPipe | ConnectionAborted | UnexpectedEof),
        _ => false,
    }
}

/// Connects to the first address that answers, and tells how long that took; each has its share of the limit.
async fn tcp(target: &Target, limit: Duration) -> Result<(TcpStream, Duration), Failure> {
    let deadline = Instant::now() + limit;
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let unknown = |why: String| Failure {
        error: unreachable(target, format!("its name cannot be resolved: {why}"), "Check the host's name and DNS."),
        passing: true,
    };
    let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((host, target.port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(e)) => return Err(unknown(e.to_string())),
        Err(_) => return Err(unknown(format!("no answer within {} s", limit.as_secs_f32()))),
    };
    let family = target.settings.family;
    let addresses: Vec<SocketAddr> = addresses.into_iter().filter(|a| family.takes(a)).collect();
    if addresses.is_empty() {
        return Err(unknown(
            if family == Family::Any { "it has no address" } else { "it has no address of the AddressFamily" }.into(),
        ));
    }
    let mut failures = Vec::new();
    let mut passing = false;
    for (i, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let began = Instant::now();
        let failure = match timeout(share, dial(*address, target.settings.bind)).await {
            Ok(Ok(stream)) => return Ok((stream, began.elapsed())),
            Ok(Err(e)) => {
                passing |= e.kind() == std::io::ErrorKind::ConnectionReset;
                e.to_string()
            }
            Err(_) => format!("no answer within {:.1} s", share.as_secs_f32()),
        };
        failures.push(if addresses.len() == 1 { failure } else { format!("{}: {failure}", address.ip()) });
    }
    let hint = "Check the address, the port, and the firewalls between.";
    Err(Failure { error: unreachable(target, failures.join("; "), hint), passing })
}

async fn dial(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

impl Family {
    fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Four => address.is_ipv4(),
            Self::Six => address.is_ipv6(),
        }
    }
}

fn unreachable(target: &Target, why: String, hint: &str) -> ConnectError {
    ConnectError {
        kind: ConnectErrorKind::Unreachable,
        detail: format!("cannot connect to {}: {why}", auth::place(target)),
        hint: hint.to_owned(),
    }
}

fn config(target: &Target, known: &Known) -> Config {
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
