//! A case's own stack: its application in git, its `pitcrew.toml`, its place on the servers, and questions about it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::balancer::{BACKEND, Balancer, TUNNELS};
use crate::fleet::{self, Host, Program, fleet};
use crate::load;
use crate::pitcrew::{Pitcrew, Ran};

/// Ports of applications, balancers and tunnels, four a case.
static PORTS: AtomicU16 = AtomicU16::new(8100);

/// What the stack runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// Nothing: files alone.
    Static,
    /// The small application under Unicorn.
    Unicorn,
    /// The same under Puma.
    Puma,
    /// The same under Apache with Passenger, which the case starts itself.
    Passenger,
    /// Whatever the case says by [`Stack::web`], and starts itself where that is needed.
    Served,
}

/// Whether a server of tunnels stands beside the application.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tunnels {
    None,
    Beside,
}

/// A stack of one case.
pub struct Stack {
    /// Unique on the fleet; also the last part of `deploy_to`.
    pub name: String,
    /// Where it lies on the servers, as the file says it.
    pub deploy_to: String,
    /// Its servers, in the file's order.
    pub servers: Vec<&'static Host>,
    /// The application's port.
    pub port: u16,
    /// Its balancer.
    pub balancer: Option<Balancer>,
    /// The other one of a pair.
    pub partner: Option<Balancer>,
    tunnels: Tunnels,
    app: App,
    web: (String, String),
    dir: TempDir,
    app_keys: String,
    ssh_keys: String,
    source: String,
    balancer_keys: String,
    tables: String,
}

impl Stack {
    /// A stack on the three application servers.
    pub fn new(app: App) -> Self {
        Self::on(app, &fleet::WEB)
    }

    /// A stack on these servers of the fleet.
    pub fn on(app: App, servers: &[usize]) -> Self {
        Self::among(app, servers.iter().map(|i| fleet::host(*i)).collect())
    }

    /// A stack on these servers.
    pub fn among(app: App, servers: Vec<&'static Host>) -> Self {
        let port = PORTS.fetch_add(4, Ordering::Relaxed);
        let name = format!("app{port}");
        let deploy_to = if fleet().mode == "light" { format!("~/{name}") } else { format!("/srv/{name}") };
        let dir = TempDir::new_in(&fleet().dir).expect("the fleet's directory can be written");
        for sub in ["home", "state", "source"] {
            std::fs::create_dir(dir.path().join(sub)).expect("a new directory");
        }
        let stack = Self {
            name,
            deploy_to,
            servers,
            port,
            balancer: None,
            partner: None,
            tunnels: Tunnels::None,
            app,
            web: Default::default(),
            dir,
            app_keys: String::new(),
            ssh_keys: String::new(),
            source: "path = \"source\"".to_owned(),
            balancer_keys: String::new(),
            tables: String::new(),
        };
        stack.git(&["init", "--quiet", "--initial-branch=main"]);
        stack
    }

    /// Puts it somewhere else below /srv.
    pub fn below(mut self, directory: &str) -> Self {
        self.name = format!("{directory}/{}", self.name);
        self.deploy_to = format!("/srv/{}", self.name);
        self
    }

    /// Starts its balancer.
    pub fn balanced(mut self) -> Self {
        let members: Vec<_> = self.servers.iter().map(|h| (h.name.as_str(), h.addr.as_str(), self.port)).collect();
        self.balancer = Some(Balancer::start(&self.name, self.port + 1, &members));
        self
    }

    /// Starts a balancer whose clients are sticky, or a pair of them, and servers of tunnels behind it.
    pub fn sticky(mut self, pair: bool) -> Self {
        let port = self.port + 2;
        for host in &self.servers {
            let script = host.seen(&format!("/tmp/tunnel-{port}.rb"));
            std::fs::write(script, include_str!("../fleet/app/tunnel.rb")).expect("a server with a /tmp");
            host.sh(&format!(
                "ruby /tmp/tunnel-{port}.rb {port} >/tmp/tunnel-{port}.log 2>&1 & echo $! >/tmp/tunnel-{port}.pid"
            ));
        }
        let members: Vec<_> = self.servers.iter().map(|h| (h.name.as_str(), h.addr.as_str(), self.port)).collect();
        self.balancer = Some(Balancer::sticky(&self.name, self.port + 1, &members, port));
        let other = format!("{}-b", self.name);
        self.partner = pair.then(|| Balancer::sticky(&other, self.port + 3, &members, port));
        self.tunnels = Tunnels::Beside;
        self
    }

    /// Its balancers.
    pub fn balancers(&self) -> Vec<&Balancer> {
        self.balancer.iter().chain(&self.partner).collect()
    }

    /// Sets the template and the lines of `[web]`.
    pub fn web(mut self, template: &str, keys: &str) -> Self {
        self.web = (template.to_owned(), format!("{keys}\n"));
        self
    }

    /// Adds lines to `[app]`.
    pub fn app(mut self, keys: &str) -> Self {
        self.app_keys.push_str(&format!("{keys}\n"));
        self
    }

    /// Adds lines to `[ssh]`, instead of the working key and known hosts.
    pub fn ssh(mut self, keys: &str) -> Self {
        self.ssh_keys.push_str(&format!("{keys}\n"));
        self
    }

    /// Forgets what was added to `[ssh]`.
    pub fn ssh_anew(mut self) -> Self {
        self.ssh_keys.clear();
        self
    }

    /// Sets all of `[source]`.
    pub fn source(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.source);
        self
    }

    /// Adds lines to `[load_balancer]`.
    pub fn balancer_keys(mut self, keys: &str) -> Self {
        self.balancer_keys.push_str(&format!("{keys}\n"));
        self
    }

    /// Adds tables.
    pub fn tables(mut self, tables: &str) -> Self {
        self.tables.push_str(&format!("{tables}\n"));
        self
    }

    /// Puts it on a disk of its own on every server: a tmpfs with these options.
    pub fn on_disks(self, options: &str) -> Self {
        for host in &self.servers {
            host.root_sh(&format!(
                "mkdir -p {0} && mount -t tmpfs -o mode=755,uid=1500,gid=1500,{options} {1} {0}",
                self.deploy_to, self.name
            ));
        }
        self
    }

    /// Reaches server `index` through an sshd of the case's own, with these lines of configuration.
    pub fn through_own_sshd(self, index: usize, user: &str, config: &str) -> Self {
        let door = self.servers[index].own_sshd(self.port + 10_000, user, config);
        let known = self.known_hosts();
        let addr = format!("{} ", door.addr);
        let key = known.lines().find_map(|l| l.strip_prefix(&addr)).expect("every server's key is known").to_owned();
        self.through(index, door, &key)
    }

    /// Reaches server `index` through another program than OpenSSH's.
    pub fn through_other_sshd(self, index: usize, user: &str, program: Program) -> Self {
        let (door, key) = self.servers[index].other_sshd(self.port + 10_000, user, program);
        self.through(index, door, &key)
    }

    fn known_hosts(&self) -> String {
        std::fs::read_to_string(self.dir().join("known_hosts"))
            .or_else(|_| std::fs::read_to_string(fleet().dir.join("known_hosts")))
            .expect("the fleet's known hosts")
    }

    fn through(mut self, index: usize, door: &'static Host, key: &str) -> Self {
        let (known_hosts, known) = (self.dir().join("known_hosts"), self.known_hosts());
        std::fs::write(known_hosts, format!("{known}{} {key}\n", door.known_as())).expect("a file of the case's own");
        if self.ssh_keys.is_empty() {
            let dir = fleet().dir.display();
            self.ssh_keys = format!("identity_file = \"{dir}/id_ed25519\"\nknown_hosts = \"known_hosts\"\n");
        }
        self.servers[index] = door;
        self
    }

    /// Adds a hook at which servers wait whose gate is closed.
    pub fn gate(self, at: &str) -> Self {
        let gate = format!("/tmp/{}", self.port);
        let wait =
            format!("test ! -e {gate}.gate || {{ : >{gate}.waits; while test -e {gate}.gate; do sleep 0.05; done; }}");
        self.tables(&format!("[[hooks]]\nat = \"{at}\"\nrun = \"{wait}\"\non = \"each\""))
    }

    /// Closes a server's gate.
    pub fn close_gate(&self, host: &Host) {
        std::fs::write(host.seen(&format!("/tmp/{}.gate", self.port)), "").expect("a server with a /tmp");
    }

    /// Waits until the run waits at a server's gate.
    pub fn wait_at_gate(&self, host: &Host) {
        let waits = host.seen(&format!("/tmp/{}.waits", self.port));
        fleet::wait_for("the run to reach the gate", Duration::from_secs(60), || waits.exists());
    }

    /// Opens a server's gate.
    pub fn open_gate(&self, host: &Host) {
        for file in ["waits", "gate"] {
            let _ = std::fs::remove_file(host.seen(&format!("/tmp/{}.{file}", self.port)));
        }
    }

    /// The operator's directory: `pitcrew.toml`, `source/`, `home/`, `state/`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The balancer of a balanced stack.
    pub fn balancer(&self) -> &Balancer {
        self.balancer.as_ref().expect("a balanced stack")
    }

    /// Commits a version of the application with these files beside its own, and returns the commit's SHA.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let source = self.dir().join("source");
        self.git(&["rm", "-r", "--quiet", "--force", "--ignore-unmatch", "."]);
        let app = [
            ("config.ru", include_str!("../fleet/app/config.ru")),
            ("unicorn.rb", include_str!("../fleet/app/unicorn.rb")),
            ("puma.rb", include_str!("../fleet/app/puma.rb")),
            ("BOOT_SLEEP", "0.5"),
            ("public/robots.txt", ""),
            ("tmp/.keep", ""),
        ];
        for (path, text) in app.iter().chain(files) {
            let path = source.join(path);
            std::fs::create_dir_all(path.parent().expect("a file in the source")).expect("a directory in the source");
            std::fs::write(path, text).expect("a file in the source");
        }
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Change the application"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Puts what is committed into a bare repository, for those who fetch.
    pub fn bare(&self, at: &Path) {
        if !at.exists() {
            self.git(&["init", "--quiet", "--bare", &at.display().to_string()]);
        }
        self.git(&["push", "--quiet", "--mirror", &at.display().to_string()]);
        fleet::output(Command::new("git").arg("-C").arg(at).arg("update-server-info"));
    }

    /// Puts what is committed into a bare repository at this path on every server, for the login user to fetch from.
    pub fn publish(&self, path: &str) {
        self.publish_on(&self.servers, path);
    }

    /// The same on these servers.
    pub fn publish_on(&self, servers: &[&Host], path: &str) {
        let bare = self.dir().join("bare.git");
        self.bare(&bare);
        for host in servers {
            let at = host.seen(path);
            let _ = std::fs::remove_dir_all(&at);
            fleet::output(Command::new("cp").arg("-a").arg(&bare).arg(&at));
            host.root_sh(&format!("chown -R 1500:1500 {path}"));
        }
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.dir().join("source")).args([
            "-c",
            "user.name=Tester",
            "-c",
            "user.email=tester@example.com",
        ]);
        git.args(args).env("HOME", self.dir()).env("GIT_CONFIG_NOSYSTEM", "1");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        fleet::output(&mut git)
    }

    /// Writes `pitcrew.toml` and returns a run of pitcrew with it.
    pub fn pitcrew(&self, args: &[&str]) -> Pitcrew {
        std::fs::write(self.dir().join("pitcrew.toml"), self.config()).expect("pitcrew.toml can be written");
        Pitcrew::new(self.dir(), args)
    }

    /// Deploys HEAD for the first time, and waits until the balancer gives every server traffic.
    pub fn deploy_first(&self) -> Ran {
        let ran = self.pitcrew(&["deploy", "--parallel"]).run().expect(0);
        self.balancers().into_iter().for_each(Balancer::wait_until_all_up);
        ran
    }

    /// The file as it would be written now.
    pub fn config(&self) -> String {
        let Self { name, deploy_to, app_keys, source, port, .. } = self;
        let name = name.rsplit('/').next().unwrap_or(name);
        let current = format!("{deploy_to}/current");
        let (web_server, web) = match self.app {
            App::Static => ("static", String::new()),
            App::Unicorn => (
                "unicorn",
                format!(
                    "pid_file = \"shared/tmp/pids/unicorn.pid\"\n\
                     start = \"unicorn -E production -D -c {current}/unicorn.rb {current}/config.ru\"\n"
                ),
            ),
            App::Puma => (
                "puma",
                format!(
                    "pid_file = \"shared/tmp/pids/puma.pid\"\n\
                     start = \"puma -e production -C {current}/puma.rb {current}/config.ru\"\n"
                ),
            ),
            App::Passenger => ("passenger", String::new()),
            App::Served => (self.web.0.as_str(), self.web.1.clone()),
        };
        let mut toml = format!(
            "[app]\nname = \"{name}\"\ndeploy_to = \"{deploy_to}\"\nweb_server = \"{web_server}\"\n{app_keys}\n\
             [source]\n{source}\n\n[ssh]\nuser = \"{}\"\nconfig_file = false\n",
            fleet().user
        );
        if self.ssh_keys.is_empty() {
            let dir = fleet().dir.display();
            let _ = writeln!(toml, "identity_file = \"{dir}/id_ed25519\"\nknown_hosts = \"{dir}/known_hosts\"");
        } else {
            toml.push_str(&self.ssh_keys);
        }
        for host in &self.servers {
            let _ = write!(toml, "\n[[servers]]\nhost = \"{}\"\nlb = \"{}\"\n", host.address(), host.name);
        }
        let at: Vec<&str> = self.balancers().into_iter().map(|b| b.at.as_str()).collect();
        if !at.is_empty() {
            let backends = if self.tunnels == Tunnels::Beside { vec![BACKEND, TUNNELS] } else { vec![BACKEND] };
            let _ = write!(toml, "\n[load_balancer]\nkind = \"haproxy\"\nat = {at:?}\nbackends = {backends:?}\n");
            let _ = write!(toml, "restore_timeout = \"15s\"\n{}", self.balancer_keys);
        }
        if self.app != App::Static {
            let _ = write!(
                toml,
                "\n[web]\n{web}\n[env]\nAPP_ROOT = \"{deploy_to}\"\nAPP_PORT = \"{port}\"\n\n\
                 [shared]\ndirs = [\"log\", \"tmp/pids\", \"tmp/sockets\"]\n\n\
                 [health]\npath = \"/up\"\nport = {port}\ntimeout = \"5s\"\nwithin = \"6s\"\ninterval = \"200ms\"\n"
            );
        }
        toml + "\n" + &self.tables
    }

    /// Where a path of `deploy_to` on that server is seen from outside.
    pub fn seen(&self, host: &Host, path: &str) -> PathBuf {
        host.deploy_to(&self.name).join(path)
    }

    /// The release that `current` points to on that server.
    pub fn current(&self, host: &Host) -> Option<String> {
        let to = std::fs::read_link(self.seen(host, "current")).ok()?;
        Some(to.file_name()?.to_string_lossy().into_owned())
    }

    /// The releases on that server, oldest first.
    pub fn releases(&self, host: &Host) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.seen(host, "releases")) else { return Vec::new() };
        let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What each server's `current` was made from, read on the server.
    pub fn revisions(&self) -> Vec<String> {
        let revision = |host: &&Host| {
            let release = self.current(host)?;
            std::fs::read_to_string(self.seen(host, &format!("releases/{release}/REVISION"))).ok()
        };
        self.servers.iter().map(|h| revision(h).unwrap_or_default().trim().to_owned()).collect()
    }

    /// What each server answers, asked directly.
    pub fn answers(&self) -> Vec<Result<String, String>> {
        self.servers.iter().map(|h| load::release_of(&format!("{}:{}", h.addr, self.port), "/")).collect()
    }

    /// Fails the case unless every server's `current` is that revision, and its application answers with it.
    #[track_caller]
    pub fn assert_serves(&self, revisions: &[impl AsRef<str>]) {
        let revisions: Vec<&str> = revisions.iter().map(AsRef::as_ref).collect();
        assert_eq!(self.revisions(), revisions, "revisions of `current`, server by server");
        if self.app != App::Static {
            let expected: Vec<Result<String, String>> = revisions.iter().map(|r| Ok((*r).to_owned())).collect();
            assert_eq!(self.answers(), expected, "answers, server by server");
        }
    }

    /// Fails the case unless every member is ready and up, at once.
    #[track_caller]
    pub fn assert_all_in_balancer(&self) {
        let members: Vec<_> = self.balancers().into_iter().flat_map(Balancer::all_members).collect();
        let state: Vec<_> = members.iter().map(|m| (m.name.as_str(), m.status.as_str(), m.admin)).collect();
        assert!(members.iter().all(|m| m.admin == 0 && m.status == "UP"), "every member is up: {state:?}");
    }

    /// Fails the case when any server still holds a lock.
    #[track_caller]
    pub fn assert_no_lock(&self) {
        for host in &self.servers {
            assert!(!self.seen(host, ".pitcrew/lock").exists(), "{} is still locked", host.name);
        }
    }

    /// Every file of the stack on every server, with type, size, time and target.
    pub fn listing(&self) -> Vec<String> {
        let list = |host: &&Host| {
            host.sh(&format!("cd {} 2>/dev/null && find . -printf '%p %y %s %T@ %l\\n' | sort || :", self.deploy_to))
        };
        self.servers.iter().map(list).collect()
    }

    /// A master's process id on each server, as its pid file has it.
    pub fn masters(&self, pid_file: &str) -> Vec<String> {
        let read = |host: &&Host| std::fs::read_to_string(self.seen(host, pid_file)).unwrap_or_default();
        self.servers.iter().map(|h| read(h).trim().to_owned()).collect()
    }
}

impl Drop for Stack {
    /// Ends what the stack's web servers left running, so that cases do not slow each other down.
    fn drop(&mut self) {
        if self.tunnels == Tunnels::Beside {
            for host in &self.servers {
                host.sh(&format!("kill $(cat /tmp/tunnel-{}.pid)", self.port + 2));
            }
        }
        let kill = format!("cat {}/shared/tmp/pids/*.pid* 2>/dev/null | xargs -r kill 2>/dev/null; :", self.deploy_to);
        if matches!(self.app, App::Unicorn | App::Puma) {
            for host in &self.servers {
                host.sh(&kill);
            }
        }
    }
}

/// Waits until every server of the stack answers with this revision.
pub fn wait_until_serves(stack: &Stack, revision: &str) {
    fleet::wait_for("every server to answer with the revision", Duration::from_secs(10), || {
        stack.answers().iter().all(|a| a.as_deref() == Ok(revision))
    });
}
