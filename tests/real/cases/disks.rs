//! Disks that are full, without inodes, read-only or somebody else's, at every point of a run: `current` stays as it
//! was, the message names the server and what is lacking, and nothing of it keeps a server from being taken back.

use nix::sys::signal::Signal;

use super::{ROOT, ROOT_UNICORN, Row, names, under_load};
use crate::fleet::Host;
use crate::pitcrew::Ran;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("disk::full_at_the_lock", ROOT, full_at_the_lock),
    ("disk::fills_in_the_build", ROOT, fills_in_the_build),
    ("disk::full_at_the_switch", ROOT, full_at_the_switch),
    ("disk::full_when_taken_back_under_load", ROOT_UNICORN, full_when_taken_back_under_load),
    ("disk::no_inode_when_taken_back", ROOT, no_inode_when_taken_back),
    ("disk::full_when_it_is_recorded", ROOT, full_when_it_is_recorded),
    ("disk::full_and_unlocked", ROOT, full_and_unlocked),
    ("disk::no_inodes_before", ROOT, no_inodes_before),
    ("disk::inodes_run_out_in_the_transfer", ROOT, inodes_run_out_in_the_transfer),
    ("disk::releases_on_a_disk_of_their_own", ROOT, releases_on_a_disk_of_their_own),
    ("disk::read_only_before", ROOT, read_only_before),
    ("disk::read_only_in_the_middle", ROOT, read_only_in_the_middle),
    ("disk::belongs_to_somebody_else", ROOT, belongs_to_somebody_else),
];

/// Fills the disk that a shell is in to its last block.
pub const FILL: &str = "cat /dev/zero >>ballast 2>/dev/null; i=0; while test $i -lt 20; do \
                    printf %5000s x >>ballast$i 2>/dev/null; i=$((i+1)); done";
/// Takes its last inode.
pub const FILL_INODES: &str = "i=0; while { true >inode$i; } 2>/dev/null; do i=$((i+1)); done";

/// A stack of files alone on disks of its own, with a first release, and that release's revision.
fn on_disks(options: &str) -> (Stack, String) {
    let stack = Stack::new(App::Static).on_disks(options);
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.commit(&[]);
    (stack, first)
}

/// Adds a hook that runs this in `deploy_to`, on the second server only.
fn on_second(stack: Stack, at: &str, run: &str) -> Stack {
    std::fs::write(stack.seen(stack.servers[1], "shared/SECOND"), "").unwrap();
    let run = format!("test ! -e {0}/shared/SECOND || {{ cd {0} && {run}; }}", stack.deploy_to);
    stack.tables(&format!("[[hooks]]\nat = \"{at}\"\nrun = '{run}'\non = \"each\""))
}

/// Everything is as it was with the first release, on every server, and nobody is locked.
#[track_caller]
fn assert_as_before(stack: &Stack, first: &str) {
    assert_eq!(stack.revisions(), [first; 3]);
    stack.assert_no_lock();
    for host in &stack.servers {
        let stray =
            host.sh(&format!("cd {} && ls -A .pitcrew/incoming* .pitcrew/trash* 2>/dev/null || :", stack.deploy_to));
        assert_eq!(stray, "", "{} keeps nothing half done", host.name);
    }
}

/// Without the ballast the next deploy goes through.
#[track_caller]
fn assert_works_again(stack: Stack) {
    stack.servers[1].sh(&format!("cd {} && rm -f ballast* inode* shared/SECOND", stack.deploy_to));
    let again = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&again; 3]);
    stack.assert_no_lock();
}

/// The message names the server and says what is lacking.
#[track_caller]
fn assert_says(ran: &Ran, host: &Host, what: &str) {
    let printed = ran.printed();
    let said = printed.lines().any(|l| l.contains(&host.address()));
    assert!(said && printed.to_lowercase().contains(what), "{} and {what:?} are named", host.address());
}

/// It was free a moment before, when the plan was made.
fn full_at_the_lock() {
    let (stack, first) = on_disks("size=2m,nr_inodes=150");
    let stack = on_second(stack, "before lock", &format!("{FILL}; {FILL_INODES}"));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "no room left");
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

/// What a dead run left is taken away, full or not.
fn full_and_unlocked() {
    let (stack, _) = on_disks("size=2m,nr_inodes=150");
    let stack = on_second(stack.gate("after switch"), "before switch", "true");
    let second = stack.servers[1];
    stack.close_gate(second);
    let running = stack.pitcrew(&["deploy"]).start();
    stack.wait_at_gate(second);
    second.sh(&format!("cd {} && {FILL}; {FILL_INODES}", stack.deploy_to));
    running.signal(Signal::SIGKILL);
    running.wait();
    stack.open_gate(second);
    stack.pitcrew(&["unlock", "--force"]).run().expect(0);
    stack.assert_no_lock();
    assert_works_again(stack);
}

/// What the build wrote goes with the release, and with it the trouble.
fn fills_in_the_build() {
    let (stack, first) = on_disks("size=2m");
    std::fs::write(stack.seen(stack.servers[1], "shared/SECOND"), "").unwrap();
    let build = format!("test ! -e {}/shared/SECOND || cat /dev/zero > gems", stack.deploy_to);
    let stack = stack.tables(&format!("[build]\nrun = [\"{build}\"]"));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "no space left");
    assert_as_before(&stack, &first);
    for host in &stack.servers {
        assert_eq!(stack.releases(host).len(), 1, "{} keeps no release that nobody wants", host.name);
    }
    assert_works_again(stack);
}

/// Nothing is switched on the full server; its mates, which were, go back.
fn full_at_the_switch() {
    let (stack, first) = on_disks("size=2m");
    let stack = on_second(stack, "before switch", FILL);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "no room left");
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

/// The disk fills when the new release is switched to already, and the release fails: back it goes all the same.
fn full_when_taken_back_under_load() {
    let stack = Stack::new(App::Unicorn).on_disks("size=4m").balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    let stack = on_second(stack, "after switch", FILL);
    let second = stack.commit(&[("SICK", "host2")]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    let ran = seen.ran.expect(3);
    assert_eq!(ran.outcome(), "mixed");
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0, 1]), "the third was never touched");
    stack.assert_all_in_balancer();
    stack.assert_serves(&[&second, &first, &first]);
    stack.assert_no_lock();
    // What became of it is recorded, full or not.
    let behind = std::fs::read_to_string(stack.seen(stack.servers[1], ".pitcrew/behind"));
    assert!(behind.is_ok_and(|run| !run.trim().is_empty()), "the server knows that it was left behind");
    assert_works_again(stack);
}

fn no_inode_when_taken_back() {
    let (stack, first) = on_disks("size=2m,nr_inodes=150");
    let stack = on_second(stack, "after switch", &format!("{FILL_INODES}; exit 7"));
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "exit status 7");
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

/// The release serves by then: that is not taken back, and the next run makes up for what could not be written.
fn full_when_it_is_recorded() {
    let (stack, _) = on_disks("size=2m");
    let second = stack.commit(&[]);
    let stack = on_second(stack, "before finish", FILL);
    let ran = stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&second; 3]);
    stack.assert_no_lock();
    assert!(ran.code == Some(0));
    let state = |host: &Host| {
        let current = stack.current(host).unwrap_or_default();
        std::fs::read_to_string(stack.seen(host, &format!(".pitcrew/states/{current}"))).unwrap_or_default()
    };
    let states: Vec<_> = stack.servers.iter().map(|h| state(h).trim().to_owned()).collect();
    assert_eq!(states, ["good"; 3], "there was room for what must be written");
    assert_works_again(stack);
}

fn no_inodes_before() {
    let (stack, first) = on_disks("size=2m,nr_inodes=150");
    stack.servers[1].sh(&format!("cd {} && {FILL_INODES}", stack.deploy_to));
    let before = stack.listing();
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "inodes");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

fn inodes_run_out_in_the_transfer() {
    let (stack, first) = on_disks("size=2m,nr_inodes=150");
    let stack = on_second(stack, "before prepare", FILL_INODES);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, stack.servers[1], "no room left");
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

/// The fullest of the disks is what counts.
fn releases_on_a_disk_of_their_own() {
    let stack = Stack::new(App::Static).on_disks("size=20m");
    let first = stack.commit(&[]);
    stack.deploy_first();
    let second = stack.servers[1];
    second.root_sh(&format!(
        "cd {0}/releases && cp -a . /tmp/{1} && mount -t tmpfs -o mode=755,uid=1500,gid=1500,size=1m small . && cp -a /tmp/{1}/. {0}/releases/",
        stack.deploy_to, stack.name
    ));
    stack.commit(&[("big", &"x".repeat(900_000))]);
    let before = stack.listing();
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, second, "no room left");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
    stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.pitcrew(&["rollback"]).run().expect(0);
    assert_as_before(&stack, &first);
}

fn read_only_before() {
    let (stack, first) = on_disks("size=2m");
    let second = stack.servers[1];
    second.root_sh(&format!("mount -o remount,ro {}", stack.deploy_to));
    let before = stack.listing();
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert_says(&ran, second, "read-only");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
    second.root_sh(&format!("mount -o remount,rw {}", stack.deploy_to));
    assert_as_before(&stack, &first);
    assert_works_again(stack);
}

/// Nothing can be written there any more, not even that the lock is given back: the server is named.
fn read_only_in_the_middle() {
    let (stack, first) = on_disks("size=2m");
    let stack = stack.gate("before switch");
    let second = stack.servers[1];
    stack.close_gate(second);
    let running = stack.pitcrew(&["deploy"]).start();
    stack.wait_at_gate(second);
    second.root_sh(&format!("mount -o remount,ro {}", stack.deploy_to));
    stack.open_gate(second);
    let ran = running.wait().expect(3);
    assert_says(&ran, second, "read-only");
    assert_eq!(stack.revisions(), [&first[..]; 3]);
    second.root_sh(&format!("mount -o remount,rw {}", stack.deploy_to));
    stack.pitcrew(&["recover"]).run();
    assert_works_again(stack);
}

fn belongs_to_somebody_else() {
    let (stack, first) = on_disks("size=2m");
    let second = stack.servers[1];
    // What cannot even be looked into is not taken for seen: such a server counts as one that cannot be asked.
    for (place, code) in [("releases", 1), ("shared", 1), (".pitcrew", 5), ("", 1)] {
        let place = format!("{}/{place}", stack.deploy_to);
        second.root_sh(&format!("chown root:root {place}"));
        let ran = stack.pitcrew(&["deploy"]).run().expect(code);
        assert_says(&ran, second, "permission");
        assert!(ran.printed().contains(place.trim_end_matches('/')), "{place} is named");
        second.root_sh(&format!("chown 1500:1500 {place}"));
        assert_as_before(&stack, &first);
    }
    assert_works_again(stack);
}
