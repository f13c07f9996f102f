//! Login shells that are not bash, profiles that talk and dawdle, and servers that lack tools.

use super::{ROOT, ROOT_UNICORN, Row};
use crate::fleet::{self, Host, Program, host};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("shell::zsh", ROOT, || any_login_shell("zsh", "/usr/bin/zsh", ".zshenv")),
    ("shell::tcsh", ROOT, || any_login_shell("tcsh", "/usr/bin/tcsh", ".tcshrc")),
    ("shell::dash", ROOT, || any_login_shell("dash", "/usr/bin/dash", ".profile")),
    ("shell::bash", ROOT, || any_login_shell("slow", "/usr/bin/bash", ".bashrc")),
    ("shell::rbash", ROOT, || any_login_shell("rbash", "/usr/bin/rbash", ".bashrc")),
    ("shell::fish", ROOT, || any_login_shell("fish", "/usr/bin/fish", ".config/fish/config.fish")),
    ("shell::mksh", ROOT, || any_login_shell("mksh", "/usr/bin/mksh", ".mkshrc")),
    ("shell::behind_dropbear", ROOT, || other_sshd("bear", "/usr/bin/bash", Program::Dropbear)),
    ("shell::tcsh_behind_dropbear", ROOT, || other_sshd("tbear", "/usr/bin/tcsh", Program::Dropbear)),
    ("shell::behind_tinysshd", ROOT, || other_sshd("tiny", "/usr/bin/bash", Program::Tinysshd)),
    ("shell::a_wrapper_that_swallows_the_status", ROOT, wrapper_without_status),
    ("shell::sshd_forwards_nothing", ROOT_UNICORN, sshd_forwards_nothing),
    ("shell::busybox_and_nothing_else", ROOT, busybox_and_nothing_else),
    ("shell::nologin", ROOT, nologin),
    ("shell::missing_tools", ROOT, missing_tools),
];

/// A user of the server with a shell and a home of its own, the same uid as the fleet's.
fn user(on: &Host, name: &str, shell: &str) {
    on.root_sh(&format!(
        "flock /etc/passwd sh -c 'grep -q ^{name}: /etc/passwd || echo {name}:x:1500:1500::/home/{name}:{shell} >>/etc/passwd' && \
         cp -a /home/deploy /home/{name}"
    ));
}

/// Deploys, rolls back and deploys again through that shell, whose profile prints, and takes its time.
fn any_login_shell(name: &str, shell: &str, profile: &str) {
    let server = host(1);
    user(server, name, shell);
    server
        .sh(&format!("mkdir -p $(dirname /home/{name}/{profile}) && printf 'echo NOISE on stdout\\nprintf %%s half-a-line\\nsleep 0.3\\n' >/home/{name}/{profile}"));
    deploys_and_returns(Stack::on(App::Static, &[1]).through_own_sshd(0, name, ""));
}

/// The same through another server program.
fn other_sshd(name: &str, shell: &str, program: Program) {
    user(host(1), name, shell);
    deploys_and_returns(Stack::on(App::Static, &[1]).through_other_sshd(0, name, program));
}

/// A forced command that runs what was asked for, in a session of its own, and always ends with 0.
fn wrapper_without_status() {
    let server = host(1);
    user(server, "wrapped", "/usr/bin/bash");
    let stack = Stack::on(App::Static, &[1]).through_own_sshd(
        0,
        "wrapped",
        "ForceCommand sh -c \"$SSH_ORIGINAL_COMMAND\"; true",
    );
    let stack = deploys_and_returns(stack);
    // What a user's command says by its status is heard all the same.
    let stack = stack.tables("[[hooks]]\nat = \"before switch\"\nrun = \"echo refused by the hook; exit 3\"");
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert!(ran.printed().contains("refused by the hook"), "{}", ran.printed());
}

/// Deploys, deploys again and rolls back, with values and files that are hard to quote.
fn deploys_and_returns(stack: Stack) -> Stack {
    let server = stack.servers[0];
    let stack = stack.tables(
        "[env]\nODD = \"it's !! $HOME \\\\ `x` %d\\nsecond line\"\n\n[build]\nrun = ['printf \"%s\" \"$ODD\" >odd']",
    );
    let first = stack.commit(&[("a file with spaces and 'quotes'", "x")]);
    stack.deploy_first();
    stack.assert_serves(&[&first]);
    let odd = std::fs::read_to_string(stack.seen(server, "current/odd")).expect("the build ran");
    assert_eq!(odd, "it's !! $HOME \\ `x` %d\nsecond line");
    let second = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&second]);
    stack.pitcrew(&["rollback"]).run().expect(0);
    stack.assert_serves(&[&first]);
    stack.pitcrew(&["check"]).run().expect(0);
    stack.pitcrew(&["status"]).run().expect(0);
    stack.assert_no_lock();
    stack
}

/// A server whose sshd forwards no connection, as hardened ones do, is asked for its health all the same.
fn sshd_forwards_nothing() {
    let stack = Stack::on(App::Unicorn, &[4]).through_own_sshd(0, "", "AllowTcpForwarding no");
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first]);
    stack.commit(&[("SICK", "")]);
    let ran = stack.pitcrew(&["--json", "deploy"]).run().expect(1);
    assert_eq!(ran.outcome(), "reverted");
    stack.assert_serves(&[&first]);
    let third = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&third]);
    stack.pitcrew(&["check"]).run().expect(0);
    stack.assert_no_lock();
}

/// A directory with links to all programs but some, to be somebody's PATH.
fn programs_without(on: &Host, directory: &str, without: &str) {
    on.root_sh(&format!("mkdir -p {directory} && cd {directory} && ln -sf /usr/bin/* . && rm -f {without}"));
}

fn busybox_and_nothing_else() {
    let server = host(2);
    server.root_sh("mkdir -p /opt/busybox && cd /opt/busybox && for a in $(busybox --list); do ln -sf $(command -v busybox) $a; done");
    user(server, "ash", "/opt/busybox/sh");
    let stack = Stack::on(App::Static, &[2]).through_own_sshd(0, "ash", "SetEnv PATH=/opt/busybox");
    let first = stack.commit(&[("a file", "x")]);
    stack.deploy_first();
    stack.assert_serves(&[&first]);
    for _ in 0..2 {
        stack.commit(&[]);
        stack.pitcrew(&["deploy"]).run().expect(0);
    }
    stack.pitcrew(&["rollback"]).run().expect(0);
    stack.assert_no_lock();
}

/// A login that runs nothing is told as what it is.
fn nologin() {
    let server = host(3);
    user(server, "nobodyhome", "/usr/sbin/nologin");
    let stack = Stack::on(App::Static, &[3]).through_own_sshd(0, "nobodyhome", "");
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy"]).run();
    assert!(matches!(ran.code, Some(1 | 5)), "{:?}", ran.code);
    let printed = ran.printed();
    for needle in [&stack.servers[0].addr, "not available", "shell"] {
        assert!(printed.contains(needle), "the message contains {needle:?}");
    }
}

/// All that is missing is named before anything is changed.
fn missing_tools() {
    let server = host(3);
    programs_without(server, "/opt/poor", "tar gzip readlink");
    let stack = Stack::on(App::Static, &[1, 3]).through_own_sshd(1, "", "SetEnv PATH=/opt/poor");
    stack.commit(&[]);
    let before = stack.listing();
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    for needle in ["gzip", "readlink", "tar", &fleet::host(3).addr] {
        assert!(ran.printed().contains(needle), "{needle} is named");
    }
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
}
