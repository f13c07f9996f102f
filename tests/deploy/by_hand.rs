//! Servers taken out of the balancer by hand: who did it is known wherever it matters, and signals leave nobody half out.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::Admin;
use pitcrew::demo::{Flaw, FleetOptions, Sample, WebKind};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::deploy::stack::{PITCREW, Ran, Stack};

fn server(stack: &Stack, at: usize) -> String {
    stack.fleet.servers()[at].ip().to_string()
}

fn record(stack: &Stack, at: usize) -> Option<String> {
    std::fs::read_to_string(stack.fleet.deploy_to(at).join(".pitcrew/drained")).ok()
}

/// What `lb status --json` says of who took a server out.
async fn by(stack: &Stack, at: usize) -> Value {
    let ran = stack.run(&["lb", "status", "--json"]).await;
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let ip = server(stack, at);
    let member = value["members"].as_array().unwrap().iter().find(|m| m["server"] == ip.as_str()).unwrap();
    member["by"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_took_it_out_by_hand_is_known_to_status_and_to_the_next_deploy() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    let second = server(&stack, 1);
    stack.run(&["lb", "drain", &second, "--reason", "a \"new\"\ndisk"]).await.expect(0);
    let told = stack.run(&["lb", "status"]).await.expect(3).stdout;
    assert!(told.contains("by hand by ") && told.contains("a \"new\" disk"), "{told}");
    let told = stack.run(&["status"]).await.expect(3).stdout;
    assert!(told.contains("taken out by hand by ") && told.contains("disk"), "{told}");
    let ran = stack.run(&["lb", "drain", &second]).await.expect(0);
    assert!(ran.stderr.contains("was out already (taken out by hand by ") && ran.stderr.contains("disk"), "{ran}");

    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--serial", "--json"]).await.expect(0);
    let planned = &ran.events()[0];
    let notices = planned["notices"].as_array().unwrap();
    let found = notices.iter().find(|n| n["warning"] == "found_out").unwrap();
    assert_eq!(found["by"]["reason"], "a \"new\"\ndisk", "{found}");
    assert!(found["by"]["since"].as_str().unwrap().ends_with('Z'), "{found}");
    assert!(stack.versions().iter().all(|v| v == "1"));
    assert_eq!(stack.fleet.balancers()[0].snapshot()[1].admin, Admin::Maint, "left as it was found");
    assert!(by(&stack, 1).await.as_str().unwrap().starts_with("by hand by "), "and still known to be so");

    stack.run(&["lb", "restore", &second]).await.expect(0);
    assert_eq!(record(&stack, 1), None);
    stack.run(&["lb", "status"]).await.expect(0);
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_put_back_is_nobodys_any_more_once_a_run_found_it_in() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.run(&["lb", "drain", &server(&stack, 0)]).await.expect(0);
    assert!(record(&stack, 0).is_some());
    // Past pitcrew, at the balancer itself.
    stack.fleet.balancers()[0].set("s1", Admin::Ready);
    assert!(stack.fleet.balancers()[0].wait_in_service(None, Duration::from_secs(20)).await);
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--serial"]).await.expect(0);
    stack.assert_all("1");
    assert_eq!(record(&stack, 0), None);
    stack.fleet.balancers()[0].set("s1", Admin::Maint);
    assert_eq!(by(&stack, 0).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_does_not_claim_what_somebody_else_took_out() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    stack.fleet.balancers()[0].set("s1", Admin::Maint);
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--serial", "--on-failure", "hold"]).await.expect(3);
    stack.run(&["unlock"]).await.expect(0);
    assert_eq!(by(&stack, 0).await, Value::Null, "no run took it out");
    stack.release(&Sample::good("2"));
    stack.run(&["deploy", "--serial"]).await.expect(0);
    assert!(stack.versions().iter().all(|v| v == "2"));
    assert_eq!(stack.fleet.balancers()[0].snapshot()[0].admin, Admin::Maint, "still somebody else's to put back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_out_and_a_person_put_back_is_not_put_back_again() {
    let stack = Stack::serving(3, WebKind::Restart, "").await;
    let hook = "\n[[hooks]]\nat = \"before restore\"\non = \"each\"\nrun = 'exit 4'\n";
    stack.fleet.write_config(&format!("{}{hook}", stack.extra)).unwrap();
    stack.release(&Sample::good("1"));
    stack.run(&["deploy", "--serial", "--on-failure", "hold"]).await.expect(3);
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.run(&["unlock"]).await.expect(0);
    let first = server(&stack, 0);
    assert!(by(&stack, 0).await.as_str().unwrap().contains("which left it so"));
    stack.run(&["lb", "restore", &first]).await.expect(0);
    // By somebody else, for a reason of their own.
    stack.fleet.balancers()[0].set("s1", Admin::Maint);
    assert_eq!(by(&stack, 0).await, Value::Null);
    stack.release(&Sample::good("2"));
    stack.run(&["deploy", "--serial"]).await.expect(0);
    assert_eq!(stack.fleet.balancers()[0].snapshot()[0].admin, Admin::Maint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_reaches_is_taken_out_and_nobody_knows_by_whom() {
    let stack = Stack::serving(2, WebKind::Restart, "ssh.connect_timeout = \"2s\"\n").await;
    let first = server(&stack, 0);
    stack.fleet.servers()[0].kill().await;
    let ran = stack.run(&["lb", "drain", &first]).await.expect(0);
    assert!(ran.stderr.contains("`lb status` will not say who took it out: "), "{ran}");
    assert!(ran.stderr.contains("is out, and has no connections left"), "{ran}");
    let told = stack.run(&["lb", "status"]).await.expect(3).stdout;
    assert!(told.contains("its server cannot be reached"), "{told}");
    let ran = stack.run(&["lb", "restore", &first]).await.expect(3);
    assert!(ran.stderr.contains("is not put back: it fails its health check"), "{ran}");
    stack.fleet.servers()[0].revive().await;
    stack.run(&["lb", "restore", &first]).await.expect(0);
    stack.assert_in_service();
}

/// A pair, each of which serves.
async fn pair() -> Stack {
    let mut options = FleetOptions::new(PITCREW);
    (options.servers, options.balancers, options.web) = (2, 2, WebKind::Restart);
    let stack = Stack::with(options, "ssh.connect_timeout = \"2s\"\n").await;
    stack.settle().await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_pair_of_which_one_is_gone_the_other_is_shown_and_put_back_on() {
    let stack = pair().await;
    let first = server(&stack, 0);
    stack.run(&["lb", "drain", &first]).await.expect(0);
    let told = stack.run(&["lb", "status"]).await.expect(3).stdout;
    assert_eq!(told.matches("by hand by ").count(), 2, "{told}");
    stack.fleet.balancer_hosts()[1].kill().await;
    let addresses = stack.fleet.balancer_addresses();

    let ran = stack.run(&["lb", "status"]).await.expect(3);
    assert!(ran.stdout.contains(&format!("app on {}: 1 of 2 in service", addresses[0])), "{ran}");
    assert!(ran.stdout.contains(&format!("balancer {}: ", addresses[1])), "{ran}");
    let value: Value = serde_json::from_str(&stack.run(&["lb", "status", "--json"]).await.expect(3).stdout).unwrap();
    assert_eq!((value["members"].as_array().unwrap().len(), &value["ok"]), (2, &Value::Bool(false)), "{value}");
    assert_eq!(value["balancers"].as_array().unwrap().len(), 1, "{value}");

    // Nobody is taken out on one alone; who is out comes back where that can be.
    let ran = stack.run(&["lb", "drain", &server(&stack, 1)]).await.expect(5);
    assert!(ran.stderr.contains(&addresses[1]) && ran.stderr.contains("no server was taken out"), "{ran}");
    assert!(stack.fleet.balancers()[0].snapshot()[1].in_service);
    let ran = stack.run(&["lb", "restore", &first]).await.expect(3);
    assert!(ran.stderr.contains(&addresses[1]), "{ran}");
    assert!(stack.fleet.balancers()[0].snapshot()[0].in_service);
    assert!(record(&stack, 0).is_some(), "what is still to be done stays known");
    stack.fleet.balancer_hosts()[1].revive().await;
    stack.run(&["lb", "restore", &first]).await.expect(0);
    stack.assert_in_service();
    assert_eq!(record(&stack, 0), None);
}

/// A client of the first server whose request does not end before the test does.
async fn slow(stack: &Stack) -> TcpStream {
    let balancer = &stack.fleet.balancers()[0];
    balancer.set("s2", Admin::Drain);
    let mut client = TcpStream::connect(balancer.at()).await.unwrap();
    client.write_all(b"GET /slow?300000 HTTP/1.1\r\nHost: shop\r\n\r\n").await.unwrap();
    let arrived = async {
        while balancer.snapshot()[0].sessions == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrived).await.unwrap();
    balancer.set("s2", Admin::Ready);
    client
}

/// Starts a drain of the first server, and waits until it waits for that client.
async fn draining(stack: &Stack) -> (Child, BufReader<tokio::process::ChildStderr>, String) {
    let first = server(stack, 0);
    let mut child = stack.command(&["lb", "drain", &first]).stderr(Stdio::piped()).spawn().unwrap();
    let (mut errors, mut said) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while !said.contains("1 connections open") {
        assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{said}");
    }
    (child, errors, said)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_takes_a_drain_by_hand_back() {
    let stack = Stack::serving(2, WebKind::Restart, "load_balancer.drain_timeout = \"5m\"\n").await;
    let _client = slow(&stack).await;
    for (signal, name) in [(Signal::SIGINT, "INT"), (Signal::SIGTERM, "TERM"), (Signal::SIGHUP, "HUP")] {
        let (mut child, mut errors, mut said) = draining(&stack).await;
        assert_eq!(stack.fleet.balancers()[0].snapshot()[0].admin, Admin::Drain);
        send(&child, signal);
        errors.read_to_string(&mut said).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(130), "{said}");
        assert!(said.contains(&format!("interrupted by {name}")), "{said}");
        assert!(said.contains("it is in its balancer as before"), "{said}");
        stack.assert_in_service();
        assert_eq!(record(&stack, 0), None, "nobody took it out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_and_says_what_is_left() {
    let stack = Stack::serving(2, WebKind::Restart, "load_balancer.drain_timeout = \"5m\"\n").await;
    let _client = slow(&stack).await;
    let (mut child, mut errors, mut said) = draining(&stack).await;
    // What the first signal asks for never ends.
    stack.fleet.faults().decide_with(|p| p.label.contains("state ready").then_some(pitcrew::demo::Fault::Hang));
    send(&child, Signal::SIGTERM);
    while !said.contains("once more stops at once") {
        assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{said}");
    }
    send(&child, Signal::SIGTERM);
    errors.read_to_string(&mut said).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(3), "{said}");
    let first = server(&stack, 0);
    assert!(said.contains(&format!("`pitcrew lb restore {first}` puts it back")), "{said}");
    stack.fleet.faults().clear();
    assert!(by(&stack, 0).await.as_str().unwrap().starts_with("by hand by "));
    stack.run(&["lb", "restore", &first]).await.expect(0);
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quiet_or_json_says_no_more_than_that() {
    let stack = Stack::serving(2, WebKind::Restart, "load_balancer.capacity_timeout = \"0s\"\n").await;
    let (first, second) = (server(&stack, 0), server(&stack, 1));
    let silent = |ran: &Ran| assert!(ran.printed().is_empty(), "{ran}");
    silent(&stack.run(&["lb", "status", "-q"]).await.expect(0));
    silent(&stack.run(&["lb", "drain", "-q", "--no-input", &first]).await.expect(0));
    let ran = stack.run(&["lb", "drain", "-q", &second]).await.expect(1);
    assert!(ran.stderr.contains("min_in_service is 1") && ran.stdout.is_empty(), "{ran}");
    let ran = stack.run(&["lb", "drain", "--json", &first, &second]).await.expect(1);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&value["ok"], &value["servers"][0]["ok"]), (&Value::Bool(false), &Value::Bool(true)), "{value}");
    assert!(value["servers"][1]["detail"].as_str().unwrap().contains("min_in_service"), "{value}");
    assert!(ran.stderr.is_empty(), "{ran}");
    silent(&stack.run(&["lb", "restore", "-q", &first]).await.expect(0));
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_begins_in_between_has_the_balancer_to_itself() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let (lock, first) = (stack.fleet.deploy_to(0).join(".pitcrew/lock"), server(&stack, 0));
    // Between the question whether a run is at work and the note of who takes the server out.
    stack.fleet.faults().decide_with(move |point| {
        if point.label == "aside" && !lock.exists() {
            std::fs::create_dir(&lock).unwrap();
            std::fs::write(lock.join("owner"), "run=other\nwho=bob\nhost=desk\nlease=120\n").unwrap();
            std::fs::write(lock.join("beat"), "").unwrap();
        }
        None
    });
    let ran = stack.run(&["lb", "drain", &first]).await.expect(4);
    assert!(ran.stderr.contains("locked by bob@desk"), "{ran}");
    assert_eq!(record(&stack, 0), None, "nobody took it out");
    stack.assert_in_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dead_balancer_is_told_of_and_does_not_keep_a_parallel_run_from_its_work() {
    let stack = pair().await;
    stack.fleet.balancer_hosts()[1].kill().await;
    let dead = &stack.fleet.balancer_addresses()[1];
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "--serial"]).await.expect(5);
    assert!(ran.printed().contains(&format!("could not reach the balancer {dead}; nothing was changed")), "{ran}");
    assert!(ran.printed().contains("while it is down, --parallel asks no balancer"), "{ran}");
    let ran = stack.run(&["deploy", "--parallel", "-q"]).await.expect(0);
    assert!(ran.stderr.contains(dead.as_str()) && ran.stderr.contains("this run drains no server"), "{ran}");
    assert!(stack.versions().iter().all(|v| v == "1"));
}

/// `lb status` shows it, and `lb` in the file may be all that a person knows it by.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_named_by_its_name_in_the_balancer_too() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.run(&["lb", "drain", "s2"]).await.expect(0);
    assert_eq!(stack.fleet.balancers()[0].snapshot()[1].admin, Admin::Maint);
    stack.run(&["lb", "restore", "s2"]).await.expect(0);
    stack.assert_in_service();
    let ran = stack.run(&["lb", "drain", "s9"]).await.expect(2);
    assert!(ran.stderr.contains("there is no server `s9`"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_could_not_be_written_is_no_success() {
    let stack = Stack::serving(1, WebKind::Reload, "load_balancer.min_in_service = 0\n").await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = stack.command(&["status"]).stdout(full).spawn().unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap()).expect(1);
    assert!(ran.stderr.contains("the result could not be written"), "{ran}");
}
