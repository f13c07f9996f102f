//! Hooks: every point, on each server, on one and here; and what a failing one means.

use pitcrew::demo::{Flaw, Sample, WebKind};

use crate::deploy::stack::Stack;

const STEPS: [&str; 7] = ["lock", "prepare", "migrate", "drain", "switch", "restore", "finish"];

fn hook(at: &str, on: &str, run: &str) -> String {
    format!("[[hooks]]\nat = '{at}'\non = '{on}'\nrun = '''{run}'''\n")
}

/// Lines that hooks left in a home directory.
fn left(home: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(home.join("hooks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_runs_on_each_server_on_one_and_here() {
    let points: Vec<String> = STEPS.iter().flat_map(|s| [format!("before {s}"), format!("after {s}")]).collect();
    let points: Vec<String> = points.into_iter().chain(["on success".into(), "on failure".into()]).collect();
    let mut extra = String::from("migrate.run = 'true'\n");
    for at in &points {
        for on in ["each", "one", "here"] {
            let run = format!(
                "echo \"{on}: $PITCREW_HOOK / $PITCREW_APP $PITCREW_SERVER $PITCREW_STRATEGY $PITCREW_RELEASE ${{#PITCREW_REVISION}} ${{PITCREW_RUN:+run}} $PITCREW_SERVERS\" >> \"$HOME/hooks\""
            );
            extra.push_str(&hook(at, on, &run));
        }
    }
    let mut stack = Stack::serving(2, WebKind::Restart, "").await;
    let plain = std::mem::replace(&mut stack.extra, format!("health.within = '3s'\ntimeouts.restart = '8s'\n{extra}"));
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--serial", "--json"]).await.expect(0);
    let release = ran.events()[0]["release"].as_str().unwrap().to_owned();
    let ips: Vec<String> = stack.fleet.servers().iter().map(|s| s.ip().to_string()).collect();
    let homes: Vec<_> = (0..2).map(|i| stack.fleet.deploy_to(i).parent().unwrap().to_path_buf()).collect();
    let (servers, here) = ([left(&homes[0]), left(&homes[1])], left(stack.home()));
    for at in points.iter().filter(|at| *at != "on failure") {
        let line =
            |on: &str, server: &str| format!("{on}: {at} / demo {server} serial {release} 40 run {}", ips.join(" "));
        let count = |lines: &[String], on: &str, server: &str| lines.iter().filter(|l| **l == line(on, server)).count();
        let each: Vec<usize> = (0..2).map(|i| count(&servers[i], "each", &ips[i])).collect();
        let one: usize = (0..2).map(|i| count(&servers[i], "one", &ips[i])).sum();
        let local = count(&here, "here", "here");
        // What belongs to one server's turn comes with each turn; migrations run on one server alone.
        let turns = if ["prepare", "drain", "switch", "restore"].iter().any(|s| at.ends_with(s)) { 2 } else { 1 };
        let expected = if at.ends_with("migrate") { vec![1, 0] } else { vec![1, 1] };
        assert_eq!((each, one, local), (expected, turns, turns), "{at}\n{servers:#?}\n{here:#?}");
    }
    assert!(!servers.iter().flatten().chain(&here).any(|l| l.contains("on failure")));
    stack.assert_all("1");

    for home in homes.iter().map(|h| h.as_path()).chain([stack.home()]) {
        std::fs::remove_file(home.join("hooks")).unwrap();
    }
    stack.release(&Sample::flawed("2", Flaw::Sick));
    stack.run(&["deploy", "--serial"]).await.expect(1);
    let failures = |lines: Vec<String>| lines.iter().filter(|l| l.contains("on failure")).count();
    assert_eq!((failures(left(&homes[0])), failures(left(&homes[1])), failures(left(stack.home()))), (2, 1, 1));
    stack.extra = plain;
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_fails_never_fails_the_run() {
    let mut stack = Stack::serving(2, WebKind::Reload, "").await;
    for on in ["each", "one", "here"] {
        stack.extra += &format!("\n{}{}", hook("on success", on, "exit 4"), hook("on failure", on, "kill -9 $$"));
    }
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(0);
    assert!(ran.stderr.contains("exit 4"), "it is told: {ran}");
    stack.assert_all("1");
    stack.release(&Sample::flawed("bad", Flaw::Stillborn));
    stack.run(&["deploy"]).await.expect(1);
    stack.assert_all("1");
}

/// Whatever a run comes to nothing by, who waits for word of it gets one.
#[tokio::test(flavor = "multi_thread")]
async fn on_failure_always_runs() {
    let mut stack = Stack::serving(2, WebKind::Reload, "").await;
    let usual = stack.extra.clone();
    let tell = hook("on failure", "here", "echo $PITCREW_STAGE >> \"$HOME/hooks\"")
        + &hook("on failure", "each", "echo told >> \"$HOME/hooks\"");
    let mut told = 0;
    let homes: Vec<_> = (0..2).map(|i| stack.fleet.deploy_to(i).parent().unwrap().to_path_buf()).collect();
    for (extra, code, servers) in [
        ("shared.files = ['no/such/file']", 1, false),
        ("build.run = ['exit 3']", 1, true),
        ("[[hooks]]\nat = 'before finish'\nrun = 'exit 4'\non = 'each'", 3, true),
    ] {
        stack.extra = format!("{usual}\n{extra}\n{tell}");
        stack.fleet.write_config(&stack.extra).unwrap();
        let ran = stack.run(&["deploy"]).await;
        assert_eq!(ran.code, code, "{extra}: {ran}");
        told += 1;
        assert_eq!(left(stack.home()).len(), told, "{extra}: {ran}");
        for home in &homes {
            assert_eq!(left(home).len(), usize::from(servers), "{extra}: {ran}");
            let _ = std::fs::remove_file(home.join("hooks"));
        }
    }
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_missing_linked_files_are_listed_for_every_server() {
    let stack = Stack::empty(2, WebKind::Reload, "shared.files = ['.env', 'config/master.key', 'there']").await;
    for index in 0..2 {
        let shared = stack.fleet.deploy_to(index).join("shared");
        std::fs::create_dir_all(shared.join("config")).unwrap();
        std::fs::write(shared.join("there"), "").unwrap();
    }
    std::fs::write(stack.fleet.deploy_to(1).join("shared/.env"), "").unwrap();
    let ran = stack.run(&["deploy", "--json"]).await.expect(1);
    let blockers = ran.events()[0]["blockers"].to_string();
    assert!(blockers.contains(".env, config/master.key"), "{blockers}");
    assert_eq!(blockers.matches("config/master.key").count(), 2, "{blockers}");
    assert!(stack.fleet.releases(0).is_empty() && !stack.fleet.lock_present(0));
}
