//! The whole configuration of one run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tables::app::App;
use super::tables::build::BuildPlace;
use super::tables::health::Health;
use super::tables::hooks::Hook;
use super::tables::load_balancer::LoadBalancer;
use super::tables::migrate::Migrate;
use super::tables::secrets::SecretSource;
use super::tables::servers::Server;
use super::tables::shared::Shared;
use super::tables::source::Source;
use super::tables::timeouts::Timeouts;
use crate::name::ServerName;
use crate::ssh::options::Ssh;
use crate::web::Web;

/// Is everything one run needs to know about its stack.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, as given.
    pub file: PathBuf,
    /// The directory that relative local paths (`[source] path`, key files) start from: the file's own.
    pub base: PathBuf,
    /// `[app]`.
    pub app: App,
    /// The web server template with this stack's parameters filled in (`[app] web_server`, `[web]`).
    pub web: Web,
    /// `[source]`.
    pub source: Source,
    /// `[ssh]`.
    pub ssh: Ssh,
    /// `[[servers]]`, host ranges expanded, in the file's order; names are unique.
    pub servers: Vec<Server>,
    /// `[load_balancer]`.
    pub balancer: Option<LoadBalancer>,
    /// `[health]`.
    pub health: Option<Health>,
    /// `[build] run`, in order.
    pub build: Vec<String>,
    /// `[build] on`.
    pub build_on: BuildPlace,
    /// `[migrate]`.
    pub migrate: Option<Migrate>,
    /// `[shared]`.
    pub shared: Shared,
    /// `[env]`.
    pub env: BTreeMap<String, String>,
    /// `[secrets]`: where each value comes from; the values themselves are read when a run starts.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `[[hooks]]`, in the file's order.
    pub hooks: Vec<Hook>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
}

impl Config {
    /// Finds a server by its name.
    pub fn server(&self, name: &ServerName) -> Option<&Server> {
        self.servers.iter().find(|s| &s.name == name)
    }
}
