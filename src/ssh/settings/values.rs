//! The settings of one connection, as values. `decide` makes them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ssh::algorithms::Lists;
use crate::ssh::config::SettingOrigin;
use crate::ssh::hop::Hop;
use crate::ssh::options::HostKeyChecking;

/// The port of SSH.
pub(super) const PORT: u16 = 22;

/// Everything that is decided about one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Host or address to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login user.
    pub user: String,
    /// The way to it.
    pub route: Approach,
    /// Key files to offer, in order.
    pub identities: Vec<Identity>,
    /// Certificates to offer, beside those next to the keys.
    pub certificates: Vec<PathBuf>,
    /// Whether the agent's other keys are not offered.
    pub identities_only: bool,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// The agent to lend to the server; `None` unless the configuration asks for it.
    pub forward: Option<PathBuf>,
    /// The known hosts files. New keys are recorded in the first, if it is the user's.
    pub known_hosts: Vec<PathBuf>,
    /// The number of them that are the user's.
    pub own_known_hosts: usize,
    /// Whether new keys are recorded under hashed names.
    pub hashes_names: bool,
    /// The program that prints further keys of a host, and its arguments.
    ///
    /// The tokens of a key are not expanded in them.
    pub keys_command: Vec<String>,
    /// Whether a host at a loopback address may show any key.
    pub trusts_localhost: bool,
    /// The name under which the host is looked up there.
    pub alias: Option<String>,
    /// The list of keys that are never trusted.
    pub revoked: Option<PathBuf>,
    /// What happens when the key is unknown.
    pub checking: HostKeyChecking,
    /// Limit on TCP, handshake and authentication, each.
    pub connect_timeout: Duration,
    /// The limit on authentication.
    pub auth_timeout: Duration,
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// Unanswered keepalives after which the connection is lost.
    pub keepalives: usize,
    /// The addresses that are tried.
    pub family: Family,
    /// The address to connect from.
    pub bind: Option<IpAddr>,
    /// The algorithms that are offered.
    pub algorithms: Lists,
    /// Ways to log in, in order.
    pub methods: Vec<Method>,
    /// Most attempts at a password.
    pub prompts: usize,
    /// Whether `BatchMode` forbids questions to a person.
    pub batch: bool,
    /// Every setting in words, with its origin.
    pub explained: Vec<Explained>,
}

/// The way to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approach {
    /// TCP to its address.
    Direct,
    /// Through these hosts, the nearest first.
    Jump(Vec<Hop>),
    /// Through the standard input and output of a command.
    Command(String),
}

/// The addresses that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All addresses.
    Any,
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With keys and certificates.
    PublicKey,
    /// By answering the questions of the server.
    Interactive,
    /// With a password.
    Password,
}

/// A setting in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name in ssh_config(5).
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Its origin.
    pub from: SettingOrigin,
}

/// The role of a host in the run: `user`, `port` and `identity_file` of pitcrew.toml are about servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A server or a balancer.
    Server,
    /// A host on the way.
    Hop,
}

/// A key file to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The file.
    pub path: PathBuf,
    /// Whether a configuration names it; `false`: it is one of the usual files.
    pub configured: bool,
    /// Whether a missing file is an error: pitcrew.toml names it.
    ///
    /// As ssh does, pitcrew passes over a missing file that only ssh_config names.
    pub must: bool,
}

impl Settings {
    /// Tells whether the agent is to be lent to the server, whether or not there is an agent.
    pub fn is_to_lend(&self) -> bool {
        self.explained.iter().any(|e| e.name == "ForwardAgent" && !matches!(e.value.as_str(), "no" | "false"))
    }

    /// Returns the name and port under which the host's key is looked up.
    pub fn known_as(&self) -> (&str, u16) {
        // An alias stands alone, as in ssh.
        self.alias.as_deref().map_or((&self.host, self.port), |alias| (alias, PORT))
    }
}
