//! A fleet that cases are run on, one after the other: set up the same for each, whatever the one before left.
//!
//! It starts what a case needs and gathers the evidence; [`crate::rules`] judges it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::balancer::Admin;
use pitcrew::demo::balancer::{CheckPlan, MemberState};
use pitcrew::demo::{Fleet, FleetOptions, Process, Record, Sample, WebKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::case::{Case, Harm, Scenario, Spot};

/// The program under test.
const PITCREW: &str = env!("CARGO_BIN_EXE_pitcrew");
/// What is current before each run, and what was before that.
pub const OLD: &str = "20260102000000";
/// See [`OLD`].
pub const OLDER: &str = "20260101000000";
/// No run may take longer: every wait of pitcrew's has a limit, and a case adds up a few of them.
pub const LIMIT: Duration = Duration::from_secs(120);
/// What is left of commands that pitcrew could not end itself may take so long.
const LEFTOVERS: Duration = Duration::from_secs(12);
/// How often servers are looked at while a run is on: at the least sign of change, and thoroughly after some glances.
const GLANCE: Duration = Duration::from_millis(4);
/// See [`GLANCE`].
const THOROUGH: usize = 12;
/// Bytes of a file that does not compress.
const BLOB: u64 = 1 << 20;
/// The file: long enough to be cut off in the middle, and last in the archive.
static LAST: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..BLOB / 8).flat_map(|n| crate::choose::rank(0, n).to_le_bytes()).collect());
/// The balancer's checks may take so long to see how the servers are.
const SETTLE: Duration = Duration::from_secs(6);

/// A fleet and the directory of whoever deploys to it.
pub struct Ground {
    fleet: Fleet,
    home: tempfile::TempDir,
    used: bool,
}

/// What a run was, as far as can be seen from outside.
pub struct Evidence {
    /// The case.
    pub case: Case,
    /// How many of its harms came to pass.
    pub hits: usize,
    /// Exit code; `None`: it was killed, or did not end.
    pub code: Option<i32>,
    /// It was ended by the sweep after [`LIMIT`].
    pub endless: bool,
    /// Seconds.
    pub took: f64,
    /// What it printed.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// Signals that were sent while it ran, `kill -9` not counted.
    pub signals: usize,
    /// How long it ran on after the second of them.
    pub after_second: Option<Duration>,
    /// The fleet's log of the run.
    pub log: Vec<Record>,
    /// The places that were passed.
    pub spots: Vec<Spot>,
    /// What was wrong with a `current` or a release while it ran.
    pub moments: Vec<String>,
    /// Servers whose lock passed to another run, and the number of the log's next record then.
    pub stolen: Vec<(String, u64)>,
    /// Each member before the run.
    pub before: Vec<MemberState>,
    /// Each server after the run.
    pub servers: Vec<Standing>,
    /// After a kill: what `pitcrew recover` ended with, twice.
    pub recovered: Option<[Recovery; 2]>,
}

/// How `pitcrew recover` ended.
pub struct Recovery {
    /// Exit code.
    pub code: Option<i32>,
    /// All it printed.
    pub text: String,
}

/// How one server stands.
#[derive(Debug)]
pub struct Standing {
    /// `s1`.
    pub name: String,
    /// As the configuration and pitcrew's events name it.
    pub ip: String,
    /// What `current` links to.
    pub current: Option<String>,
    /// Every release directory: name, state as pitcrew wrote it, what it lacks.
    pub releases: Vec<(String, Option<String>, Vec<String>)>,
    /// A lock lies there.
    pub locked: bool,
    /// What the application itself answers: status and the release it runs from.
    pub answer: Option<(u16, String)>,
    /// Where each of the application's processes runs.
    pub app: Vec<String>,
    /// Other processes.
    pub strays: Vec<String>,
    /// As the balancer has it.
    pub member: MemberState,
}

impl Standing {
    /// Tells whether it serves a release as it should: the balancer sends traffic to processes that run it and are well.
    pub fn serves(&self) -> Option<&str> {
        let current = self.current.as_deref()?;
        let whole = self.app.len() == 2 && self.app.iter().all(|r| r == current);
        let well = self.answer.as_ref().is_some_and(|(status, release)| *status == 200 && release == current);
        (whole && well && self.member.in_service).then_some(current)
    }
}

impl Ground {
    /// Starts a fleet.
    pub async fn new(servers: usize) -> Result<Self, String> {
        let mut options = FleetOptions::new(PITCREW);
        options.servers = servers;
        options.boot = Duration::from_millis(20);
        options.checks =
            Some(CheckPlan { path: "/up".to_owned(), inter: Duration::from_millis(150), rise: 2, fall: 3 });
        let fleet = Fleet::start(options).await.map_err(|e| e.to_string())?;
        let home = tempfile::tempdir().map_err(|e| e.to_string())?;
        fleet.template(WebKind::Restart).map_err(|e| e.to_string())?;
        Ok(Self { fleet, home, used: false })
    }

    /// Runs a case and gathers the evidence.
    pub async fn run(&mut self, case: &Case) -> Result<Evidence, String> {
        if !self.reset().await? {
            let fresh = Self::new(self.fleet.servers().len()).await?;
            std::mem::replace(self, fresh).fleet.stop().await.map_err(|e| e.to_string())?;
            self.reset().await?;
        }
        self.configure(&case.scenario)?;
        let mark = self.fleet.log().mark();
        let before = self.members();
        let pid = Arc::new(AtomicI32::new(0));
        let signals = Arc::new(Mutex::new(Vec::new()));
        let hits = Arc::new(AtomicUsize::new(0));
        let stolen = Arc::new(Mutex::new(Vec::new()));
        self.lay(case, Laid { pid: &pid, signals: &signals, hits: &hits, stolen: &stolen });
        let watch = self.watch();
        let began = Instant::now();
        let child = self.command(&["deploy", "--json"]).spawn().map_err(|e| format!("cannot start pitcrew: {e}"))?;
        let number = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
        pid.store(number, Ordering::SeqCst);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        pid.store(0, Ordering::SeqCst);
        let took = began.elapsed().as_secs_f64();
        let signals: Vec<Instant> = std::mem::take(&mut *signals.lock().map_err(|e| e.to_string())?);
        let after_second = signals.get(1).map(Instant::elapsed);
        let endless = output.is_err();
        let output = output.ok().transpose().map_err(|e| format!("cannot wait for pitcrew: {e}"))?;
        let spots: Vec<Spot> = self.fleet.faults().points().iter().map(Spot::from).collect();
        // From here on nothing goes wrong any more; who is dead stays dead.
        self.fleet.faults().clear();
        let text = |bytes: Option<&Vec<u8>>| bytes.map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        let mut recovered = None;
        if case.kills() && output.as_ref().is_some_and(|o| o.status.code().is_none()) && recover_exists().await {
            recovered = Some([self.recover().await?, self.recover().await?]);
        }
        let servers = self.standings().await;
        watch.enough.cancel();
        let moments = watch.seen.await.map_err(|e| e.to_string())?;
        let stolen = std::mem::take(&mut *stolen.lock().map_err(|e| e.to_string())?);
        Ok(Evidence {
            case: case.clone(),
            hits: hits.load(Ordering::SeqCst),
            code: output.as_ref().and_then(|o| o.status.code()),
            endless,
            took,
            stdout: text(output.as_ref().map(|o| &o.stdout)),
            stderr: text(output.as_ref().map(|o| &o.stderr)),
            signals: signals.len(),
            after_second,
            log: self.fleet.log().since(mark),
            spots,
            moments,
            stolen,
            before,
            servers,
            recovered,
        })
    }

    async fn recover(&self) -> Result<Recovery, String> {
        let ran = tokio::time::timeout(LIMIT, self.command(&["recover"]).output()).await;
        let output = ran.map_err(|_| "recover did not end".to_owned())?.map_err(|e| e.to_string())?;
        let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        Ok(Recovery { code: output.status.code(), text })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PITCREW);
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

    fn members(&self) -> Vec<MemberState> {
        self.fleet.balancers().first().map(|b| b.snapshot()).unwrap_or_default()
    }

    /// Brings everything to where each run begins; false: this fleet is beyond that.
    async fn reset(&mut self) -> Result<bool, String> {
        let fleet = &self.fleet;
        fleet.faults().clear();
        if self.used && fleet.balancers().iter().any(|b| !b.socket().exists()) {
            return Ok(false);
        }
        self.used = true;
        for server in fleet.servers().iter().chain(fleet.balancer_hosts()) {
            server.revive().await;
        }
        let _ = std::fs::remove_dir_all(self.home.path().join("state"));
        let processes = fleet.all_processes();
        let servers = processes.into_iter().enumerate().map(|(index, processes)| self.reset_server(index, processes));
        futures::future::try_join_all(servers).await?;
        for balancer in fleet.balancers() {
            balancer.reload();
        }
        for balancer in fleet.balancers() {
            if !balancer.wait_in_service(None, SETTLE).await {
                return Err(format!("the servers do not come into service: {:?}", balancer.snapshot()));
            }
        }
        // Long enough for a check of each, so that none is up only because it has not been asked yet.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(true)
    }

    async fn reset_server(&self, index: usize, mut processes: Vec<Process>) -> Result<(), String> {
        let fleet = &self.fleet;
        let root = fleet.deploy_to(index);
        let app = releases_of(&processes);
        let whole = app.len() == 2 && app.iter().all(|(_, release)| release == OLD);
        let well = whole && matches!(self.answer(index).await, Some((200, release)) if release == OLD);
        let keep: Vec<i32> = if well { app.iter().map(|(pid, _)| *pid).collect() } else { Vec::new() };
        loop {
            processes.retain(|p| !keep.contains(&p.pid));
            if processes.is_empty() {
                break;
            }
            for process in processes {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            processes = fleet.processes(index);
        }
        for file in ["revisions.log", "current.new"] {
            let _ = std::fs::remove_file(root.join(file));
        }
        for directory in [".pitcrew", "shared/log"] {
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

    fn configure(&self, scenario: &Scenario) -> Result<(), String> {
        let Scenario { strategy, prepare, on_failure, release } = scenario;
        let web = if *strategy == "parallel" { "reload.toml" } else { "restart.toml" };
        let batch = if *strategy == "rolling" { "app.batch = 2\n" } else { "" };
        let prepare = if *strategy == "parallel" { String::new() } else { format!("app.prepare = '{prepare}'\n") };
        let text = format!(
            "app.web_server = '{web}'\napp.strategy = '{strategy}'\n{batch}{prepare}app.on_failure = '{on_failure}'\n\
             shared.dirs = ['log']\nbuild.run = ['echo yes > BUILT']\nmigrate.run = 'true'\n\
             load_balancer.drain_timeout = '3s'\nload_balancer.restore_timeout = '15s'\n\
             health.timeout = '4s'\nhealth.within = '8s'\nhealth.interval = '200ms'\nssh.connect_timeout = '5s'\n\
             timeouts.step = '4s'\ntimeouts.prepare = '6s'\ntimeouts.migrate = '4s'\ntimeouts.restart = '10s'\n",
            web = self.fleet.path().join(web).display(),
        );
        self.fleet.write_config(&text).map_err(|e| e.to_string())?;
        let sample = Sample { version: "new".into(), broken: *release == "sick", broken_boot: *release == "stillborn" };
        self.fleet.next_release(&sample).map_err(|e| e.to_string())?;
        let last = self.fleet.release_directory().join("zz_blob");
        match std::fs::metadata(&last) {
            Ok(found) if found.len() == BLOB => Ok(()),
            _ => std::fs::write(last, &*LAST).map_err(|e| e.to_string()),
        }
    }

    /// The servers' names and where they are deployed to.
    fn roots(&self) -> Vec<(String, PathBuf)> {
        let servers = self.fleet.servers().iter().enumerate();
        servers.map(|(index, server)| (server.name().to_owned(), self.fleet.deploy_to(index))).collect()
    }

    /// Looks at every `current` and every release again and again until told that it is enough.
    fn watch(&self) -> Watch {
        let (roots, enough) = (self.roots(), CancellationToken::new());
        let until = enough.clone();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut known = vec![None; roots.len()];
            for glance in 0.. {
                if until.is_cancelled() {
                    break;
                }
                for ((name, root), known) in roots.iter().zip(&mut known) {
                    let now = Some(signs(root));
                    if *known == now && glance % THOROUGH != 0 {
                        continue;
                    }
                    *known = now;
                    let wrong = [wrong_current(root), half_written(root)].concat();
                    seen.extend(wrong.into_iter().map(|what| format!("for a moment on {name}: {what}")));
                }
                seen.dedup();
                seen.truncate(20);
                tokio::time::sleep(GLANCE).await;
            }
            seen
        });
        Watch { enough, seen }
    }

    /// Lays the case's harms out in the fleet.
    fn lay(&self, case: &Case, laid: Laid<'_>) {
        let harms = case.harms.clone();
        let (pid, signals, hits, stolen) =
            (laid.pid.clone(), laid.signals.clone(), laid.hits.clone(), laid.stolen.clone());
        let (roots, log) = (self.roots(), self.fleet.log().clone());
        self.fleet.faults().decide_with(move |point| {
            let spot = Spot::from(point);
            let (_, harm) = harms.iter().find(|(wanted, _)| *wanted == spot)?;
            hits.fetch_add(1, Ordering::SeqCst);
            match harm {
                Harm::Fault(_) => {}
                Harm::Interrupt { after, again } => {
                    // In mid-step: long enough for the command to have been confirmed.
                    let first = after.unwrap_or(60);
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
                Harm::Kill { after } => send(&pid, Signal::SIGKILL, *after, None),
            }
            harm.fault()
        });
    }

    async fn standings(&self) -> Vec<Standing> {
        let began = Instant::now();
        loop {
            let mut all = Vec::new();
            for (index, (member, processes)) in self.members().into_iter().zip(self.fleet.all_processes()).enumerate() {
                all.push(self.standing(index, member, processes).await);
            }
            // Balancers notice by their next checks, and old processes leave when their requests are answered.
            let calm = all.iter().all(|s| {
                let well = s.answer.as_ref().is_some_and(|(status, _)| *status == 200);
                s.strays.is_empty()
                    && (s.app.is_empty() || s.app.len() == 2)
                    && s.member.up == (well && s.member.admin != Admin::Maint)
            });
            let waited = began.elapsed();
            let strays = all.iter().any(|s| !s.strays.is_empty());
            if calm || waited > LEFTOVERS || (!strays && waited > SETTLE) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    async fn standing(&self, index: usize, member: MemberState, processes: Vec<Process>) -> Standing {
        let fleet = &self.fleet;
        let server = &fleet.servers()[index];
        let root = fleet.deploy_to(index);
        let state = |id: &str| std::fs::read_to_string(root.join(".pitcrew/states").join(id)).ok();
        let releases = fleet.releases(index).into_iter().map(|id| {
            let lacks = lacking(&root.join("releases").join(&id), &id);
            (id.clone(), state(&id).map(|s| s.trim().to_owned()), lacks)
        });
        let app = releases_of(&processes).into_iter().map(|(_, release)| release).collect();
        let strays = processes.into_iter().filter(|p| !p.command.contains("demo-app"));
        Standing {
            name: server.name().to_owned(),
            ip: server.ip().to_string(),
            current: fleet.current(index),
            releases: releases.collect(),
            locked: fleet.lock_present(index),
            answer: self.answer(index).await,
            app,
            strays: strays.map(|p| format!("{} {}", p.pid, p.command.chars().take(120).collect::<String>())).collect(),
            member,
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

/// The application's processes, and the release that each runs in.
fn releases_of(processes: &[Process]) -> Vec<(i32, String)> {
    let app = processes.iter().filter(|p| p.command.contains("demo-app"));
    app.map(|p| (p.pid, p.directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())).collect()
}

/// When each was sent.
type Signals = Arc<Mutex<Vec<Instant>>>;

struct Laid<'a> {
    pid: &'a Arc<AtomicI32>,
    signals: &'a Signals,
    hits: &'a Arc<AtomicUsize>,
    stolen: &'a Arc<Mutex<Vec<(String, u64)>>>,
}

/// Somebody who keeps looking.
struct Watch {
    enough: CancellationToken,
    seen: tokio::task::JoinHandle<Vec<String>>,
}

/// Makes a server's lock another run's; false: there is none.
fn steal(root: &Path) -> bool {
    let owner = root.join(".pitcrew/lock/owner");
    let text = "run=20260101T000000Z-thief\nwho=ann\nhost=elsewhere\npid=1\ncommand=pitcrew deploy\nsince=2026-01-01T00:00:00Z\n";
    owner.exists() && std::fs::write(owner, text).is_ok()
}

/// What changes whenever `current` or the list of releases does.
fn signs(root: &Path) -> (Option<PathBuf>, Option<SystemTime>) {
    let releases = std::fs::metadata(root.join("releases")).and_then(|m| m.modified());
    (std::fs::read_link(root.join("current")).ok(), releases.ok())
}

/// Releases that are there without all that was sent: they appear whole and vanish whole.
fn half_written(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("releases")) else { return Vec::new() };
    let mut wrong = Vec::new();
    for id in entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()) {
        let path = root.join("releases").join(&id);
        let lacks: Vec<String> = lacking(&path, &id).into_iter().filter(|w| w != "BUILT" && w != "log").collect();
        // It may have gone while it was looked at.
        if !lacks.is_empty() && path.exists() {
            wrong.push(format!("{id} lacks {}", lacks.join(", ")));
        }
    }
    wrong
}

/// Sends pitcrew a signal, if it still runs by then.
fn send(pid: &Arc<AtomicI32>, signal: Signal, after: u64, sent: Option<&Signals>) {
    let (pid, sent) = (pid.clone(), sent.cloned());
    let now = move || {
        let number = pid.load(Ordering::SeqCst);
        if number != 0
            && kill(Pid::from_raw(number), signal).is_ok()
            && let Some(mut sent) = sent.as_ref().and_then(|sent| sent.lock().ok())
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

/// What is wrong with a server's `current`: it must be a link to a whole release at every moment.
fn wrong_current(root: &Path) -> Vec<String> {
    let Ok(target) = std::fs::read_link(root.join("current")) else { return vec!["current is no link".into()] };
    let id = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    lacking(&root.join("releases").join(&id), &id).into_iter().map(|what| format!("{id} lacks {what}")).collect()
}

/// What a release directory lacks of what was sent, linked and built.
fn lacking(release: &Path, id: &str) -> Vec<String> {
    let mut wanted = vec!["REVISION", "VERSION", "lib/app.rb"];
    if id != OLD && id != OLDER {
        wanted.extend(["BUILT", "log"]);
    }
    let empty = |file: &&str| {
        let path = release.join(file);
        !path.is_dir() && std::fs::metadata(path).map_or(true, |m| m.len() == 0)
    };
    let mut lacks: Vec<String> = wanted.into_iter().filter(empty).map(str::to_owned).collect();
    if id != OLD && id != OLDER && std::fs::metadata(release.join("zz_blob")).map_or(0, |m| m.len()) != BLOB {
        lacks.push("its last file".to_owned());
    }
    lacks
}

/// Tells whether the program has the verb.
async fn recover_exists() -> bool {
    static KNOWN: tokio::sync::OnceCell<bool> = tokio::sync::OnceCell::const_new();
    *KNOWN
        .get_or_init(|| async {
            let asked = Command::new(PITCREW).args(["recover", "--help"]).output().await;
            asked.is_ok_and(|o| o.status.success() && !String::from_utf8_lossy(&o.stdout).contains("not built"))
        })
        .await
}
