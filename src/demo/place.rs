//! Addresses and ports for a fleet on this machine's loopback, so that many fleets run side by side.
//!
//! Linux answers on all of 127.0.0.0/8, so every server gets an address of its own and all share one application port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Servers a fleet may have.
pub(super) const MOST_SERVERS: usize = 8 * PER_NET;
/// Servers of one network; the rest of the 254 is for balancers and the claim.
const PER_NET: usize = 180;
/// Balancers a fleet may have.
pub(super) const MOST_BALANCERS: usize = 4;
/// Where the claim listens: outside the range that Linux hands out for port 0.
const CLAIM: u16 = 20_254;

/// Loopback networks that no other fleet on this machine uses while this value lives.
#[derive(Debug)]
pub(super) struct Place(Vec<Net>);

#[derive(Debug)]
struct Net {
    net: [u8; 2],
    _claim: TcpListener,
}

impl Place {
    /// Claims networks for so many servers.
    ///
    /// # Errors
    ///
    /// The last failure to listen, when no claim could be made: without 127.0.0.0/8 (not Linux) every attempt fails.
    pub(super) fn claim(servers: usize) -> io::Result<Self> {
        (0..servers.div_ceil(PER_NET).max(1)).map(|_| Net::claim()).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the address of the server with this index, from 0.
    pub(super) fn server(&self, index: usize) -> IpAddr {
        self.host(index / PER_NET, 1 + index % PER_NET)
    }

    /// Returns the address of the balancer with this index, from 0.
    pub(super) fn balancer(&self, index: usize) -> IpAddr {
        self.host(0, 200 + index)
    }

    fn host(&self, net: usize, last: usize) -> IpAddr {
        // More servers than claimed never get here.
        let [x, y] = self.0.get(net).map_or([0, 0], |net| net.net);
        Ipv4Addr::new(127, x, y, u8::try_from(last).unwrap_or(u8::MAX)).into()
    }

    /// Finds a port that is free on all these addresses, outside the range of port 0.
    ///
    /// # Errors
    ///
    /// The last failure to listen.
    pub(super) fn port(&self, addresses: &[IpAddr], taken: &[u16]) -> io::Result<u16> {
        let mut last = None;
        for _ in 0..64 {
            let port = rand::random_range(20_300..32_000);
            if taken.contains(&port) {
                continue;
            }
            match addresses.iter().try_for_each(|ip| TcpListener::bind(SocketAddr::new(*ip, port)).map(drop)) {
                Ok(()) => return Ok(port),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no attempt was made")))
    }
}

impl Net {
    fn claim() -> io::Result<Self> {
        let mut last = None;
        for _ in 0..32 {
            // Not 127.0.x.y, where other programs listen, and not 127.53.x.y of systemd-resolved fame.
            let net = [rand::random_range(64..=250), rand::random_range(1..=250)];
            match TcpListener::bind((Ipv4Addr::new(127, net[0], net[1], 254), CLAIM)) {
                Ok(claim) => return Ok(Self { net, _claim: claim }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no attempt was made")))
    }
}

/// Tells where a server's loopback really is.
///
/// Its own address for `localhost`, 127.0.0.1 and ::1, itself for another
/// loopback address, and nowhere for the rest of the world.
pub fn place_of(host: &str, own: IpAddr) -> Option<IpAddr> {
    match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" | "127.0.0.1" | "::1" => Some(own),
        other => other.parse::<IpAddr>().ok().filter(IpAddr::is_loopback),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_never_share_a_network() {
        let (one, two) = (Place::claim(300).unwrap(), Place::claim(3).unwrap());
        assert_eq!((one.0.len(), two.0.len()), (2, 1));
        assert!(one.0.iter().all(|net| net.net != two.0[0].net) && one.0[0].net != one.0[1].net);
        assert_ne!(one.server(0), one.server(PER_NET));
        assert_ne!(one.server(0), one.balancer(0));
    }

    #[test]
    fn only_loopback_is_reached() {
        let own: IpAddr = "127.9.9.1".parse().unwrap();
        assert_eq!(place_of("localhost", own), Some(own));
        assert_eq!(place_of("::1", own), Some(own));
        assert_eq!(place_of("127.9.9.2", own), Some("127.9.9.2".parse().unwrap()));
        assert_eq!(place_of("10.0.0.1", own), None);
        assert_eq!(place_of("example.com", own), None);
    }
}
