//! What both kinds of tests need: a client, and a record of what it heard.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pitcrew::config::{ConfigFile, HostKeyChecking, Ssh};
use pitcrew::ssh::config::{Local, Question};
use pitcrew::ssh::{Ask, Ended, Exec, Heard, Link, Network, Payload, Pipe, Session};
use tokio_util::sync::CancellationToken;

/// Answers for the person at the terminal, and counts.
#[derive(Default)]
pub struct Answers {
    pub passphrase: Option<String>,
    /// Answers everything that servers ask.
    pub password: Option<String>,
    pub asked: Mutex<Vec<PathBuf>>,
}

impl Ask for Answers {
    fn passphrase(&self, key: &Path) -> Option<String> {
        self.asked.lock().unwrap().push(key.to_path_buf());
        self.passphrase.clone()
    }

    fn touch(&self, key: &str) {
        self.asked.lock().unwrap().push(format!("touch {key}").into());
    }

    fn is_attended(&self) -> bool {
        self.password.is_some()
    }

    fn answer(&self, question: &str, _: bool) -> Option<String> {
        self.asked.lock().unwrap().push(question.into());
        self.password.clone()
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
            user: Some(me()),
            port: None,
            identity_files: Vec::new(),
            known_hosts: vec!["~/.ssh/known_hosts".into()],
            host_key_checking: Some(HostKeyChecking::AcceptNew),
            config_file: ConfigFile::Off,
            connect_timeout: Some(Duration::from_secs(30)),
            auth_timeout: Some(Duration::from_secs(30)),
            jump: None,
            forward_agent: None,
        };
        Self { home, answers: Arc::default(), agent: None, ssh }
    }

    /// A client that is told everything by an ssh_config.
    pub fn configured(text: &str) -> Self {
        let mut client = Self::new();
        client.ssh = Ssh {
            user: None,
            known_hosts: Vec::new(),
            host_key_checking: None,
            config_file: ConfigFile::Path("~/config".into()),
            ..client.ssh
        };
        client.configure(text);
        client
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.home.path().join("config"), text).unwrap();
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.home.path().join(".ssh/known_hosts")
    }

    pub fn know(&self, text: &str) {
        std::fs::create_dir_all(self.home.path().join(".ssh")).unwrap();
        std::fs::write(self.known_hosts(), text).unwrap();
    }

    pub fn local(&self) -> Local {
        let agent = self.agent.as_ref().map(|path| path.display().to_string());
        Local {
            home: self.home.path().to_path_buf(),
            user: me(),
            uid: nix::unistd::geteuid().as_raw(),
            host: nix::unistd::gethostname().unwrap().into_string().unwrap(),
            env: Arc::new(move |name| if name == "SSH_AUTH_SOCK" { agent.clone() } else { None }),
        }
    }

    pub fn network(&self) -> Network {
        Network::new(&self.ssh, self.local(), self.answers.clone()).unwrap()
    }

    pub fn link(&self, port: u16) -> Arc<Link> {
        self.link_with(port, &self.network())
    }

    pub fn link_with(&self, port: u16, network: &Network) -> Arc<Link> {
        network.link("web1", &ask(&format!("127.0.0.1:{port}"))).unwrap()
    }
}

/// The user that the tests run as, and log in as.
pub fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

/// An address as pitcrew.toml has it.
pub fn ask(address: &str) -> Question {
    let one = pitcrew::config::hosts::parse_one(address).unwrap();
    Question { host: one.host, user: one.user, port: one.port }
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
        Heard::Line(Pipe::Out, line) => record.out.push(line.to_owned()),
        Heard::Line(Pipe::Err, line) => record.err.push(line.to_owned()),
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
