//! Servers that fetch for themselves, under every shell a server's `sh` may be: from git repositories, over ssh and with a
//! password; and archives, with every tool that may be there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod archive;
mod git;

use std::time::Duration;

use crate::server::{Server, owner};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pitcrew::answer::Nonce;
use pitcrew::script::{Call, calls};

/// Takes the lock, without which nothing is fetched.
fn locked(server: &Server) {
    server.run(&calls::lock(&server.site(), &owner())).ok();
}

/// Runs a call until a tool of the test's own says that it hangs, and ends its process group as sshd is asked to.
fn interrupted(server: &Server, call: &Call) {
    let (hangs, nonce) = (server.home().join("hangs"), Nonce::random());
    let mut child = server.begin(call, &nonce);
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    eventually("the tool to hang", || hangs.exists());
    std::fs::remove_file(&hangs).unwrap();
    killpg(group, Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "{}: {status}", server.shell);
    eventually("its process group to end", || killpg(group, None).is_err());
}

#[expect(clippy::disallowed_methods, reason = "waits for a process outside of any runtime")]
fn eventually(what: &str, so: impl Fn() -> bool) {
    for _ in 0..3000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited for {what}");
}
