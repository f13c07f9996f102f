//! An sshd of a test's own before a haproxy's socket, and the connection to it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pitcrew::config::{ConfigFile, HostKeyChecking, Ssh, SshHost};
use pitcrew::ssh::config::{Local, Question};
use pitcrew::ssh::{Ask, Link, Network};

use crate::ssh::daemon::{self, Sshd};

struct NoPerson;

impl Ask for NoPerson {
    fn passphrase(&self, _: &Path) -> Option<String> {
        None
    }
}

pub fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

impl Sshd {
    /// Starts one with these lines of configuration, for this user's key.
    pub fn start(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.path().join(key))
                .status();
            assert!(made.unwrap().success());
        }
        daemon::start(dir, &["host"], "user.pub", extra)
    }

    pub fn host(&self) -> SshHost {
        SshHost { user: Some(me()), host: "127.0.0.1".into(), port: Some(self.port) }
    }

    /// How often it has said this.
    pub fn said(&self, text: &str) -> usize {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap().matches(text).count()
    }

    pub fn link(&self) -> Arc<Link> {
        let ssh = Ssh {
            user: None,
            port: None,
            identity_files: vec![self.dir.path().join("user")],
            known_hosts: vec![self.dir.path().join("known_hosts")],
            host_key_checking: Some(HostKeyChecking::AcceptNew),
            config_file: ConfigFile::Off,
            connect_timeout: Some(Duration::from_secs(30)),
            auth_timeout: Some(Duration::from_secs(30)),
            jump: None,
            forward_agent: None,
        };
        let local = Local {
            home: self.dir.path().to_owned(),
            user: me(),
            uid: nix::unistd::geteuid().as_raw(),
            host: "here".into(),
            env: Arc::new(|_| None),
        };
        let network = Network::new(&ssh, local, Arc::new(NoPerson)).unwrap();
        let host = self.host();
        network.link("lb", &Question { host: host.host, user: host.user, port: host.port }).unwrap()
    }
}
