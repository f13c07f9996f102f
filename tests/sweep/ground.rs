//! A fleet that cases are run on, one after the other: set up the same for each, whatever the one before left.
//!
//! It starts what a case needs and gathers the evidence; [`crate::rules`] judges it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::Admin;
use pitcrew::demo::balancer::{CheckPlan, MemberState};
use pitcrew::demo::load::{self, Connections, LoadOptions};
use pitcrew::demo::server::SshServer;
use pitcrew::demo::{Fleet, FleetOptions, Process, Sample, WebKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::case::{Case, Harm, Scenario, Spot, Twist};
use crate::evidence::{Evidence, Meets, Recovery, Standing};
use crate::offered::{Offered, sample};
use crate::watch::{self, BLOB, lacking};

/// The program under test.
static PITCREW: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("PITCREW_SWEEP_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_pitcrew").into()).into()
});
/// What is current before each run, and what was before that.
pub const OLD: &str = "20260102000000";
/// See [`OLD`].
pub const OLDER: &str = "20260101000000";
/// No run may take longer: every wait of pitcrew's has a limit, and a case adds up a few of them.
pub const LIMIT: Duration = Duration::from_secs(240);
/// What is left of commands that pitcrew could not end itself may take so long.
const LEFTOVERS: Duration = Duration::from_secs(12);
/// The file: long enough to be cut off in the middle, and last in the archive.
pub static LAST: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..BLOB / 8).flat_map(|n| crate::choose::rank(0, n).to_le_bytes()).collect());
/// So long another server is out, where somebody else takes one out.
const AWAY: Duration = Duration::from_millis(1200);
/// The balancer's checks may take so long to see how the servers are.
const SETTLE: Duration = Duration::from_secs(6);

/// Where hooks write that they ran.
const HOOKED: &str = "hooked";
/// A hook's place.
pub const ON_SUCCESS: &str = "on success";
/// A hook's place.
pub const ON_FAILURE: &str = "on failure";

/// A shell that is started and ends takes no longer where there is time.
const PROMPT: Duration = Duration::from_millis(25);
/// The most that limits are stretched by: what waits for one of them must still end.
const SLOWEST: f64 = 4.0;
/// One fleet in so many has the system's own shell: busybox does what a script asks for in a third of the time.
const OWN_SHELL: usize = 4;

/// Servers, balancers, and the way to each server.
pub type Size = (usize, usize, Duration);

/// A fleet and the directory of whoever deploys to it.
pub struct Ground {
    fleet: Fleet,
    size: Size,
    shell: String,
    home: tempfile::TempDir,
    used: bool,
    /// How late the last run's looks at the servers were.
    late: Duration,
}

/// A program that has run, and what was done to it.
struct Launched {
    code: Option<i32>,
    endless: bool,
    took: f64,
    stdout: String,
    stderr: String,
    signals: usize,
    after_second: Option<Duration>,
    hits: usize,
    spots: Vec<Spot>,
    stolen: Vec<(String, u64)>,
    away: Option<String>,
}

impl Ground {
    /// Starts a fleet.
    pub async fn new((servers, balancers, distance): Size) -> Result<Self, String> {
        let mut options = FleetOptions::new(&*PITCREW);
        options.servers = servers;
        options.delays = vec![distance; servers];
        options.shell = shell();
        let shell = options.shell.join(" ");
        options.balancers = balancers;
        options.boot = Duration::from_millis(20);
        options.checks =
            Some(CheckPlan { path: "/up".to_owned(), inter: Duration::from_millis(200), rise: 2, fall: 3 });
        let fleet = Fleet::start(options).await.map_err(|e| e.to_string())?;
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        fleet.template(WebKind::Restart).map_err(|e| e.to_string())?;
        Ok(Self { fleet, size: (servers, balancers, distance), shell, home, used: false, late: Duration::ZERO })
    }

    /// Ends the fleet.
    pub async fn end(self) -> Result<(), String> {
        self.fleet.stop().await.map_err(|e| e.to_string())
    }

    /// Runs a case and gathers the evidence.
    pub async fn run(&mut self, case: &Case) -> Result<Evidence, String> {
        let twist = case.scenario.twist;
        if !self.reset(twist).await? {
            let fresh = Self::new(self.size).await?;
            std::mem::replace(self, fresh).end().await?;
            self.reset(twist).await?;
        }
        self.configure(&case.scenario).await?;
        let skip = twist == Twist::Skip;
        if let (true, Some(first)) = (skip, self.fleet.servers().first()) {
            first.kill().await;
        }
        let mark = self.fleet.log().mark();
        let before = self.fleet.balancers().iter().map(|b| (b.name().to_owned(), b.snapshot())).collect();
        let watch = watch::watch(self.roots(), twist);
        let traffic = (twist == Twist::Traffic).then(|| self.traffic()).flatten();
        let args: &[&str] = match skip {
            // The migrations would be the first server's.
            true => &["deploy", "--json", "--skip-unreachable", "--no-migrate"],
            false => &["deploy", "--json"],
        };
        let ran = self.launch(args, &case.harms, twist == Twist::Busy).await?;
        let mut recovered = Vec::new();
        if case.kills() && ran.code.is_none() && !ran.endless {
            recovered = self.recoveries(case).await?;
        }
        let load = match traffic {
            Some(traffic) => Some(traffic.stop().await),
            None => None,
        };
        let servers = self.standings().await;
        watch.enough.cancel();
        let (moments, late) = watch.seen.await.map_err(|e| e.to_string())?;
        self.late = late;
        let Launched { code, endless, took, stdout, stderr, signals, after_second, hits, spots, stolen, away } = ran;
        let (log, hooks, case) = (self.fleet.log().since(mark), self.hooks(), case.clone());
        Ok(Evidence {
            shell: self.shell.clone(),
            hits: hits + recovered.iter().map(|r| r.hits).sum::<usize>(),
            case,
            code,
            endless,
            took,
            stdout,
            stderr,
            signals,
            after_second,
            log,
            spots,
            moments,
            stolen,
            away,
            before,
            servers,
            recovered,
            hooks,
            load,
            late,
        })
    }

    /// Runs the program while the harms come to pass. From then on nothing goes wrong any more; who is dead stays dead.
    async fn launch(&self, args: &[&str], harms: &[(Spot, Harm)], busy: bool) -> Result<Launched, String> {
        let pid = Arc::new(AtomicI32::new(0));
        let signals = Arc::new(Mutex::new(Vec::new()));
        let hits = Arc::new(AtomicUsize::new(0));
        let stolen = Arc::new(Mutex::new(Vec::new()));
        self.fleet.faults().clear();
        let drains = CancellationToken::new();
        self.lay(harms, Laid { pid: &pid, signals: &signals, hits: &hits, stolen: &stolen, drains: &drains });
        let began = Instant::now();
        let child = self.command(args).spawn().map_err(|e| format!("cannot start pitcrew: {e}"))?;
        let number = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        pid.store(number, Ordering::SeqCst);
        let over = CancellationToken::new();
        let output = async {
            let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
            over.cancel();
            output
        };
        let (output, away) =
            tokio::join!(output, async { if busy { self.somebody_else(&drains, &over).await } else { None } });
        pid.store(0, Ordering::SeqCst);
        let took = began.elapsed().as_secs_f64();
        let signals: Vec<Instant> = std::mem::take(&mut *signals.lock().map_err(|e| e.to_string())?);
        let endless = output.is_err();
        let output = output.ok().transpose().map_err(|e| format!("cannot wait for pitcrew: {e}"))?;
        let spots: Vec<Spot> = self.fleet.faults().points().iter().map(Spot::from).collect();
        self.fleet.faults().clear();
        let text = |bytes: Option<&Vec<u8>>| bytes.map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        let stolen = std::mem::take(&mut *stolen.lock().map_err(|e| e.to_string())?);
        Ok(Launched {
            code: output.as_ref().and_then(|o| o.status.code()),
            endless,
            took,
            stdout: text(output.as_ref().map(|o| &o.stdout)),
            stderr: text(output.as_ref().map(|o| &o.stderr)),
            signals: signals.len(),
            after_second: signals.get(1).map(Instant::elapsed),
            hits: hits.load(Ordering::SeqCst),
            spots,
            stolen,
            away,
        })
    }

    /// Somebody who takes the last server out when the first is about to be drained, and puts it back a while later.
    /// Returns it where the run ended in between.
    async fn somebody_else(&self, drains: &CancellationToken, over: &CancellationToken) -> Option<String> {
        let (balancer, last) = (self.fleet.balancers().first()?, self.fleet.servers().last()?);
        tokio::select! {
            () = drains.cancelled() => {}
            () = over.cancelled() => return None,
        }
        balancer.set(last.name(), Admin::Maint);
        tokio::time::sleep(AWAY).await;
        let away = over.is_cancelled().then(|| last.name().to_owned());
        balancer.set(last.name(), Admin::Ready);
        away
    }

    /// Recovers: with harm, with somebody absent, with nothing in the way, and once more.
    async fn recoveries(&self, case: &Case) -> Result<Vec<Recovery>, String> {
        let mut all = Vec::new();
        if !case.then.is_empty() {
            all.push(self.recover(Meets::Harm, &case.then).await?);
        }
        let hosts = || self.fleet.servers().iter().chain(self.fleet.balancer_hosts());
        if futures::future::join_all(hosts().map(answers)).await.contains(&false) {
            all.push(self.recover(Meets::Absence, &[]).await?);
            futures::future::join_all(hosts().map(SshServer::revive)).await;
        }
        if self.fleet.balancers().iter().any(|b| !b.socket().exists()) {
            // A balancer that is gone for good: nobody can put anybody back.
            return Ok(all);
        }
        if !case.then.is_empty() {
            // Nobody comes again in the same instant, while scripts still end.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        all.push(self.recover(Meets::Nothing, &[]).await?);
        all.push(self.recover(Meets::Done, &[]).await?);
        Ok(all)
    }

    async fn recover(&self, meets: Meets, harms: &[(Spot, Harm)]) -> Result<Recovery, String> {
        let Launched { code, endless, stdout, stderr, hits, spots, .. } =
            self.launch(&["recover", "--json"], harms, false).await?;
        // Only where it may have done something, and says what.
        let servers = match (meets, code) {
            (Meets::Harm | Meets::Absence, Some(_)) => self.standings().await,
            _ => Vec::new(),
        };
        Ok(Recovery { meets, code, endless, stdout, stderr, hits, spots, servers })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&*PITCREW);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("XDG_STATE_HOME", self.home.path().join("state"))
            .current_dir(self.fleet.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Requests all the time that take longer than it does to get from the drain to the restart, where nobody waits for them.
    fn traffic(&self) -> Option<load::Load> {
        let target = self.fleet.balancers().first()?.at();
        Some(load::start(LoadOptions {
            target,
            path: "/slow?1200".to_owned(),
            workers: 16,
            rate: 10,
            connections: Connections::PerRequest,
            timeout: LIMIT,
        }))
    }

    /// What the hooks have written, by the order of the servers, and last here.
    fn hooks(&self) -> Vec<Vec<String>> {
        let servers = self.fleet.servers().iter().map(|s| s.home().join(HOOKED));
        let files = servers.chain(std::iter::once(self.fleet.path().join(HOOKED)));
        let lines = |file| std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect();
        files.map(lines).collect()
    }

    /// Brings everything to where each run begins; false: this fleet is beyond that.
    async fn reset(&mut self, twist: Twist) -> Result<bool, String> {
        let fleet = &self.fleet;
        fleet.faults().clear();
        fleet.log().forget();
        if self.used && fleet.balancers().iter().any(|b| !b.socket().exists()) {
            return Ok(false);
        }
        self.used = true;
        futures::future::join_all(fleet.servers().iter().chain(fleet.balancer_hosts()).map(SshServer::revive)).await;
        let _ = std::fs::remove_dir_all(self.home.path().join("state"));
        let _ = std::fs::remove_file(fleet.path().join(HOOKED));
        let processes = fleet.all_processes();
        let this = &*self;
        let servers = processes.into_iter().enumerate().map(|(index, processes)| async move {
            match twist {
                Twist::First => this.empty_server(index, processes).await,
                _ => this.reset_server(index, processes).await,
            }
        });
        futures::future::try_join_all(servers).await?;
        for balancer in fleet.balancers() {
            balancer.reload();
        }
        for balancer in fleet.balancers() {
            // Nobody serves anything before a first deploy.
            let wanted: Option<&[&str]> = if twist == Twist::First { Some(&[]) } else { None };
            if !balancer.wait_in_service(wanted, SETTLE).await {
                return Err(format!("the servers do not come into service: {:?}", balancer.snapshot()));
            }
        }
        // Long enough for a check of each, so that none is up only because it has not been asked yet.
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(true)
    }

    /// Ends the processes of a server but for some.
    async fn end_processes(&self, index: usize, mut processes: Vec<Process>, keep: &[i32]) {
        loop {
            processes.retain(|p| !keep.contains(&p.pid));
            if processes.is_empty() {
                return;
            }
            for process in processes {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            processes = self.fleet.processes(index);
        }
    }

    /// Leaves nothing of the application on a server.
    async fn empty_server(&self, index: usize, processes: Vec<Process>) -> Result<(), String> {
        self.end_processes(index, processes, &[]).await;
        match std::fs::remove_dir_all(self.fleet.deploy_to(index)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot empty a server: {e}")),
            _ => Ok(()),
        }
    }

    async fn reset_server(&self, index: usize, processes: Vec<Process>) -> Result<(), String> {
        let fleet = &self.fleet;
        let root = fleet.deploy_to(index);
        let app = releases_of(&processes);
        let whole = app.len() == 2 && app.iter().all(|(_, release)| release == OLD);
        let well = whole && matches!(self.answer(index).await, Some((200, release)) if release == OLD);
        let keep: Vec<i32> = if well { app.iter().map(|(pid, _)| *pid).collect() } else { Vec::new() };
        self.end_processes(index, processes, &keep).await;
        for file in ["revisions.log", "current.new"] {
            let _ = std::fs::remove_file(root.join(file));
        }
        let _ = std::fs::remove_file(root.with_file_name(HOOKED));
        for directory in [".pitcrew", "shared/log", "repo"] {
            let _ = std::fs::remove_dir_all(root.join(directory));
        }
        for name in fleet.releases(index) {
            if name != OLD && name != OLDER {
                let _ = std::fs::remove_dir_all(root.join("releases").join(name));
            }
        }
        for id in [OLDER, OLD] {
            fleet.install(index, id, &Sample::good(id)).map_err(|e| e.to_string())?;
        }
        if !well {
            let _ = std::fs::remove_file(root.join("shared/app.pid"));
            fleet.start_app(index).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    async fn configure(&self, scenario: &Scenario) -> Result<(), String> {
        let Scenario { strategy, prepare, on_failure, release, twist } = scenario;
        let web = if *strategy == "parallel" { "reload.toml" } else { "restart.toml" };
        let batch = if *strategy == "rolling" { "app.batch = 2\n" } else { "" };
        let prepare = if *strategy == "parallel" { String::new() } else { format!("app.prepare = '{prepare}'\n") };
        let special = match twist {
            Twist::Hooks => hooks(),
            Twist::Names => "health.release = 'X-Release'\n".to_owned(),
            Twist::Git => Offered::get().await?.repository(release),
            Twist::Url => Offered::get().await?.archive(release),
            _ => String::new(),
        };
        let text = format!(
            "app.web_server = '{web}'\napp.strategy = '{strategy}'\n{batch}{prepare}app.on_failure = '{on_failure}'\n\
             shared.dirs = ['log']\nbuild.run = ['echo yes > BUILT']\nmigrate.run = 'true'\nhealth.interval = '200ms'\n\
             {limits}{special}",
            web = self.fleet.path().join(web).display(),
            limits = limits(self.pace().await),
        );
        let text = self.fleet.config_text(&text).map_err(|e| e.to_string())?;
        let mut config: toml::Table = text.parse().map_err(|e| format!("the configuration: {e}"))?;
        // What servers fetch does not lie here.
        if let (Twist::Git | Twist::Url, Some(source)) = (twist, config["source"].as_table_mut()) {
            source.remove("path");
        }
        std::fs::write(self.fleet.path().join("pitcrew.toml"), config.to_string()).map_err(|e| e.to_string())?;
        self.fleet.next_release(&sample(release)).map_err(|e| e.to_string())?;
        let last = self.fleet.release_directory().join("zz_blob");
        match std::fs::metadata(&last) {
            Ok(found) if found.len() == BLOB => Ok(()),
            _ => std::fs::write(last, &*LAST).map_err(|e| e.to_string()),
        }
    }

    /// How many times as long as usual things may take on this machine now.
    async fn pace(&self) -> f64 {
        let began = Instant::now();
        let _ = Command::new("/bin/sh").args(["-c", ":"]).status().await;
        let slow = began.elapsed().max(self.late / 4).as_secs_f64();
        (slow / PROMPT.as_secs_f64()).clamp(1.0, SLOWEST)
    }

    /// The servers' names and where they are deployed to.
    fn roots(&self) -> Vec<(String, PathBuf)> {
        let servers = self.fleet.servers().iter().enumerate();
        servers.map(|(index, server)| (server.name().to_owned(), self.fleet.deploy_to(index))).collect()
    }

    /// Lays the case's harms out in the fleet.
    fn lay(&self, harms: &[(Spot, Harm)], laid: Laid<'_>) {
        let harms = harms.to_vec();
        let (pid, signals, hits, stolen) =
            (laid.pid.clone(), laid.signals.clone(), laid.hits.clone(), laid.stolen.clone());
        let (roots, log, drains) = (self.roots(), self.fleet.log().clone(), laid.drains.clone());
        self.fleet.faults().decide_with(move |point| {
            let spot = Spot::from(point);
            // It is noted before it is done.
            if spot.label == "note" {
                drains.cancel();
            }
            let (_, harm) = harms.iter().find(|(wanted, _)| *wanted == spot)?;
            hits.fetch_add(1, Ordering::SeqCst);
            match harm {
                Harm::Fault(_) => {}
                Harm::Interrupt { when, again } => {
                    let first = when.milliseconds();
                    send(&pid, Signal::SIGINT, first, Some(&signals));
                    if let Some(again) = again {
                        send(&pid, Signal::SIGINT, first + again, Some(&signals));
                    }
                }
                Harm::Theft => {
                    if let Some((name, root)) = roots.iter().find(|(name, _)| *name == spot.server)
                        && steal(root)
                        && let Ok(mut stolen) = stolen.lock()
                    {
                        stolen.push((name.clone(), log.mark()));
                    }
                }
                Harm::Kill { when } => send(&pid, Signal::SIGKILL, when.milliseconds(), None),
            }
            harm.fault()
        });
    }

    async fn standings(&self) -> Vec<Standing> {
        let began = Instant::now();
        loop {
            let mut all = Vec::new();
            for (index, processes) in self.fleet.all_processes().into_iter().enumerate() {
                let members =
                    self.fleet.balancers().iter().filter_map(|b| b.snapshot().into_iter().nth(index)).collect();
                all.push(self.standing(index, members, processes).await);
            }
            // Balancers notice by their next checks, and old processes leave when their requests are answered.
            let calm = all.iter().all(|s| {
                let well = s.answer.as_ref().is_some_and(|(status, _)| *status == 200);
                s.strays.is_empty()
                    && (s.app.is_empty() || s.app.len() == 2)
                    && s.members.iter().all(|m| m.up == (well && m.admin != Admin::Maint))
            });
            let waited = began.elapsed();
            let strays = all.iter().any(|s| !s.strays.is_empty());
            if calm || waited > LEFTOVERS || (!strays && waited > SETTLE) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    async fn standing(&self, index: usize, members: Vec<MemberState>, processes: Vec<Process>) -> Standing {
        let fleet = &self.fleet;
        let server = &fleet.servers()[index];
        let root = fleet.deploy_to(index);
        let state = |id: &str| std::fs::read_to_string(root.join(".pitcrew/states").join(id)).ok();
        let releases = fleet.releases(index).into_iter().map(|id| {
            let lacks = lacking(&root.join("releases").join(&id), &id);
            (id.clone(), state(&id).map(|s| s.trim().to_owned()), lacks)
        });
        let app = releases_of(&processes).into_iter().map(|(_, release)| release).collect();
        let strays = processes.into_iter().filter(|p| !p.is_app());
        Standing {
            name: server.name().to_owned(),
            ip: server.ip().to_string(),
            current: fleet.current(index),
            releases: releases.collect(),
            locked: fleet.lock_present(index),
            answer: self.answer(index).await,
            app,
            strays: strays.map(|p| format!("{} {}", p.pid, p.command.chars().take(120).collect::<String>())).collect(),
            members,
        }
    }

    /// Asks the application itself, past everything else.
    async fn answer(&self, index: usize) -> Option<(u16, String)> {
        let at = self.fleet.app_at(index)?;
        let ask = async {
            let mut tcp = tokio::net::TcpStream::connect(at).await.ok()?;
            tcp.write_all(b"GET /up HTTP/1.1\r\nHost: sweep\r\nConnection: close\r\n\r\n").await.ok()?;
            let mut text = String::new();
            tcp.read_to_string(&mut text).await.ok()?;
            let status = text.split(' ').nth(1)?.parse().ok()?;
            let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1)?).ok()?;
            Some((status, body["directory"].as_str()?.to_owned()))
        };
        tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten()
    }
}

/// The servers' login shell and its first arguments; that of `PITCREW_SWEEP_SHELL`, where it is set.
fn shell() -> Vec<String> {
    static FLEETS: AtomicUsize = AtomicUsize::new(0);
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let own = FLEETS.fetch_add(1, Ordering::Relaxed).is_multiple_of(OWN_SHELL);
    match (std::env::var("PITCREW_SWEEP_SHELL"), busybox) {
        (Ok(words), _) if !words.is_empty() => words.split(' ').map(str::to_owned).collect(),
        (_, Some(busybox)) if !own => vec![busybox.to_owned(), "sh".to_owned()],
        _ => vec!["/bin/sh".to_owned()],
    }
}

/// The application's processes, and the release that each runs in.
fn releases_of(processes: &[Process]) -> Vec<(i32, String)> {
    let app = processes.iter().filter(|p| p.is_app());
    app.map(|p| (p.pid, p.directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()))
        .collect()
}

/// When each was sent.
type Signals = Arc<Mutex<Vec<Instant>>>;

struct Laid<'a> {
    pid: &'a Arc<AtomicI32>,
    signals: &'a Signals,
    hits: &'a Arc<AtomicUsize>,
    stolen: &'a Arc<Mutex<Vec<(String, u64)>>>,
    /// Cancelled when the first server is about to be drained.
    drains: &'a CancellationToken,
}

/// Makes a server's lock another run's; false: there is none.
fn steal(root: &Path) -> bool {
    let owner = root.join(".pitcrew/lock/owner");
    let text = "run=20260101T000000Z-thief\nwho=ann\nhost=elsewhere\npid=1\ncommand=pitcrew deploy\nsince=2026-01-01T00:00:00Z\n";
    owner.exists() && std::fs::write(owner, text).is_ok()
}

/// Sends pitcrew a signal, if it still runs by then.
fn send(pid: &Arc<AtomicI32>, signal: Signal, after: u64, sent: Option<&Signals>) {
    let (pid, sent) = (pid.clone(), sent.cloned());
    let now = move || {
        let number = pid.load(Ordering::SeqCst);
        // Held over both: who is ended by it at once is not looked at before it is noted.
        let mut sent = sent.as_ref().and_then(|sent| sent.lock().ok());
        if number != 0
            && kill(Pid::from_raw(number), signal).is_ok()
            && let Some(sent) = sent.as_mut()
        {
            sent.push(Instant::now());
        }
    };
    if after == 0 {
        now();
    } else {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            now();
        });
    }
}

/// Tells whether a server listens.
async fn answers(server: &SshServer) -> bool {
    tokio::net::TcpStream::connect(server.at()).await.is_ok()
}

/// The limits of a configuration, so many times as long as they are on a machine with nothing else to do.
fn limits(times: f64) -> String {
    let limits = [
        ("load_balancer.drain_timeout", 3.0),
        ("load_balancer.restore_timeout", 15.0),
        ("load_balancer.capacity_timeout", 10.0),
        ("health.timeout", 4.0),
        ("health.within", 8.0),
        ("ssh.connect_timeout", 5.0),
        ("ssh.auth_timeout", 5.0),
        ("timeouts.step", 4.0),
        ("timeouts.prepare", 6.0),
        ("timeouts.migrate", 4.0),
        ("timeouts.restart", 10.0),
    ];
    limits.map(|(name, seconds)| format!("{name} = '{:.0}s'\n", (seconds * times).round())).concat()
}

/// Hooks at many places, each of which writes down that it ran.
fn hooks() -> String {
    let places = [
        ("before lock", "here"),
        ("after prepare", "each"),
        ("before drain", "each"),
        ("after switch", "each"),
        ("before restore", "each"),
        ("after finish", "one"),
        (ON_SUCCESS, "here"),
        (ON_FAILURE, "here"),
        (ON_FAILURE, "each"),
    ];
    let hook = |(at, on)| {
        let file = if on == "here" { HOOKED.to_owned() } else { format!("~/{HOOKED}") };
        format!("{{ at = '{at}', on = '{on}', run = 'echo \"$PITCREW_HOOK\" >> {file}' }}")
    };
    format!("hooks = [{}]\n", places.map(hook).join(", "))
}
