//! Servers, keys, disks and colleagues that get in the way.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{FILES, Row, SEPARATE, UNICORN};
use crate::fleet::{self, FRAGILE, NOISY, fleet, host};
use crate::pitcrew::Ran;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("fault::unknown_host_key", FILES, unknown_host_key),
    ("fault::changed_host_key", FILES, changed_host_key),
    ("fault::wrong_key", FILES, wrong_key),
    ("fault::dead_server", FILES, dead_server),
    ("fault::frozen_sshd", SEPARATE, frozen_sshd),
    ("fault::dead_balancer", UNICORN, dead_balancer),
    ("fault::disk_full_before", SEPARATE, disk_full_before),
    ("fault::disk_fills_during_transfer", SEPARATE, disk_fills_during_transfer),
    ("fault::two_deploys_at_once", FILES, two_deploys_at_once),
    ("fault::noisy_bashrc", FILES, noisy_bashrc),
];

/// A stack on three servers that has a first release, and its listing.
fn deployed() -> (Stack, String, Vec<String>) {
    let stack = Stack::new(App::Static);
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.commit(&[]);
    let listing = stack.listing();
    (stack, first, listing)
}

/// Deploys, which must end with 5, change nothing, and name whom it is about.
#[track_caller]
fn assert_unreachable(stack: &Stack, before: &[String], named: &str) -> Ran {
    let ran = stack.pitcrew(&["deploy"]).run().expect(5);
    assert!(ran.printed().contains(named), "the message names {named}");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
    ran
}

fn unknown_host_key() {
    let (stack, _, before) = deployed();
    let known = std::fs::read_to_string(fleet().dir.join("known_hosts")).unwrap();
    let unknown = stack.servers[1].known_as();
    let others: Vec<_> = known.lines().filter(|l| !l.starts_with(&unknown)).collect();
    std::fs::write(stack.dir().join("known"), others.join("\n") + "\n").unwrap();
    let stack = stack
        .ssh(&format!("identity_file = \"{}\"\nknown_hosts = \"known\"", fleet().dir.join("id_ed25519").display()));
    assert_unreachable(&stack, &before, &stack.servers[1].address());
    assert_eq!(std::fs::read_to_string(stack.dir().join("known")).unwrap().lines().count(), others.len());
}

fn changed_host_key() {
    let (stack, _, before) = deployed();
    let mut known = String::new();
    for line in std::fs::read_to_string(fleet().dir.join("known_hosts")).unwrap().lines() {
        // The second server is known by the key of the first.
        let name = line.split(' ').next().unwrap();
        let is_second = name == stack.servers[1].known_as();
        let key = if is_second { key_of(stack.servers[0]) } else { line.split_once(' ').unwrap().1.to_owned() };
        known.push_str(&format!("{name} {key}\n"));
    }
    std::fs::write(stack.dir().join("known"), &known).unwrap();
    let stack = stack.ssh(&format!(
        "identity_file = \"{}\"\nknown_hosts = \"known\"\nhost_key_checking = \"accept-new\"",
        fleet().dir.join("id_ed25519").display()
    ));
    assert_unreachable(&stack, &before, &stack.servers[1].address());
    assert_eq!(std::fs::read_to_string(stack.dir().join("known")).unwrap(), known, "a changed key is never recorded");
}

fn key_of(server: &fleet::Host) -> String {
    let known = std::fs::read_to_string(fleet().dir.join("known_hosts")).unwrap();
    let line = known.lines().find(|l| l.split(' ').next() == Some(server.known_as().as_str())).unwrap();
    line.split_once(' ').unwrap().1.to_owned()
}

fn wrong_key() {
    let (stack, _, before) = deployed();
    fleet::output(
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(stack.dir().join("wrong")),
    );
    let known = fleet().dir.join("known_hosts");
    let stack = stack.ssh(&format!("identity_file = \"wrong\"\nknown_hosts = \"{}\"", known.display()));
    let ran = assert_unreachable(&stack, &before, &stack.servers[0].address());
    assert!(ran.printed().contains("wrong"), "the message names the key");
}

/// Nobody listens where the third server should be.
fn dead_server() {
    let (stack, first, before) = deployed();
    let stack = stack.tables("[[servers]]\nhost = \"127.0.0.1:1\"");
    assert_unreachable(&stack, &before, "127.0.0.1:1");
    assert_eq!(stack.revisions(), [&first[..]; 3]);
    // Going on without it is possible, and says so.
    let ran = stack.pitcrew(&["deploy", "--skip-unreachable"]).run().expect(3);
    assert!(ran.printed().contains("127.0.0.1:1"), "who was skipped is listed");
    assert!(stack.revisions().iter().all(|r| *r != first), "the others got the release");
}

/// It accepts connections and never says a word.
fn frozen_sshd() {
    let stack = Stack::on(App::Static, &[1, 2, FRAGILE]).ssh(&format!(
        "identity_file = \"{0}/id_ed25519\"\nknown_hosts = \"{0}/known_hosts\"\nconnect_timeout = \"2s\"",
        fleet().dir.display()
    ));
    stack.commit(&[]);
    stack.deploy_first();
    let before = stack.listing();
    let sshd = Pid::from_raw(host(FRAGILE).sshd());
    kill(sshd, Signal::SIGSTOP).unwrap();
    let ran = stack.pitcrew(&["deploy"]).run();
    kill(sshd, Signal::SIGCONT).unwrap();
    let ran = ran.expect(5);
    assert!(ran.printed().contains(&host(FRAGILE).address()), "the frozen server is named");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
    stack.pitcrew(&["deploy"]).run().expect(0);
}

fn dead_balancer() {
    let mut stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.commit(&[]);
    let at = format!("ssh://{}/run/no-such.sock", host(fleet::BALANCER).address());
    stack.balancer.as_mut().unwrap().at.clone_from(&at);
    let before = stack.listing().iter().map(|l| current_line(l)).collect::<Vec<_>>();
    let ran = stack.pitcrew(&["deploy", "--serial"]).run().expect(5);
    assert!(ran.printed().contains("no-such.sock"), "the balancer is named");
    assert_eq!(stack.listing().iter().map(|l| current_line(l)).collect::<Vec<_>>(), before);
    stack.assert_serves(&[&first; 3]);
    stack.assert_no_lock();
}

fn current_line(listing: &str) -> String {
    listing.lines().find(|l| l.starts_with("./current ")).unwrap_or_default().to_owned()
}

/// A stack on disks of 3 MB with a first release; `disk` is one that no other case fills.
fn on_small_disks(disk: &str) -> (Stack, String, Vec<String>) {
    let stack = Stack::new(App::Static).below(disk);
    let first = stack.commit(&[]);
    stack.deploy_first();
    let current = stack.listing().iter().map(|l| current_line(l)).collect();
    (stack, first, current)
}

/// Deploys, which must fail on the full second server and leave everything as it was everywhere.
#[track_caller]
fn assert_fails_for_want_of_space(stack: &Stack, disk: &str, first: &str, current: &[String]) -> Ran {
    let full = stack.servers[1];
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    full.sh(&format!("rm /srv/{disk}/ballast"));
    assert!(ran.printed().contains(&full.address()), "the full server is named");
    assert_eq!(stack.listing().iter().map(|l| current_line(l)).collect::<Vec<_>>(), current, "`current` is untouched");
    assert_eq!(stack.revisions(), [first; 3]);
    stack.assert_no_lock();
    for h in &stack.servers {
        assert_eq!(stack.releases(h).len(), 1, "{} keeps no half release", h.name);
    }
    ran
}

fn disk_full_before() {
    let (stack, first, current) = on_small_disks("small1");
    stack.servers[1].sh("cat /dev/zero > /srv/small1/ballast 2>/dev/null; :");
    stack.commit(&[("big", &"x".repeat(100_000))]);
    assert_fails_for_want_of_space(&stack, "small1", &first, &current);
}

/// It fits when asked, and not any more when sent.
fn disk_fills_during_transfer() {
    let (stack, first, current) = on_small_disks("small2");
    std::fs::write(stack.seen(stack.servers[1], "shared/FILL"), "").unwrap();
    let run = format!("test ! -e {}/shared/FILL || cat /dev/zero > /srv/small2/ballast || :", stack.deploy_to);
    let stack = stack.tables(&format!("[[hooks]]\nat = \"before prepare\"\nrun = \"{run}\"\non = \"each\""));
    stack.commit(&[("big", &"x".repeat(100_000))]);
    let ran = assert_fails_for_want_of_space(&stack, "small2", &first, &current);
    assert!(ran.printed().to_lowercase().contains("no space left"), "the cause is shown");
}

/// One goes through, the other is refused and names the first.
fn two_deploys_at_once() {
    let stack = Stack::new(App::Static).tables("[build]\nrun = [\"sleep 2\"]");
    let first = stack.commit(&[]);
    let one = stack.pitcrew(&["deploy"]).start();
    let locked = || stack.servers.iter().all(|h| stack.seen(h, ".pitcrew/lock").exists());
    fleet::wait_for("the first run to lock every server", Duration::from_secs(20), locked);
    let other = stack.pitcrew(&["deploy"]).run().expect(4);
    assert!(other.printed().contains("tester"), "the holder is named");
    assert!(locked(), "the lock is still the first run's");
    one.wait().expect(0);
    stack.assert_serves(&[&first; 3]);
    stack.assert_no_lock();
    // Really at once: never both, never none.
    for _ in 0..5 {
        let (one, other) = (stack.pitcrew(&["deploy"]).start(), stack.pitcrew(&["deploy"]).start());
        let mut codes = [one.wait().code, other.wait().code];
        codes.sort();
        assert_eq!(codes, [Some(0), Some(4)], "exit codes");
        stack.assert_no_lock();
    }
}

fn noisy_bashrc() {
    let stack = Stack::on(App::Static, &[1, NOISY]);
    let first = stack.commit(&[("file with spaces", "x")]);
    stack.deploy_first();
    assert_eq!(stack.revisions(), [&first[..]; 2]);
    let second = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    assert_eq!(stack.revisions(), [&second[..]; 2]);
    let trees: Vec<_> = stack
        .listing()
        .iter()
        .map(|l| l.lines().filter(|l| l.contains("releases/") && l.contains("config.ru")).count())
        .collect();
    assert_eq!(trees, [2, 2], "both releases are whole on both");
    stack.pitcrew(&["rollback"]).run().expect(0);
    assert_eq!(stack.revisions(), [&first[..]; 2]);
    stack.assert_no_lock();
}
