//! Signals at bad moments: what is in flight is taken back, and nobody is left out of the balancer or locked.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{FILES, Row, UNICORN, names};
use crate::fleet;
use crate::load::Load;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("interrupt::int_in_the_first_turn", UNICORN, || in_turn(Signal::SIGINT, 0)),
    ("interrupt::term_in_the_first_turn", UNICORN, || in_turn(Signal::SIGTERM, 0)),
    ("interrupt::hup_in_the_first_turn", UNICORN, || in_turn(Signal::SIGHUP, 0)),
    ("interrupt::int_in_the_second_turn", UNICORN, || in_turn(Signal::SIGINT, 1)),
    ("interrupt::int_while_building", FILES, int_while_building),
    ("interrupt::killed_leaves_a_lock_that_can_be_taken_away", FILES, killed_leaves_a_lock),
];

/// A signal while server `turn`, from 0, is drained.
fn in_turn(signal: Signal, turn: usize) {
    let stack = Stack::new(App::Unicorn).balanced();
    let first = stack.commit(&[]);
    stack.deploy_first();
    // The boot leaves time to be interrupted in.
    let second = stack.commit(&[("BOOT_SLEEP", "2")]);
    let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
    std::thread::sleep(Duration::from_millis(300));
    let mut running = stack.pitcrew(&["--json", "deploy", "--serial"]).start();
    let server = stack.servers[turn].address();
    running.wait_for_event("the restart to begin", |e| {
        e["event"] == "step_started" && e["step"] == "restart" && e["server"] == server.as_str()
    });
    assert!(stack.balancer().members()[turn].admin != 0, "it is drained while it restarts");
    running.signal(signal);
    let ran = running.wait();
    std::thread::sleep(Duration::from_millis(300));
    let (load, trace) = (load.stop(), watch.stop());
    load.assert_none_failed();
    assert_eq!(trace.taken_out(), names(&stack, &(0..=turn).collect::<Vec<_>>()), "nobody after the signal");
    assert_eq!(trace.most_out(), 1);
    stack.assert_all_in_balancer();
    stack.assert_no_lock();
    // What was in flight is taken back; servers that were done before the signal keep the new release.
    let ran = ran.expect(130);
    assert_eq!(ran.outcome(), "interrupted");
    let expected: Vec<_> = (0..3).map(|i| if i < turn { &second[..] } else { &first[..] }).collect();
    stack.assert_serves(&expected);
}

/// Remote processes are ended, prepared releases removed.
fn int_while_building() {
    let stack = Stack::new(App::Static);
    stack.commit(&[]);
    stack.deploy_first();
    let before = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect::<Vec<_>>();
    let nap = format!("{}.5", 3000 + stack.port);
    let stack = stack.tables(&format!("[build]\nrun = [\"sleep {nap}\"]"));
    stack.commit(&[]);
    let running = stack.pitcrew(&["deploy"]).start();
    let sleeps = |h: &fleet::Host| h.runs(&format!("sleep {nap}"));
    fleet::wait_for("the build to run everywhere", Duration::from_secs(20), || stack.servers.iter().all(|h| sleeps(h)));
    running.signal(Signal::SIGINT);
    running.wait().expect(130);
    for h in &stack.servers {
        assert!(!sleeps(h), "{} still builds", h.name);
    }
    let after = stack.servers.iter().map(|h| (stack.current(h), stack.releases(h))).collect::<Vec<_>>();
    assert_eq!(after, before, "`current` and releases, server by server");
    stack.assert_no_lock();
}

/// After kill -9 the next run is refused with the holder's name, and `unlock` makes way.
fn killed_leaves_a_lock() {
    let stack = Stack::new(App::Static);
    stack.commit(&[]);
    stack.deploy_first();
    let nap = format!("{}.5", 3000 + stack.port);
    let stalled = stack.tables(&format!("[build]\nrun = [\"test -e NO_NAP || sleep {nap}\"]"));
    stalled.commit(&[]);
    let running = stalled.pitcrew(&["deploy"]).start();
    let sleeps = |h: &fleet::Host| h.runs(&format!("sleep {nap}"));
    fleet::wait_for("the build to run everywhere", Duration::from_secs(20), || {
        stalled.servers.iter().all(|h| sleeps(h))
    });
    running.signal(Signal::SIGKILL);
    running.wait();

    let refused = stalled.pitcrew(&["deploy"]).run().expect(4);
    assert!(refused.printed().contains("tester"), "the holder is named");
    for h in &stalled.servers {
        assert!(stalled.seen(h, ".pitcrew/lock").exists(), "{} is still locked by the dead run", h.name);
    }
    stalled.pitcrew(&["unlock"]).run().expect(0);
    stalled.assert_no_lock();
    let third = stalled.commit(&[("NO_NAP", "")]);
    stalled.pitcrew(&["deploy"]).run().expect(0);
    stalled.assert_serves(&[&third; 3]);
}
