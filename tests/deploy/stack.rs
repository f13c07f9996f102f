//! A fleet, a stack on it, and the program run on that stack.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use pitcrew::demo::log::{Kind, Record};
use pitcrew::demo::{Fleet, FleetOptions, Sample, WebKind};
use serde_json::Value;
use tokio::process::{Child, Command};

/// The program under test.
pub const PITCREW: &str = env!("CARGO_BIN_EXE_pitcrew");
/// No run of a test takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(120);

/// A stack whose first release serves.
pub struct Stack {
    /// The fleet.
    pub fleet: Fleet,
    /// Laid over the fleet's configuration.
    pub extra: String,
    state: tempfile::TempDir,
}

/// What a run did.
pub struct Ran {
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Events of a `--json` run; every line must be one.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}\n{self}"))).collect()
    }

    /// Both streams.
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The last event.
    pub fn finished(&self) -> Value {
        let last = self.events().pop().unwrap_or_else(|| panic!("no events\n{self}"));
        assert_eq!(last["event"], "finished", "{self}");
        last
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl Stack {
    /// Starts servers and a balancer; nothing is deployed yet.
    pub async fn empty(servers: usize, web: WebKind, extra: &str) -> Self {
        let mut options = FleetOptions::new(PITCREW);
        options.servers = servers;
        options.web = web;
        Self::with(options, extra).await
    }

    /// The same, of these parts.
    pub async fn with(options: FleetOptions, extra: &str) -> Self {
        let fleet = Fleet::start(options).await.expect("a fleet");
        // Failing checks are what many tests wait for.
        let extra = format!("health.within = \"3s\"\ntimeouts.restart = \"8s\"\n{extra}");
        let stack = Self { fleet, extra, state: tempfile::tempdir().expect("a directory") };
        stack.release(&Sample::good("0"));
        stack.fleet.write_config(&stack.extra).expect("a configuration");
        stack
    }

    /// The same, with a first release deployed everywhere and in service.
    pub async fn serving(servers: usize, web: WebKind, extra: &str) -> Self {
        let stack = Self::empty(servers, web, extra).await;
        stack.settle().await;
        stack
    }

    /// Deploys the first release, and waits until the balancer sends everybody traffic.
    pub async fn settle(&self) {
        self.settle_with("").await;
    }

    /// The same, with this laid over the configuration as well.
    pub async fn settle_with(&self, extra: &str) {
        self.fleet.write_config(&format!("health.within = \"20s\"\n{extra}")).expect("a configuration");
        self.run(&["deploy", "--parallel"]).await.expect(0);
        self.fleet.write_config(&self.extra).expect("a configuration");
        for balancer in self.fleet.balancers() {
            assert!(balancer.wait_in_service(None, Duration::from_secs(20)).await, "{:?}", balancer.snapshot());
        }
    }

    /// Makes the next release.
    pub fn release(&self, sample: &Sample) {
        self.fleet.next_release(sample).expect("a release");
    }

    /// Runs the program to its end.
    pub async fn run(&self, args: &[&str]) -> Ran {
        let child = self.start(args);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        Ran::from(output.expect("pitcrew ends in time").expect("pitcrew runs"))
    }

    /// Starts the program, with an environment of its own and no terminal.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("pitcrew starts")
    }

    /// The program with its arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PITCREW);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.state.path())
            .env("XDG_STATE_HOME", self.state.path().join("state"))
            .current_dir(self.fleet.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The home directory of whoever runs the program.
    pub fn home(&self) -> &Path {
        self.state.path()
    }

    /// Where the runs' logs are.
    pub fn logs(&self) -> std::path::PathBuf {
        self.state.path().join("state/pitcrew/demo")
    }

    /// Marks the point in the fleet's log where something begins.
    pub fn now(&self) -> u64 {
        self.fleet.log().records().len() as u64
    }

    /// Waits until a record that fits is written.
    pub async fn wait(&self, since: u64, what: &str, fits: impl Fn(&Record) -> bool) {
        let found = async {
            while !self.fleet.log().since(since).iter().any(&fits) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, found).await.is_ok(), "{what} never came");
    }

    /// The version that each server's `current` holds.
    pub fn versions(&self) -> Vec<String> {
        (0..self.fleet.servers().len()).map(|i| self.fleet.version(i).unwrap_or_default()).collect()
    }

    /// Fails unless every server holds this version, no lock is left and everybody is in service.
    #[track_caller]
    pub fn assert_all(&self, version: &str) {
        let all = self.versions();
        assert!(all.iter().all(|v| v == version), "{all:?}, expected {version}");
        self.assert_unlocked();
        self.assert_in_service();
    }

    /// Fails when a lock is left.
    #[track_caller]
    pub fn assert_unlocked(&self) {
        for index in 0..self.fleet.servers().len() {
            assert!(!self.fleet.lock_present(index), "server {index} is still locked");
        }
    }

    /// Fails unless every balancer sends every server traffic.
    #[track_caller]
    pub fn assert_in_service(&self) {
        for balancer in self.fleet.balancers() {
            for member in balancer.snapshot() {
                assert!(member.in_service, "{member:?}");
            }
        }
    }
}

/// A step of a server, as its log has it: when it began and when it ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// `s1`, …
    pub server: String,
    /// The remote script.
    pub step: String,
    /// Number of the record where it was asked for.
    pub began: u64,
    /// Number of the record where it was over.
    pub ended: u64,
}

/// Every script that the servers ran since, in the order they began.
pub fn spans(records: &[Record]) -> Vec<Span> {
    let mut all = Vec::new();
    for record in records {
        let Kind::Exec { exec, step: Some(step), .. } = &record.kind else { continue };
        let over = records
            .iter()
            .find(|r| r.server == record.server && matches!(&r.kind, Kind::ExecEnd { exec: e, .. } if e == exec));
        let ended = over.map_or(u64::MAX, |r| r.seq);
        all.push(Span { server: record.server.clone(), step: step.clone(), began: record.seq, ended });
    }
    all
}

/// Those of one step.
pub fn of<'a>(spans: &'a [Span], step: &str) -> Vec<&'a Span> {
    spans.iter().filter(|s| s.step == step).collect()
}

/// Fails unless all of `first` are over before any of `then` begins.
#[track_caller]
pub fn assert_before(first: &[&Span], then: &[&Span]) {
    let (Some(last), Some(next)) = (first.iter().map(|s| s.ended).max(), then.iter().map(|s| s.began).min()) else {
        panic!("nothing to compare: {first:?} {then:?}");
    };
    assert!(last < next, "{first:?}\nmust be over before\n{then:?}");
}

/// Every regular file, link and directory below, with its content: to see that nothing has changed.
pub fn tree(root: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(directory) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let meta = entry.metadata().expect("metadata");
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if meta.is_dir() {
                all.push((name, "directory".into()));
                todo.push(path);
            } else if meta.is_symlink() {
                all.push((name, std::fs::read_link(&path).expect("a link").to_string_lossy().into_owned()));
            } else {
                all.push((name, std::fs::read(&path).map(|b| format!("{b:?}")).unwrap_or_default()));
            }
        }
    }
    all.sort();
    all
}
