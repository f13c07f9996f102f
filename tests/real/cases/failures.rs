//! Releases that fail, and what is left of them: the servers, the balancer, the traffic and the exit code.

use std::time::Duration;

use super::strategies::{apache_alone, passenger, start_apache};
use super::{FILES, PASSENGER, PUMA, Row, UNICORN, names, under_load};
use crate::stack::{App, Stack};
use crate::{fleet, load, transcript};

pub const CASES: &[Row] = &[
    ("failure::serial_second_sick_revert", UNICORN, serial_second_sick_revert),
    ("failure::serial_second_sick_revert_all", UNICORN, serial_second_sick_revert_all),
    ("failure::serial_second_sick_hold", UNICORN, serial_second_sick_hold),
    ("failure::serial_first_sick", UNICORN, serial_first_sick),
    ("failure::parallel_sick", UNICORN, parallel_sick),
    ("failure::parallel_unicorn_fails_to_boot", UNICORN, || parallel_fails_to_boot(App::Unicorn)),
    ("failure::parallel_puma_fails_to_boot", PUMA, || parallel_fails_to_boot(App::Puma)),
    ("failure::serial_passenger_fails_to_boot", PASSENGER, serial_passenger_fails_to_boot),
    ("failure::a_drain_that_does_not_end", UNICORN, drain_that_does_not_end),
    ("failure::nobody_else_to_serve", UNICORN, nobody_else_to_serve),
    ("failure::a_build_fails_on_one_server", FILES, build_fails_on_one),
    ("failure::a_migration_fails", FILES, migration_fails),
];

/// A stack that serves its first release; returns that release's revision, too.
fn up(app: App) -> (Stack, String) {
    let stack = Stack::new(app).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first; 3]);
    (stack, first)
}

/// Earlier servers keep the new release, the failing one is taken back, nobody loses a request.
fn serial_second_sick_revert() {
    let (stack, first) = up(App::Unicorn);
    let second = stack.commit(&[("SICK", "host2")]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    let ran = seen.ran.expect(3);
    assert_eq!(ran.outcome(), "mixed");
    assert!(ran.stderr.is_empty() || !ran.stderr.contains('\u{1b}'), "no escapes without a terminal");
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0, 1]), "the third was never touched");
    assert_eq!(seen.trace.most_out(), 1);
    stack.assert_serves(&[&second, &first, &first]);
    stack.assert_all_in_balancer();
}

fn serial_second_sick_revert_all() {
    let (stack, first) = up(App::Unicorn);
    stack.commit(&[("SICK", "host2")]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial", "--on-failure", "revert-all"]);
    assert_eq!(seen.ran.expect(1).outcome(), "reverted");
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0, 1, 0]), "earlier servers go back one by one, newest first");
    assert_eq!(seen.trace.most_out(), 1);
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

fn serial_second_sick_hold() {
    let (stack, first) = up(App::Unicorn);
    let second = stack.commit(&[("SICK", "host2")]);
    let seen = under_load(&stack, &["deploy", "--serial", "--on-failure=hold"]);
    let ran = seen.ran.expect(3);
    seen.load.assert_none_failed();
    assert_eq!(stack.revisions(), [&second[..], &second, &first], "the failing server is held as it is");
    let members = stack.balancer().members();
    let ready: Vec<_> = members.iter().map(|m| m.admin == 0).collect();
    assert_eq!(ready, [true, false, true], "the failing server stays out, the others in");
    let held = stack.servers[1].address();
    assert!(ran.printed().contains(&held), "the summary names {held}");
}

/// The web server's new release answers 500: nobody ever sees it.
fn serial_first_sick() {
    let (stack, first) = up(App::Unicorn);
    let sick = stack.commit(&[("SICK", "")]);
    let seen = under_load(&stack, &["--json", "deploy", "--serial"]);
    assert_eq!(seen.ran.expect(1).outcome(), "reverted");
    seen.load.assert_none_failed();
    assert!(!seen.load.by_release().contains_key(sick.as_str()));
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0]));
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    // What failed is not deployed again by a rollback, and a good release goes through.
    let third = stack.commit(&[]);
    stack.pitcrew(&["deploy", "--serial"]).run().expect(0);
    stack.assert_serves(&[&third; 3]);
}

/// In parallel everybody gets the sick release for a moment; afterwards everybody is as before.
fn parallel_sick() {
    let (stack, first) = up(App::Unicorn);
    let sick = stack.commit(&[("SICK", "")]);
    let seen = under_load(&stack, &["--json", "deploy"]);
    let ran = seen.ran.expect(1);
    assert_eq!(ran.outcome(), "reverted");
    seen.trace.assert_never_touched();
    for failure in seen.load.failed().keys() {
        // 503: HAProxy itself may have taken every sick member out by its own checks.
        let expected = failure == &format!("status 500 from {sick:?}") || failure.starts_with("status 503");
        assert!(expected, "no other failure than the sick release's own: {failure}");
    }
    stack.balancer().wait_until_all_up();
    stack.assert_serves(&[&first; 3]);
    stack.assert_no_lock();
    let failed: usize = seen.load.failed().values().sum();
    transcript::note(format!("{failed} of {} requests failed", seen.load.total()));
    // A timer leaves it alone from now on.
    let before = stack.listing();
    for _ in 0..2 {
        let seen = under_load(&stack, &["deploy", "--if-changed"]);
        assert!(seen.ran.expect(0).printed().contains(&sick[..7]));
        seen.load.assert_none_failed();
    }
    assert_eq!(stack.listing(), before, "nothing is touched");
}

/// The old release goes on serving without a gap, and the tool notices that nothing new runs.
fn parallel_fails_to_boot(app: App) {
    let (stack, first) = up(app);
    stack.commit(&[("BROKEN", "")]);
    let seen = under_load(&stack, &["--json", "deploy"]);
    assert_eq!(seen.ran.expect(1).outcome(), "reverted");
    seen.load.assert_none_failed();
    assert_eq!(seen.load.by_release().into_keys().collect::<Vec<_>>(), [first.as_str()]);
    seen.trace.assert_never_touched();
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    let second = stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_serves(&[&second; 3]);
}

/// Passenger has no old release to go on with: the drain is what saves the traffic.
fn serial_passenger_fails_to_boot() {
    let _alone = apache_alone();
    let stack = passenger();
    let first = stack.commit(&[]);
    let _apaches = start_apache(&stack);
    stack.deploy_first();
    stack.assert_serves(&[&first; 3]);
    stack.commit(&[("BROKEN", "")]);
    let seen = under_load(&stack, &["--json", "deploy"]);
    assert_eq!(seen.ran.expect(1).outcome(), "reverted");
    seen.load.assert_none_failed();
    assert_eq!(seen.trace.taken_out(), names(&stack, &[0]), "nobody after the first was touched");
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

/// A request under way is never cut: the drain waits for it, and gives up when that takes too long.
fn drain_that_does_not_end() {
    let (stack, first) = up(App::Unicorn);
    // Each member has one in flight, and nobody can tell which is drained first.
    let authority = stack.balancer().authority();
    let slow = |seconds: u32| {
        let path = format!("/slow?{seconds}");
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let (authority, path) = (authority.clone(), path.clone());
                std::thread::spawn(move || load::release_of(&authority, &path))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        asked
    };
    let requests = slow(3);
    let second = stack.commit(&[]);
    stack.pitcrew(&["deploy", "--serial"]).run().expect(0);
    for request in requests {
        assert_eq!(request.join().unwrap().as_ref(), Ok(&first), "a slow request is answered");
    }
    stack.assert_serves(&[&second; 3]);

    let stack = stack.balancer_keys("drain_timeout = \"1s\"\non_drain_timeout = \"fail\"");
    stack.commit(&[]);
    let requests = slow(6);
    let ran = stack.pitcrew(&["--json", "deploy", "--serial"]).run().expect(1);
    assert_eq!(ran.outcome(), "reverted");
    stack.assert_all_in_balancer();
    for request in requests {
        assert_eq!(request.join().unwrap().as_ref(), Ok(&second), "a slow request is answered");
    }
    stack.assert_serves(&[&second; 3]);
    stack.assert_no_lock();
}

/// The last member in service is never drained.
fn nobody_else_to_serve() {
    let (stack, first) = up(App::Unicorn);
    for h in &stack.servers[1..] {
        h.sh(&format!("kill -QUIT $(cat {}/shared/tmp/pids/unicorn.pid)", stack.deploy_to));
    }
    fleet::wait_for("two members to be down", Duration::from_secs(10), || {
        stack.balancer().members().iter().filter(|m| m.status == "DOWN").count() == 2
    });
    stack.commit(&[]);
    let seen = under_load(&stack, &["deploy", "--serial"]);
    let ran = seen.ran.expect(1);
    assert!(ran.printed().contains("min_in_service"), "the setting is named");
    seen.load.assert_none_failed();
    assert!(!seen.trace.taken_out().contains(&"host1"), "the last member stays in");
    assert_eq!(stack.revisions(), [first.as_str(); 3], "no server was switched for good");
    assert_eq!(stack.answers()[0].as_ref(), Ok(&first));
    stack.assert_no_lock();
}

/// A failure before the rollout touches no `current` anywhere, and leaves no release.
fn build_fails_on_one() {
    let stack = Stack::new(App::Static);
    let first = stack.commit(&[]);
    stack.deploy_first();
    let before: Vec<_> = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect();
    // Told by a file, since servers without namespaces share a host name.
    std::fs::write(stack.seen(stack.servers[1], "shared/NO_BUILD"), "").unwrap();
    let build = format!("[build]\nrun = [\"test ! -e {}/shared/NO_BUILD\"]", stack.deploy_to);
    let stack = stack.tables(&build);
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert!(ran.printed().contains(&stack.servers[1].address()), "the failing server is named");
    assert!(ran.printed().contains("NO_BUILD"), "the failing command is shown");
    let after: Vec<_> = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect();
    assert_eq!(after, before, "`current` and releases, server by server");
    stack.assert_serves(&[&first; 3]);
    stack.assert_no_lock();
}

fn migration_fails() {
    let stack = Stack::new(App::Static);
    let first = stack.commit(&[]);
    stack.deploy_first();
    let before: Vec<_> = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect();
    let stack = stack.tables("[migrate]\nrun = \"echo no such column >&2; exit 7\"");
    stack.commit(&[]);
    for strategy in ["--parallel", "--serial"] {
        let ran = stack.pitcrew(&["deploy", strategy]).run().expect(1);
        assert!(ran.printed().contains("no such column"), "the last lines of the command are shown");
        assert!(ran.printed().contains('7'), "its status is shown");
        let after: Vec<_> = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect();
        assert_eq!(after, before, "`current` and releases, server by server");
        stack.assert_serves(&[&first; 3]);
        stack.assert_no_lock();
    }
}
