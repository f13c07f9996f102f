//! From addresses to links: settings are decided, jump hosts are shared, and known hosts are read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ask::Ask;
use super::bastion::Bastion;
use super::commons::Commons;
use super::config::{Local, Question, Says, SshConfig, tilde};
use super::error::{ConnectError, Detour};
use super::hop::Hop;
use super::known_hosts::KnownHosts;
use super::link::Link;
use super::options::{ConfigFile, Ssh};
use super::settings::{self, Approach, Part, Settings, Sources};
use super::sync::lock;
use super::target::{Target, Transport};

/// Most hosts on one way, with those that the jump hosts' own settings name.
const MOST_HOPS: usize = 8;

/// The known hosts files, how many are the user's and whether names are hashed, and the revoked keys.
type Files = (Vec<PathBuf>, (usize, bool), Option<PathBuf>);

/// All places that a run connects to.
pub struct Network {
    /// What all its connections share.
    pub commons: Arc<Commons>,
    toml: Ssh,
    config: Option<SshConfig>,
    local: Local,
    known: Mutex<BTreeMap<Files, Arc<KnownHosts>>>,
    bastions: Mutex<Vec<Arc<Bastion>>>,
    links: Mutex<BTreeMap<Vec<String>, Arc<Link>>>,
}

impl Network {
    /// Reads ssh_config, and connects to nothing. Paths of pitcrew.toml are absolute or begin with `~`.
    ///
    /// # Errors
    /// When ssh_config cannot be read or understood.
    pub fn new(toml: &Ssh, local: Local, ask: Arc<dyn Ask>) -> Result<Self, ConnectError> {
        let config = match &toml.config_file {
            ConfigFile::Off => None,
            ConfigFile::Usual => Some(SshConfig::load(None, &local.home)?),
            ConfigFile::Path(path) => {
                let path = tilde(&path.to_string_lossy(), &local.home);
                Some(SshConfig::load(Some(&path), &local.home)?)
            }
        };
        Ok(Self {
            commons: Arc::new(Commons::new(ask, (local.env)("SHELL"))),
            toml: toml.clone(),
            config,
            local,
            known: Mutex::default(),
            bastions: Mutex::default(),
            links: Mutex::default(),
        })
    }

    /// Lowers the limit on opening a channel and starting a command.
    ///
    /// It must be called before the first link is made.
    pub fn limit_channels(&mut self, limit: Duration) {
        if let Some(commons) = Arc::get_mut(&mut self.commons) {
            commons.channel_timeout = commons.channel_timeout.min(limit);
        }
    }

    /// Returns the ssh_config, if one is used.
    pub fn config(&self) -> Option<&SshConfig> {
        self.config.as_ref()
    }

    /// Asks ssh about addresses and their jump hosts, where only ssh can evaluate ssh_config.
    ///
    /// [`Network::link`] then finds the answers.
    ///
    /// # Errors
    /// As [`SshConfig::prepare`].
    pub async fn prepare(&self, asked: &[Question]) -> Result<(), ConnectError> {
        let Some(config) = self.config.as_ref().filter(|config| config.asks().is_some()) else { return Ok(()) };
        let mut seen: BTreeSet<(Part, Question)> = BTreeSet::new();
        let mut wave: BTreeSet<(Part, Question)> = asked.iter().map(|q| (Part::Server, q.clone())).collect();
        // `link` reports a way that is longer.
        for _ in 0..=MOST_HOPS + 1 {
            if wave.is_empty() {
                break;
            }
            let questions: Vec<Question> =
                wave.iter().map(|(part, q)| settings::question(&self.toml, *part, q)).collect();
            config.prepare(&questions).await?;
            let next: BTreeSet<_> = wave.iter().flat_map(|(part, q)| self.hops(*part, q)).collect();
            seen.append(&mut wave);
            wave = next.difference(&seen).cloned().collect();
        }
        Ok(())
    }

    /// Lists the hosts on the way to an address; `link` reports what is wrong with it.
    fn hops(&self, part: Part, asked: &Question) -> Vec<(Part, Question)> {
        match self.settings(part, asked).map(|settings| settings.route) {
            Ok(Approach::Jump(hops)) => hops.iter().map(|hop| (Part::Hop, about(hop))).collect(),
            Ok(Approach::Direct | Approach::Command(_)) | Err(_) => Vec::new(),
        }
    }

    /// Makes the link to an address, or finds the one that leads to the same place. Connects to nothing.
    ///
    /// # Errors
    /// When its settings cannot be used, or ssh had to be asked about it and was not: see [`Network::prepare`].
    pub fn link(&self, name: &str, asked: &Question) -> Result<Arc<Link>, ConnectError> {
        let target = self.target(name, asked)?;
        let mut links = lock(&self.links);
        let new = || Arc::new(Link::new(target.clone(), self.commons.clone()));
        Ok(links.entry(target.way.clone()).or_insert_with(new).clone())
    }

    /// Decides everything about an address.
    ///
    /// # Errors
    /// As [`Network::link`].
    pub fn target(&self, name: &str, asked: &Question) -> Result<Target, ConnectError> {
        let settings = self.settings(Part::Server, asked).map_err(|e| e.of(name))?;
        let route = settings.route.clone();
        self.reach(name, settings, &route, &mut Vec::new()).map_err(|e| e.of(name))
    }

    fn settings(&self, part: Part, asked: &Question) -> Result<Settings, ConnectError> {
        let says = match &self.config {
            Some(config) => config.says(&settings::question(&self.toml, part, asked))?,
            None => Says::default(),
        };
        let sources = Sources { toml: &self.toml, says: &says, local: &self.local, part, asked };
        Ok(Settings::decide(&sources)?)
    }

    /// Finds the way; `trail` holds the places that it leads to.
    fn reach(
        &self,
        name: &str,
        settings: Settings,
        route: &Approach,
        trail: &mut Vec<String>,
    ) -> Result<Target, ConnectError> {
        let place = format!("{}@{}:{}", settings.user, settings.host, settings.port);
        let no_way = |why| ConnectError::NoWay { name: name.to_owned(), why };
        if trail.contains(&place) {
            return Err(no_way(Detour::Circle(place)));
        }
        if trail.len() > MOST_HOPS {
            return Err(no_way(Detour::TooLong(MOST_HOPS)));
        }
        let (via, mut way) = match route {
            Approach::Direct => (Transport::Direct, Vec::new()),
            Approach::Command(command) => (Transport::Command(command.clone()), vec![command.clone()]),
            Approach::Jump(hops) => match hops.split_last() {
                Some((last, before)) => {
                    trail.push(place.clone());
                    let bastion = self.bastion(last, before, trail)?;
                    trail.pop();
                    let way = bastion.target().way.clone();
                    (Transport::Through(bastion), way)
                }
                None => (Transport::Direct, Vec::new()),
            },
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

    /// Makes the host on the way, or finds it; `before` are the hosts on the way to it.
    fn bastion(&self, hop: &Hop, before: &[Hop], trail: &mut Vec<String>) -> Result<Arc<Bastion>, ConnectError> {
        let settings = self.settings(Part::Hop, &about(hop))?;
        // As for `ssh -J`, only the first host's own settings name a way to it.
        let route = if before.is_empty() { settings.route.clone() } else { Approach::Jump(before.to_vec()) };
        let target = self.reach(&hop.to_string(), settings, &route, trail)?;
        let mut bastions = lock(&self.bastions);
        if let Some(known) = bastions.iter().find(|b| b.target().is_same(&target)) {
            return Ok(known.clone());
        }
        let new = Arc::new(Bastion::new(target, self.commons.clone()));
        bastions.push(new.clone());
        Ok(new)
    }

    fn known_hosts(&self, settings: &Settings) -> Result<Arc<KnownHosts>, ConnectError> {
        let own = (settings.own_known_hosts, settings.hashes_names);
        let key = (settings.known_hosts.clone(), own, settings.revoked.clone());
        let mut known = lock(&self.known);
        if let Some(found) = known.get(&key) {
            return Ok(found.clone());
        }
        let mut read = KnownHosts::load(&settings.known_hosts)?;
        if settings.own_known_hosts == 0 {
            read.record_nowhere();
        }
        if settings.hashes_names {
            read.record_hashed();
        }
        if let Some(revoked) = &settings.revoked {
            read.revoke(revoked)?;
        }
        let read = Arc::new(read);
        known.insert(key, read.clone());
        Ok(read)
    }

    /// Returns the hosts on the way to others.
    pub fn bastions(&self) -> Vec<Arc<Bastion>> {
        lock(&self.bastions).clone()
    }

    /// Ends every connection: those through jump hosts before those to jump hosts.
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

/// Makes the question about a host on the way.
fn about(hop: &Hop) -> Question {
    Question { host: hop.host.clone(), user: hop.user.clone(), port: hop.port }
}
