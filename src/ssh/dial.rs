//! Connects by TCP: resolves a name and tries its addresses, each for its share of the limit.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::settings::Family;
use super::target::Target;
use super::unreachable::{Obstacle, Silence, Unresolved};

/// A new TCP connection.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    /// Time that it took to connect: one round trip.
    pub(super) took: Duration,
}

/// Why TCP failed.
pub(super) struct NotDialled {
    pub(super) why: Obstacle,
    /// Whether the name server or the host looks busy, so that another attempt may help.
    pub(super) is_passing: bool,
}

/// Connects to the first address that answers.
pub(super) async fn dial(target: &Target, limit: Duration) -> Result<Dialled, NotDialled> {
    let deadline = Instant::now() + limit;
    let addresses =
        resolve(target, limit).await.map_err(|why| NotDialled { why: Obstacle::Name(why), is_passing: true })?;
    let mut failures = Vec::new();
    let mut is_passing = false;
    for (i, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let began = Instant::now();
        let failure = match timeout(share, open(*address, target.settings.bind)).await {
            Ok(Ok(stream)) => return Ok(Dialled { stream, took: began.elapsed() }),
            Ok(Err(e)) => {
                is_passing |= e.kind() == std::io::ErrorKind::ConnectionReset;
                Silence::Io(e.into())
            }
            Err(_) => Silence::Silent(share),
        };
        failures.push(((addresses.len() > 1).then(|| address.ip()), failure));
    }
    Err(NotDialled { why: Obstacle::Addresses(failures), is_passing })
}

/// Resolves the target's name to the addresses of its family.
async fn resolve(target: &Target, limit: Duration) -> Result<Vec<SocketAddr>, Unresolved> {
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let family = target.settings.family;
    let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((host, target.port))).await {
        Ok(Ok(found)) => found.filter(|a| family.takes(a)).collect(),
        Ok(Err(e)) => return Err(Unresolved::Io(e.into())),
        Err(_) => return Err(Unresolved::Silent(limit)),
    };
    match (addresses.is_empty(), family) {
        (false, _) => Ok(addresses),
        (true, Family::Any) => Err(Unresolved::NoAddress),
        (true, Family::Four | Family::Six) => Err(Unresolved::OtherFamily),
    }
}

async fn open(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<TcpStream> {
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
