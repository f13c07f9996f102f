//! What both kinds of tests need: a client, and a record of what it heard.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pitcrew::config::{HostKeyChecking, Ssh};
use pitcrew::event::Stream;
use pitcrew::ssh::{Ask, Ended, Exec, Heard, Link, Payload, Session, Shared, Target};
use tokio_util::sync::CancellationToken;

/// Answers for the person at the terminal, and counts.
#[derive(Default)]
pub struct Answers {
    pub passphrase: Option<String>,
    pub asked: Mutex<Vec<PathBuf>>,
}

impl Ask for Answers {
    fn passphrase(&self, key: &Path) -> Option<String> {
        self.asked.lock().unwrap().push(key.to_path_buf());
        self.passphrase.clone()
    }
}

/// A client with its own home.
pub struct Client {
    pub home: tempfile::TempDir,
    pub answers: Arc<Answers>,
    pub agent: Option<PathBuf>,
    pub ssh: Ssh,
}

impl Client {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ssh = Ssh {
            user: None,
            port: 22,
            identity_files: Vec::new(),
            known_hosts: vec!["~/.ssh/known_hosts".into()],
            host_key_checking: HostKeyChecking::AcceptNew,
            connect_timeout: Duration::from_secs(30),
        };
        Self { home, answers: Arc::default(), agent: None, ssh }
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.home.path().join(".ssh/known_hosts")
    }

    pub fn know(&self, text: &str) {
        std::fs::create_dir_all(self.home.path().join(".ssh")).unwrap();
        std::fs::write(self.known_hosts(), text).unwrap();
    }

    pub fn shared(&self) -> Shared {
        Shared::new(&self.ssh, self.home.path(), self.agent.clone(), self.answers.clone()).unwrap()
    }

    pub fn link(&self, port: u16) -> Link {
        self.link_with(port, self.shared())
    }

    pub fn link_with(&self, port: u16, shared: Shared) -> Link {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        let target = Target { name: "web1".into(), host: "127.0.0.1".into(), port, user };
        Link::new(target, Arc::new(shared))
    }
}

/// What was heard of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub out: Vec<String>,
    pub err: Vec<String>,
    pub sent: Vec<u64>,
    pub quiet: Vec<Duration>,
}

/// Runs a command and records what is heard.
pub async fn run_until(session: &Session, exec: Exec, stop: &CancellationToken) -> (Ended, Record) {
    let mut record = Record::default();
    let mut heard = |h: Heard<'_>| match h {
        Heard::Line(Stream::Stdout, line) => record.out.push(line.to_owned()),
        Heard::Line(Stream::Stderr, line) => record.err.push(line.to_owned()),
        Heard::Sent(bytes) => record.sent.push(bytes),
        Heard::Quiet(d) => record.quiet.push(d),
    };
    let ended = session.exec(exec, &mut heard, stop).await;
    (ended, record)
}

pub async fn run(session: &Session, exec: Exec) -> (Ended, Record) {
    // A hang is what these tests look for: they must not hang themselves.
    tokio::time::timeout(Duration::from_secs(120), run_until(session, exec, &CancellationToken::new()))
        .await
        .expect("the command hangs")
}

pub fn command(text: &str) -> Exec {
    Exec { command: text.into(), ..Exec::default() }
}

/// A file of `len` bytes that do not repeat, and its SHA-256.
pub fn payload(len: usize) -> (Payload, String) {
    use sha2::Digest as _;
    use std::io::Write as _;
    let mut bytes = vec![0u8; len];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for b in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *b = state as u8;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let sum = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    (Payload::new(file, len as u64), sum)
}
