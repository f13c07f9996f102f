//! The fleet as a whole: starts its parts, knows where they are, and leaves nothing behind.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::balancer::{Balancer, BalancerOptions, CheckPlan, Level};
use super::faults::Faults;
use super::log::Log;
use super::place::{MOST_BALANCERS, MOST_SERVERS, Place};
use super::server::{ServerOptions, SshServer};
use super::{exec, processes};

/// The login user of all servers.
pub(super) const USER: &str = "deploy";
/// Where a balancer's runtime API is on its host.
pub(super) const SOCKET: &str = "run/haproxy/admin.sock";
/// The longest temporary directory: a unix socket's path has at most 107 bytes, of which ours takes 47.
const LONGEST_BASE: usize = 60;

/// What makes a fleet.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The program whose `demo-app` subcommand is the application.
    pub app: PathBuf,
    /// Servers, `s1` and on.
    pub servers: usize,
    /// Balancers, `lb1` and on; the first takes the traffic.
    pub balancers: usize,
    /// How the application restarts.
    pub web: WebKind,
    /// How long the application boots.
    pub boot: Duration,
    /// One-way delay to each server, by index; missing: none.
    pub delays: Vec<Duration>,
    /// The balancers' health checks.
    pub checks: Option<CheckPlan>,
    /// How the configuration reaches the balancers.
    pub reach: Reach,
    /// The login shell and its first arguments, before `-c`.
    pub shell: Vec<String>,
    /// Sessions at once on one connection.
    pub max_sessions: usize,
}

/// How the demo application restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebKind {
    /// By a signal, losing no request: strategy parallel.
    Reload,
    /// Stopped and started: strategy serial.
    Restart,
}

/// How the configuration reaches the balancers' runtime API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A unix socket through SSH.
    Ssh,
    /// The unix socket itself.
    Unix,
    /// A TCP port.
    Tcp,
}

impl FleetOptions {
    /// Describes three servers behind one balancer that run this program's `demo-app`.
    pub fn new(app: impl Into<PathBuf>) -> Self {
        Self {
            app: app.into(),
            servers: 3,
            balancers: 1,
            web: WebKind::Reload,
            boot: Duration::ZERO,
            delays: Vec::new(),
            checks: Some(CheckPlan { path: "/up".to_owned(), inter: Duration::from_millis(100), rise: 2, fall: 3 }),
            reach: Reach::Ssh,
            shell: vec!["/bin/sh".to_owned()],
            max_sessions: 10,
        }
    }
}

/// Why a fleet cannot do something.
#[derive(Debug)]
pub struct FleetError(String);

impl FleetError {
    pub(super) fn new(detail: impl fmt::Display) -> Self {
        Self(detail.to_string())
    }

    pub(super) fn with<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self(format!("{what}: {cause}"))
    }
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FleetError {}

/// A running fleet; dropping it ends every process and removes every file.
///
/// [`Fleet::stop`] does so without blocking a task.
#[derive(Debug)]
pub struct Fleet {
    pub(super) options: FleetOptions,
    pub(super) id: String,
    pub(super) servers: Vec<SshServer>,
    pub(super) hosts: Vec<SshServer>,
    pub(super) balancers: Vec<Balancer>,
    pub(super) ssh_port: u16,
    pub(super) app_port: u16,
    log: Log,
    faults: Faults,
    // The last to go: nothing may use them any more.
    directory: tempfile::TempDir,
    _place: Place,
}

impl Fleet {
    /// Starts servers and balancers; the application starts when it is deployed.
    ///
    /// # Errors
    ///
    /// Too many servers, no loopback network, or a file that cannot be written.
    pub async fn start(options: FleetOptions) -> Result<Self, FleetError> {
        if options.servers > MOST_SERVERS || options.balancers > MOST_BALANCERS {
            return Err(FleetError::new(format!(
                "cannot start more than {MOST_SERVERS} servers and {MOST_BALANCERS} balancers"
            )));
        }
        let place =
            Place::claim(options.servers).map_err(FleetError::with("cannot find a free network in 127.0.0.0/8"))?;
        let directory = directory()?;
        let id = directory.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let own: Vec<_> = (0..options.servers).map(|index| place.server(index)).collect();
        let all: Vec<_> = own.iter().copied().chain((0..options.balancers).map(|i| place.balancer(i))).collect();
        let port = |taken: &[u16]| place.port(&all, taken).map_err(FleetError::with("cannot find a free port"));
        let ssh_port = port(&[])?;
        let app_port = port(&[ssh_port])?;
        let mut fleet = Self {
            options,
            id,
            servers: Vec::new(),
            hosts: Vec::new(),
            balancers: Vec::new(),
            ssh_port,
            app_port,
            log: Log::default(),
            faults: Faults::default(),
            directory,
            _place: place,
        };
        fleet.write_key_and_template()?;
        let key = fleet.public_key()?;
        for (index, address) in all.iter().enumerate() {
            let name = match index.checked_sub(own.len()) {
                None => format!("s{}", index + 1),
                Some(balancer) => format!("lb{}", balancer + 1),
            };
            let at = SocketAddr::new(*address, ssh_port);
            let options = fleet.server_options(&name, at, key.clone(), index);
            let server =
                SshServer::start(options).await.map_err(FleetError::with(format!("cannot start {name} at {at}")))?;
            if index < own.len() { fleet.servers.push(server) } else { fleet.hosts.push(server) }
        }
        fleet.start_balancers().await?;
        fleet.write_known_hosts()?;
        Ok(fleet)
    }

    /// Ends everything and removes all files; the errors of removing are worth knowing.
    ///
    /// # Errors
    ///
    /// A process that cannot be killed, or a file that cannot be removed.
    pub async fn stop(self) -> Result<(), FleetError> {
        let path = self.path().to_owned();
        let id = self.id.clone();
        tokio::task::spawn_blocking(move || drop(self)).await.map_err(FleetError::with("cannot stop the fleet"))?;
        let left: Vec<_> = processes::of_fleet(&id).into_iter().map(processes::command_of).collect();
        if !left.is_empty() {
            return Err(FleetError::new(format!("cannot end {}", left.join(", "))));
        }
        if path.exists() {
            return Err(FleetError::new(format!("cannot remove {}", path.display())));
        }
        Ok(())
    }

    /// Returns the fleet's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the name its processes carry in `PITCREW_FLEET`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the servers.
    pub fn servers(&self) -> &[SshServer] {
        &self.servers
    }

    /// Returns the SSH servers of the balancers' hosts.
    pub fn balancer_hosts(&self) -> &[SshServer] {
        &self.hosts
    }

    /// Returns the balancers.
    pub fn balancers(&self) -> &[Balancer] {
        &self.balancers
    }

    /// Returns what has happened.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns what goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Returns where a server's application listens.
    pub fn app_at(&self, index: usize) -> Option<SocketAddr> {
        self.servers.get(index).map(|server| SocketAddr::new(server.ip(), self.app_port))
    }

    /// Returns the clients' private key.
    pub fn key_file(&self) -> PathBuf {
        self.path().join("id_ed25519")
    }

    /// Returns the file with all host keys.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.path().join("known_hosts")
    }

    /// Returns the web server template.
    pub fn template_file(&self) -> PathBuf {
        self.path().join(match self.options.web {
            WebKind::Reload => "reload.toml",
            WebKind::Restart => "restart.toml",
        })
    }

    fn write_key_and_template(&self) -> Result<(), FleetError> {
        use std::os::unix::fs::PermissionsExt;
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(FleetError::with("cannot make a key"))?;
        let text = key.to_openssh(LineEnding::LF).map_err(FleetError::with("cannot encode a key"))?;
        let public = key.public_key().to_openssh().map_err(FleetError::with("cannot encode a key"))?;
        write(&self.key_file(), &text)?;
        std::fs::set_permissions(self.key_file(), std::fs::Permissions::from_mode(0o600))
            .map_err(FleetError::with("cannot protect the key"))?;
        write(&self.path().join("id_ed25519.pub"), &format!("{public}\n"))?;
        self.template(WebKind::Reload)?;
        self.template(WebKind::Restart)?;
        Ok(())
    }

    /// Writes the web server template for a way of restarting, and returns the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn template(&self, web: WebKind) -> Result<PathBuf, FleetError> {
        let (name, text) = match web {
            WebKind::Reload => ("reload.toml", include_str!("templates/reload.toml")),
            WebKind::Restart => ("restart.toml", include_str!("templates/restart.toml")),
        };
        let file = self.path().join(name);
        write(&file, text)?;
        Ok(file)
    }

    fn public_key(&self) -> Result<russh::keys::PublicKey, FleetError> {
        russh::keys::PublicKey::read_openssh_file(self.path().join("id_ed25519.pub"))
            .map_err(FleetError::with("cannot read the key"))
    }

    fn server_options(&self, name: &str, at: SocketAddr, key: russh::keys::PublicKey, index: usize) -> ServerOptions {
        ServerOptions {
            name: name.to_owned(),
            at,
            root: self.path().join(name),
            user: USER.to_owned(),
            key,
            shell: self.options.shell.clone(),
            env: vec![
                exec::mark(&self.id),
                ("PITCREW_DEMO_ADDR".to_owned(), at.ip().to_string()),
                ("PITCREW_DEMO_APP".to_owned(), self.options.app.to_string_lossy().into_owned()),
            ],
            max_sessions: self.options.max_sessions,
            delay: self.options.delays.get(index).copied().unwrap_or_default(),
            log: self.log.clone(),
            faults: self.faults.clone(),
        }
    }

    async fn start_balancers(&mut self) -> Result<(), FleetError> {
        for host in &self.hosts {
            let name = host.name().to_owned();
            let options = BalancerOptions {
                backend: "app".to_owned(),
                members: self
                    .servers
                    .iter()
                    .map(|server| (server.name().to_owned(), SocketAddr::new(server.ip(), self.app_port)))
                    .collect(),
                listen: SocketAddr::new(host.ip(), self.app_port),
                socket: host.root().join(SOCKET),
                tcp: self.options.reach == Reach::Tcp,
                checks: self.options.checks.clone(),
                level: Level::Admin,
                log: self.log.clone(),
                faults: self.faults.clone(),
                name: name.clone(),
            };
            let balancer = Balancer::start(options).await.map_err(FleetError::with(format!("cannot start {name}")))?;
            self.balancers.push(balancer);
        }
        Ok(())
    }

    fn write_known_hosts(&self) -> Result<(), FleetError> {
        let mut text = String::new();
        for server in self.servers.iter().chain(&self.hosts) {
            text.push_str(&server.known_hosts_line().map_err(FleetError::with("cannot encode a host key"))?);
            text.push('\n');
        }
        write(&self.known_hosts_file(), &text)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Nothing may start any more when the processes are counted.
        self.servers.clear();
        self.hosts.clear();
        self.balancers.clear();
        processes::end(&self.id);
    }
}

fn directory() -> Result<tempfile::TempDir, FleetError> {
    let usual = std::env::temp_dir();
    let base = if usual.as_os_str().len() <= LONGEST_BASE { usual } else { PathBuf::from("/tmp") };
    // `/var` is a link on some systems, and every process is known by the directory it really runs in.
    let base = base.canonicalize().map_err(FleetError::with(format!("cannot use {}", base.display())))?;
    tempfile::Builder::new()
        .prefix("pitcrew-fleet-")
        .tempdir_in(&base)
        .map_err(FleetError::with(format!("cannot create a directory in {}", base.display())))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), FleetError> {
    std::fs::write(path, text).map_err(FleetError::with(format!("cannot write {}", path.display())))
}
