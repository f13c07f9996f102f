//! What holds for one connection: pitcrew.toml, then ssh_config, then what is usual; each with where it comes from.
//!
//! Pure but for key lists that are named. Which value wins is decided here, what ssh_config says in [`super::config`].

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::algorithms::{Lists, Wish};
use super::config::{Local, Origin, Question, Says, Takes, Tokens, Written, wrong};
use super::hop::{self, Hop};
use super::options::{HostKeyChecking, Ssh};
use super::{ConnectError, Identity};

/// TCP, handshake and authentication, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the server is asked whether it is there; a shorter one can be configured, a longer one would let a
/// dead connection hold a run up.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered questions after which it is not.
const KEEPALIVES: usize = 3;
/// The most that can be configured, for the same reason.
const MOST_KEEPALIVES: usize = 10;
/// How often a password may be typed wrongly.
const PROMPTS: usize = 3;
/// Key files offered when none is configured, best first; a missing one is passed over.
const USUAL_KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];
/// The port of SSH.
const PORT: u16 = 22;

/// What holds for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Host or address to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login user.
    pub user: String,
    /// How to get there.
    pub route: Route,
    /// Key files to offer, in order.
    pub identities: Vec<Identity>,
    /// Certificates to offer beside those that lie next to keys.
    pub certificates: Vec<PathBuf>,
    /// Whether the agent's other keys stay out.
    pub identities_only: bool,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// The agent that is lent to the server, only when asked for.
    pub forward: Option<PathBuf>,
    /// The known hosts files; new keys are recorded in the first, if it is the user's.
    pub known_hosts: Vec<PathBuf>,
    /// How many of them are the user's.
    pub own_known_hosts: usize,
    /// Under which name the host is looked up there.
    pub alias: Option<String>,
    /// A list of keys that are never trusted.
    pub revoked: Option<PathBuf>,
    /// What an unknown key means.
    pub checking: HostKeyChecking,
    /// Limit on TCP, handshake and authentication, each.
    pub connect_timeout: Duration,
    /// Silence after which the server is asked whether it is there.
    pub keepalive: Duration,
    /// Unanswered questions after which it is not.
    pub keepalives: usize,
    /// Which addresses are tried.
    pub family: Family,
    /// The address to connect from.
    pub bind: Option<IpAddr>,
    /// What is negotiated.
    pub algorithms: Lists,
    /// Ways to log in, in order.
    pub methods: Vec<Method>,
    /// How often a password may be typed wrongly.
    pub prompts: usize,
    /// Whether nobody may be asked anything.
    pub batch: bool,
    /// Every setting in words, with where it comes from.
    pub explained: Vec<Explained>,
}

/// How to get to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// By its address.
    Direct,
    /// Through these hosts, the nearest first.
    Jump(Vec<Hop>),
    /// Through the standard input and output of a command.
    Command(String),
}

/// Which addresses are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All.
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
    /// By answering what the server asks.
    Interactive,
    /// With a password.
    Password,
}

/// A setting in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// As ssh_config(5) calls it.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where it comes from.
    pub from: Origin,
}

/// What a host is to the run: `user`, `port` and `identity_file` of pitcrew.toml are about servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A server or a balancer.
    Server,
    /// A host on the way.
    Hop,
}

/// All that settings are made of.
pub(super) struct Sources<'a> {
    pub(super) toml: &'a Ssh,
    pub(super) says: &'a Says,
    pub(super) local: &'a Local,
    pub(super) part: Part,
    /// The address as written.
    pub(super) asked: &'a Question,
}

/// What to ask ssh_config about an address.
pub(super) fn question(toml: &Ssh, part: Part, asked: &Question) -> Question {
    match part {
        Part::Server => Question {
            host: asked.host.clone(),
            user: asked.user.clone().or_else(|| toml.user.clone()),
            port: asked.port.or(toml.port),
        },
        Part::Hop => asked.clone(),
    }
}

impl Settings {
    /// Tells whether the agent is to be lent to the server, be there one or not.
    pub fn is_to_lend(&self) -> bool {
        self.explained.iter().any(|e| e.name == "ForwardAgent" && !matches!(e.value.as_str(), "no" | "false"))
    }

    /// Decides every setting of a connection.
    pub(super) fn decide(sources: &Sources<'_>) -> Result<Self, ConnectError> {
        let mut all = Deciding { sources, explained: Vec::new() };
        let host = all.host()?;
        let user = all.user();
        let port = all.port()?;
        let alias = all.says("HostKeyAlias", "hostkeyalias").map(str::to_lowercase);
        let jump = match (&sources.toml.jump, sources.says.first("proxyjump")) {
            (Some(jump), _) if sources.part == Part::Server => jump.clone(),
            (_, Some(written)) => written.words.concat(),
            _ => String::new(),
        };
        let tokens = Tokens {
            local: sources.local,
            asked: &sources.asked.host,
            host: &host,
            port,
            user: &user,
            alias: alias.as_deref(),
            jump: if jump.eq_ignore_ascii_case("none") { "" } else { &jump },
        };
        let route = all.route(&tokens)?;
        let identities = all.identities(&tokens)?;
        let certificates = all.paths("CertificateFile", "certificatefile", &tokens)?;
        let identities_only = all.flag("IdentitiesOnly", "identitiesonly")?.unwrap_or(false);
        let agent = all.agent(&tokens)?;
        let forward = all.forward(&tokens, agent.as_deref())?;
        let (known_hosts, own_known_hosts) = all.known_hosts(&tokens)?;
        let revoked = all.paths("RevokedHostKeys", "revokedhostkeys", &tokens)?.into_iter().next();
        let batch = all.flag("BatchMode", "batchmode")?.unwrap_or(false);
        Ok(Self {
            route,
            identities,
            certificates,
            identities_only,
            agent,
            forward,
            known_hosts,
            own_known_hosts,
            revoked,
            checking: all.checking()?,
            connect_timeout: all.connect_timeout()?,
            keepalive: all.keepalive()?,
            keepalives: all
                .number("ServerAliveCountMax", "serveralivecountmax")?
                .map_or(KEEPALIVES, |n| n.clamp(1, MOST_KEEPALIVES)),
            family: all.family()?,
            bind: all.bind()?,
            algorithms: all.algorithms()?,
            methods: all.methods(batch)?,
            prompts: all.number("NumberOfPasswordPrompts", "numberofpasswordprompts")?.unwrap_or(PROMPTS).max(1),
            batch,
            host,
            port,
            user,
            alias,
            explained: all.explained,
        })
    }

    /// The name and port under which the host's key is looked up.
    pub fn known_as(&self) -> (&str, u16) {
        // An alias stands alone, as in ssh.
        self.alias.as_deref().map_or((&self.host, self.port), |alias| (alias, PORT))
    }
}

struct Deciding<'a> {
    sources: &'a Sources<'a>,
    explained: Vec<Explained>,
}

impl<'a> Deciding<'a> {
    fn note(&mut self, name: &'static str, value: impl Into<String>, from: Origin) {
        self.explained.push(Explained { name, value: value.into(), from });
    }

    /// What ssh_config says, noted.
    fn written(&mut self, name: &'static str, keyword: &str) -> Option<&'a Written> {
        let written = self.sources.says.first(keyword)?;
        self.note(name, written.words.join(" "), written.from.clone());
        Some(written)
    }

    fn says(&mut self, name: &'static str, keyword: &str) -> Option<&'a str> {
        self.written(name, keyword)?.words.first().map(String::as_str)
    }

    fn flag(&mut self, name: &'static str, keyword: &str) -> Result<Option<bool>, ConnectError> {
        let Some(written) = self.written(name, keyword) else { return Ok(None) };
        match word(written).as_str() {
            "yes" | "true" => Ok(Some(true)),
            "no" | "false" => Ok(Some(false)),
            other => Err(wrong(&written.from, &format!("{name} must be yes or no, not {other:?}"))),
        }
    }

    fn number(&mut self, name: &'static str, keyword: &str) -> Result<Option<usize>, ConnectError> {
        let Some(written) = self.written(name, keyword) else { return Ok(None) };
        let number = word(written).parse();
        number.map(Some).map_err(|_| wrong(&written.from, &format!("{name} must be a number")))
    }

    /// A duration; zero and `none` are none.
    fn duration(&mut self, name: &'static str, keyword: &str) -> Result<Option<Duration>, ConnectError> {
        let Some(written) = self.written(name, keyword) else { return Ok(None) };
        let text = word(written);
        if text == "none" {
            return Ok(None);
        }
        let seconds = seconds(&text).ok_or_else(|| {
            wrong(&written.from, &format!("{name} must be a number of seconds, or a time like 1m30s"))
        })?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// Paths of all lines of a keyword; `none` alone means none.
    fn paths(&mut self, name: &'static str, keyword: &str, tokens: &Tokens<'_>) -> Result<Vec<PathBuf>, ConnectError> {
        let mut paths = Vec::new();
        let written = self.sources.says.all(keyword);
        for line in written {
            for text in &line.words {
                if text.eq_ignore_ascii_case("none") {
                    self.note(name, "none", line.from.clone());
                    continue;
                }
                let path = tokens.path(text).map_err(|why| wrong(&line.from, &format!("{name} {why}")))?;
                self.note(name, path.display().to_string(), line.from.clone());
                paths.push(path);
            }
        }
        Ok(paths)
    }

    fn host(&mut self) -> Result<String, ConnectError> {
        let asked = &self.sources.asked.host;
        let (host, from) = match self.sources.says.first("hostname") {
            Some(written) => {
                let text = written.words.concat();
                // Here `%h` is the host as it was asked for.
                let tokens =
                    Tokens { local: self.sources.local, asked, host: asked, port: 0, user: "", alias: None, jump: "" };
                let host = tokens.expand(&text, Takes::Host);
                let host = host.map_err(|why| wrong(&written.from, &format!("HostName {why}")))?;
                (host, written.from.clone())
            }
            None => (asked.clone(), Origin::Address),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        // As ssh does, so that the known hosts are found.
        let host = if host.parse::<IpAddr>().is_ok() { host } else { host.to_lowercase() };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(wrong(&from, &format!("{host:?} is no host name")));
        }
        self.note("HostName", host.clone(), from);
        Ok(host)
    }

    fn user(&mut self) -> String {
        let Sources { toml, says, asked, part, local } = self.sources;
        let address = asked.user.clone().map(|user| (user, Origin::Address));
        let toml = toml.user.clone().map(|user| (user, Origin::Toml("user")));
        let says = says.first("user").map(|w| (w.words.concat(), w.from.clone()));
        let found = match part {
            Part::Server => address.or(toml).or(says),
            // `user` is the servers'; who says nothing of the hop means it there too.
            Part::Hop => address.or(says).or(toml),
        };
        let (user, from) = found.unwrap_or_else(|| (local.user.clone(), Origin::Default));
        self.note("User", user.clone(), from);
        user
    }

    fn port(&mut self) -> Result<u16, ConnectError> {
        let Sources { toml, says, asked, part, .. } = self.sources;
        let address = asked.port.map(|port| (port, Origin::Address));
        let toml = toml.port.filter(|_| *part == Part::Server).map(|port| (port, Origin::Toml("port")));
        let says = || match says.first("port") {
            Some(written) => match written.words.concat().parse() {
                Ok(port @ 1..) => Ok((port, written.from.clone())),
                _ => Err(wrong(&written.from, "Port must be a number from 1 to 65535")),
            },
            None => Ok((PORT, Origin::Default)),
        };
        let (port, from) = address.or(toml).map_or_else(says, Ok)?;
        self.note("Port", port.to_string(), from);
        Ok(port)
    }

    fn route(&mut self, tokens: &Tokens<'_>) -> Result<Route, ConnectError> {
        let Sources { toml, says, asked, part, .. } = self.sources;
        let jump = toml.jump.as_ref().filter(|_| *part == Part::Server).map(|j| (j.clone(), Origin::Toml("jump")));
        let jump = jump.or_else(|| says.first("proxyjump").map(|w| (w.words.concat(), w.from.clone())));
        if let Some((text, from)) = jump {
            self.note("ProxyJump", text.clone(), from.clone());
            if text.eq_ignore_ascii_case("none") {
                return Ok(Route::Direct);
            }
            let text = tokens.expand(&text, Takes::Proxy);
            let hops = text.and_then(|text| hop::parse(&text));
            let hops = hops.map_err(|why| wrong(&from, &format!("ProxyJump {why}")))?;
            // `Host *` with a jump host means the jump host too: it is reached directly.
            let itself = hops.last().is_some_and(|last| {
                last.host.eq_ignore_ascii_case(&asked.host) && last.port.unwrap_or(PORT) == tokens.port
            });
            return Ok(if itself { Route::Direct } else { Route::Jump(hops) });
        }
        let Some(written) = self.written("ProxyCommand", "proxycommand") else { return Ok(Route::Direct) };
        let command = written.words.concat();
        if command.eq_ignore_ascii_case("none") {
            return Ok(Route::Direct);
        }
        if self.flag("ProxyUseFdpass", "proxyusefdpass")?.unwrap_or(false) {
            return Err(wrong(&written.from, "a ProxyCommand with ProxyUseFdpass is not supported"));
        }
        let command = tokens.expand(&command, Takes::Proxy);
        command.map(Route::Command).map_err(|why| wrong(&written.from, &format!("ProxyCommand {why}")))
    }

    fn identities(&mut self, tokens: &Tokens<'_>) -> Result<Vec<Identity>, ConnectError> {
        let Sources { toml, says, part, local, .. } = self.sources;
        let mut identities = Vec::new();
        if *part == Part::Hop || toml.identity_files.is_empty() {
            let paths = self.paths("IdentityFile", "identityfile", tokens)?;
            identities.extend(paths.into_iter().map(|path| Identity { path, configured: true, must: false }));
        }
        for path in &toml.identity_files {
            let path = super::config::tilde(&path.to_string_lossy(), &local.home);
            self.note("IdentityFile", path.display().to_string(), Origin::Toml("identity_file"));
            identities.push(Identity { path, configured: true, must: true });
        }
        if identities.is_empty() && says.all("identityfile").is_empty() {
            let dot_ssh = local.home.join(".ssh");
            self.note("IdentityFile", format!("{}/id_*", dot_ssh.display()), Origin::Default);
            let usual = USUAL_KEYS.map(|name| Identity { path: dot_ssh.join(name), configured: false, must: false });
            identities.extend(usual);
        }
        Ok(identities)
    }

    fn agent(&mut self, tokens: &Tokens<'_>) -> Result<Option<PathBuf>, ConnectError> {
        let Some(written) = self.written("IdentityAgent", "identityagent") else {
            let socket = self.variable("SSH_AUTH_SOCK");
            if let Some(socket) = &socket {
                self.note("IdentityAgent", socket.display().to_string(), Origin::Default);
            }
            return Ok(socket);
        };
        match written.words.concat().as_str() {
            none if none.eq_ignore_ascii_case("none") => Ok(None),
            text => self.socket("IdentityAgent", text, written, tokens),
        }
    }

    /// A socket: `SSH_AUTH_SOCK`, `$NAME` or a path.
    fn socket(
        &self,
        name: &str,
        text: &str,
        written: &Written,
        tokens: &Tokens<'_>,
    ) -> Result<Option<PathBuf>, ConnectError> {
        match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(variable) => Ok(self.variable(variable)),
            None if text == "SSH_AUTH_SOCK" => Ok(self.variable(text)),
            None => tokens.path(text).map(Some).map_err(|why| wrong(&written.from, &format!("{name} {why}"))),
        }
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        (self.sources.local.env)(name).filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    fn forward(&mut self, tokens: &Tokens<'_>, agent: Option<&Path>) -> Result<Option<PathBuf>, ConnectError> {
        let Sources { toml, part, .. } = self.sources;
        // A host on the way has no use for it.
        if *part == Part::Hop {
            return Ok(None);
        }
        if let Some(forward) = toml.forward_agent {
            self.note("ForwardAgent", if forward { "yes" } else { "no" }, Origin::Toml("forward_agent"));
            return Ok(agent.filter(|_| forward).map(Path::to_path_buf));
        }
        let Some(written) = self.written("ForwardAgent", "forwardagent") else { return Ok(None) };
        match written.words.concat().as_str() {
            "yes" | "true" => Ok(agent.map(Path::to_path_buf)),
            "no" | "false" => Ok(None),
            text => self.socket("ForwardAgent", text, written, tokens),
        }
    }

    fn known_hosts(&mut self, tokens: &Tokens<'_>) -> Result<(Vec<PathBuf>, usize), ConnectError> {
        let Sources { toml, says, local, .. } = self.sources;
        if !toml.known_hosts.is_empty() {
            let files = toml.known_hosts.iter().map(|p| super::config::tilde(&p.to_string_lossy(), &local.home));
            let files: Vec<PathBuf> = files.collect();
            for file in &files {
                self.note("UserKnownHostsFile", file.display().to_string(), Origin::Toml("known_hosts"));
            }
            let own = files.len();
            return Ok((files, own));
        }
        let mut files = if says.first("userknownhostsfile").is_some() {
            self.paths("UserKnownHostsFile", "userknownhostsfile", tokens)?
        } else {
            let usual = ["known_hosts", "known_hosts2"].map(|name| local.home.join(".ssh").join(name));
            self.note("UserKnownHostsFile", joined(&usual), Origin::Default);
            usual.to_vec()
        };
        let own = files.len();
        if says.first("globalknownhostsfile").is_some() {
            files.extend(self.paths("GlobalKnownHostsFile", "globalknownhostsfile", tokens)?);
        } else {
            let usual = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from);
            self.note("GlobalKnownHostsFile", joined(&usual), Origin::Default);
            files.extend(usual);
        }
        Ok((files, own))
    }

    fn checking(&mut self) -> Result<HostKeyChecking, ConnectError> {
        const NAME: &str = "StrictHostKeyChecking";
        if let Some(checking) = self.sources.toml.host_key_checking {
            let word = if checking == HostKeyChecking::Strict { "yes" } else { "accept-new" };
            self.note(NAME, word, Origin::Toml("host_key_checking"));
            return Ok(checking);
        }
        let Some(written) = self.written(NAME, "stricthostkeychecking") else {
            self.note(NAME, "yes", Origin::Default);
            return Ok(HostKeyChecking::Strict);
        };
        match word(written).as_str() {
            // Nobody is asked while many servers connect at once: what is unknown is refused, with what to do.
            "yes" | "true" | "ask" => Ok(HostKeyChecking::Strict),
            // A changed key is refused all the same: a release and its secrets would go to whoever holds it.
            "accept-new" | "no" | "false" | "off" => Ok(HostKeyChecking::AcceptNew),
            other => {
                let what = format!("{NAME} must be yes, ask, accept-new or no, not {other:?}");
                Err(wrong(&written.from, &what))
            }
        }
    }

    fn connect_timeout(&mut self) -> Result<Duration, ConnectError> {
        const NAME: &str = "ConnectTimeout";
        let (limit, from) = match self.sources.toml.connect_timeout {
            Some(limit) => (limit, Origin::Toml("connect_timeout")),
            None => match self.duration(NAME, "connecttimeout")? {
                Some(limit) => return Ok(limit),
                None => (CONNECT_TIMEOUT, Origin::Default),
            },
        };
        self.note(NAME, format!("{} s", limit.as_secs_f32()), from);
        Ok(limit)
    }

    fn keepalive(&mut self) -> Result<Duration, ConnectError> {
        let wanted = self.duration("ServerAliveInterval", "serveraliveinterval")?;
        Ok(wanted.map_or(KEEPALIVE, |wanted| wanted.min(KEEPALIVE)))
    }

    fn family(&mut self) -> Result<Family, ConnectError> {
        let Some(written) = self.written("AddressFamily", "addressfamily") else { return Ok(Family::Any) };
        match word(written).as_str() {
            "any" => Ok(Family::Any),
            "inet" => Ok(Family::Four),
            "inet6" => Ok(Family::Six),
            other => Err(wrong(&written.from, &format!("AddressFamily must be any, inet or inet6, not {other:?}"))),
        }
    }

    fn bind(&mut self) -> Result<Option<IpAddr>, ConnectError> {
        let Some(written) = self.written("BindAddress", "bindaddress") else { return Ok(None) };
        let text = word(written);
        let address = text.trim_start_matches('[').trim_end_matches(']').parse();
        address.map(Some).map_err(|_| wrong(&written.from, &format!("BindAddress must be an address, not {text:?}")))
    }

    fn algorithms(&mut self) -> Result<Lists, ConnectError> {
        let mut wish = |name, keyword| {
            let written = self.written(name, keyword)?;
            Some(Wish { name, text: written.words.concat(), from: written.from.clone() })
        };
        Lists::new([
            wish("KexAlgorithms", "kexalgorithms"),
            wish("Ciphers", "ciphers"),
            wish("MACs", "macs"),
            wish("HostKeyAlgorithms", "hostkeyalgorithms"),
        ])
    }

    fn methods(&mut self, batch: bool) -> Result<Vec<Method>, ConnectError> {
        let preferred = self.says("PreferredAuthentications", "preferredauthentications");
        let allowed = [
            (Method::PublicKey, self.flag("PubkeyAuthentication", "pubkeyauthentication")?.unwrap_or(true)),
            (
                Method::Interactive,
                self.flag("KbdInteractiveAuthentication", "kbdinteractiveauthentication")?.unwrap_or(true) && !batch,
            ),
            (
                Method::Password,
                self.flag("PasswordAuthentication", "passwordauthentication")?.unwrap_or(true) && !batch,
            ),
        ];
        let names = preferred.unwrap_or("publickey,keyboard-interactive,password");
        let wanted = names.split(',').filter_map(|name| match name {
            "publickey" => Some(Method::PublicKey),
            "keyboard-interactive" => Some(Method::Interactive),
            "password" => Some(Method::Password),
            // Others (gssapi-with-mic, hostbased) are not spoken.
            _ => None,
        });
        Ok(wanted.filter(|method| allowed.contains(&(*method, true))).collect())
    }
}

/// The one word of a line, in lower case.
fn word(written: &Written) -> String {
    written.words.first().map(|w| w.to_lowercase()).unwrap_or_default()
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Reads a time as sshd_config(5), TIME FORMATS, has it: `90`, `1m30s`.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let mut chars = rest.chars();
        let unit = match chars.next() {
            None | Some('s' | 'S') => 1,
            Some('m' | 'M') => 60,
            Some('h' | 'H') => 3600,
            Some('d' | 'D') => 86400,
            Some('w' | 'W') => 604_800,
            Some(_) => return None,
        };
        rest = chars.as_str();
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests;
