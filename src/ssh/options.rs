//! What `[ssh]` of pitcrew.toml can say.
//!
//! Values only; `settings` decides what they mean for one connection.

use std::path::PathBuf;
use std::time::Duration;

/// `[ssh]` of pitcrew.toml: each value wins over ssh_config, which decides the rest.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// `user`.
    pub user: Option<String>,
    /// `port`.
    pub port: Option<u16>,
    /// `identity_file`, with `~` not yet expanded; empty when the file does not set it.
    pub identity_files: Vec<PathBuf>,
    /// `known_hosts`, with `~` not yet expanded; empty when the file does not set it.
    pub known_hosts: Vec<PathBuf>,
    /// `host_key_checking`.
    pub host_key_checking: Option<HostKeyChecking>,
    /// `config_file`.
    pub config_file: ConfigFile,
    /// `connect_timeout`: the limit on TCP and on the handshake, each.
    pub connect_timeout: Option<Duration>,
    /// `auth_timeout`: the limit on authentication.
    pub auth_timeout: Option<Duration>,
    /// `jump`, written as `ProxyJump` is.
    pub jump: Option<String>,
    /// `forward_agent`.
    pub forward_agent: Option<bool>,
}

/// Which ssh_config pitcrew reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// `~/.ssh/config` and `/etc/ssh/ssh_config`, as ssh does.
    Usual,
    /// This file alone, as with `ssh -F`; `~` is not yet expanded.
    Path(PathBuf),
    /// None.
    Off,
}

/// What happens when the host key is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyChecking {
    /// pitcrew refuses the host.
    Strict,
    /// pitcrew records the key and accepts it. It refuses a changed key all the same.
    AcceptNew,
}
