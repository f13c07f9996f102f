//! Destinations, and what carries the connections to them.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::error::ConnectError;
use super::known_hosts::KnownHosts;
use super::refused::NotOpen;
use super::settings::Settings;
use super::stream::ByteStream;

/// A destination, with everything that is needed to connect to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name for messages.
    pub name: String,
    /// Host or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login user.
    pub user: String,
    /// Everything else that was decided.
    pub settings: Arc<Settings>,
    /// The known hosts, parsed once for all targets.
    pub known_hosts: Arc<KnownHosts>,
    /// What carries the connection.
    pub via: Transport,
    /// The places on the way, the target itself last. Two targets with the same way are one.
    pub way: Vec<String>,
}

/// What carries a connection.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP from this machine.
    Direct,
    /// A connection to another host. This is the one recursion of SSH: a link through a link.
    Through(Arc<dyn Carrier>),
    /// The standard input and output of a command.
    Command(String),
}

/// Another host, whose connections carry streams to targets.
pub trait Carrier: Debug + Send + Sync {
    /// Returns the destination of that host.
    fn target(&self) -> &Target;

    /// Takes a place in a connection to that host.
    ///
    /// Connects where there is no connection, or too little room.
    fn place(&self) -> BoxFuture<'_, Result<Box<dyn Passage>, ConnectError>>;
}

/// A place in a connection to another host.
pub trait Passage: Send {
    /// Opens a stream to `host:port` as that host sees it. The stream keeps the place.
    fn stream<'a>(self: Box<Self>, host: &'a str, port: u16) -> BoxFuture<'a, Result<Box<dyn ByteStream>, NotOpen>>;
}

impl Target {
    /// Returns the destination as people type it: `deploy@web1:22`.
    pub fn place(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }

    /// Returns the way as people read it: `ann@bastion:22 > deploy@web1:22`.
    pub fn way_shown(&self) -> String {
        if self.way.is_empty() { self.place() } else { self.way.join(" > ") }
    }

    /// Tells whether another target has the same way and settings: another name may come with another key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let bare = |s: &Settings| Settings { explained: Vec::new(), ..s.clone() };
        self.way == other.way && bare(&self.settings) == bare(&other.settings)
    }
}
