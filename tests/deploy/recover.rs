//! The program killed in the middle of a run, and what `recover` makes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::balancer::CheckPlan;
use pitcrew::demo::log::Kind;
use pitcrew::demo::{Admin, Fault, Flaw, FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Ran, Stack};

/// Starts a deploy and kills it, without a chance to say goodbye, when a point is reached; false: it never was.
pub async fn killed_at(stack: &Stack, args: &[&str], (kind, server, label): (&str, &str, &str)) -> bool {
    let pid = Arc::new(Mutex::new(None::<i32>));
    let (shared, wanted) = (pid.clone(), (kind.to_owned(), server.to_owned(), label.to_owned()));
    stack.fleet.faults().clear();
    stack.fleet.faults().decide_with(move |point| {
        let here = format!("{:?}", point.kind) == wanted.0
            && point.server == wanted.1
            && point.label.starts_with(&wanted.2)
            && point.ordinal == 0;
        if here && let Some(pid) = *shared.lock().unwrap() {
            // Whatever it had just asked for still happens: nobody is there to hear of it.
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        None::<Fault>
    });
    let child = stack.start(args);
    *pid.lock().unwrap() = child.id().map(|id| i32::try_from(id).unwrap());
    let ran = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let ran = Ran::from(ran.expect("it ends").unwrap());
    stack.fleet.faults().clear();
    ran.code == -1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_run_killed_anywhere_is_taken_back() {
    let points = [
        ("Exec", "s1", "lock", ["0", "0", "0"]),
        ("Exec", "s2", "lock", ["0", "0", "0"]),
        ("Exec", "s1", "note", ["0", "0", "0"]),
        ("Balancer", "lb1", "set server", ["0", "0", "0"]),
        ("Exec", "s1", "transfer", ["0", "0", "0"]),
        ("Exec", "s1", "switch", ["0", "0", "0"]),
        ("Exec", "s1", "restart", ["0", "0", "0"]),
        ("Exec", "s1", "prove", ["0", "0", "0"]),
        ("Exec", "s2", "note", ["1", "0", "0"]),
        ("Exec", "s2", "restart", ["1", "0", "0"]),
        ("Exec", "s3", "prune", ["1", "1", "1"]),
        ("Exec", "s1", "unlock", ["1", "1", "1"]),
    ];
    let mut stack = Stack::serving(3, WebKind::Restart, "").await;
    for (kind, server, label, expected) in points {
        stack.release(&Sample::good("1"));
        if !killed_at(&stack, &["deploy"], (kind, server, label)).await {
            panic!("{server} {label} was never reached");
        }
        let deployed = expected.iter().all(|v| *v == "1");
        let code = if deployed || expected.iter().all(|v| *v == "0") { 0 } else { 3 };
        let ran = stack.run(&["recover"]).await;
        assert_eq!(ran.code, code, "{kind} {server} {label}\n{ran}");
        assert_eq!(stack.versions(), expected, "{kind} {server} {label}\n{ran}");
        stack.assert_unlocked();
        stack.assert_in_service();
        // Twice is harmless.
        let again = stack.run(&["recover"]).await.expect(0);
        assert!(again.stderr.contains("nothing to recover"), "{again}");
        stack = Stack::serving(3, WebKind::Restart, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parallel_run_killed_anywhere_is_taken_back_or_finished() {
    let points = [
        ("s2", "lock", "0"),
        ("s1", "transfer", "0"),
        ("s2", "switch", "0"),
        ("s1", "restart", "0"),
        ("s1", "prune", "1"),
        ("s2", "unlock", "1"),
    ];
    for (server, label, version) in points {
        let stack = Stack::serving(2, WebKind::Reload, "").await;
        stack.release(&Sample::good("1"));
        assert!(killed_at(&stack, &["deploy"], ("Exec", server, label)).await, "{server} {label}");
        let ran = stack.run(&["recover", "--json"]).await.expect(0);
        assert_eq!(ran.events()[0]["event"], "planned", "{ran}");
        ran.finished();
        assert_eq!(stack.versions(), [version, version], "{server} {label}\n{ran}");
        stack.assert_all(version);
        // And the next deploy finds nothing in its way.
        stack.release(&Sample::good("2"));
        stack.run(&["deploy"]).await.expect(0);
        stack.assert_all("2");
    }
}

/// Changes a server's copy of the plan.
fn change_plan(stack: &Stack, server: usize, from: &str, to: &str) {
    let plan = stack.fleet.deploy_to(server).join(".pitcrew/lock/plan");
    let text = std::fs::read_to_string(&plan).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(plan, text.replacen(from, to, 1)).unwrap();
}

/// A server decides for itself alone: neither what is taken back, nor which batch others were in.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_copy_of_the_plan_takes_no_good_release_back() {
    for (from, to) in [("\"on_failure\":\"revert\"", "\"on_failure\":\"revert-all\""), ("\"batch\":0", "\"batch\":2")] {
        let stack = Stack::serving(3, WebKind::Restart, "").await;
        stack.release(&Sample::good("1"));
        assert!(killed_at(&stack, &["deploy"], ("Exec", "s3", "restart")).await);
        change_plan(&stack, 0, from, to);
        let ran = stack.run(&["recover"]).await.expect(3);
        assert_eq!(stack.versions(), ["1", "1", "0"], "{to}: {ran}");
        assert_eq!(ran.printed().contains("plan was changed on"), to.contains("revert"), "{to}: {ran}");
        stack.assert_unlocked();
        stack.assert_in_service();
    }
}

/// Of two servers none can be believed more than the other.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_plans_neither_is_followed() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy"], ("Exec", "s2", "restart")).await);
    let before = stack.versions();
    change_plan(&stack, 0, "\"on_failure\":\"revert\"", "\"on_failure\":\"revert-all\"");
    let ran = stack.run(&["recover"]).await.expect(3);
    assert!(ran.printed().contains("keep plans of the dead run that differ"), "{ran}");
    assert_eq!(stack.versions(), before, "{ran}");
    assert!((0..2).all(|n| stack.fleet.deploy_to(n).join(".pitcrew/lock").exists()), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lives_is_left_alone() {
    let stack = Stack::serving(2, WebKind::Reload, "build.run = ['sleep 30']").await;
    let since = stack.now();
    let child = stack.start(&["deploy"]);
    stack.wait(since, "the build", |r| matches!(&r.kind, Kind::Exec { step: Some(s), .. } if s == "command")).await;
    let ran = stack.run(&["recover"]).await.expect(4);
    assert!(ran.stderr.contains("locked by"), "{ran}");
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    Ran::from(child.wait_with_output().await.unwrap()).expect(130);
    stack.assert_all("0");
}

/// The balancer's own checks fail, and did before the run.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_down_before_a_run_does_not_keep_its_way_back_from_ending() {
    let mut options = FleetOptions::new(PITCREW);
    (options.servers, options.web) = (2, WebKind::Restart);
    let checks = options.checks.unwrap();
    options.checks = Some(CheckPlan { path: "/slow?9000".into(), ..checks });
    let extra = "load_balancer.restore_timeout = \"1s\"\nload_balancer.min_in_service = 0\n";
    let stack = Stack::with(options, extra).await;
    stack.run(&["deploy", "--parallel"]).await.expect(0);
    let members = || stack.fleet.balancers()[0].snapshot();
    while members().iter().any(|m| m.up) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--serial"]).await.expect(1);
    assert!(ran.printed().contains("is DOWN already, and nothing has taken it out"), "{ran}");
    assert!(members().iter().all(|m| m.admin == Admin::Ready), "{:?}", members());
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.assert_unlocked();

    stack.release(&Sample::good("2"));
    assert!(killed_at(&stack, &["deploy", "--serial"], ("Exec", "s1", "switch")).await);
    let ran = stack.run(&["recover"]).await.expect(0);
    assert!(members().iter().all(|m| m.admin == Admin::Ready), "{:?} {ran}", members());
    assert_eq!(stack.versions(), ["0", "0"]);
    let again = stack.run(&["recover"]).await.expect(0);
    assert!(again.stderr.contains("nothing to recover"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_says_what_was_out_before_the_run_that_died() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.fleet.balancers()[0].set("s1", Admin::Maint);
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy", "--serial"], ("Exec", "s1", "switch")).await);
    let ran = stack.run(&["recover", "--json"]).await.expect(0);
    let first = ran.finished()["servers"][0].clone();
    assert_ne!(first["in_balancer"], true, "{ran}");
    assert_eq!(stack.fleet.balancers()[0].snapshot()[0].admin, Admin::Maint, "{ran}");
}

/// Cut short before it could read what was left, it says what was known before.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_that_is_interrupted_says_what_is_out_and_switched() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy", "--serial"], ("Exec", "s1", "restart")).await);
    let pid = Arc::new(Mutex::new(None::<i32>));
    let shared = pid.clone();
    stack.fleet.faults().decide_with(move |point| {
        let here = format!("{:?}", point.kind) == "Exec" && point.label.starts_with("takeover");
        if here && let Some(pid) = *shared.lock().unwrap() {
            kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
            return Some(Fault::Hang);
        }
        None
    });
    let child = stack.start(&["recover", "--json"]);
    *pid.lock().unwrap() = child.id().map(|id| i32::try_from(id).unwrap());
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(3);
    stack.fleet.faults().clear();
    let first = ran.finished()["servers"][0].clone();
    assert_eq!(first["in_balancer"], false, "{ran}");
    assert!(!ran.printed().contains("nothing was switched"), "{ran}");
    let ran = stack.run(&["recover", "--force"]).await.expect(0);
    assert_eq!(stack.versions(), ["0", "0", "0"], "{ran}");
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_batch_is_taken_back_on_request() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--on-failure", "hold"]).await.expect(3);
    assert_eq!(stack.versions(), ["1", "0"]);
    let ran = stack.run(&["recover"]).await.expect(0);
    assert_eq!(stack.versions(), ["0", "0"], "{ran}");
    stack.assert_all("0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_way_back_is_no_drift() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--serial"]).await.expect(1);
    let ran = stack.run(&["status"]).await.expect(0);
    assert!(ran.stdout.contains(", and on the release of the others"), "{ran}");
    stack.fleet.balancers()[0].set("s1", pitcrew::demo::Admin::Maint);
    let ran = stack.run(&["status"]).await.expect(3);
    assert!(!ran.stdout.contains(", and on the release of the others"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_named_and_recovered_when_it_is_back() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy"], ("Exec", "s2", "restart")).await);
    stack.fleet.servers()[1].kill().await;
    let ran = stack.run(&["recover"]).await.expect(3);
    let gone = stack.fleet.servers()[1].ip().to_string();
    assert!(ran.stderr.contains(&gone), "{ran}");
    for said in
        [format!("; {gone} could not, and is as it was left"), format!("recover    # when {gone} can be reached")]
    {
        assert!(ran.stdout.contains(&said) && !ran.stdout.contains("pitcrew deploy"), "{said}\n{ran}");
    }
    assert!(!stack.fleet.lock_present(0) && !stack.fleet.lock_present(2), "{ran}");
    stack.fleet.servers()[1].revive().await;
    let ran = stack.run(&["recover"]).await.expect(0);
    assert_eq!(stack.versions(), ["1", "0", "0"], "{ran}");
    stack.assert_unlocked();
    stack.assert_in_service();
}

/// What the dead run asked for last may come round at any moment, its release of a lock too.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_released_before_it_is_taken_over_is_not_called_kept() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy"], ("Exec", "s1", "prune")).await);
    let (own, mut gone) = (stack.fleet.deploy_to(1).join(".pitcrew"), false);
    stack.fleet.faults().decide_with(move |point| {
        if point.server == "s2" && point.label == "takeover" && !std::mem::replace(&mut gone, true) {
            std::fs::rename(own.join("lock"), own.join("released.1")).unwrap();
        }
        None
    });
    let ran = stack.run(&["recover", "--json"]).await.expect(0);
    assert!(!ran.finished().to_string().contains("lock_kept"), "{ran}");
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_where_every_server_stands() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let ran = stack.run(&["status"]).await.expect(0);
    assert!(ran.stdout.contains("the same") && ran.stdout.contains("last: Release"), "{ran}");
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy"], ("Exec", "s1", "restart")).await);
    let ran = stack.run(&["status"]).await.expect(3);
    for said in ["out of its balancer", "pitcrew recover", "is active"] {
        assert!(ran.stdout.contains(said), "{said}\n{ran}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&stack.run(&["status", "--json"]).await.expect(3).stdout).unwrap();
    assert_eq!(json["servers"].as_array().unwrap().len(), 2);
    stack.run(&["recover"]).await.expect(0);
    stack.fleet.servers()[1].kill().await;
    let ran = stack.run(&["status"]).await.expect(3);
    assert!(ran.stdout.contains("cannot be reached"), "{ran}");
    stack.fleet.servers()[0].kill().await;
    stack.run(&["status"]).await.expect(5);
}
