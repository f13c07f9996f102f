//! Ports for servers that a test starts itself.

use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what Linux hands out by itself: a port that was free a moment ago may otherwise be the next one of any
/// connection, or of a test that asks for port 0.
const FIRST: u16 = 10_000;
const PORTS: u16 = 20_000;

/// A TCP port of the loopback address on which nothing listens, and that no other test gets, in this process or
/// another, until this one ends: a UDP socket on the same port is the claim.
pub fn own() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Two programs that run at once begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = start.wrapping_add(u32::from(step)) % u32::from(PORTS);
        let port = FIRST + u16::try_from(offset).expect("less than PORTS");
        let Ok(claim) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        // On every address: a server that listens on all of them is in the way, too.
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            CLAIMS.lock().expect("nothing panics while it holds this").push(claim);
            return port;
        }
    }
    panic!("no port is free");
}
