//! Proof that the harness itself can tell: servers are separate, and load, witness and files show what went wrong.

use std::time::Duration;

use super::{FILES, Row, UNICORN};
use crate::fleet::{self, fleet, host};
use crate::load::Load;
use crate::stack::{App, Stack, wait_until_serves};

pub const CASES: &[Row] = &[
    ("oracles::hosts_are_separate_and_reachable", FILES, hosts_are_separate_and_reachable),
    ("oracles::a_restart_by_hand_loses_nothing_and_an_outage_is_seen", UNICORN, outage_is_seen),
];

fn hosts_are_separate_and_reachable() {
    let name = "separate-check";
    host(1).sh(&format!("echo one > ~/{name}"));
    for index in [fleet::WEB[1], fleet::WEB[2], fleet::BALANCER] {
        let h = host(index);
        let config = fleet().dir.join("ssh_config");
        let mut ssh = std::process::Command::new("ssh");
        let said = fleet::output(ssh.arg("-F").arg(config).arg(&h.name).arg(format!("ls ~/{name} 2>&1 || :; pwd")));
        assert!(said.contains("No such file"), "{} has a home of its own: {said}", h.name);
    }
    let noisy = host(fleet::NOISY);
    let mut ssh = std::process::Command::new("ssh");
    let said = fleet::output(ssh.arg("-F").arg(fleet().dir.join("ssh_config")).arg(&noisy.name).arg("echo meant"));
    assert!(said.contains("NOISE") && said.contains("meant"), "the noisy server is noisy: {said}");
}

/// Does by hand, with `ssh`-less shell, what pitcrew should do, and then what it never should.
fn outage_is_seen() {
    let stack = Stack::on(App::Unicorn, &[1, 2]).balanced();
    let make = |release: &str| {
        for h in &stack.servers {
            let to = &stack.deploy_to;
            h.sh(&format!(
                "mkdir -p {to}/releases/{release} {to}/shared/log {to}/shared/tmp/pids && cd {to} &&
                 echo {release} > releases/{release}/REVISION && echo 0.3 > releases/{release}/BOOT_SLEEP &&
                 ln -s releases/{release} new && mv -T new current"
            ));
            for (name, text) in [
                ("config.ru", include_str!("../../fleet/app/config.ru")),
                ("unicorn.rb", include_str!("../../fleet/app/unicorn.rb")),
            ] {
                std::fs::write(stack.seen(h, &format!("releases/{release}/{name}")), text).unwrap();
            }
        }
    };
    let environment = format!("APP_ROOT={} APP_PORT={}", stack.deploy_to, stack.port);
    make("20260101000000");
    for h in &stack.servers {
        let current = format!("{}/current", stack.deploy_to);
        h.sh(&format!("cd {current} && {environment} unicorn -E production -D -c {current}/unicorn.rb config.ru"));
    }
    stack.balancer().wait_until_all_up();

    let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
    make("20260101000001");
    for h in &stack.servers {
        h.sh(&format!("kill -USR2 $(cat {}/shared/tmp/pids/unicorn.pid)", stack.deploy_to));
    }
    wait_until_serves(&stack, "20260101000001");
    std::thread::sleep(Duration::from_millis(300));
    let (load, trace) = (load.stop(), watch.stop());
    load.assert_none_failed();
    trace.assert_never_touched();
    assert_eq!(load.by_release().len(), 2, "both releases have answered");
    stack.assert_serves(&["20260101000001", "20260101000001"]);

    let (load, watch) = (Load::start(&stack.balancer().authority()), stack.balancer().watch());
    stack.balancer().ask("set server app/host2 state drain");
    std::thread::sleep(Duration::from_millis(300));
    stack.servers[0].sh(&format!("pkill -9 -f '[u]nicorn.*{}'", stack.name));
    std::thread::sleep(Duration::from_millis(1000));
    let (load, trace) = (load.stop(), watch.stop());
    assert!(!load.failed().is_empty(), "requests failed while nobody served");
    assert_eq!(trace.taken_out(), ["host2"]);
    assert_eq!(trace.most_out(), 2);
    assert!(stack.answers()[0].is_err(), "the first server is dead");
}
