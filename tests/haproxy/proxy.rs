//! A haproxy of a test's own with three applications behind it, and the adapter that steers it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use pitcrew::balancer::{Around, Balancer, BalancerError, Draining, MemberFacts, Snapshot};
use pitcrew::config::{BalancerAddress, BalancerKind, HaproxyAccess, Least, LoadBalancer, OnDrainTimeout};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::apps::{App, Mode, binary, get};

/// A haproxy in the foreground; ended when dropped.
pub struct Proxy {
    child: Child,
    dir: PathBuf,
    name: String,
    /// It is a master with a worker.
    master: bool,
}

impl Proxy {
    /// Starts one whose backends are `backends`; files in `dir` begin with `name`.
    pub async fn start(dir: &Path, name: &str, backends: &str) -> Self {
        Self::start_as(dir, name, backends, false).await
    }

    /// The same, or a master that starts such a one.
    pub async fn start_as(dir: &Path, name: &str, backends: &str, master: bool) -> Self {
        let at = dir.display();
        let config = format!(
            "global\n  noreuseport\n  stats socket {at}/{name}.sock mode 600 level admin\n\
             \x20 stats socket {at}/{name}.user.sock mode 600 level user\n\
             defaults\n  mode http\n  option http-server-close\n  option httpchk GET /up\n  timeout connect 2s\n  timeout client 60s\n\
             \x20 timeout server 60s\n  timeout check 2s\n  default-server inter 200ms\n\
             frontend front\n  bind unix@{at}/{name}.front\n  default_backend shop\n{backends}\n"
        );
        std::fs::write(dir.join(format!("{name}.cfg")), config).unwrap();
        let child = Self::spawn(dir, name, master);
        let mut proxy = Self { child, dir: dir.to_owned(), name: name.to_owned(), master };
        proxy.ready().await;
        proxy
    }

    fn spawn(dir: &Path, name: &str, master: bool) -> Child {
        let log = std::fs::File::create(dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(binary("haproxy"));
        command.arg("-db").arg("-f").arg(dir.join(format!("{name}.cfg")));
        if master {
            command.arg("-W").arg("-S").arg(format!("{}/{name}.master.sock,mode,600", dir.display()));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!("{}.sock", self.name))
    }

    /// Its master's.
    pub fn master_socket(&self) -> PathBuf {
        self.dir.join(format!("{}.master.sock", self.name))
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub fn front(&self) -> PathBuf {
        self.dir.join(format!("{}.front", self.name))
    }

    /// Tells whether it does not answer yet.
    async fn is_away(&self) -> bool {
        // A master listens, starts its worker, and starts anew itself: only an answer tells that it is there.
        UnixStream::connect(self.socket()).await.is_err()
            || UnixStream::connect(self.front()).await.is_err()
            || self.master && !self.tell_master("show proc").await.contains("# workers")
    }

    async fn ready(&mut self) {
        let up = async {
            while self.is_away().await {
                let log = self.dir.join(format!("{}.log", self.name));
                assert!(self.child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(log).unwrap());
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), up).await.unwrap();
    }

    /// Starts it anew with the same configuration, which forgets all that its socket was told, as a reload does.
    pub async fn lose_state(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.dir, &self.name, self.master);
        self.ready().await;
    }

    pub fn kill(&mut self) {
        if self.master {
            // Its worker ends with it.
            let _ = nix::sys::signal::kill(self.pid(), nix::sys::signal::Signal::SIGTERM);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// Runs a command of its own on the socket.
    pub async fn tell(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The same on its master's; empty while that is away.
    pub async fn tell_master(&self, command: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = UnixStream::connect(self.master_socket()).await {
            let _ = stream.write_all(format!("{command};quit\n").as_bytes()).await;
            let _ = stream.read_to_string(&mut answer).await;
        }
        answer
    }

    /// Waits until a server has this status in `show stat`.
    pub async fn status(&self, server: &str, wanted: &str) {
        let found = async {
            loop {
                let stat = self.tell("show stat shop 4 -1").await;
                let row = stat.lines().find(|l| l.starts_with(&format!("shop,{server},"))).unwrap().to_owned();
                if row.split(',').nth(17) == Some(wanted) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(20), found).await.unwrap();
    }

    /// Reads a server's administrative bits.
    pub async fn bits(&self, server: &str) -> String {
        let state = self.tell("show servers state shop").await;
        let row = state.lines().find(|l| l.split(' ').nth(3) == Some(server)).unwrap();
        row.split(' ').nth(6).unwrap().to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three applications, a haproxy before them, and the adapter.
pub struct Shop {
    pub apps: Vec<App>,
    pub proxy: Proxy,
    pub balancer: Balancer,
    pub found: Snapshot,
    pub stop: CancellationToken,
    pub dir: TempDir,
}

pub fn config(at: &[&Proxy]) -> LoadBalancer {
    LoadBalancer {
        kind: BalancerKind::Haproxy {
            at: at.iter().map(|p| BalancerAddress::Unix(p.socket())).collect(),
            backends: vec!["shop".into()],
            access: HaproxyAccess::default(),
        },
        drain_timeout: Duration::from_secs(20),
        on_drain_timeout: OnDrainTimeout::Proceed,
        wait_after_drain: Duration::ZERO,
        wait_after_restore: Duration::ZERO,
        restore_timeout: Duration::from_secs(20),
        min_healthy_time: Duration::ZERO,
        min_in_service: Least::Count(1),
        capacity_timeout: Duration::ZERO,
    }
}

pub fn backends(config: &mut LoadBalancer) -> &mut Vec<String> {
    let BalancerKind::Haproxy { backends, .. } = &mut config.kind else { panic!("not HAProxy") };
    backends
}

pub fn addresses(config: &mut LoadBalancer) -> &mut Vec<BalancerAddress> {
    let BalancerKind::Haproxy { at, .. } = &mut config.kind else { panic!("not HAProxy") };
    at
}

pub fn open(heard: &Draining) -> u64 {
    let Draining::Open(open) = heard else { panic!("it waits: {heard:?}") };
    *open
}

pub fn balancer(config: &LoadBalancer) -> Balancer {
    Balancer::new(config, Around::default()).unwrap()
}

/// Makes a socket that passes everything on to a proxy's own, changes of state only after a while.
pub fn slow_to_change(proxy: &Proxy) -> PathBuf {
    let path = proxy.dir.join("slow.sock");
    let (listener, to) = (UnixListener::bind(&path).unwrap(), proxy.socket());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                let mut line = Vec::new();
                while !line.ends_with(b"\n") {
                    line.push(from.read_u8().await.unwrap());
                }
                if line.starts_with(b"set server") {
                    sleep(Duration::from_millis(300)).await;
                }
                let mut to = UnixStream::connect(to).await.unwrap();
                to.write_all(&line).await.unwrap();
                tokio::io::copy(&mut to, &mut from).await.unwrap();
            });
        }
    });
    path
}

/// The usual backend: three checked servers.
pub fn three(dir: &Path) -> String {
    servers(dir, "check")
}

pub fn servers(dir: &Path, options: &str) -> String {
    let line = |n| format!("  server web{n} unix@{}/web{n} {options}\n", dir.display());
    format!("backend shop\n{}{}{}", line(1), line(2), line(3))
}

pub const NAMES: [&str; 3] = ["web1", "web2", "web3"];

pub fn names() -> Vec<String> {
    NAMES.map(str::to_owned).into()
}

impl Shop {
    pub async fn open(backends: impl Fn(&Path) -> String, change: impl Fn(&mut LoadBalancer)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let apps = NAMES.map(|n| App::start(dir.path().join(n), Mode::Up)).into();
        sleep(Duration::from_millis(50)).await;
        let proxy = Proxy::start(dir.path(), "lb", &backends(dir.path())).await;
        let mut config = config(&[&proxy]);
        change(&mut config);
        let balancer = balancer(&config);
        let found = Snapshot { members: balancer.facts(&names()).await.unwrap() };
        Self { apps, proxy, balancer, found, stop: CancellationToken::new(), dir }
    }

    /// What was found, as if it had been asked for at another address.
    pub fn found_at(&self, at: &str) -> Snapshot {
        let mut found = self.found.clone();
        found.members.iter_mut().for_each(|m| m.at = at.to_owned());
        found
    }

    /// Connects another adapter with other settings.
    pub fn with(&mut self, change: impl Fn(&mut LoadBalancer)) {
        let mut config = config(&[&self.proxy]);
        change(&mut config);
        self.balancer = balancer(&config);
    }

    pub async fn drain(&self, server: &str) -> Result<u64, BalancerError> {
        self.balancer.drain(server, &self.found, &mut |_| {}, &self.stop).await.map(|d| d.left.unwrap())
    }

    pub async fn restore(&self, server: &str) -> Result<(), BalancerError> {
        self.balancer.restore(server, &self.found, &mut |_| {}, &self.stop).await
    }

    pub async fn look(&self, server: &str) -> MemberFacts {
        self.balancer.facts(&[server.to_owned()]).await.unwrap().remove(0)
    }

    /// Begins a request to `/slow`; returns once the application of web1 has it.
    pub async fn slow(&self) -> JoinHandle<String> {
        // Only web1 is in service for as long as it takes the request to arrive.
        for other in &NAMES[1..] {
            self.proxy.tell(&format!("set server shop/{other} state drain")).await;
        }
        let request = tokio::spawn(get(self.proxy.front(), "/slow"));
        let arrived = async {
            while self.apps[0].slow.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), arrived).await.unwrap();
        for other in &NAMES[1..] {
            self.proxy.tell(&format!("set server shop/{other} state ready")).await;
        }
        request
    }
}
