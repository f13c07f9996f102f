//! The balancer by hand: out with its connections, told of, interrupted in mid-wait, and back, while clients go on.

use nix::sys::signal::Signal;

use super::{Row, UNICORN};
use crate::balancer::Balancer;
use crate::fleet;
use crate::load::{Load, Tunnel};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[("by_hand::out_told_of_interrupted_and_back", UNICORN, out_and_back)];

fn out_and_back() {
    let patient = "[profiles.patient]\nload_balancer.drain_timeout = \"1h\"\n";
    let stack = Stack::new(App::Unicorn).sticky(true).balancer_keys("drain_timeout = \"1s\"").tables(patient);
    stack.commit(&[]);
    stack.deploy_first();
    let loads: Vec<Load> = stack.balancers().into_iter().map(|b| Load::sticky(&b.authority())).collect();
    let [host1, host2] = [0, 1].map(|i| stack.servers[i].address());
    let states = |name: &str| -> Vec<u32> {
        let all = stack.balancers().into_iter().flat_map(Balancer::all_members);
        all.filter(|m| m.name == name).map(|m| m.admin).collect()
    };
    let first = Tunnel::open(&stack.balancer().authority(), "host1");
    let ran = stack.pitcrew(&["lb", "drain", &host1, "--reason", "a new disk"]).run().expect(0);
    assert!(ran.stderr.contains("is out, with 1 connections left"), "{}", ran.stderr);
    assert_eq!(states("host1"), [1; 4], "on both of a pair, in both backends");
    let told = stack.pitcrew(&["lb", "status"]).run().expect(3).stdout;
    let out: Vec<&str> =
        told.lines().filter(|l| l.contains("by hand by tester@") && l.contains("a new disk")).collect();
    assert_eq!(out.len(), 4, "{told}");
    assert!(out.iter().all(|l| l.contains("MAINT") && l.contains("  ok  ")), "{told}");

    // It waits for a tunnel that never ends, and is told to stop.
    let second = Tunnel::open(&stack.balancers()[1].authority(), "host2");
    let running = stack.pitcrew(&["-p", "patient", "lb", "drain", &host2]).start();
    let drained = |name: &str| stack.balancers()[1].all_members().iter().any(|m| m.name == name && m.admin == 8);
    fleet::wait_for("the drain to begin", std::time::Duration::from_secs(20), || drained("host2"));
    running.signal(Signal::SIGTERM);
    let ran = running.wait().expect(130);
    assert!(ran.stderr.contains("interrupted by TERM") && ran.stderr.contains("as before"), "{}", ran.stderr);
    assert_eq!(states("host2"), [0; 4]);

    let ran = stack.pitcrew(&["lb", "restore", &host1]).run().expect(0);
    assert!(ran.stderr.contains("is back in service"), "{}", ran.stderr);
    let value: serde_json::Value =
        serde_json::from_str(&stack.pitcrew(&["--json", "lb", "status"]).run().expect(0).stdout).unwrap();
    assert!(value["members"].as_array().unwrap().iter().all(|m| m["by"].is_null() && m["health"] == "ok"), "{value}");
    stack.assert_all_in_balancer();
    loads.into_iter().for_each(|load| load.stop().assert_none_failed());
    assert!(first.close().is_ok() && second.close().is_ok(), "nobody's tunnel was cut");
}
