//! An sshd of a test's own before a haproxy's socket, and the connection to it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pitcrew::config::{ConfigFile, HostKeyChecking, Ssh, SshHost};
use pitcrew::ssh::config::{Local, Question};
use pitcrew::ssh::{Ask, Link, Network};
use tempfile::TempDir;
use tokio::time::sleep;

const SSHD: &str = "/usr/sbin/sshd";

/// A running sshd; ends with the value.
pub struct Sshd {
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Nobody;

impl Ask for Nobody {
    fn passphrase(&self, _: &Path) -> Option<String> {
        None
    }
}

pub fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

impl Sshd {
    /// Starts one with these lines of configuration, for this user's key.
    pub async fn start(extra: &str) -> Self {
        if nix::unistd::geteuid().is_root() {
            // Debian's init script makes this; without it sshd refuses to start.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for key in ["host", "user"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(key)).status();
            assert!(made.unwrap().success());
        }
        // Another process may take a port that was free a moment ago.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let d = at.display();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/user.pub\nPidFile none\n\
                 UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nLogLevel VERBOSE\n{extra}\n"
            );
            std::fs::write(at.join("sshd_config"), config).unwrap();
            let log = std::fs::File::create(at.join("log")).unwrap();
            let mut child = Command::new(SSHD)
                .args(["-D", "-e", "-f"])
                .arg(at.join("sshd_config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            for _ in 0..500 {
                let log = std::fs::read_to_string(at.join("log")).unwrap();
                if log.contains("Server listening on") {
                    return Self { dir, child, port };
                }
                if child.try_wait().unwrap().is_some() {
                    assert!(log.contains("in use"), "sshd does not start: {log}");
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start");
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
        let network = Network::new(&ssh, local, Arc::new(Nobody)).unwrap();
        let host = self.host();
        network.link("lb", &Question { host: host.host, user: host.user, port: host.port }).unwrap()
    }
}
