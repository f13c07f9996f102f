//! Makes a connection: name, TCP, handshake, authentication, each within its limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use russh::client::{Config, Handle, connect_stream};
use russh::{Preferred, SshId, cipher, compression, kex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::auth::{self, Outcome};
use super::known_hosts::Known;
use super::peer::{Broken, End, Peer, reason};
use super::session::Session;
use super::wire::Wire;
use super::{ConnectError, ConnectErrorKind, Shared, Target};

/// Silence after which the server is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered questions after which it is not.
const KEEPALIVES: usize = 3;
/// The only bound on a blocked write; must exceed the keepalive's interval, which is not watched meanwhile.
const INACTIVITY: Duration = Duration::from_secs(90);
/// Attempts, when a server that is busy (sshd's `MaxStartups`) or a name server failed.
const ATTEMPTS: u32 = 3;

/// Connects and authenticates.
pub(super) async fn connect(target: &Target, shared: &Arc<Shared>) -> Result<Arc<Session>, ConnectError> {
    // Each passphrase costs one connection more: none is held while a person types.
    let mut asked = 0;
    loop {
        let (mut handle, parts) = handshake_with_retries(target, shared).await?;
        let limit = shared.connect_timeout;
        let outcome = timeout(limit, auth::authenticate(&mut handle, &parts.end, target, shared)).await;
        match outcome {
            Ok(Outcome::Accepted) => {
                let session = Session::new(handle, parts.end, parts.refusals, parts.cut, shared.channel_timeout);
                return Ok(Arc::new(session));
            }
            Ok(Outcome::Failed(e)) => {
                let session = Session::new(handle, parts.end, parts.refusals, parts.cut, shared.channel_timeout);
                session.close().await;
                return Err(e);
            }
            Ok(Outcome::Locked(path)) => {
                drop(parts.permit);
                let session = Session::new(handle, parts.end, parts.refusals, parts.cut, shared.channel_timeout);
                session.close().await;
                asked += 1;
                if asked > shared.identities.len() {
                    return Err(unreachable(target, format!("{} stays locked", path.display()), ""));
                }
                shared.keys.unlock(&path, &shared.ask).await;
            }
            Err(_) => {
                parts.cut.cancel();
                let what = format!("no answer to authentication within {} s", limit.as_secs_f32());
                return Err(unreachable(target, what, "Look at the server's sshd log, or raise connect_timeout."));
            }
        }
    }
}

/// What belongs to a connection beside its handle.
struct Parts<'a> {
    end: End,
    refusals: mpsc::UnboundedReceiver<String>,
    cut: CancellationToken,
    permit: tokio::sync::SemaphorePermit<'a>,
}

/// One attempt's failure.
struct Failure {
    error: ConnectError,
    /// It looks like a busy server or name server, before anything was proven or refused.
    passing: bool,
}

async fn handshake_with_retries<'a>(
    target: &Target,
    shared: &'a Arc<Shared>,
) -> Result<(Handle<Peer>, Parts<'a>), ConnectError> {
    let mut deadline = None;
    let mut attempt = 1;
    loop {
        let permit = shared.connecting.acquire().await.map_err(|_| unreachable(target, "shutting down".into(), ""))?;
        // Waiting for one's turn does not count.
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + shared.connect_timeout);
        let failure = match handshake(target, shared).await {
            Ok((handle, end, refusals, cut)) => return Ok((handle, Parts { end, refusals, cut, permit })),
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

type Shaken = (Handle<Peer>, End, mpsc::UnboundedReceiver<String>, CancellationToken);

async fn handshake(target: &Target, shared: &Arc<Shared>) -> Result<Shaken, Failure> {
    let limit = shared.connect_timeout;
    let tcp = tcp(target, limit).await?;
    let cut = CancellationToken::new();
    // The library's task would outlive a handshake that is given up.
    let guard = cut.clone().drop_guard();
    let lasting = |error| Failure { error, passing: false };
    let wire = Wire::new(tcp, cut.clone()).map_err(|e| lasting(unreachable(target, e.to_string(), "")))?;
    let end = End::new();
    let (refused, refusals) = mpsc::unbounded_channel();
    let peer = Peer { target: target.clone(), shared: shared.clone(), end: end.clone(), refusals: refused };
    let config = Arc::new(config(&shared.known_hosts.of(&target.host, target.port)));
    match timeout(limit, connect_stream(config, wire, peer)).await {
        Ok(Ok(handle)) => {
            guard.disarm();
            Ok((handle, end, refusals, cut))
        }
        Ok(Err(Broken::HostKey(error))) => Err(lasting(error)),
        Ok(Err(Broken::Ssh(e))) => {
            let why = end.get().filter(|_| matches!(e, russh::Error::Disconnect)).unwrap_or_else(|| reason(&e));
            let hint = "Check that sshd listens there, and whether MaxStartups or a firewall turns connections away.";
            Err(Failure { error: unreachable(target, why, hint), passing: passing(&e) })
        }
        Err(_) => {
            let why =
                format!("it accepted the connection, but no SSH handshake was made within {} s", limit.as_secs_f32());
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

/// Connects to the first address that answers; each has its share of the limit.
async fn tcp(target: &Target, limit: Duration) -> Result<TcpStream, Failure> {
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
    if addresses.is_empty() {
        return Err(unknown("it has no address".into()));
    }
    let mut failures = Vec::new();
    let mut passing = false;
    for (i, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
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

fn unreachable(target: &Target, why: String, hint: &str) -> ConnectError {
    ConnectError {
        kind: ConnectErrorKind::Unreachable,
        detail: format!("cannot connect to {}: {why}", auth::place(target)),
        hint: hint.to_owned(),
    }
}

fn config(known: &Known) -> Config {
    let mut exchanges = vec![kex::MLKEM768X25519_SHA256, kex::CURVE25519, kex::CURVE25519_PRE_RFC_8731];
    // Servers bound to FIPS 140 have only these.
    exchanges.extend([kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    // The rest keeps its order, and with it the names that announce extensions and the strict exchange.
    let rest: Vec<_> = Preferred::DEFAULT.kex.iter().filter(|k| !exchanges.contains(k)).copied().collect();
    exchanges.extend(rest);
    Config {
        client_id: SshId::Standard(concat!("SSH-2.0-pitcrew_", env!("CARGO_PKG_VERSION")).into()),
        nodelay: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        inactivity_timeout: Some(INACTIVITY),
        preferred: Preferred {
            kex: exchanges.into(),
            key: known.algorithms().into(),
            host_key_certificates: known.certificate_algorithms().into(),
            cipher: vec![
                cipher::AES_128_GCM,
                cipher::AES_256_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
                cipher::AES_128_CTR,
            ]
            .into(),
            compression: vec![compression::NONE].into(),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}
