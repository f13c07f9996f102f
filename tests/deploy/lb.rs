//! The balancer by hand: what `lb status` tells, and what `lb drain` and `lb restore` refuse.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::Admin;
use pitcrew::demo::log::{Kind, Record};
use pitcrew::demo::{Fault, Sample, WebKind};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::deploy::recover::killed_at;
use crate::deploy::stack::{Ran, Stack};

fn server(stack: &Stack, at: usize) -> String {
    stack.fleet.servers()[at].ip().to_string()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_out_and_comes_back_by_hand() {
    let stack = Stack::serving(3, WebKind::Restart, "load_balancer.capacity_timeout = \"0s\"\n").await;
    let told = stack.run(&["lb", "status"]).await.expect(0).stdout;
    assert!(told.contains("3 of 3 in service") && told.contains("UP"), "{told}");
    let (first, second) = (server(&stack, 0), server(&stack, 1));
    let ran = stack.run(&["lb", "drain", &first]).await.expect(0);
    assert!(ran.stderr.contains("is out, and has no connections left"), "{ran}");
    let ran = stack.run(&["lb", "drain", &first]).await.expect(0);
    assert!(ran.stderr.contains("was out already"), "{ran}");
    stack.run(&["lb", "drain", &second]).await.expect(0);
    let ran = stack.run(&["lb", "drain", &server(&stack, 2)]).await.expect(1);
    assert!(ran.stderr.contains("min_in_service is 1"), "{ran}");
    let ran = stack.run(&["lb", "status"]).await.expect(3);
    assert!(ran.stdout.contains("1 of 3 in service") && ran.stdout.contains("by hand by "), "{ran}");
    let value = json(&stack.run(&["lb", "status", "--json"]).await.expect(3).stdout);
    assert_eq!((&value["ok"], value["members"].as_array().unwrap().len()), (&Value::Bool(false), 3), "{value}");
    let member = value["members"].as_array().unwrap().iter().find(|m| m["server"] == first.as_str()).unwrap();
    assert_eq!((&member["admin"], &member["sessions"]), (&Value::from("maint"), &Value::from(0)), "{member}");
    assert!(member["since"].is_u64() && member["by"].as_str().unwrap().starts_with("by hand by "), "{member}");
    assert_eq!(member["health"], "ok", "{member}");
    let ran = stack.run(&["lb", "restore", &first, &second]).await.expect(0);
    assert!(ran.stderr.matches("is back in service").count() == 2, "{ran}");
    stack.run(&["lb", "status"]).await.expect(0);
    stack.run(&["lb", "drain", "nobody"]).await.expect(2);
}

/// Waits until the second server is being built, and so the first is back.
async fn second_builds(stack: &Stack) {
    let marker = stack.fleet.path().join(format!("building.{}", server(stack, 1)));
    let building = async {
        while !marker.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), building).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_has_the_last_word() {
    let mut stack = Stack::serving(3, WebKind::Restart, "").await;
    let marker = stack.fleet.path().join("building").display().to_string();
    stack.extra = format!("{}\nbuild.run = [\"touch {marker}.$PITCREW_SERVER; sleep 1\"]\n", stack.extra);
    stack.fleet.write_config(&stack.extra).unwrap();
    let member = stack.fleet.balancers()[0].snapshot()[0].name.clone();
    stack.release(&Sample::good("1"));
    let child = stack.start(&["deploy", "--serial", "--json"]);
    second_builds(&stack).await;
    // Somebody takes the first one out, after it had been put back.
    stack.fleet.balancers()[0].set(&member, Admin::Maint);
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(3);
    assert!(stack.versions().iter().all(|v| v == "1"));
    stack.assert_unlocked();
    let finished = ran.finished();
    assert_eq!(finished["outcome"], "stuck", "{finished}");
    assert_eq!(finished["servers"][0]["stuck"]["why"], "balancer_differs", "{finished}");
    assert!(finished["servers"][0]["in_balancer"].is_null(), "what was done to it is not how it stands: {finished}");
    assert!(finished["servers"][1].get("stuck").is_none(), "{finished}");
    assert!(finished["next"].as_array().unwrap().contains(&Value::from("pitcrew lb status")), "{finished}");
    let warned = ran.events().into_iter().find(|e| e["warning"] == "balancer_differs").unwrap();
    assert_eq!((&warned["was"], &warned["now"]), (&Value::from("UP"), &Value::from("MAINT")), "{warned}");
}

fn kill_app(stack: &Stack, at: usize) {
    for process in stack.fleet.processes(at) {
        // Children go with their parents.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_mended_by_the_very_walk_that_needs_it() {
    let stack = Stack::serving(2, WebKind::Restart, "load_balancer.capacity_timeout = \"0s\"\n").await;
    kill_app(&stack, 0);
    assert!(stack.fleet.balancers()[0].wait_in_service(Some(&["s2"]), Duration::from_secs(20)).await);
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--serial"]).await.expect(0);
    stack.assert_all("1");
    // The other way round nobody would be left.
    kill_app(&stack, 1);
    assert!(stack.fleet.balancers()[0].wait_in_service(Some(&["s1"]), Duration::from_secs(20)).await);
    let told = stack.run(&["lb", "status"]).await.expect(3).stdout;
    assert!(told.contains("FAILS") && told.contains("asked http://") && told.contains(" once, no answer"), "{told}");
    let ran = stack.run(&["deploy", "--serial"]).await.expect(1);
    assert!(ran.stderr.contains("would leave 0 of 2 members in service"), "{ran}");
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_what_somebody_broke_and_touches_nothing_meanwhile() {
    let extra = "load_balancer.min_in_service = 2\nload_balancer.capacity_timeout = \"1m\"\n";
    let stack = Stack::serving(3, WebKind::Restart, extra).await;
    kill_app(&stack, 2);
    assert!(stack.fleet.balancers()[0].wait_in_service(Some(&["s1", "s2"]), Duration::from_secs(20)).await);
    stack.release(&Sample::good("1"));
    let mut child = stack.start(&["deploy", "--serial", "--json"]);
    let (mut errors, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while !said.contains("waiting up to 1m 00s for members to be in service: ") {
        assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{said}");
    }
    assert!(said.contains("min_in_service is 2"), "{said}");
    stack.assert_unlocked();
    stack.fleet.start_app(2).await.unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(0);
    assert!(ran.stdout.contains("waited_for_members"), "{ran}");
    stack.assert_all("1");

    // What somebody took out comes back when they put it back: that is not waited for.
    stack.fleet.balancers()[0].set("s3", Admin::Maint);
    let ran = stack.run(&["deploy", "--serial"]).await.expect(1);
    assert!(ran.stderr.contains("min_in_service is 2") && !ran.stderr.contains("waiting up to"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_interrupted_while_it_waits_for_members_names_the_locks_that_it_could_not_release() {
    let extra = "load_balancer.min_in_service = 2\nload_balancer.capacity_timeout = \"1m\"\n";
    let stack = Stack::serving(3, WebKind::Restart, extra).await;
    kill_app(&stack, 2);
    assert!(stack.fleet.balancers()[0].wait_in_service(Some(&["s1", "s2"]), Duration::from_secs(20)).await);
    stack.release(&Sample::good("1"));
    // Who has waited for the lock holds all of them before it waits for members.
    stack.run(&["lock", "--reason", "the fair", "--until", "2m"]).await.expect(0);
    let mut child = stack.start(&["deploy", "--serial", "--wait-lock", "3m", "--json"]);
    let (mut errors, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while !said.contains(" for the lock: ") {
        assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{said}");
    }
    stack.run(&["unlock"]).await.expect(0);
    while !said.contains(" for members to be in service: ") {
        assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{said}");
    }
    let refused = Fault::ErrorBefore { status: 1, stderr: "no".into() };
    stack.fleet.faults().decide_with(move |p| (p.server == "s2" && p.label == "unlock").then(|| refused.clone()));
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGINT).unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(3);
    let finished = ran.finished();
    let second = server(&stack, 1);
    let kept = finished["servers"].as_array().unwrap().iter().find(|s| s["server"] == second.as_str()).unwrap();
    assert_eq!(kept["stuck"]["why"], "lock_kept", "{ran}");
    let locked: Vec<bool> = (0..3).map(|i| stack.fleet.lock_present(i)).collect();
    assert_eq!(locked, [false, true, false], "{ran}");
    assert_eq!(stack.versions(), ["0", "0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_its_health_check_is_put_back_only_when_forced() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let first = server(&stack, 0);
    stack.run(&["lb", "drain", &first]).await.expect(0);
    let wrong = "health.accept = [\"418\"]\nhealth.within = \"1s\"\n";
    stack.fleet.write_config(wrong).unwrap();
    let ran = stack.run(&["lb", "restore", &first]).await.expect(3);
    assert!(ran.stderr.contains("is not put back: it fails its health check"), "{ran}");
    let out = |stack: &Stack| stack.fleet.balancers()[0].snapshot().iter().filter(|m| !m.in_service).count();
    assert_eq!(out(&stack), 1);
    let value = json(&stack.run(&["lb", "restore", &first, "--force", "--json"]).await.expect(0).stdout);
    assert_eq!(value["servers"][0]["ok"], Value::Bool(true), "{value}");
    assert_eq!(out(&stack), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_switched_is_not_put_back_by_hand() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    assert!(killed_at(&stack, &["deploy", "--serial"], ("Exec", "s1", "restart")).await);
    let first = server(&stack, 0);
    let out = |stack: &Stack| stack.fleet.balancers()[0].snapshot().iter().filter(|m| !m.in_service).count();
    let ran = stack.run(&["lb", "restore", &first, "-c", "./pitcrew.toml"]).await.expect(3);
    // Commands can be pasted: with the flags that this run had.
    for said in ["is not put back: a dead run switched it", "`pitcrew -c ./pitcrew.toml recover` takes that back"] {
        assert!(ran.stderr.contains(said), "{said}\n{ran}");
    }
    assert_eq!(out(&stack), 1);
    let ran = stack.run(&["unlock", "-c", "./pitcrew.toml"]).await.expect(4);
    assert!(ran.stderr.contains("hint: `pitcrew -c ./pitcrew.toml recover` takes that back"), "{ran}");
    stack.run(&["recover"]).await.expect(0);
    assert_eq!(out(&stack), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_stacks_is_left_alone() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let first = server(&stack, 0);
    stack.run(&["lock", "--reason", "the fair"]).await.expect(0);
    std::fs::write(stack.fleet.deploy_to(0).join(".pitcrew/stack"), "blog\n").unwrap();
    for args in [&["unlock"][..], &["lb", "drain", &first], &["lb", "restore", &first]] {
        let ran = stack.run(args).await.expect(1);
        let said = "deploy_to belongs to another stack: it belongs to blog, and [app] name is ";
        assert!(ran.stderr.contains(said) && ran.stderr.contains("set deploy_to in [app]"), "{args:?}: {ran}");
    }
    assert!(stack.fleet.lock_present(0) && stack.fleet.lock_present(1));
    assert!(stack.fleet.balancers()[0].snapshot().iter().all(|m| m.in_service));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_at_work_has_the_balancer_to_itself() {
    let stack = Stack::serving(2, WebKind::Restart, "build.run = [\"touch ../../building; sleep 4\"]\n").await;
    stack.release(&Sample::good("1"));
    let mut child = stack.start(&["deploy", "--serial"]);
    let first = server(&stack, 0);
    let mut refused = None;
    for _ in 0..100 {
        let ran = stack.run(&["lb", "status", "--json"]).await;
        let value = json(&ran.stdout);
        let by = value["members"].as_array().unwrap().iter().find_map(|m| m["by"].as_str().map(str::to_owned));
        if let Some(by) = by {
            assert!(by.contains("locked by"), "{by}");
            refused = Some(stack.run(&["lb", "restore", &first]).await.expect(4));
            break;
        }
    }
    let refused = refused.unwrap();
    assert!(refused.stderr.contains("a run puts its servers back itself"), "{refused}");
    assert!(child.wait().await.unwrap().success());
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_begins_meanwhile_puts_its_servers_back_itself() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let first = server(&stack, 0);
    stack.run(&["lb", "drain", &first]).await.expect(0);
    stack.fleet.write_config("health.path = \"/slow?1500\"\n").unwrap();
    let mark = stack.fleet.log().mark();
    let child = stack.start(&["lb", "restore", &first]);
    let healthy = |r: &Record| r.seq >= mark && matches!(&r.kind, Kind::Stream { to } if to.starts_with("tcp:"));
    stack.fleet.log().wait_for(Duration::from_secs(60), healthy).await.unwrap();
    let lock = stack.fleet.deploy_to(0).join(".pitcrew/lock");
    std::fs::create_dir_all(&lock).unwrap();
    let owner = "run=20260101T000000Z-other\nwho=ann\nhost=elsewhere\npid=7\nlease=60\n";
    std::fs::write(lock.join("owner"), owner).unwrap();
    std::fs::write(lock.join("beat"), "").unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(3);
    assert!(ran.stderr.contains("is not put back: ") && ran.stderr.contains("ann"), "{ran}");
    assert_eq!(stack.fleet.balancers()[0].snapshot()[0].admin, Admin::Maint, "{ran}");
}

/// Has the balancer steered by commands that run on the first server, which is reached through SSH.
fn steer_by_commands(stack: &Stack) -> std::path::PathBuf {
    let path = stack.fleet.write_config(&stack.extra).unwrap();
    let out = stack.fleet.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let run_on = config["servers"][0]["host"].as_str().unwrap().to_owned();
    let file = format!("{}/$PITCREW_LB", out.display());
    let keys = [
        ("kind", "command".to_owned()),
        ("run_on", format!("ssh://{run_on}")),
        ("drain", format!("echo \"$PITCREW_ACTION $PITCREW_SERVER $TOKEN\" >>{}/log; touch {file}", out.display())),
        ("status", format!("echo noise >&2; [ -e {file} ] && exit 196; echo 0; exit 193")),
        ("restore", format!("echo \"$PITCREW_ACTION $PITCREW_SERVER\" >>{}/log; rm -f {file}", out.display())),
    ];
    let keys: toml::Table = keys.into_iter().map(|(k, v)| (k.to_owned(), toml::Value::String(v))).collect();
    config.insert("load_balancer".into(), keys.into());
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_is_steered_by_commands_on_a_host() {
    let stack = Stack::serving(2, WebKind::Restart, "env.TOKEN = \"it's a \\\"token\\\"\"\n").await;
    stack.release(&Sample::good("1"));
    let out = steer_by_commands(&stack);
    stack.run(&["deploy", "--serial"]).await.expect(0);
    assert!(stack.versions().iter().all(|v| v == "1"));
    let (a, b) = (server(&stack, 0), server(&stack, 1));
    let log = std::fs::read_to_string(out.join("log")).unwrap();
    let token = "it's a \"token\"";
    assert_eq!(log, format!("drain {a} {token}\nrestore {a}\ndrain {b} {token}\nrestore {b}\n"));
    let told = stack.run(&["lb", "status"]).await.expect(0).stdout;
    assert!(told.contains("2 of 2 in service"), "{told}");
}
