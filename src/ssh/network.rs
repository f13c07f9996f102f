//! From addresses to links: settings decided, jump hosts shared, known hosts read once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bastion::Bastion;
use super::config::{Local, Question, Says, SshConfig};
use super::hop::Hop;
use super::known_hosts::KnownHosts;
use super::options::{ConfigFile, Ssh};
use super::session::Link;
use super::settings::{self, Part, Route, Settings, Sources};
use super::{Ask, ConnectError, ConnectErrorKind, Shared, Target, Via, auth};

/// Most hops of one way, those of jump hosts' own settings included.
const MOST_HOPS: usize = 8;

/// Known hosts files, how many of them are the user's, and the list of revoked keys.
type Files = (Vec<PathBuf>, usize, Option<PathBuf>);

/// All places that a run connects to.
pub struct Network {
    /// What all its connections share.
    pub shared: Arc<Shared>,
    toml: Ssh,
    config: Option<SshConfig>,
    local: Local,
    known: Mutex<BTreeMap<Files, Arc<KnownHosts>>>,
    bastions: Mutex<Vec<Arc<Bastion>>>,
    links: Mutex<BTreeMap<Vec<String>, Arc<Link>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// Reads ssh_config; connects to nothing. Paths of pitcrew.toml are absolute or begin with `~`.
    ///
    /// # Errors
    /// When ssh_config cannot be read or understood.
    pub fn new(toml: &Ssh, local: Local, ask: Arc<dyn Ask>) -> Result<Self, ConnectError> {
        let config = match &toml.config_file {
            ConfigFile::Off => None,
            ConfigFile::Usual => Some(SshConfig::load(None, &local.home)?),
            ConfigFile::Path(path) => {
                let path = super::config::tilde(&path.to_string_lossy(), &local.home);
                Some(SshConfig::load(Some(&path), &local.home)?)
            }
        };
        Ok(Self {
            shared: Arc::new(Shared::new(ask, (local.env)("SHELL"))),
            toml: toml.clone(),
            config,
            local,
            known: Mutex::default(),
            bastions: Mutex::default(),
            links: Mutex::default(),
        })
    }

    /// Lowers the limit on opening a channel and starting a command. Before the first link is made.
    pub fn limit_channels(&mut self, limit: Duration) {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.channel_timeout = shared.channel_timeout.min(limit);
        }
    }

    /// What ssh_config this is about, if any.
    pub fn config(&self) -> Option<&SshConfig> {
        self.config.as_ref()
    }

    /// Asks ssh about many addresses at once, where it must be asked. Blocks.
    ///
    /// # Errors
    /// As [`SshConfig::prepare`].
    pub fn prepare(&self, asked: &[Question]) -> Result<(), ConnectError> {
        let Some(config) = &self.config else { return Ok(()) };
        let questions: Vec<Question> = asked.iter().map(|q| settings::question(&self.toml, Part::Server, q)).collect();
        config.prepare(&questions)
    }

    /// Makes the link to an address, or finds the one that leads to the same place. Nothing is connected yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn link(&self, name: &str, asked: &Question) -> Result<Arc<Link>, ConnectError> {
        let target = self.target(name, asked)?;
        let mut links = lock(&self.links);
        let new = || Arc::new(Link::new(target.clone(), self.shared.clone()));
        Ok(links.entry(target.way.clone()).or_insert_with(new).clone())
    }

    /// Decides everything about an address.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn target(&self, name: &str, asked: &Question) -> Result<Target, ConnectError> {
        let settings = self.settings(Part::Server, asked)?;
        let route = settings.route.clone();
        self.reach(name, settings, &route, &mut Vec::new()).map_err(|e| named(name, e))
    }

    fn settings(&self, part: Part, asked: &Question) -> Result<Settings, ConnectError> {
        let says = match &self.config {
            Some(config) => config.says(&settings::question(&self.toml, part, asked))?,
            None => Says::default(),
        };
        let sources = Sources { toml: &self.toml, says: &says, local: &self.local, part, asked };
        Settings::decide(&sources)
    }

    /// Finds the way: `trail` holds the hosts that wait for it.
    fn reach(
        &self,
        name: &str,
        settings: Settings,
        route: &Route,
        trail: &mut Vec<String>,
    ) -> Result<Target, ConnectError> {
        let place = format!("{}@{}:{}", settings.user, settings.host, settings.port);
        let astray = |what: String| ConnectError {
            kind: ConnectErrorKind::Local,
            detail: format!("cannot find a way to {name}: {what}"),
            hint: "Correct ProxyJump: `ProxyJump none` for the jump host itself ends its way.".into(),
        };
        if trail.contains(&place) {
            return Err(astray(format!("it leads through {place} again and again")));
        }
        if trail.len() > MOST_HOPS {
            return Err(astray(format!("it leads through more than {MOST_HOPS} hosts")));
        }
        let (via, mut way) = match route {
            Route::Direct => (Via::Direct, Vec::new()),
            Route::Command(command) => (Via::Command(command.clone()), vec![command.clone()]),
            Route::Jump(hops) => {
                trail.push(place.clone());
                let bastion = self.bastion(hops, trail)?;
                trail.pop();
                let way = bastion.target().way.clone();
                (Via::Jump(bastion), way)
            }
        };
        way.push(place);
        let known_hosts = self.known_hosts(&settings)?;
        Ok(Target {
            name: name.to_owned(),
            host: settings.host.clone(),
            port: settings.port,
            user: settings.user.clone(),
            settings: Arc::new(settings),
            known_hosts,
            via,
            way,
        })
    }

    fn bastion(&self, hops: &[Hop], trail: &mut Vec<String>) -> Result<Arc<Bastion>, ConnectError> {
        let Some((last, before)) = hops.split_last() else {
            return Err(ConnectError {
                kind: ConnectErrorKind::Local,
                detail: "a jump host is missing".into(),
                hint: String::new(),
            });
        };
        let asked = Question { host: last.host.clone(), user: last.user.clone(), port: last.port };
        let settings = self.settings(Part::Hop, &asked)?;
        // As `ssh -J` does: those before it are given, and only the first one's own settings say how to get there.
        let route = if before.is_empty() { settings.route.clone() } else { Route::Jump(before.to_vec()) };
        let target = self.reach(&last.to_string(), settings, &route, trail)?;
        let mut bastions = lock(&self.bastions);
        if let Some(known) = bastions.iter().find(|b| b.target().same(&target)) {
            return Ok(known.clone());
        }
        let new = Arc::new(Bastion::new(target, self.shared.clone()));
        bastions.push(new.clone());
        Ok(new)
    }

    fn known_hosts(&self, settings: &Settings) -> Result<Arc<KnownHosts>, ConnectError> {
        let key = (settings.known_hosts.clone(), settings.own_known_hosts, settings.revoked.clone());
        let mut known = lock(&self.known);
        if let Some(found) = known.get(&key) {
            return Ok(found.clone());
        }
        let mut read = KnownHosts::load(&settings.known_hosts)?;
        if settings.own_known_hosts == 0 {
            read.record_nowhere();
        }
        if let Some(revoked) = &settings.revoked {
            read.revoke(revoked)?;
        }
        let read = Arc::new(read);
        known.insert(key, read.clone());
        Ok(read)
    }

    /// The hosts on the way to others.
    pub fn bastions(&self) -> Vec<Arc<Bastion>> {
        lock(&self.bastions).clone()
    }

    /// Ends every connection: those through jump hosts before those to them.
    pub async fn close(&self) {
        let links: Vec<Arc<Link>> = lock(&self.links).values().cloned().collect();
        futures::future::join_all(links.iter().map(|l| l.close())).await;
        let mut bastions = self.bastions();
        // The farthest first.
        bastions.sort_by_key(|b| std::cmp::Reverse(b.target().way.len()));
        for bastion in bastions {
            bastion.close().await;
        }
    }
}

/// Says about which server an error is.
fn named(name: &str, mut error: ConnectError) -> ConnectError {
    if !error.detail.contains(name) {
        error.detail = format!("{name}: {}", error.detail);
    }
    error
}

impl Target {
    /// Tells whether it is reached by the same way, and in the same manner: another name may come with another key.
    fn same(&self, other: &Self) -> bool {
        let bare = |s: &Settings| Settings { explained: Vec::new(), ..s.clone() };
        self.way == other.way && bare(&self.settings) == bare(&other.settings)
    }

    /// Tells the way as people read it: `ann@bastion:22 > deploy@web1:22`.
    pub fn way_shown(&self) -> String {
        if self.way.is_empty() { auth::place(self) } else { self.way.join(" > ") }
    }
}
