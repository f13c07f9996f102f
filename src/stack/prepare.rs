//! A stack that answers: connections to every server and balancer prepared, secrets read.
//!
//! Makes no connection itself, and asks nothing: `survey` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{secrets, terminal};
use crate::balancer::{Around, Balancer};
use crate::cli::{Global, Select};
use crate::config::{self, BalancerKind, Config, ConfigFile, LoadBalancer, Server};
use crate::error::Error;
use crate::name::ServerName;
use crate::plan::run_server::RunServer;
use crate::process::machine::{self, expand, home, local_user};
use crate::remote::Hosts;
use crate::script::calls::Site;
use crate::source;
use crate::ssh::config::{Local, Question};
use crate::ssh::{self, ConnectError, Link, Network};
use crate::text::redact::Redactor;

/// A stack that answers.
pub struct Stack {
    /// What the file, the profile and the flags ask for.
    pub config: Arc<Config>,
    /// A connection to each server, made when first used.
    pub links: Links,
    /// The balancer.
    pub balancer: Option<Arc<Balancer>>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// The values of `[secrets]`.
    pub secrets: Vec<(String, String)>,
    /// Masks those values.
    pub redactor: Redactor,
    /// The servers as hosts that scripts run on.
    pub hosts: Arc<Hosts>,
    /// The network that all connections go through.
    pub network: Network,
    balancer_links: Vec<Arc<Link>>,
}

type Links = BTreeMap<ServerName, Arc<Link>>;

impl Stack {
    /// Prepares connections to every server and balancer; makes none yet.
    ///
    /// # Errors
    /// When keys, known hosts or secrets cannot be read.
    pub async fn prepare(config: Config, global: &Global) -> Result<Self, Error> {
        let secrets = secrets::read(&config)?;
        Self::prepare_with(config, global, secrets).await
    }

    /// The same for a verb that starts nothing on a server.
    ///
    /// A secret that cannot be read is told, and left out.
    ///
    /// # Errors
    /// When keys or known hosts cannot be read.
    pub async fn prepare_to_look(config: Config, global: &Global) -> Result<Self, Error> {
        let secrets = secrets::read_some(&config);
        Self::prepare_with(config, global, secrets).await
    }

    async fn prepare_with(mut config: Config, global: &Global, secrets: Vec<(String, String)>) -> Result<Self, Error> {
        ssh::raise_open_files();
        if let Some(LoadBalancer { kind: BalancerKind::Haproxy { access, .. }, .. }) = &mut config.balancer
            && let Some(file) = &mut access.ca_file
        {
            *file = expand(&config.base, file)?;
        }
        let mut network = network(&config, global)?;
        network.limit_channels(config.timeouts.step);
        let servers = config.servers.iter().map(|s| question(&s.host, &s.user, s.port));
        let balancers = config.balancer.iter().flat_map(LoadBalancer::hosts);
        let balancers = balancers.map(|host| question(&host.host, &host.user, host.port));
        network.prepare(&servers.chain(balancers).collect::<Vec<_>>()).await.map_err(usage)?;
        let links = server_links(&config, &network)?;
        let mut balancer_links: Vec<Arc<Link>> = Vec::new();
        let mut hosts = BTreeMap::new();
        for host in config.balancer.iter().flat_map(LoadBalancer::hosts) {
            // A balancer that is also a server, or stands in the file twice, needs one connection only.
            let link = network.link(&host.host, &question(&host.host, &host.user, host.port)).map_err(usage)?;
            if !links.values().chain(&balancer_links).any(|l| Arc::ptr_eq(l, &link)) {
                balancer_links.push(link.clone());
            }
            hosts.insert(host, link);
        }
        let redactor = Redactor::new(secrets.iter().map(|(_, v)| v.as_str()));
        let redactor = redactor.and(&source::hidden(&config.source, &secrets));
        let env: Vec<(String, String)> = config.env.clone().into_iter().chain(secrets.clone()).collect();
        let around = Around {
            app: config.app.name.clone(),
            base: config.base.clone(),
            servers: config.servers.iter().filter(|s| s.is_web()).cloned().collect(),
            env: env.clone(),
            redactor: redactor.clone(),
            hosts,
            links: links.clone(),
        };
        let balancer = config.balancer.as_ref().map(|balancer| Balancer::new(balancer, around));
        let balancer = balancer.transpose().map_err(Error::usage)?;
        let balancer = balancer.map(|made| Arc::new(made.within(config.timeouts.step)));
        let hosts = Arc::new(Hosts::new(&links));
        let config = Arc::new(config);
        Ok(Self { config, links, balancer, env, secrets, redactor, hosts, network, balancer_links })
    }

    /// Returns what all remote scripts of the stack share.
    pub fn site(&self) -> Site<'_> {
        let app = &self.config.app;
        Site { deploy_to: &app.deploy_to, app: &app.name, web: &self.config.web, env: &self.env }
    }

    /// Lists all servers with their addresses and their names in the balancer.
    pub fn roster(&self) -> Vec<RunServer> {
        let listed = |server: &Server| RunServer {
            name: server.name.clone(),
            at: self.links.get(&server.name).map_or_else(|| server.host.clone(), |link| link.target().place()),
            lb: if self.balancer.is_some() && server.is_web() { server.lb.clone() } else { Vec::new() },
            batch: None,
        };
        self.config.servers.iter().map(listed).collect()
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.network.close().await;
    }

    /// Returns the servers of the run after `--only` and `--except`.
    ///
    /// # Errors
    /// When a name fits no server.
    pub fn select(&self, select: &Select) -> Result<Vec<ServerName>, Error> {
        Ok(config::select::select(&self.config.servers, &select.only, &select.except)?)
    }

    /// Returns the connections to balancers that are no servers of the stack.
    pub fn balancer_links(&self) -> &[Arc<Link>] {
        &self.balancer_links
    }
}

fn usage(error: ConnectError) -> Error {
    Error::usage(error.to_string()).hint(error.hint())
}

fn question(host: &str, user: &Option<String>, port: Option<u16>) -> Question {
    Question { host: host.to_owned(), user: user.clone(), port }
}

fn server_links(config: &Config, network: &Network) -> Result<Links, Error> {
    let mut links = Links::new();
    for server in &config.servers {
        let asked = question(&server.host, &server.user, server.port);
        let link = network.link(&server.name.0, &asked).map_err(usage)?;
        if let Some((other, _)) = links.iter().find(|(_, l)| Arc::ptr_eq(l, &link)) {
            let what = format!("{other} and {} are one server: {}", server.name, link.target().way_shown());
            return Err(Error::usage(what).hint("remove one of the two, or correct HostName in ssh's configuration"));
        }
        links.insert(server.name.clone(), link);
    }
    Ok(links)
}

/// Reads the settings that decide how servers are reached.
fn network(config: &Config, global: &Global) -> Result<Network, Error> {
    let mut ssh = config.ssh.clone();
    let named = match &mut ssh.config_file {
        ConfigFile::Path(path) => Some(path),
        ConfigFile::Usual | ConfigFile::Off => None,
    };
    for path in ssh.identity_files.iter_mut().chain(&mut ssh.known_hosts).chain(named) {
        if !path.starts_with("~") {
            *path = config.base.join(&*path);
        }
    }
    let local = Local {
        home: home()?,
        user: local_user(),
        uid: nix::unistd::getuid().as_raw(),
        host: machine::host(),
        env: Arc::new(|name| std::env::var(name).ok()),
    };
    Network::new(&ssh, local, terminal::asking(global)).map_err(usage)
}
