//! Colleagues and daemons that change things during a run: noticed before the restart and before the restore, handled,
//! and never overwritten.

use super::{ROOT_UNICORN, Row, UNICORN};
use crate::balancer::{Trace, Watch};
use crate::load::{Load, Tally};
use crate::pitcrew::Ran;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("meddling::haproxy_reloads_while_one_is_drained", UNICORN, reload_while_drained),
    ("meddling::haproxy_reloads_before_a_restart_is_taken_back", UNICORN, reload_before_taking_back),
    ("meddling::haproxy_restarts_while_one_is_drained", UNICORN, restart_while_drained),
    ("meddling::an_operator_readies_a_drained_member", UNICORN, readied_while_drained),
    ("meddling::an_operator_takes_a_later_member_out", UNICORN, later_member_taken_out),
    ("meddling::an_operator_leaves_nobody_else", UNICORN, nobody_else_left),
    ("meddling::a_member_is_removed_before_its_turn", ROOT_UNICORN, removed_before_its_turn),
    ("meddling::a_member_is_removed_while_drained", ROOT_UNICORN, removed_while_drained),
];

/// A balanced stack that serves its first release, with a gate.
fn up(at: &str) -> (Stack, String) {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    (stack.gate(at), first)
}

/// Runs a serial deploy under load; at the gate of server `at` something happens.
fn meddled(stack: &Stack, at: usize, meddle: impl FnOnce(&Watch)) -> (Ran, Tally, Trace) {
    let server = stack.servers[at];
    stack.close_gate(server);
    let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
    let running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    stack.wait_at_gate(server);
    meddle(&watch);
    stack.open_gate(server);
    let ran = running.wait();
    std::thread::sleep(std::time::Duration::from_millis(300));
    (ran, load.stop(), watch.stop())
}

/// Warnings and failures about a server, as text.
fn about(ran: &Ran, address: &str) -> String {
    let of = |e: &&serde_json::Value| e["server"] == address && (e["event"] == "warning" || e["outcome"] == "failed");
    ran.events().iter().filter(of).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The reload forgets the drain: it is done again before the server restarts.
fn reload_while_drained() {
    let (stack, _) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, _) = meddled(&stack, 1, |_| {
        stack.balancer().reload(None);
        stack.balancer().wait_until_all_up();
    });
    let ran = ran.expect(0);
    load.assert_none_failed();
    assert!(about(&ran, &stack.servers[1].address()).contains("drained_again"), "it is told");
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

/// The same in front of the restart that takes a failed release back.
fn reload_before_taking_back() {
    let (stack, first) = up("before restore");
    let bad = format!("test ! -e {}/current/BAD", stack.deploy_to);
    let stack = stack.tables(&format!("[[hooks]]\nat = \"before restore\"\nrun = \"{bad}\"\non = \"each\""));
    stack.commit(&[("BAD", "")]);
    let (ran, load, trace) = meddled(&stack, 0, |watch| {
        watch.wait_until_seen(false);
        stack.balancer().reload(None);
        watch.wait_until_seen(true);
    });
    assert_eq!(ran.expect(1).outcome(), "reverted");
    load.assert_none_failed();
    assert_eq!(trace.taken_out(), ["host1", "host1"], "drained again before the old release restarts");
    stack.assert_serves(&[&first; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

/// Nobody is served while it is down; all else is as with a reload.
fn restart_while_drained() {
    let (stack, _) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, _) = meddled(&stack, 1, |_| {
        stack.balancer().restart();
        stack.balancer().wait_until_all_up();
    });
    ran.expect(0);
    let failed = load.failed();
    assert!(
        failed
            .keys()
            .all(|why| why.starts_with("connect") || why.starts_with("request") || why.starts_with("connection")),
        "only the restart itself fails requests: {failed:?}"
    );
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

fn readied_while_drained() {
    let (stack, _) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, trace) = meddled(&stack, 0, |watch| {
        watch.wait_until_seen(false);
        stack.balancer().ask("set server app/host1 state ready");
        watch.wait_until_seen(true);
    });
    let ran = ran.expect(0);
    load.assert_none_failed();
    assert!(about(&ran, &stack.servers[0].address()).contains("drained_again"), "it is told");
    assert_eq!(trace.most_out(), 1);
    assert_eq!(trace.taken_out(), ["host1", "host1", "host2", "host3"]);
    stack.assert_serves(&[&second; 3]);
    stack.assert_all_in_balancer();
}

/// Somebody's maintenance begins before that server's turn: it gets the release, and stays out.
fn later_member_taken_out() {
    let (stack, _) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, _) = meddled(&stack, 0, |_| {
        stack.balancer().ask("set server app/host3 state maint");
    });
    let ran = ran.expect(0);
    load.assert_none_failed();
    assert!(about(&ran, &stack.servers[2].address()).contains("found_out"), "that it stays out is told");
    let events = ran.events();
    let ends = events[events.len() - 1]["servers"].as_array().expect("a list").clone();
    let end = ends.iter().find(|s| s["server"] == stack.servers[2].address().as_str()).expect("the third");
    assert_ne!(end["in_balancer"], true, "{end}");
    stack.assert_serves(&[&second; 3]);
    let admins: Vec<_> = stack.balancer().members().iter().map(|m| m.admin != 0).collect();
    assert_eq!(admins, [false, false, true], "what the operator did is left alone");
    stack.assert_no_lock();
}

/// With the others taken out by an operator, the next one is not drained; what was done stays.
fn nobody_else_left() {
    let (stack, first) = up("before restore");
    let second = stack.commit(&[]);
    // At the gate of the second the first is back; then both others go.
    let (ran, load, trace) = meddled(&stack, 1, |_| {
        stack.balancer().ask("set server app/host1 state maint");
    });
    // The third must not be drained unless the second is back: it is, and then two are in service. That the first is out
    // by now is no doing of the run, and not as it was before.
    let ran = ran.expect(3);
    assert!(about(&ran, &stack.servers[0].address()).contains("balancer_differs"), "what differs is told");
    load.assert_none_failed();
    assert!(trace.most_out() <= 2);
    stack.assert_serves(&[&second; 3]);
    assert_ne!(first, second);
    drop(ran);
    // And with both out, nothing is touched.
    stack.balancer().ask("set server app/host2 state maint");
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy", "--serial"]).run();
    assert!(ran.printed().contains("min_in_service"), "the setting is named");
    stack.assert_no_lock();
    assert_eq!(stack.answers()[2].as_ref(), Ok(&second), "who is alone in service serves on");
}

fn removed_before_its_turn() {
    let (stack, first) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, _) = meddled(&stack, 0, |_| {
        stack.balancer().reload(Some("host2"));
        crate::fleet::wait_for("two members to be up", std::time::Duration::from_secs(10), || {
            let members = stack.balancer().members();
            members.len() == 2 && members.iter().all(crate::balancer::Member::is_in)
        });
    });
    let ran = ran.expect(3);
    load.assert_none_failed();
    let said = about(&ran, &stack.servers[1].address());
    assert!(said.contains("no server host2"), "the message says that it is gone: {said}");
    stack.assert_serves(&[&second, &first, &first]);
    stack.assert_no_lock();
}

/// It cannot be put back where it is not any more: named, with the command for who wants it back.
fn removed_while_drained() {
    let (stack, first) = up("before switch");
    let second = stack.commit(&[]);
    let (ran, load, _) = meddled(&stack, 1, |_| {
        stack.balancer().reload(Some("host2"));
        crate::fleet::wait_for("two members to be up", std::time::Duration::from_secs(10), || {
            let members = stack.balancer().members();
            members.len() == 2 && members.iter().all(crate::balancer::Member::is_in)
        });
    });
    let ran = ran.expect(3);
    load.assert_none_failed();
    let said = about(&ran, &stack.servers[1].address());
    assert!(said.contains("no server host2"), "the message says that it is gone: {said}");
    let revisions = stack.revisions();
    assert_eq!((&revisions[0], &revisions[2]), (&second, &first), "who was done, and who was never touched");
}
