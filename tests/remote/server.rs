//! A server without a network: a home directory and a `sh` of a chosen kind, in which remote scripts run for real.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pitcrew::answer::{Answer, Nonce};
use pitcrew::facts::ServerFacts;
use pitcrew::name::{ReleaseId, RunId};
use pitcrew::script::calls;
use pitcrew::script::calls::Site;
use pitcrew::script::{Call, Owner};
use pitcrew::web::{Template, Web};

/// The shells that a server's `sh` may be.
pub const SHELLS: [&str; 3] = ["dash", "busybox", "bash"];

/// A directory that plays a server.
pub struct Server {
    dir: tempfile::TempDir,
    path: String,
    deploy_to: String,
    /// The web server of its site.
    pub web: Web,
    /// `[env]` of its site.
    pub env: Vec<(String, String)>,
    /// The login shell, when it is not the same `sh`.
    pub login: Option<PathBuf>,
    /// What its `sh` is.
    pub shell: &'static str,
}

/// What a script printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit status; 128 and the number for a signal.
    pub status: i32,
    /// Its answers.
    pub answers: Vec<Answer>,
    /// The rest of its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs a test on one server of each kind.
pub fn everywhere(test: impl Fn(&Server)) {
    for shell in SHELLS {
        if let Some(server) = Server::new(shell) {
            test(&server);
        }
    }
}

/// Finds a program; says loudly that a test is skipped when it is missing, and fails it where that is not allowed.
pub fn require(program: &str) -> Option<PathBuf> {
    let found = on_path(program);
    if found.is_none() {
        assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "{program} is not installed");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
    }
    found
}

/// Finds a program on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// The run of these tests.
pub fn run() -> RunId {
    RunId("run-1".into())
}

/// Its owner.
pub fn owner() -> Owner {
    Owner {
        run: run(),
        who: "alice".into(),
        host: "laptop".into(),
        pid: 42,
        command: "pitcrew deploy".into(),
        since: "2026-01-01T00:00:00Z".into(),
        process: None,
        lease: 120,
    }
}

/// A release's id.
pub fn id(text: &str) -> ReleaseId {
    ReleaseId::parse(text).unwrap()
}

/// A small release, packed.
pub fn tarball(revision: &str) -> Vec<u8> {
    let noise: String = (0u32..4000).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 28) as u8)).collect();
    packed(&[
        ("REVISION", &format!("{revision}\n")),
        ("app/odd 'name'\nhere", "hello\n"),
        ("app/noise", &noise),
        ("tmp/.keep", ""),
    ])
}

/// A gzipped tar of these files, in this order.
pub fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(12345);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

impl Server {
    /// Makes a server whose `sh` is `shell`; with busybox, all its tools are busybox's.
    pub fn new(shell: &'static str) -> Option<Self> {
        let program = require(shell)?;
        let dir = tempfile::Builder::new().prefix("pitcrew it's ").tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        symlink(&program, bin.join("sh")).unwrap();
        let mut path = bin.to_str().unwrap().to_owned();
        if shell == "busybox" {
            let list = Command::new(&program).arg("--list").output().unwrap();
            for applet in String::from_utf8_lossy(&list.stdout).lines() {
                let _ = symlink(&program, bin.join(applet));
            }
        }
        path.push_str(":/usr/bin:/bin");
        let web = Template::builtin("static").unwrap().fill(&BTreeMap::new());
        let deploy_to = dir.path().join("srv/the shop").to_str().unwrap().to_owned();
        Some(Self { dir, path, deploy_to, web, env: Vec::new(), login: None, shell })
    }

    /// Puts a script of the test's own before everything else on the PATH.
    pub fn tool(&self, name: &str, script: &str) {
        let path = self.dir.path().join("bin").join(name);
        // What lies there may be a link to the machine's own program, and writing would follow it.
        let _ = fs::remove_file(&path);
        fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap().write_all(script.as_bytes()).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Tells whether the shell looks for tools on the PATH: some busybox shells run their own, whatever lies there.
    pub fn heeds_path(&self) -> bool {
        let ran = Command::new(self.dir.path().join("bin/sh")).args(["-c", "type sort"]).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).contains('/')
    }

    /// What the calls need.
    pub fn site(&self) -> Site<'_> {
        Site { deploy_to: &self.deploy_to, app: "shop", web: &self.web, env: &self.env }
    }

    /// `deploy_to`.
    pub fn root(&self) -> &Path {
        Path::new(&self.deploy_to)
    }

    /// The login user's home.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Runs a call.
    pub fn run(&self, call: &Call) -> Ran {
        self.send(call, b"")
    }

    /// Runs a call with a payload.
    pub fn send(&self, call: &Call, payload: &[u8]) -> Ran {
        let nonce = Nonce::random();
        let input = [&call.head(&nonce)[..], payload].concat();
        self.named(call, &input, &nonce)
    }

    /// Runs a call under this nonce, with exactly this standard input.
    pub fn named(&self, call: &Call, input: &[u8], nonce: &Nonce) -> Ran {
        self.exec(&call.command(nonce), input, nonce)
    }

    /// Starts a call whose input never ends, once its head is sent.
    pub fn begin(&self, call: &Call, nonce: &Nonce) -> Child {
        let mut child = self.spawn(&call.command(nonce));
        child.stdin.as_mut().unwrap().write_all(&call.head(nonce)).unwrap();
        child
    }

    /// Starts a command line as sshd does, its three streams piped.
    pub fn start(&self, command: &str) -> Child {
        self.spawn(command)
    }

    fn spawn(&self, command: &str) -> Child {
        let login = self.login.clone().unwrap_or_else(|| self.dir.path().join("bin/sh"));
        let mut shell = Command::new(login);
        shell
            .arg("-c")
            .arg(command)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", &self.path)
            .current_dir(self.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // A test beside this one that starts a process holds files open for a moment that were just written here.
        for _ in 0..200 {
            match shell.spawn() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    Command::new("sleep").arg("0.01").status().unwrap();
                }
                other => return other.unwrap(),
            }
        }
        shell.spawn().unwrap()
    }

    /// Runs a command line as sshd does: by the login shell, in the home directory.
    pub fn exec(&self, command: &str, input: &[u8], nonce: &Nonce) -> Ran {
        let mut child = self.spawn(command);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A script that refuses reads no payload: its pipe breaks, which is as it should be.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let done = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let mut answers = Vec::new();
        let mut output = String::new();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let (before, answer) = nonce.split(line);
            output.push_str(before);
            match answer {
                Some(answer) => answers.push(answer),
                None => output.push('\n'),
            }
        }
        use std::os::unix::process::ExitStatusExt;
        let status = done.status.code().unwrap_or_else(|| 128 + done.status.signal().unwrap_or_default());
        Ran { status, answers, output, errors: String::from_utf8_lossy(&done.stderr).into_owned() }
    }

    /// Asks for the facts.
    pub fn probe(&self, files: &[String]) -> ServerFacts {
        ServerFacts::read(&self.run(&calls::probe(&self.site(), files)).ok().answers).unwrap()
    }

    /// Makes a release directory without pitcrew.
    pub fn release(&self, id: &str, revision: Option<&str>) {
        let dir = self.root().join("releases").join(id);
        fs::create_dir_all(&dir).unwrap();
        if let Some(revision) = revision {
            fs::write(dir.join("REVISION"), format!("{revision}\n")).unwrap();
        }
    }

    /// Writes a file below `deploy_to`.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file below `deploy_to`.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Lists what lies in `.pitcrew`, sorted.
    pub fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join(".pitcrew")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Lists what no script may leave behind.
    pub fn stray(&self) -> Vec<String> {
        self.tree()
            .into_iter()
            .filter(|p| {
                let own = p.starts_with(".pitcrew/");
                p.contains(".new.")
                    || p.contains(".current.")
                    || (own && (p.contains("incoming") || p.contains("trash")))
            })
            .collect()
    }

    /// Lists every path below `deploy_to`, sorted, without the words that steps leave in the lock; links are not followed.
    pub fn tree(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
            let Ok(entries) = fs::read_dir(dir) else { return };
            for entry in entries {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, root, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.root(), self.root(), &mut found);
        found.retain(|path| !path.starts_with(".pitcrew/lock/step."));
        found.sort();
        found
    }
}

impl Ran {
    /// Demands that the script ran to its good end.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status == 0 && Answer::is_done(&self.answers), "{self:#?}");
        self
    }

    /// Demands that it refused with this code.
    #[track_caller]
    pub fn refused(self, code: &str) -> Self {
        let refusal = Answer::refusal(&self.answers);
        assert_eq!(refusal.map(|r| r.code).as_deref(), Some(code), "{self:#?}");
        assert_ne!(self.status, 0, "{self:#?}");
        assert!(!Answer::is_done(&self.answers), "{self:#?}");
        self
    }

    /// The first answer with this key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.answers.iter().find(|a| a.key == key).map(|a| a.value.as_str())
    }

    /// All answers with this key.
    pub fn values(&self, key: &str) -> Vec<String> {
        self.answers.iter().filter(|a| a.key == key).map(|a| a.value.clone()).collect()
    }
}

/// A call's script with its comments, which [`Call::text`] leaves out.
pub fn readable(call: &Call) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/remote");
    let text = call.text();
    let assignments = text.split_once("set -u\n").unwrap().0.to_owned();
    let parts: &[&str] = match call.script.name() {
        "probe" => &["lib", "procs", "web", "tell", "disk"],
        "restart" | "prove" | "stop" | "log" => &["lib", "procs", "web"],
        "lock" => &["lib", "tell"],
        "transfer" => &["lib", "tree"],
        "prune" | "remove" => &["lib", "sweep"],
        "fetch" | "download" => &["lib", "disk", "receive"],
        "takeover" => &["lib", "stat"],
        "command" => &["lib", "stat", "session"],
        _ => &["lib"],
    };
    let body = match call.script.name() {
        "check" => "command",
        name => name,
    };
    let mut all = assignments;
    for part in parts.iter().chain([&body]) {
        all.push_str(&fs::read_to_string(dir.join(format!("{part}.sh"))).unwrap());
    }
    all
}

/// Runs shellcheck and demands silence.
pub fn shellcheck(program: &Path, name: &str, text: &str) {
    // SC2034, SC2317: the parts shared by all scripts hold what this one does not use.
    let mut child = Command::new(program)
        .args(["--shell=sh", "--norc", "--exclude=SC2034,SC2317", "--format=gcc", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{name}:\n{}", String::from_utf8_lossy(&said.stdout));
}
