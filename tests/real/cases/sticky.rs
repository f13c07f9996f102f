//! All that clients of a balancer do at once: connections that are kept, cookies, a tunnel that never ends; behind one
//! balancer and behind a pair, both in traffic.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Row, UNICORN};
use crate::balancer::Balancer;
use crate::load::{Load, STICKY, Tunnel};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("sticky::no_client_of_a_balancer_notices_a_walk", UNICORN, || no_client_of_a_balancer_notices_a_walk(false)),
    ("sticky::no_client_of_a_pair_notices_a_walk", UNICORN, || no_client_of_a_balancer_notices_a_walk(true)),
];

/// What a profile says of connections that do not end.
const PROFILES: &str = "[profiles.kill]\nload_balancer.on_drain_timeout = \"kill\"\n\
                        [profiles.fail]\nload_balancer.on_drain_timeout = \"fail\"\n";

/// Four walks under one load: a tunnel is let be, ended, and a reason to fail; somebody else's maintenance is respected.
fn no_client_of_a_balancer_notices_a_walk(pair: bool) {
    let stack = Stack::new(App::Unicorn).sticky(pair).balancer_keys("drain_timeout = \"1s\"").tables(PROFILES);
    let first = stack.commit(&[]);
    stack.deploy_first();
    stack.assert_serves(&[&first; 3]);
    let (loads, watches): (Vec<_>, Vec<_>) =
        stack.balancers().into_iter().map(|b| (Load::sticky(&b.authority()), b.watch())).unzip();
    let tunnel = || Tunnel::open(&stack.balancers()[usize::from(pair)].authority(), "host1");

    // The tunnel outlives the drain that waited for it, and its server's deploy.
    let kept = tunnel();
    stack.balancers().into_iter().for_each(|b| b.set("host3", "maint"));
    let second = stack.commit(&[]);
    let events = stack.pitcrew(&["--json", "deploy", "--serial"]).run().expect(0).events();
    let [host1, host2, host3] = [0, 1, 2].map(|i| stack.servers[i].address());
    assert_eq!(warned(&events, "drain_incomplete", &host1)[0]["open"], 1, "the tunnel is told of");
    assert!(warned(&events, "drain_incomplete", &host2).is_empty(), "pinned clients are no reason to wait");
    let notices = events[0]["notices"].as_array().expect("a list");
    let found = notices.iter().filter(|n| n["warning"] == "found_out" && n["of"] == host3.as_str()).count();
    assert_eq!(found, 2 * stack.balancers().len(), "each of its places was found out");
    stack.assert_serves(&[&second; 3]);
    for member in stack.balancers().into_iter().flat_map(Balancer::all_members) {
        let expected = if member.name == "host3" { (1, "MAINT") } else { (0, "UP") };
        assert_eq!((member.admin, member.status.as_str()), expected, "{}, when host3 was in maint", member.name);
    }
    assert!(!kept.is_cut(), "a tunnel that is let be");

    // It is ended, and with it nothing else.
    stack.balancers().into_iter().for_each(|b| b.set("host3", "ready"));
    stack.balancers().into_iter().for_each(Balancer::wait_until_all_up);
    let third = stack.commit(&[]);
    let events = stack.pitcrew(&["--json", "-p", "kill", "deploy", "--rolling=2"]).run().expect(0).events();
    assert!(warned(&events, "drain_incomplete", &host1).is_empty());
    stack.assert_serves(&[&third; 3]);
    let cut = kept.close().expect_err("a tunnel that is ended");
    assert!(cut.contains("cut after") || cut.contains("reset") || cut.contains("roken pipe"), "{cut}");

    // It is why the run ends, and everything is as before.
    let kept = tunnel();
    stack.commit(&[]);
    let ran = stack.pitcrew(&["--json", "-p", "fail", "deploy", "--serial"]).run().expect(1);
    assert_eq!(ran.outcome(), "reverted");
    assert!(ran.stdout.contains("1 connections were still open after 1s"), "the reason is told");
    stack.assert_serves(&[&third; 3]);
    assert!(kept.close().expect("a tunnel that a failing drain let be") > 10);

    stack.assert_no_lock();
    stack.assert_all_in_balancer();
    for load in loads {
        let tally = load.stop();
        tally.assert_none_failed();
        let (pinned, astray) = tally.pinned();
        let drains = 2 + 3 + 1 + 1;
        let most = usize::try_from(STICKY).expect("a small number") * drains;
        assert!(pinned > 50 && (1..=most).contains(&astray), "of {pinned} pinned requests {astray} went elsewhere");
    }
    for watch in watches {
        let trace = watch.stop();
        let out = trace.taken_out();
        assert_eq!(out[..3], ["host3", "host1", "host2"], "by somebody else, and then one after the other: {out:?}");
        let rolled: BTreeSet<&str> = out[3..5].iter().copied().collect();
        assert_eq!(rolled, BTreeSet::from(["host1", "host2"]), "two at a time: {out:?}");
        assert_eq!(out[5..], ["host3", "host1"], "the rest of them, and the one that failed: {out:?}");
    }
}

/// Warnings of that kind about a server.
fn warned<'e>(events: &'e [Value], kind: &str, server: &str) -> Vec<&'e Value> {
    events.iter().filter(|e| e["warning"] == kind && e["server"] == server).collect()
}
