//! kill -9 in the middle of a run under load, and what `recover` makes of it.
//!
//! Some moments by default, since each costs a deploy; `PITCREW_KILLS=all` tries every one.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::strategies::{apache_alone, passenger, start_apache};
use super::{PASSENGER, Row, UNICORN};
use crate::load::Load;
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("killed::serial_passenger", PASSENGER, serial_passenger),
    ("killed::serial_unicorn", UNICORN, serial_unicorn),
    ("killed::parallel_unicorn", UNICORN, parallel_unicorn),
];

/// A moment: this step begins on that server, counted from 0, and so many milliseconds go by.
type Moment = (&'static str, usize, u64);

const SERIAL: [Moment; 10] = [
    ("restart", 0, 100),
    ("drain", 1, 300),
    ("restore", 1, 200),
    ("lock", 2, 0),
    ("drain", 0, 0),
    ("transfer", 0, 0),
    ("switch", 0, 0),
    ("check", 0, 50),
    ("restart", 2, 700),
    ("prune", 1, 0),
];

const PARALLEL: [Moment; 10] = [
    ("restart", 0, 300),
    ("switch", 2, 0),
    ("prune", 1, 0),
    ("lock", 0, 0),
    ("lock", 2, 0),
    ("transfer", 1, 0),
    ("restart", 1, 0),
    ("restart", 2, 1000),
    ("check", 1, 0),
    ("unlock", 1, 0),
];

fn serial_passenger() {
    let _alone = apache_alone();
    let stack = passenger();
    stack.commit(&[]);
    let apache = start_apache(&stack);
    stack.deploy_first();
    killed(&stack, &["--json", "deploy"], &SERIAL, 2);
    drop(apache);
}

fn serial_unicorn() {
    let stack = Stack::new(App::Unicorn).balanced();
    stack.commit(&[]);
    stack.deploy_first();
    killed(&stack, &["--json", "deploy", "--serial"], &SERIAL, 3);
}

fn parallel_unicorn() {
    let stack = Stack::new(App::Unicorn).balanced();
    stack.commit(&[]);
    stack.deploy_first();
    killed(&stack, &["--json", "deploy"], &PARALLEL, 3);
}

/// Kills a deploy at each of the moments, recovers, and wants no request to fail in all that time.
fn killed(stack: &Stack, args: &[&str], moments: &[Moment], usually: usize) {
    let all = std::env::var("PITCREW_KILLS").is_ok_and(|v| v == "all");
    for (step, server, millis) in moments.iter().take(if all { moments.len() } else { usually }) {
        let moment = format!("{step} on server {server}, {millis} ms");
        let before: Vec<_> = stack.servers.iter().map(|h| stack.current(h)).collect();
        stack.commit(&[("BOOT_SLEEP", "1")]);
        let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
        std::thread::sleep(Duration::from_millis(300));
        let mut running = stack.pitcrew(args).start();
        let address = stack.servers[*server].address();
        running.wait_for_event(&moment, |e| {
            e["event"] == "step_started" && e["step"] == *step && e["server"] == address.as_str()
        });
        std::thread::sleep(Duration::from_millis(*millis));
        running.signal(Signal::SIGKILL);
        assert_eq!(running.wait().code, None, "{moment}: it was killed");
        // Somebody notices, some time later.
        std::thread::sleep(Duration::from_millis(500));
        let recovered = stack.pitcrew(&["recover"]).run();
        std::thread::sleep(Duration::from_millis(300));
        let (load, trace) = (load.stop(), watch.stop());
        load.assert_none_failed();
        assert!(trace.most_out() <= 1, "{moment}: never more than one member out");
        stack.assert_all_in_balancer();
        stack.assert_no_lock();
        let releases: Vec<_> = stack.servers.iter().map(|h| stack.current(h)).collect();
        // An earlier moment may have left them apart: who was left behind goes first, and is back where it was.
        let same = releases.iter().all(|r| *r == releases[0]) || releases == before;
        let code = if same { 0 } else { 3 };
        assert_eq!(recovered.code, Some(code), "{moment}: exit code of recover, releases {releases:?}");
        let again = stack.pitcrew(&["recover"]).run().expect(0);
        assert!(again.printed().contains("nothing to recover"), "{moment}");
    }
    let last = stack.commit(&[]);
    stack.pitcrew(&args[1..]).run().expect(0);
    stack.assert_serves(&[&last; 3]);
}
