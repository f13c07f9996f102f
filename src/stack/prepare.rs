//! From flags to a stack that can be spoken to: the file read, connections prepared, facts asked.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::balancer::{Around, Balancer, BalancerError, MemberFacts};
use crate::cli::{Global, Select};
use crate::config::source::Repository;
use crate::config::{self, BalancerKind, Config, ConfigFile, LoadBalancer};
use crate::engine::remote::{Execution, execute};
use crate::engine::standing::ReadyExecs;
use crate::error::Error;
use crate::event::{Cause, Failure, Warning};
use crate::facts::{Facts, ServerFacts};
use crate::machine;
use crate::name::{RunId, ServerName};
use crate::remote::calls::{self, Site};
use crate::remote::{Answer, Call, Owner};
use crate::report::scrub::Redactor;
use crate::ssh::config::{Local, Question};
use crate::ssh::{ConnectError, Link, Network};
use crate::web::{self, Template};

/// What balancers told of members, and what is wrong with some.
pub type Survey = (Vec<MemberFacts>, Vec<BalancerError>);

/// A stack that can be spoken to.
pub struct Stack {
    /// What was asked for.
    pub config: Arc<Config>,
    /// A connection to each server, made when first used.
    pub links: BTreeMap<ServerName, Arc<Link>>,
    /// The balancer.
    pub balancer: Option<Arc<Balancer>>,
    /// `[env]` and the values of `[secrets]`.
    pub env: Vec<(String, String)>,
    /// The values of `[secrets]`.
    pub secrets: Vec<(String, String)>,
    /// Masks those values.
    pub redactor: Redactor,
    /// Execs that stand ready on the servers, for verbs that run many scripts.
    pub standings: Arc<ReadyExecs>,
    /// Whether the first question already makes one.
    pub stands: bool,
    /// How everything is reached.
    pub network: Network,
    balancer_links: Vec<Arc<Link>>,
}

/// Reads the configuration.
///
/// # Errors
/// When it cannot be read, or with every mistake in it.
pub fn read(global: &Global) -> Result<Config, Error> {
    let file = &global.config;
    let text = std::fs::read_to_string(file).map_err(|e| {
        Error::usage(format!("cannot read {}: {e}", file.display()))
            .hint("`pitcrew init` writes a commented one; `-c FILE` names another")
    })?;
    let here = std::env::current_dir().map_err(|e| Error::usage(format!("cannot tell the current directory: {e}")))?;
    let base = here.join(file).parent().map_or(here, Path::to_path_buf);
    let template = |wanted: &str| find_template(&base, wanted);
    let input = config::Input {
        text: &text,
        file,
        base: base.clone(),
        profile: global.profile.as_deref(),
        template: &template,
    };
    Ok(config::load(&input)?)
}

/// Finds a web server template: a name of the built-in ones, or a file.
fn find_template(base: &Path, wanted: &str) -> Result<Template, Vec<config::Problem>> {
    if let Some(template) = Template::builtin(wanted) {
        return Ok(template);
    }
    let is_path = wanted.contains('/') || wanted.ends_with(".toml");
    if !is_path {
        let known = web::builtin_names();
        let hint = format!("the templates are {}; a path names a file of your own", known.join(", "));
        return Err(vec![config::Problem::of_flag(format!("no web server template is called `{wanted}`"), hint)]);
    }
    let path = base.join(wanted);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let hint = "it is looked for beside the configuration file";
        vec![config::Problem::of_flag(format!("cannot read the template {}: {e}", path.display()), hint)]
    })?;
    let name = path.file_stem().map_or_else(|| wanted.to_owned(), |s| s.to_string_lossy().into_owned());
    Template::parse(&name, &text).map_err(|e| {
        let shown = text.lines().nth(e.line.saturating_sub(1)).unwrap_or_default().to_owned();
        vec![config::Problem { file: path.clone(), line: e.line, column: 1, text: shown, what: e.what, hint: e.hint }]
    })
}

impl Stack {
    /// Prepares connections to every server and balancer; makes none yet.
    ///
    /// # Errors
    /// When keys, known hosts or secrets cannot be read.
    pub fn prepare(mut config: Config, global: &Global) -> Result<Self, Error> {
        crate::ssh::raise_open_files();
        if let Some(LoadBalancer { kind: BalancerKind::Haproxy { access, .. }, .. }) = &mut config.balancer
            && let Some(file) = &mut access.ca_file
        {
            *file = expand(&config.base, file)?;
        }
        let mut network = network(&config, global)?;
        network.limit_channels(config.timeouts.step);
        let ssh = |e: ConnectError| Error::usage(e.detail).hint(e.hint);
        let asked: Vec<Question> = config.servers.iter().map(|s| question(&s.host, &s.user, s.port)).collect();
        network.prepare(&asked).map_err(ssh)?;
        let mut links: BTreeMap<ServerName, Arc<Link>> = BTreeMap::new();
        for (server, asked) in config.servers.iter().zip(&asked) {
            let link = network.link(&server.name.0, asked).map_err(ssh)?;
            if let Some((other, _)) = links.iter().find(|(_, l)| Arc::ptr_eq(l, &link)) {
                let what = format!("{other} and {} are one server: {}", server.name, link.target().way_shown());
                return Err(
                    Error::usage(what).hint("remove one of the two, or correct HostName in ssh's configuration")
                );
            }
            links.insert(server.name.clone(), link);
        }
        let mut balancer_links: Vec<Arc<Link>> = Vec::new();
        let mut hosts = BTreeMap::new();
        for host in config.balancer.iter().flat_map(LoadBalancer::hosts) {
            // A balancer that is also a server, or stands in the file twice, needs one connection only.
            let link = network.link(&host.host, &question(&host.host, &host.user, host.port)).map_err(ssh)?;
            if !links.values().chain(&balancer_links).any(|l| Arc::ptr_eq(l, &link)) {
                balancer_links.push(link.clone());
            }
            hosts.insert(host, link);
        }
        let secrets = super::secrets::read(&config)?;
        let redactor = Redactor::new(secrets.iter().map(|(_, v)| v.as_str()));
        let redactor = redactor.and(&crate::source::hidden(&config.source, &secrets));
        let env: Vec<(String, String)> = config.env.clone().into_iter().chain(secrets.clone()).collect();
        let balancer = match &config.balancer {
            Some(balancer) => {
                let around = Around {
                    app: config.app.name.clone(),
                    base: config.base.clone(),
                    servers: config.servers.iter().filter(|s| s.is_web()).cloned().collect(),
                    env: env.clone(),
                    redactor: redactor.clone(),
                    hosts,
                    links: links.clone(),
                };
                let made = Balancer::new(balancer, around).map_err(Error::usage)?;
                Some(Arc::new(made.within(config.timeouts.step)))
            }
            None => None,
        };
        let standings = Arc::default();
        let config = Arc::new(config);
        Ok(Self { config, links, balancer, env, secrets, redactor, network, standings, stands: false, balancer_links })
    }

    /// What all remote scripts of the stack share.
    pub fn site(&self) -> Site<'_> {
        let app = &self.config.app;
        Site { deploy_to: &app.deploy_to, app: &app.name, web: &self.config.web, env: &self.env }
    }

    /// Asks every server and the balancers, at once; changes nothing. Also returns what the balancers refused; members that
    /// others could tell of are among the facts all the same.
    pub async fn facts(&self, stop: &CancellationToken) -> (Facts, Vec<BalancerError>) {
        let names: Vec<String> = self.config.servers.iter().filter(|s| s.is_web()).map(|s| s.lb.clone()).collect();
        let members = async {
            match &self.balancer {
                Some(balancer) => balancer.survey(&names).await,
                None => (Vec::new(), Vec::new()),
            }
        };
        let (mut facts, survey) = tokio::join!(self.servers(stop), members);
        let (members, refused) = self.remind(&facts, &names, survey).await;
        facts.members = members;
        (facts, refused)
    }

    /// Says that there is no agent here to be lent, where servers are to fetch with its keys.
    pub fn lends_nothing(&self) -> Option<Warning> {
        let over_ssh = |r: &&Repository| r.deploy_key.is_none() && r.is_over_ssh();
        self.config.source.repository.as_ref().filter(over_ssh)?;
        let settings =
            self.links.values().map(|link| &link.target().settings).find(|settings| settings.is_to_lend())?;
        let why = match settings.forward.as_ref().map(|path| (path, UnixStream::connect(path))) {
            Some((_, Ok(_))) => return None,
            Some((path, Err(e))) => format!("{}: {e}", path.display()),
            None => "SSH_AUTH_SOCK is not set".to_owned(),
        };
        let text = format!(
            "the agent is to be lent to the servers, and none runs here ({why}): they fetch with what keys they have. \
             Start one (`eval $(ssh-agent)`, `ssh-add`), or set deploy_key in [source]"
        );
        Some(Warning::Note { text })
    }

    /// Asks every server, at once; changes nothing.
    pub async fn servers(&self, stop: &CancellationToken) -> Facts {
        let servers = join_all(self.config.servers.iter().map(|s| async {
            let answer = self.probe(&s.name, stop).await;
            (s.name.clone(), answer)
        }));
        let mut facts = Facts::default();
        for (name, answer) in servers.await {
            match answer {
                Ok(mut found) => {
                    if let Some(lock) = &mut found.lock {
                        lock.seen = machine::look(&lock.owner);
                    }
                    facts.servers.insert(name, found);
                }
                Err(failure) => drop(facts.unreachable.insert(name, failure)),
            }
        }
        facts
    }

    /// Asks the balancers again where they may have forgotten whom they were told by hand to take out.
    pub async fn remind(&self, facts: &Facts, names: &[String], survey: Survey) -> Survey {
        let noted = facts.servers.values().flat_map(super::taken::places);
        let noted: Vec<MemberFacts> = noted.filter(|n| names.contains(&n.member)).collect();
        let same =
            |a: &MemberFacts, b: &MemberFacts| (&a.backend, &a.member, &a.own) == (&b.backend, &b.member, &b.own);
        let known = noted.iter().all(|n| survey.0.iter().any(|m| same(n, m)));
        let deaf = !survey.1.is_empty() && survey.1.iter().all(|e| e.unreachable);
        match &self.balancer {
            Some(balancer) if !known && !deaf => {
                balancer.recall(&noted);
                balancer.survey(names).await
            }
            _ => survey,
        }
    }

    async fn probe(&self, name: &ServerName, stop: &CancellationToken) -> Result<ServerFacts, Failure> {
        if self.stands
            && let Some(link) = self.links.get(name)
        {
            let site = self.site();
            tokio::select! {
                begun = self.standings.begin(name, link, &site) => begun.map_err(|e| Failure::from(Cause::from(e)))?,
                () = stop.cancelled() => return Err(Cause::Interrupted.into()),
            }
        }
        let probe = calls::probe(&self.site(), &self.config.shared.files).needing(&self.config.source.tools());
        let probe = if self.config.source.is_fetched() { calls::measuring(probe) } else { probe };
        let asked = self.ask(name, probe, stop).await;
        let answers = asked.map_err(|mut failure| {
            // The probe itself never ends so: it was not run, or not to its end.
            if matches!(failure.cause, Cause::Exit { .. } | Cause::Signal { .. } | Cause::NoStatus) {
                let detail = crate::report::cause::reason(&failure.cause);
                failure.cause = Cause::Refused { code: "no_shell".into(), detail };
            }
            failure
        })?;
        let read = ServerFacts::read(&answers);
        let mut found = read.map_err(|detail| Failure::from(Cause::Refused { code: "odd_answer".into(), detail }))?;
        found.ahead = Some(found.time.saturating_sub(jiff::Timestamp::now().as_second()));
        Ok(found)
    }

    /// Executes one of pitcrew's own short scripts outside a run.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn ask(&self, name: &ServerName, call: Call, stop: &CancellationToken) -> Result<Vec<Answer>, Failure> {
        let link = self.links.get(name).ok_or_else(|| crate::engine::remote::no_link(name))?;
        let quiet = std::time::Duration::ZERO;
        let limit = Some(self.config.timeouts.step);
        let execution = Execution { call, kept: None, payload: None, limit, quiet, command: None, stop };
        match self.standings.execute(name, link, &execution, None).await {
            Some(result) => result,
            None => execute(link, execution, None).await,
        }
    }

    /// Asks a server who deployed what when: the last lines of its `revisions.log`.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn history(&self, name: &ServerName, stop: &CancellationToken) -> Result<Vec<String>, Failure> {
        let answers = self.ask(name, calls::history(&self.site()), stop).await?;
        Ok(answers.into_iter().filter(|a| a.key == "line").map(|a| a.value).collect())
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.network.close().await;
    }

    /// The servers of the run after `--only` and `--except`.
    ///
    /// # Errors
    /// When a name fits nothing.
    pub fn select(&self, select: &Select) -> Result<Vec<ServerName>, Error> {
        Ok(config::select::select(&self.config.servers, &select.only, &select.except)?)
    }

    /// Connections to balancers that are no servers of the stack.
    pub fn balancer_links(&self) -> &[Arc<Link>] {
        &self.balancer_links
    }
}

fn question(host: &str, user: &Option<String>, port: Option<u16>) -> Question {
    Question { host: host.to_owned(), user: user.clone(), port }
}

/// Reads what decides how servers are reached.
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
        host: nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default(),
        env: Arc::new(|name| std::env::var(name).ok()),
    };
    Network::new(&ssh, local, super::ask::asking(global)).map_err(|e| Error::usage(e.detail).hint(e.hint))
}

/// The operator's home directory: HOME, else what the system says.
///
/// # Errors
/// When there is none.
pub fn home() -> Result<PathBuf, Error> {
    let set = std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from);
    set.or_else(|| nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.dir))
        .ok_or_else(|| Error::usage("cannot tell the home directory").hint("set HOME"))
}

/// The operator's login name.
pub fn local_user() -> String {
    let set = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|u| !u.is_empty());
    set.or_else(|| nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.name))
        .unwrap_or_else(|| "unknown".into())
}

/// Makes a run's id, and what its locks say of it.
pub fn owner(command: String, lease: std::time::Duration) -> Owner {
    let now = jiff::Timestamp::now();
    let random: u32 = rand::random();
    let run = RunId(format!("{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ")));
    Owner {
        run,
        who: local_user(),
        host: nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default(),
        pid: std::process::id(),
        command,
        since: format!("{now:.0}"),
        process: machine::this_process(),
        lease: lease.as_secs(),
    }
}

/// Expands `~/` and makes a path absolute from the file's directory.
///
/// # Errors
/// When there is no home to expand `~` to.
pub fn expand(base: &Path, path: &Path) -> Result<PathBuf, Error> {
    match path.strip_prefix("~") {
        Ok(rest) => Ok(home()?.join(rest)),
        Err(_) => Ok(base.join(path)),
    }
}
