//! Running pitcrew as a user does: its own home, a clean environment, no terminal; and what came out of it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{fleet, transcript};

/// No run of a case may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// A run in the making.
pub struct Pitcrew(Command);

/// A run under way.
pub struct Running {
    shown: String,
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
    started: Instant,
}

/// A run that ended.
pub struct Ran {
    /// Exit code; `None`: ended by a signal.
    pub code: Option<i32>,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
}

struct Pipe {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Pitcrew {
    /// A run with `dir/pitcrew.toml`, at home in `dir`.
    pub fn new(dir: &Path, args: &[&str]) -> Self {
        let binary = std::env::var("PITCREW_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pitcrew").into());
        let mut command = Command::new(binary);
        command.arg("-c").arg(dir.join("pitcrew.toml")).args(args).current_dir(dir).env_clear();
        command.env("PATH", std::env::var("PATH").unwrap_or_default());
        command.env("HOME", dir.join("home")).env("XDG_STATE_HOME", dir.join("state")).env("USER", "tester");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    /// Adds to its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let shown = format!("{:?}", self.0.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "));
        let mut child = self.0.spawn().expect("pitcrew starts");
        let stdout = Pipe::new(child.stdout.take().expect("piped"));
        let stderr = Pipe::new(child.stderr.take().expect("piped"));
        Running { shown, child, stdout, stderr, started: Instant::now() }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        self.start().wait()
    }
}

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pids fit");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Waits for an event for which `so` holds, of a run with `--json`.
    pub fn wait_for_event(&mut self, what: &str, so: impl Fn(&Value) -> bool) {
        fleet::wait_for(what, Duration::from_secs(30), || {
            let text = self.stdout.so_far();
            if text.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|event| so(&event)) {
                return true;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("pitcrew ended ({status}) before {what}:\n{text}{}", self.stderr.so_far());
            }
            false
        });
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break Some(status);
            }
            if self.started.elapsed() > LIMIT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let seconds = self.started.elapsed().as_secs_f64();
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        let ended = status.map_or_else(|| "killed after the limit".to_owned(), |s| s.to_string());
        transcript::note(format!(
            "--- pitcrew {} ({ended}, {seconds:.1} s)\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            self.shown
        ));
        Ran { code: status.expect("pitcrew ends within the limit").code(), stdout, stderr }
    }
}

impl Ran {
    /// Fails the case unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of pitcrew");
        self
    }

    /// All that it printed.
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The events of a run with `--json`, which must hold to the contract: one object a line, `planned` first and
    /// once, `finished` last and once, with the exit code.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        let events: Vec<Value> = self.stdout.lines().map(parse).collect();
        let places = |name: &str| {
            events.iter().enumerate().filter(|(_, e)| e["event"] == name).map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(places("planned"), [0], "`planned` comes first and once");
        assert_eq!(places("finished"), [events.len() - 1], "`finished` comes last and once");
        assert_eq!(events[events.len() - 1]["exit_code"].as_i64(), self.code.map(i64::from), "exit code in `finished`");
        let run = &events[0]["run"];
        let mut last = 0.0;
        for event in &events {
            assert_eq!(&event["run"], run, "all events are of one run: {event}");
            assert!(event["at"].as_str().is_some_and(is_instant), "`at` is RFC 3339 in UTC with milliseconds: {event}");
            let t = event["t"].as_f64().unwrap_or_else(|| panic!("`t` is seconds: {event}"));
            assert!(t >= last, "`t` never goes back: {event}");
            last = t;
        }
        events
    }

    /// The `finished` event's outcome.
    #[track_caller]
    pub fn outcome(&self) -> String {
        let events = self.events();
        events[events.len() - 1]["outcome"].as_str().expect("`outcome` is a word").to_owned()
    }
}

/// Whether the text looks like `2026-11-23T09:24:05.123Z`.
fn is_instant(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

impl Pipe {
    fn new(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn end(self) -> String {
        self.reader.join().expect("the reader does not panic");
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }
}
