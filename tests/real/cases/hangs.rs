//! Servers and balancers that fall silent in the middle of a run: each has a limit, a message and an unwinding.

use std::time::Duration;

use super::{ROOT, ROOT_UNICORN, Row, UNICORN};
use crate::fleet::{self, Host, host};
use crate::load::Load;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("hang::the_network_is_cut_in_the_middle_of_a_turn", ROOT_UNICORN, network_cut),
    ("hang::a_server_stops_reading_in_the_transfer", ROOT, stops_reading),
    ("hang::haproxy_stops_answering", UNICORN, balancer_stops_answering),
    ("hang::sshd_dies_in_the_middle_of_a_turn", ROOT_UNICORN, sshd_dies),
    ("hang::a_session_dies_in_the_middle_of_a_turn", ROOT_UNICORN, session_dies),
    ("hang::a_silent_step_is_told_with_its_last_line", ROOT, silent_step),
    ("hang::accepts_and_never_speaks", ROOT, never_speaks),
];

/// Cuts the server's cable, or mends it: packets vanish, nobody is told.
fn cable(server: usize, state: &str) {
    fleet::output(std::process::Command::new("ip").args(["link", "set", &format!("fleet{server}"), state]));
}

/// Its turn ends within the connection's limits; it stays out and is named, everybody else serves.
fn network_cut() {
    let stack = Stack::on(App::Unicorn, &[1, fleet::CUT, 3]).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    let stack = stack.gate("before switch");
    let second = stack.commit(&[]);
    let lost = host(fleet::CUT);
    stack.close_gate(lost);
    let load = Load::start(&stack.balancer().authority());
    let running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    stack.wait_at_gate(lost);
    cable(fleet::CUT, "down");
    let ran = running.wait();
    let load = load.stop();
    cable(fleet::CUT, "up");
    stack.open_gate(lost);
    let ran = ran.expect(3);
    load.assert_none_failed();
    assert_eq!(ran.outcome(), "stuck");
    assert_named(&ran.events(), lost);
    assert_eq!(stack.revisions(), [&second[..], &first, &first], "nobody was switched but who was done");
    let ready: Vec<_> = stack.balancer().members().iter().map(|m| m.admin == 0).collect();
    assert_eq!(ready, [true, false, true], "who cannot be proven stays out");
    mended(stack, lost, &[&second, &first, &first]);
}

/// The end names the server and what to run next.
#[track_caller]
fn assert_named(events: &[serde_json::Value], server: &Host) {
    let finished = &events[events.len() - 1];
    let ends = finished["servers"].as_array().expect("a list");
    let end = ends.iter().find(|s| s["server"] == server.addr.as_str()).expect("the server");
    assert!(!end["stuck"].is_null(), "{end}");
    assert!(finished["next"].to_string().contains(" recover\""), "what to run next: {finished}");
}

/// With the trouble over, `recover` takes back what was begun, and puts the server back once it is proven.
fn mended(stack: Stack, left_behind: &Host, expected: &[&str]) {
    fleet::wait_for("the server to be back", Duration::from_secs(20), || {
        std::process::Command::new("ssh-keyscan")
            .args(["-T", "1", "-p", &left_behind.port.to_string(), &left_behind.addr])
            .output()
            .is_ok_and(|o| !o.stdout.is_empty())
    });
    stack.pitcrew(&["recover"]).run();
    stack.assert_serves(expected);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    let third = stack.commit(&[]);
    stack.pitcrew(&["deploy", "--serial"]).run().expect(0);
    stack.assert_serves(&[&third; 3]);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
}

/// Listener and sessions are gone; nobody can be asked what happened.
fn sshd_dies() {
    let stack = Stack::new(App::Unicorn).balanced().through_own_sshd(1, "", "");
    let first = stack.commit(&[]);
    stack.deploy_first();
    let stack = stack.gate("before switch");
    let second = stack.commit(&[]);
    let lost = stack.servers[1];
    stack.close_gate(lost);
    let load = Load::start(&stack.balancer().authority());
    let running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    stack.wait_at_gate(lost);
    lost.kill_own_sshd();
    let ran = running.wait().expect(3);
    load.stop().assert_none_failed();
    stack.open_gate(lost);
    assert_eq!(ran.outcome(), "stuck");
    assert_named(&ran.events(), lost);
    assert_eq!(stack.revisions(), [&second[..], &first, &first]);
    let ready: Vec<_> = stack.balancer().members().iter().map(|m| m.admin == 0).collect();
    assert_eq!(ready, [true, false, true], "who cannot be proven stays out");
    lost.start_own_sshd();
    mended(stack, lost, &[&second, &first, &first]);
}

/// Only the connection dies: it is made again, and what was begun is gone on with or taken back.
fn session_dies() {
    let stack = Stack::new(App::Unicorn).balanced().through_own_sshd(1, "", "");
    let first = stack.commit(&[]);
    stack.deploy_first();
    let stack = stack.gate("before switch");
    let second = stack.commit(&[]);
    let lost = stack.servers[1];
    stack.close_gate(lost);
    let load = Load::start(&stack.balancer().authority());
    let running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    stack.wait_at_gate(lost);
    lost.signal_own_sshd("KILL", true);
    std::thread::sleep(Duration::from_millis(300));
    stack.open_gate(lost);
    let ran = running.wait();
    load.stop().assert_none_failed();
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    match ran.code {
        Some(0) => stack.assert_serves(&[&second; 3]),
        Some(3) => stack.assert_serves(&[&second, &first, &first]),
        other => panic!("exit code {other:?}"),
    }
    assert!(ran.printed().contains("lost") || ran.code == Some(0), "a loss is told");
}

/// The server's side of the connection freezes while the release is on its way.
fn stops_reading() {
    let stack = Stack::on(App::Static, &[1, 2]).through_own_sshd(1, "", "");
    let first = stack.commit(&[]);
    stack.deploy_first();
    // The build's files do not compress, and are more than all buffers between hold.
    let noise = fleet::output(std::process::Command::new("sh").args(["-c", "head -c 40000000 /dev/urandom | base64"]));
    stack.commit(&[("noise", &noise)]);
    let frozen = stack.servers[1];
    let mut running = stack.pitcrew(&["--json", "deploy"]).start();
    let address = frozen.addr.clone();
    running.wait_for_event("the transfer", |e| {
        e["event"] == "progress" && e["step"] == "transfer" && e["server"] == address.as_str()
    });
    frozen.signal_own_sshd("STOP", true);
    let ran = running.wait();
    frozen.signal_own_sshd("CONT", true);
    // It cannot be asked to give its lock back, so it is named; nobody was switched.
    let ran = ran.expect(if stack.seen(frozen, ".pitcrew/lock").exists() { 3 } else { 1 });
    assert!(ran.printed().contains(&address), "the frozen server is named");
    assert_eq!(stack.revisions(), [&first[..]; 2]);
    stack.pitcrew(&["recover"]).run();
    stack.commit(&[]);
    stack.pitcrew(&["deploy"]).run().expect(0);
    stack.assert_no_lock();
}

/// Before the run nothing is touched; in the middle, who is out stays out, is named, and is put back by the next run.
fn balancer_stops_answering() {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    let before = stack.listing();
    stack.balancer().signal("STOP");
    let ran = stack.pitcrew(&["deploy", "--serial"]).run();
    stack.balancer().signal("CONT");
    assert!(ran.expect(5).printed().contains("did not answer"), "the balancer's silence is told");
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");

    let stack = stack.gate("before restore");
    let second = stack.commit(&[]);
    let server = stack.servers[0];
    stack.close_gate(server);
    let running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    stack.wait_at_gate(server);
    stack.balancer().signal("STOP");
    stack.open_gate(server);
    let ran = running.wait();
    stack.balancer().signal("CONT");
    let ran = ran.expect(3);
    assert!(ran.printed().contains("did not answer"), "the balancer's silence is told");
    assert_named(&ran.events(), server);
    assert_eq!(stack.answers()[1].as_ref(), Ok(&first), "nobody else was touched");
    assert_ne!(first, second);
    stack.pitcrew(&["recover"]).run();
    stack.assert_no_lock();
    let third = stack.commit(&[]);
    stack.pitcrew(&["deploy", "--serial"]).run().expect(0);
    stack.assert_serves(&[&third; 3]);
    stack.assert_all_in_balancer();
}

fn silent_step() {
    let stack = Stack::on(App::Static, &[1]).tables(
        "[timeouts]\nquiet = \"1s\"\nprepare = \"3s\"\n\n[build]\nrun = [\"echo resolving dependencies; sleep 1.5\"]",
    );
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy"]).run().expect(0);
    let told = ran.stderr.lines().find(|l| l.contains("printed nothing"));
    assert!(told.is_some_and(|l| l.contains("resolving dependencies") && l.contains("build")), "{told:?}");
    let stack = Stack::on(App::Static, &[1])
        .tables("[timeouts]\nquiet = \"1s\"\nprepare = \"2s\"\n\n[build]\nrun = [\"echo for ever; sleep 3333.25\"]");
    stack.commit(&[]);
    let ran = stack.pitcrew(&["deploy"]).run().expect(1);
    assert!(ran.printed().contains("ran longer than 2.00s"), "the limit is told");
    assert!(ran.printed().contains("[timeouts]"), "and where it is set");
    assert!(!host(1).runs("sleep 3333.25"), "nothing runs on");
    stack.assert_no_lock();
}

/// It accepts connections and says nothing, in front of a server that was there a moment ago.
fn never_speaks() {
    let stack = Stack::on(App::Static, &[1, 2]).through_own_sshd(1, "", "");
    let dir = fleet::fleet().dir.display().to_string();
    let stack = stack.ssh(&format!("connect_timeout = \"2s\"\n# {dir}"));
    stack.commit(&[]);
    stack.deploy_first();
    let before = stack.listing();
    let silent = stack.servers[1];
    silent.signal_own_sshd("STOP", false);
    let ran = stack.pitcrew(&["deploy"]).run();
    silent.signal_own_sshd("CONT", false);
    let ran = ran.expect(5);
    assert!(
        ran.printed().contains(&silent.address()) && ran.printed().contains("handshake"),
        "who, and what is missing"
    );
    assert_eq!(stack.listing(), before, "nothing was changed anywhere");
}
