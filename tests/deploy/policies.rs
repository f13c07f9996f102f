//! Policies at their edges: what `hold` holds, what a rollback may say of a release, who is left out and who returns.

use std::path::PathBuf;
use std::time::Duration;

use pitcrew::demo::Admin;
use pitcrew::demo::faults::PointKind;
use pitcrew::demo::log::{Kind, Record};
use pitcrew::demo::{Fault, Flaw, FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Ran, Stack};

fn state(stack: &Stack, server: usize, release: &str) -> String {
    let file = stack.fleet.deploy_to(server).join(".pitcrew/states").join(release);
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_does_not_let_mates_switch_after_a_failed_migration() {
    let stack = Stack::serving(4, WebKind::Restart, "migrate.run = 'exit 3'").await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--rolling=2", "--on-failure", "hold"]).await.expect(3);
    assert_eq!(stack.versions(), ["0", "0", "0", "0"], "nothing is switched anywhere");
    let states = stack.fleet.balancers()[0].snapshot();
    assert_eq!(states[0].admin, Admin::Maint, "the failing one is held");
    assert!(states[1..].iter().all(|m| m.in_service), "its mate is back: {states:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_does_not_let_anybody_switch_after_a_failed_hook_here() {
    let hook = "[[hooks]]\nat = \"before switch\"\non = \"here\"\nrun = 'exit 4'\n";
    let mut stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.extra.push('\n');
    stack.extra.push_str(hook);
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--on-failure", "hold"]).await;
    assert_eq!(stack.versions(), ["0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_keeps_a_mate_that_went_all_the_way() {
    let mut stack = Stack::serving(4, WebKind::Restart, "").await;
    let ip = stack.fleet.servers()[1].ip().to_string();
    stack.extra.push_str(&format!(
        "\n[[hooks]]\nat = \"before switch\"\nrun = '''test \"$PITCREW_SERVER\" != {ip} || touch BROKEN'''\non = \"each\"\n"
    ));
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--rolling=2", "--on-failure", "hold", "--json"]).await.expect(3);
    let release = ran.events()[0]["release"].as_str().unwrap().to_owned();
    assert_eq!(state(&stack, 0, &release), "good");
    assert_eq!(state(&stack, 1, &release), "failed");
    let states = stack.fleet.balancers()[0].snapshot();
    assert!(states[0].in_service && !states[1].in_service, "{states:?}");
}

/// Starts a serial run whose second server waits in its build, all being well with the first, and then ends as `ends` says;
/// returns it there, and the file that lets it go on.
async fn at_the_second_build(stack: &mut Stack, ends: &str, flags: &[&str]) -> (tokio::process::Child, PathBuf) {
    let (second, home) = (stack.fleet.servers()[1].ip().to_string(), stack.fleet.servers()[1].home().to_owned());
    let waits = format!("{{ touch ~/there; until [ -e ~/go ]; do sleep 0.1; done; {ends}; }}");
    stack.extra.push_str(&format!("\nbuild.run = ['''[ \"$PITCREW_SERVER\" != {second} ] || {waits}''']\n"));
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    let child = stack.start(&[&["deploy", "--serial", "--json"], flags].concat());
    for _ in 0..600 {
        if home.join("there").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(home.join("there").exists(), "the second server's turn never came");
    (child, home.join("go"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_an_operator_took_out_since_stays_out_when_all_is_taken_back() {
    let mut stack = Stack::serving(3, WebKind::Restart, "").await;
    let (child, go) = at_the_second_build(&mut stack, "exit 3", &["--on-failure", "revert-all"]).await;
    let balancer = &stack.fleet.balancers()[0];
    assert!(balancer.snapshot()[0].in_service, "the first is back on the new release");
    balancer.set("s1", Admin::Maint);
    std::fs::write(go, "").unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(1);
    assert!(ran.stdout.contains("\"warning\":\"found_out\""), "{ran}");
    assert_eq!(stack.versions(), ["0", "0", "0"]);
    let states = balancer.snapshot();
    assert_eq!(states[0].admin, Admin::Maint, "{states:?}");
    assert!(states[1..].iter().all(|m| m.in_service), "{states:?}");
    let journal = std::fs::read_to_string(stack.fleet.deploy_to(0).join(".pitcrew/journal")).unwrap();
    assert!(journal.lines().any(|l| l.contains(" found {") && l.contains("maint")), "{journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_that_somebody_moved_after_its_turn_is_named() {
    let mut stack = Stack::serving(2, WebKind::Restart, "").await;
    let before = std::fs::read_link(stack.fleet.deploy_to(0).join("current")).unwrap();
    let (child, go) = at_the_second_build(&mut stack, "true", &[]).await;
    let (link, current) = (stack.fleet.deploy_to(0).join("link"), stack.fleet.deploy_to(0).join("current"));
    std::os::unix::fs::symlink(&before, &link).unwrap();
    std::fs::rename(&link, &current).unwrap();
    std::fs::write(go, "").unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(3);
    let finished = ran.finished();
    assert_eq!(finished["servers"][0]["stuck"]["why"], "current_moved", "{finished}");
    assert_eq!(finished["servers"][0]["release"], before.file_name().unwrap().to_str().unwrap(), "{finished}");
    assert!(finished["servers"][1].get("stuck").is_none(), "{finished}");
    assert_eq!(std::fs::read_link(&current).unwrap(), before, "it is left as somebody wants it");
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_run_left_out_returns_with_the_next_good_one() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--on-failure", "hold"]).await.expect(3);
    stack.run(&["unlock"]).await.expect(0);
    stack.release(&Sample::good("2"));
    let ran = stack.run(&["deploy", "--json"]).await.expect(0);
    stack.assert_all("2");
    // It was left behind, so it goes first.
    let first = &ran.events()[0]["batches"][0][0];
    assert_eq!(first, stack.fleet.servers()[0].ip().to_string().as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_run_left_out_returns_to_where_it_was_in() {
    let mut options = FleetOptions::new(PITCREW);
    (options.servers, options.balancers, options.web) = (3, 2, WebKind::Restart);
    let stack = Stack::with(options, "").await;
    stack.settle().await;
    let (one, other) = (&stack.fleet.balancers()[0], &stack.fleet.balancers()[1]);
    other.set("s1", Admin::Maint);
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--serial", "--on-failure", "hold"]).await.expect(3);
    assert_eq!(one.snapshot()[0].admin, Admin::Maint);
    stack.run(&["unlock"]).await.expect(0);
    stack.release(&Sample::good("2"));
    let ran = stack.run(&["deploy", "--serial", "--json"]).await.expect(0);
    let notices = ran.events()[0]["notices"].to_string();
    assert!(notices.contains("\"found_out\""), "{notices}");
    assert!(one.snapshot()[0].in_service, "{:?}", one.snapshot());
    assert_eq!(other.snapshot()[0].admin, Admin::Maint, "nobody of ours took it out there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_found_out_is_not_said_to_be_in() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.fleet.balancers()[0].set("s2", Admin::Maint);
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--json"]).await.expect(0);
    let finished = ran.finished();
    let ip = stack.fleet.servers()[1].ip().to_string();
    let server = finished["servers"].as_array().unwrap().iter().find(|s| s["server"] == ip.as_str()).unwrap();
    assert_ne!(server["in_balancer"], true, "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_removed_before_its_turn_is_not_said_to_be_in() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let (balancer, mark) = (&stack.fleet.balancers()[0], stack.fleet.log().mark());
    let remove = async {
        let at_work = |r: &Record| {
            r.server == "s1" && matches!(&r.kind, Kind::Exec { step: Some(step), .. } if step == "restart")
        };
        while !stack.fleet.log().since(mark).iter().any(at_work) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        balancer.remove("s2");
        // A reload forgets that the first is drained: it is out again before it is restored.
    };
    let (ran, ()) = tokio::join!(stack.run(&["deploy", "--json"]), remove);
    let ran = ran.expect(3);
    let finished = ran.finished();
    let ip = stack.fleet.servers()[1].ip().to_string();
    let server = finished["servers"].as_array().unwrap().iter().find(|s| s["server"] == ip.as_str()).unwrap();
    assert_eq!(server["in_balancer"], serde_json::Value::Null, "{ran}");
    // Nothing was done to it, and it is not where it was before the run.
    assert_eq!(server["stuck"]["why"], "balancer_differs", "{ran}");
    assert!(ran.printed().contains("not to be found"), "{ran}");
    assert_eq!(stack.versions()[1..], ["0", "0"]);
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rollback_says_nothing_against_the_release() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    for version in ["1", "2"] {
        stack.release(&Sample::good(version));
        stack.run(&["deploy"]).await.expect(0);
    }
    let broken = Fault::ErrorBefore { status: 1, stderr: "no".into() };
    stack.fleet.faults().decide_with(move |p| (p.label == "prove" && p.server == "s1").then_some(broken.clone()));
    stack.run(&["rollback", "--on-failure", "hold"]).await.expect(3);
    stack.fleet.faults().clear();
    stack.run(&["unlock"]).await.expect(0);
    stack.run(&["rollback", "--parallel"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "1"], "not one further back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_that_cannot_be_removed_keeps_no_server_out() {
    let extra = "build.run = ['sleep 60 >/dev/null 2>&1 & exit 7']";
    let stack = Stack::serving(2, WebKind::Restart, extra).await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await;
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.assert_in_service();
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_serial_deploy_behind_a_balancer_brings_everybody_in() {
    let stack = Stack::empty(3, WebKind::Restart, "").await;
    stack.run(&["deploy", "--serial"]).await.expect(0);
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_breaks_after_the_plan_leaves_everybody_as_they_were() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let mut locked = false;
    stack.fleet.faults().decide_with(move |p| {
        locked |= p.label == "lock";
        (p.kind == PointKind::Balancer && locked).then_some(Fault::Garbage)
    });
    stack.run(&["deploy"]).await.expect(1);
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_that_somebody_moved_is_left_alone_and_the_server_goes_back() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await.expect(0);
    stack.release(&Sample::good("2"));
    let root = stack.fleet.deploy_to(0);
    let old = stack.fleet.releases(0).into_iter().min().unwrap();
    let link = format!("ln -sfn releases/{old} {}/current", root.display());
    let hook = format!("[[hooks]]\nat = \"before lock\"\non = \"here\"\nrun = '''{link}'''\n");
    stack.fleet.write_config(&format!("{}\n{hook}", stack.extra)).unwrap();
    let ran = stack.run(&["deploy"]).await;
    assert!(ran.stderr.contains("current"), "{ran}");
    assert_eq!(stack.fleet.current(0).as_deref(), Some(old.as_str()), "not overwritten");
    assert_ne!(ran.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_failure_hooks_run_on_servers_after_their_release_is_gone() {
    let hook = "[[hooks]]\nat = \"on failure\"\non = \"each\"\nrun = 'echo told >> \"$HOME/told\"'\n";
    let mut stack = Stack::serving(2, WebKind::Reload, "build.run = ['test ! -e NEW']").await;
    stack.extra = format!("build.run = ['exit 7']\n{hook}");
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await.expect(1);
    for index in 0..2 {
        let told = stack.fleet.deploy_to(index).parent().unwrap().join("told");
        assert_eq!(std::fs::read_to_string(told).unwrap_or_default(), "told\n", "server {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_with_an_unreachable_server_is_no_silent_success() {
    let stack = Stack::serving(3, WebKind::Reload, "").await;
    stack.fleet.faults().decide_with(|p| (p.server == "s3").then_some(Fault::Dead));
    stack.run(&["releases"]).await;
    let ran = stack.run(&["deploy", "--if-changed", "--skip-unreachable", "--json"]).await;
    assert_ne!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains(&stack.fleet.servers()[2].ip().to_string()), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halting_hook_at_the_end_leaves_a_good_release_good() {
    let hook = "[[hooks]]\nat = \"before finish\"\non = \"each\"\nrun = 'exit 4'\n";
    let mut stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.extra.push('\n');
    stack.extra.push_str(hook);
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--json"]).await.expect(3);
    let release = ran.events()[0]["release"].as_str().unwrap().to_owned();
    assert_eq!(state(&stack, 0, &release), "good");
    assert_eq!(stack.versions(), ["1", "1"]);
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_skipped_goes_first_next_time() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.fleet.servers()[2].kill().await;
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--skip-unreachable", "--parallel"]).await.expect(3);
    let last = stack.fleet.servers()[2].ip().to_string();
    assert!(ran.stdout.contains(&last), "{ran}");
    stack.fleet.servers()[2].revive().await;
    stack.release(&Sample::good("2"));
    let planned = stack.run(&["deploy", "--dry-run", "--json"]).await.expect(0);
    assert_eq!(planned.events()[0]["batches"][0][0], last.as_str(), "{planned}");
}
