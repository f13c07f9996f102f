//! What an adapter may need of the stack around it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Server, SshHost};
use crate::name::ServerName;
use crate::ssh;
use crate::text::redact::Redactor;

/// What an adapter may need of the stack around it.
#[derive(Default)]
pub struct Around {
    /// `[app] name`.
    pub app: String,
    /// The directory of the configuration file.
    pub base: PathBuf,
    /// All servers that are behind the balancer.
    pub servers: Vec<Server>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// Masks those values in what commands print.
    pub redactor: Redactor,
    /// Connections to the hosts of [`LoadBalancer::hosts`], made when first used.
    pub hosts: BTreeMap<SshHost, Arc<ssh::Link>>,
    /// Connections to the servers, made when first used.
    pub links: BTreeMap<ServerName, Arc<ssh::Link>>,
}

impl Around {
    /// The servers' names in the balancer.
    pub fn names(&self) -> Vec<String> {
        self.servers.iter().flat_map(|s| s.lb.clone()).collect()
    }
}
