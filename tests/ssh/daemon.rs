//! An OpenSSH server of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where Debian has it.
pub const SSHD: &str = "/usr/sbin/sshd";

/// A running sshd; ends with the value.
pub struct Sshd {
    /// Its configuration and log, and what a test puts there before: keys, `authorized_keys`.
    pub dir: tempfile::TempDir,
    pub port: u16,
    pub child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one on a free port of the loopback address. The host keys lie in `dir`; the file of the keys that it
/// accepts, too, or nowhere yet.
pub fn start(dir: tempfile::TempDir, host_keys: &[&str], authorized: &str, extra: &str) -> Sshd {
    if nix::unistd::geteuid().is_root() {
        // Debian's init script makes this; without it sshd refuses to start.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    // Another process may take a port that was free a moment ago.
    for _ in 0..20 {
        let port = crate::port::own();
        let d = dir.path().display();
        let keys: String = host_keys.iter().map(|key| format!("HostKey {d}/{key}\n")).collect();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\n{keys}AuthorizedKeysFile {d}/{authorized}\nPidFile none\n\
             UsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nLogLevel VERBOSE\n{extra}\n"
        );
        let file = dir.path().join("sshd_config");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        for _ in 0..3000 {
            let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
            if log.contains("Server listening on") {
                return Sshd { dir, port, child };
            }
            if child.try_wait().unwrap().is_some() {
                assert!(log.contains("in use"), "sshd does not start: {log}");
                break;
            }
            nap();
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("sshd does not start");
}

#[expect(clippy::disallowed_methods, reason = "waits for a process outside of any runtime")]
pub fn nap() {
    std::thread::sleep(Duration::from_millis(20));
}
