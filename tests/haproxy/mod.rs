//! The HAProxy adapter against the real haproxy, whichever way leads to it: its socket, its master's, a program on its
//! host, or a Data Plane API beside it.
//!
//! Everything listens on unix sockets in a directory of its own, but for agents, sshds and APIs on loopback ports.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set itself up has failed")]

mod api;
mod dataplane;
mod master;
mod members;
mod neighbours;
mod proxy;
mod relay;
mod sshd;
