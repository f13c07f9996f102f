//! The separate servers: how this process gets among them, and how a case looks into them without SSH.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Servers of the fleet: three for applications, one balancer, three oddities, and two where only one case runs.
const SIZE: usize = 9;
/// Applications run on these.
pub const WEB: [usize; 3] = [1, 2, 3];
/// Balancers run here.
pub const BALANCER: usize = 4;
/// Its login shell prints noise.
pub const NOISY: usize = 5;
/// For cases that stop its sshd.
pub const FRAGILE: usize = 6;
/// For the case that cuts its cable.
pub const CUT: usize = 7;

/// For cases that must see every process: on the others, cases beside it run processes of other users.
pub const APART: [usize; 2] = [8, 9];

/// Those that systemd runs; they are booted when a case asks for them.
const BOOTED: [usize; 2] = [10, 11];

static HOSTS: OnceLock<Result<Vec<&'static Host>, String>> = OnceLock::new();
static FLEET: OnceLock<Result<Fleet, String>> = OnceLock::new();

/// The servers and what a client needs to reach them.
pub struct Fleet {
    /// `id_ed25519`, `known_hosts` and the directories of the cases lie here; gone with the fleet.
    pub dir: PathBuf,
    /// `root`, `user` or `light`.
    pub mode: String,
    /// The login user.
    pub user: String,
    hosts: Vec<Host>,
}

/// One server.
pub struct Host {
    /// Its host name: `host1`.
    pub name: String,
    /// Its address.
    pub addr: String,
    /// Its sshd's port.
    pub port: u16,
    /// Who logs in, where it is not the fleet's user.
    user: Option<String>,
    index: usize,
    root: PathBuf,
    home: PathBuf,
}

/// What a case needs of the machine.
#[derive(Clone, Copy)]
pub enum Need {
    /// Any fleet.
    Fleet,
    /// Servers with files and ports of their own.
    Namespaces,
    /// Servers with a root of their own.
    Root,
    /// Servers that systemd runs.
    Systemd,
    /// A program.
    Tool(&'static str),
}

fn script() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/fleet.sh")
}

/// Executes this process again among servers, or remembers why that is impossible.
pub fn enter() {
    FLEET.get_or_init(|| {
        if let Ok(dir) = std::env::var("FLEET_DIR") {
            return Fleet::read(Path::new(&dir));
        }
        let mode = Command::new(script()).arg("mode").output().map_err(|e| format!("cannot run {}: {e}", script()))?;
        let mode = String::from_utf8_lossy(&mode.stdout).trim().to_owned();
        if !["root", "user", "light"].contains(&mode.as_str()) {
            return Err(format!("no fleet is possible here ({mode})"));
        }
        let this = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut with = Command::new(script());
        with.args(["with", &SIZE.to_string(), "0", "--"]).arg(this).args(std::env::args_os().skip(1));
        Err(format!("cannot run {}: {}", script(), with.exec()))
    });
}

/// The fleet; cases run only where there is one.
pub fn fleet() -> &'static Fleet {
    FLEET.get().and_then(|f| f.as_ref().ok()).expect("a case without Need::Fleet asked for the fleet")
}

/// The servers that systemd runs, or why there are none; the first case that asks boots them.
pub fn booted() -> &'static Result<Vec<&'static Host>, String> {
    HOSTS.get_or_init(|| {
        let boot = |index: &usize| {
            let ran = Command::new(script()).args(["boot", &index.to_string()]).output().map_err(|e| e.to_string())?;
            let (said, why) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            if !ran.status.success() {
                return Err(format!("no server can be booted by systemd here: {}", why.trim()));
            }
            Ok(&*Box::leak(Box::new(Host::read(said.trim(), *index)?)))
        };
        BOOTED.iter().map(boot).collect()
    })
}

/// Server `index`, from 1.
pub fn host(index: usize) -> &'static Host {
    &fleet().hosts[index - 1]
}

/// A server program that is not OpenSSH's.
#[derive(Debug, Clone, Copy)]
pub enum Program {
    Dropbear,
    Tinysshd,
}

impl Fleet {
    fn read(dir: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(dir.join("hosts")).map_err(|e| format!("cannot read the fleet: {e}"))?;
        let mut hosts = Vec::new();
        for (i, line) in text.lines().enumerate() {
            hosts.push(Host::read(line, i + 1)?);
        }
        let mode = std::env::var("FLEET_MODE").map_err(|_| "FLEET_DIR without FLEET_MODE")?;
        let user = if mode == "light" { output(Command::new("id").arg("-un")) } else { "deploy".into() };
        let fleet = Self { dir: dir.into(), mode, user: user.trim().to_owned(), hosts };
        // Bash reads this for every command that comes through sshd.
        let noise = "echo NOISE on stdout; echo NOISE on stderr >&2; printf 'no newline at the end'\n";
        std::fs::write(fleet.hosts[NOISY - 1].home_seen(&fleet.mode).join(".bashrc"), noise)
            .map_err(|e| format!("cannot make a server noisy: {e}"))?;
        Ok(fleet)
    }
}

impl Host {
    fn read(line: &str, index: usize) -> Result<Self, String> {
        let [name, addr, port, root, home] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("a strange line in the fleet's hosts: {line}"));
        };
        Ok(Self {
            name: name.to_owned(),
            addr: addr.to_owned(),
            port: port.parse().map_err(|_| format!("a strange port: {line}"))?,
            user: None,
            index,
            root: root.into(),
            home: home.into(),
        })
    }

    /// The server as `[[servers]] host` names it.
    pub fn address(&self) -> String {
        let user = self.user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
        let port = if self.port == 22 { String::new() } else { format!(":{}", self.port) };
        format!("{user}{}{port}", self.addr)
    }

    /// How known_hosts names it.
    pub fn known_as(&self) -> String {
        if self.port == 22 { self.addr.clone() } else { format!("[{}]:{}", self.addr, self.port) }
    }

    /// The same server through an sshd of the case's own, which it may stop, break or configure as it likes.
    ///
    /// Its processes are told by its port: `sshd -p PORT`; `user` is the fleet's when empty.
    pub fn own_sshd(&self, port: u16, user: &str, config: &str) -> &'static Self {
        let name = format!("/run/sshd-{port}");
        let lines = format!(
            "HostKey /etc/ssh/ssh_host_ed25519_key\nPidFile {name}.pid\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nPort {port}\n{config}\n"
        );
        std::fs::write(self.seen(&format!("{name}.conf")), lines).expect("the server's /run can be written");
        let own = self.behind(port, user);
        own.start_own_sshd();
        own
    }

    /// The same server by another port and user.
    fn behind(&self, port: u16, user: &str) -> &'static Self {
        Box::leak(Box::new(Self {
            name: self.name.clone(),
            addr: self.addr.clone(),
            port,
            user: (!user.is_empty()).then(|| user.to_owned()),
            index: self.index,
            root: self.root.clone(),
            home: self.home.clone(),
        }))
    }

    /// The same server through another program than OpenSSH's, with its host key.
    pub fn other_sshd(&self, port: u16, user: &str, program: Program) -> (&'static Self, String) {
        let dir = format!("/run/{port}");
        let key = "/etc/ssh/ssh_host_ed25519_key";
        let (make, run, show) = match program {
            Program::Dropbear => (
                format!("dropbearconvert openssh dropbear {key} {dir}/key 2>/dev/null"),
                format!("dropbear -F -E -s -r {dir}/key -P {dir}/pid -p {port}"),
                format!("ssh-keygen -y -f {key}"),
            ),
            Program::Tinysshd => (
                format!("tinysshd-makekey {dir}/keys"),
                format!("socat TCP-LISTEN:{port},reuseaddr,fork EXEC:'tinysshd -v {dir}/keys'"),
                format!("tinysshd-printkey {dir}/keys"),
            ),
        };
        self.root_sh(&format!(
            "mkdir -p {dir} && {make} && {{ setsid {run} >/var/log/sshd.{port}.log 2>&1 </dev/null & }}"
        ));
        let line = self.root_sh(&show).trim().to_owned();
        wait_for("the other sshd", Duration::from_secs(10), || {
            std::net::TcpStream::connect((self.addr.as_str(), port)).is_ok()
        });
        (self.behind(port, user), line)
    }

    /// Starts the case's own sshd again.
    pub fn start_own_sshd(&self) {
        let name = format!("/run/sshd-{}", self.port);
        self.root_sh(&format!("/usr/sbin/sshd -f {name}.conf -E /var/log/sshd.own.log"));
        wait_for("the second sshd", Duration::from_secs(10), || self.seen(&format!("{name}.pid")).exists());
    }

    /// Kills it with all its sessions; what they ran lives on.
    pub fn kill_own_sshd(&self) {
        let pid = format!("/run/sshd-{}.pid", self.port);
        self.root_sh(&format!(
            "l=$(cat {pid}); all=\"$l $(for p in $(pgrep -P $l); do echo $p; pgrep -P $p sshd; done)\"; kill -9 $all; rm -f {pid}"
        ));
    }

    /// Sends a signal to the listening process of an sshd of the case's own (`sessions` false) or to its sessions.
    pub fn signal_own_sshd(&self, signal: &str, sessions: bool) {
        let listener = format!("$(cat /run/sshd-{}.pid)", self.port);
        // Sessions are children of the listener, and have one child each that runs as the user.
        let whom = match sessions {
            false => listener,
            true => format!("$(for p in $(pgrep -P {listener}); do echo $p; pgrep -P $p sshd; done)"),
        };
        self.root_sh(&format!("kill -{signal} {whom}"));
    }

    /// Where `deploy_to` of a stack is seen from outside.
    pub fn deploy_to(&self, stack: &str) -> PathBuf {
        if fleet().mode == "light" { self.home.join(stack) } else { self.seen(&format!("/srv/{stack}")) }
    }

    /// Where an absolute path of the server is seen from outside.
    pub fn seen(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn home_seen(&self, mode: &str) -> PathBuf {
        if mode == "light" { self.home.clone() } else { self.seen(&self.home.to_string_lossy()) }
    }

    /// Runs shell as the login user, without SSH; anything but exit status 0 fails the case.
    pub fn sh(&self, shell: &str) -> String {
        output(Command::new(script()).args(["as", &self.index.to_string(), "sh", "-c", shell]))
    }

    /// The same as root, where there is one.
    pub fn root_sh(&self, shell: &str) -> String {
        output(Command::new(script()).args(["exec", &self.index.to_string(), "sh", "-c", shell]))
    }

    /// Whether a process whose command line contains `text` runs; zombies have none.
    pub fn runs(&self, text: &str) -> bool {
        // The brackets keep the shell that asks from finding itself.
        let (first, rest) = text.split_at(1);
        !self.root_sh(&format!("pgrep -f '[{first}]{rest}' || :")).trim().is_empty()
    }

    /// Process 1 of the server, seen from outside: its sshd.
    pub fn sshd(&self) -> i32 {
        let pid = self.root.strip_prefix("/proc").ok().and_then(|p| p.iter().next()?.to_str()?.parse().ok());
        pid.expect("only servers with namespaces have a process 1")
    }
}

impl Need {
    /// Why the machine does not have it.
    pub fn unmet(self) -> Option<String> {
        let fleet = match FLEET.get() {
            Some(Ok(fleet)) => fleet,
            Some(Err(why)) => return Some(why.clone()),
            None => return Some("the fleet was never entered".into()),
        };
        match self {
            Self::Fleet => None,
            Self::Namespaces => (fleet.mode == "light").then(|| "servers here share files and ports".into()),
            Self::Root => (fleet.mode != "root").then(|| "servers here have no root".into()),
            Self::Systemd if fleet.mode != "root" => Some("servers here have no root".into()),
            Self::Systemd => booted().as_ref().err().cloned(),
            Self::Tool(tool) => {
                let dirs = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
                let found = std::env::split_paths(&dirs).any(|dir| dir.join(tool).exists());
                (!found).then(|| format!("`{tool}` is not installed"))
            }
        }
    }
}

/// Runs a command that must succeed, and returns what it printed.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Waits until something is so; `what` completes "waited 10 s for …".
pub fn wait_for(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}
