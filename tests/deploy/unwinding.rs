//! Failure: what is taken back, what stays, what is named.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::Admin;
use pitcrew::demo::log::Kind;
use pitcrew::demo::{Fault, Flaw, Sample, WebKind};

use crate::deploy::stack::{Stack, of, spans};

/// A release that is sick on one server only.
fn sick_on(stack: &Stack, index: usize, version: &str) -> Sample {
    // The application answers 500 where BROKEN stands in its release; the hook puts it there on one server.
    let _ = (stack, index);
    Sample::good(version)
}

fn sick_hook(ip: &str) -> String {
    format!(
        "[[hooks]]\nat = \"before switch\"\nrun = '''test \"$PITCREW_SERVER\" != {ip} || touch BROKEN'''\non = \"each\"\n"
    )
}

/// A serving stack of three whose next release is sick on the second server.
async fn second_fails(extra: &str) -> Stack {
    let mut stack = Stack::serving(3, WebKind::Restart, extra).await;
    let ip = stack.fleet.servers()[1].ip().to_string();
    stack.extra.push('\n');
    stack.extra.push_str(&sick_hook(&ip));
    stack.fleet.write_config(&stack.extra).unwrap();
    let sample = sick_on(&stack, 1, "1");
    stack.release(&sample);
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn revert_takes_the_failing_server_back_and_keeps_the_earlier_ones() {
    let stack = second_fails("").await;
    let ran = stack.run(&["deploy", "--json"]).await.expect(3);
    assert_eq!(ran.finished()["outcome"], "mixed", "{ran}");
    assert_eq!(stack.versions(), ["1", "0", "0"]);
    stack.assert_unlocked();
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn revert_all_takes_the_earlier_ones_back_too() {
    let stack = second_fails("").await;
    let changes = stack.fleet.balancers()[0].history().len();
    let ran = stack.run(&["deploy", "--on-failure", "revert-all", "--json"]).await.expect(1);
    assert_eq!(ran.finished()["outcome"], "reverted", "{ran}");
    stack.assert_all("0");
    assert_eq!(stack.fleet.balancers()[0].most_out(changes), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_leaves_the_failing_server_out_and_keeps_the_lock() {
    let stack = second_fails("").await;
    let ran = stack.run(&["deploy", "--on-failure", "hold", "--json"]).await.expect(3);
    let finished = ran.finished();
    assert_eq!(finished["outcome"], "stuck", "{ran}");
    assert_eq!(stack.versions(), ["1", "1", "0"]);
    let states = stack.fleet.balancers()[0].snapshot();
    assert!(states[0].in_service && states[2].in_service);
    assert_eq!(states[1].admin, Admin::Maint);
    assert_eq!(finished["servers"][1]["in_balancer"], false);
    assert!(stack.fleet.lock_present(1));
    assert!(!finished["next"].as_array().unwrap().is_empty(), "{ran}");
    // A person looked, and lets go.
    stack.run(&["unlock"]).await.expect(0);
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_first_server_ends_with_everybody_on_the_old_release() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    let ran = stack.run(&["deploy"]).await.expect(1);
    stack.assert_all("0");
    assert!(ran.stderr.contains("last answer 500"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parallel_release_that_does_not_boot_is_taken_back_everywhere() {
    let stack = Stack::serving(3, WebKind::Reload, "").await;
    stack.release(&Sample::flawed("1", Flaw::Stillborn));
    stack.run(&["deploy"]).await.expect(1);
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_touches_no_current_and_leaves_no_release() {
    let stack = Stack::serving(3, WebKind::Reload, "build.run = ['echo no gem; exit 7']").await;
    let since = stack.now();
    let before: Vec<_> = (0..3).map(|i| stack.fleet.releases(i)).collect();
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(1);
    for said in ["exit status 7", "no gem", "echo no gem; exit 7"] {
        assert!(ran.stderr.contains(said), "{said}\n{ran}");
    }
    stack.assert_all("0");
    let after: Vec<_> = (0..3).map(|i| stack.fleet.releases(i)).collect();
    assert_eq!(before, after, "prepared releases are removed");
    assert!(of(&spans(&stack.fleet.log().since(since)), "switch").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_switches_nobody() {
    let stack = Stack::serving(3, WebKind::Restart, "migrate.run = 'exit 3'").await;
    let since = stack.now();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await.expect(1);
    stack.assert_all("0");
    assert!(of(&spans(&stack.fleet.log().since(since)), "switch").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deploy_that_fails_leaves_nothing_running_and_no_current() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy"]).await.expect(1);
    for index in 0..2 {
        assert_eq!(stack.fleet.current(index), None);
        assert!(stack.fleet.processes(index).is_empty(), "{:?}", stack.fleet.processes(index));
    }
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_by_a_signal_has_failed() {
    let stack = Stack::serving(2, WebKind::Reload, "build.run = ['kill -9 $$']").await;
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy"]).await.expect(1);
    assert!(ran.stderr.contains("KILL"), "{ran}");
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_whose_connection_is_cut_is_asked_about_over_a_new_one() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let mut cut = false;
    stack.fleet.faults().decide_with(move |point| {
        let now = point.label == "restart" && point.server == "s1" && !cut;
        cut |= now;
        now.then_some(Fault::CutAfter)
    });
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_its_turn_is_named() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    stack.fleet.faults().decide_with(|point| (point.label == "restart" && point.server == "s1").then_some(Fault::Dead));
    let ran = stack.run(&["deploy", "--json"]).await.expect(3);
    let finished = ran.finished();
    let ip = stack.fleet.servers()[0].ip().to_string();
    let stuck = finished["servers"].as_array().unwrap().iter().find(|s| s["server"] == ip.as_str()).unwrap();
    assert!(!stuck["stuck"].is_null(), "{ran}");
    let states = stack.fleet.balancers()[0].snapshot();
    assert_ne!(states[0].admin, Admin::Ready, "nobody proved it, so it stays out");
    assert!(states[1].in_service && states[2].in_service);
    assert_eq!(stack.versions()[1..], ["0", "0"]);
}

/// A shell's words that make the lock of a server another run's.
fn steal(stack: &Stack, index: usize) -> String {
    let owner = stack.fleet.deploy_to(index).join(".pitcrew/lock/owner");
    let lines = "run=20260101T000000Z-thief who=ann host=elsewhere pid=1 'command=pitcrew deploy'";
    format!("printf \"%s\\n\" {lines} >{}", owner.display())
}

/// A serving stack whose next release fails to build on that server, after these words.
async fn build_fails(servers: usize, index: usize, words: impl Fn(&Stack) -> String) -> Stack {
    let mut stack = Stack::serving(servers, WebKind::Restart, "").await;
    let (ip, words) = (stack.fleet.servers()[index].ip(), words(&stack));
    stack.extra.push_str(&format!("\nbuild.run = ['''test $PITCREW_SERVER != {ip} || {{ {words}; exit 7; }}''']\n"));
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("1"));
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_lock_is_anothers_by_now_is_not_put_back() {
    let stack = build_fails(3, 0, |stack| steal(stack, 0)).await;
    let ran = stack.run(&["deploy", "--serial", "--json"]).await.expect(3);
    let states = stack.fleet.balancers()[0].snapshot();
    assert_eq!(states[0].admin, Admin::Maint, "the other run may be at work on it\n{ran}");
    assert!(states[1].in_service && states[2].in_service, "{states:?}");
    let server = &ran.finished()["servers"][0];
    let (why, step) = (&server["stuck"]["why"], &server["stuck"]["step"]);
    assert_eq!((why, step), (&"undo_failed".into(), &"drain".into()), "{ran}");
    assert!(ran.printed().contains("held by 20260101T000000Z-thief"), "{ran}");
    assert_eq!(stack.versions(), ["0", "0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_lock_was_removed_is_put_back() {
    let remove = |stack: &Stack| format!("rm -rf {}", stack.fleet.deploy_to(0).join(".pitcrew/lock").display());
    let stack = build_fails(2, 0, remove).await;
    stack.run(&["deploy", "--serial", "--json"]).await.expect(1);
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn revert_all_does_not_take_out_a_server_whose_lock_is_anothers() {
    let stack = build_fails(3, 1, |stack| steal(stack, 0)).await;
    let ran = stack.run(&["deploy", "--serial", "--on-failure", "revert-all", "--json"]).await.expect(3);
    stack.assert_in_service();
    assert_eq!(stack.versions(), ["1", "0", "0"]);
    let server = &ran.finished()["servers"][0];
    let (why, step) = (&server["stuck"]["why"], &server["stuck"]["step"]);
    assert_eq!((why, step), (&"undo_failed".into(), &"restore".into()), "{ran}");
}

async fn interrupted(signal: Signal) {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let since = stack.now();
    let child = stack.start(&["deploy", "--json"]);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    stack
        .wait(since, "the first restart", |r| matches!(&r.kind, Kind::Exec { step: Some(s), .. } if s == "restart"))
        .await;
    kill(pid, signal).unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    let ran = crate::deploy::stack::Ran::from(output).expect(130);
    assert_eq!(ran.finished()["outcome"], "interrupted", "{ran}");
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_turn_takes_it_back() {
    interrupted(Signal::SIGINT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn term_in_a_turn_takes_it_back() {
    interrupted(Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hup_in_a_turn_takes_it_back() {
    interrupted(Signal::SIGHUP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_build_ends_the_remote_command_and_takes_back() {
    let stack = Stack::serving(2, WebKind::Reload, "build.run = ['echo building; sleep 300 & wait']").await;
    stack.release(&Sample::good("1"));
    let since = stack.now();
    let child = stack.start(&["deploy", "--json"]);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    stack.wait(since, "the build", |r| matches!(&r.kind, Kind::Exec { step: Some(s), .. } if s == "command")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    kill(pid, Signal::SIGINT).unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    crate::deploy::stack::Ran::from(output).expect(130);
    stack.assert_all("0");
    for index in 0..2 {
        let left: Vec<_> = stack.fleet.processes(index).into_iter().filter(|p| p.command.contains("sleep")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_names_what_is_left() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    // Taking back hangs for ever, so only the second signal can end the run.
    stack.fleet.faults().decide_with(|point| {
        (point.label == "restart" || (point.label == "switch" && point.ordinal > 1)).then_some(Fault::Hang)
    });
    let since = stack.now();
    let child = stack.start(&["deploy", "--json"]);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    let restarting = |r: &pitcrew::demo::Record| matches!(&r.kind, Kind::Exec { step: Some(s), .. } if s == "restart");
    stack.wait(since, "the restart", restarting).await;
    kill(pid, Signal::SIGINT).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill(pid, Signal::SIGINT).unwrap();
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let ran = crate::deploy::stack::Ran::from(output).expect(3);
    let finished = ran.finished();
    assert_eq!(finished["outcome"], "stuck", "{ran}");
    assert!(!finished["next"].as_array().unwrap().is_empty(), "{ran}");
}
