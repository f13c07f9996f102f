//! `check` answers for the very run that is asked about, and contradicts neither the servers nor the deploy.

use pitcrew::demo::{Sample, WebKind};
use serde_json::Value;

use crate::deploy::stack::Stack;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_answers_for_the_run_that_its_flags_ask_for() {
    let stack = Stack::serving(3, WebKind::Restart, "ssh.connect_timeout = \"2s\"\n").await;
    stack.release(&Sample::good("1"));
    let first = stack.fleet.servers()[0].ip().to_string();
    for (args, strategy, by, sizes) in [
        (&["--serial"][..], "serial", "flag", &[1, 1, 1][..]),
        (&["--rolling=2"], "rolling", "flag", &[2, 1]),
        (&["--parallel"], "parallel", "flag", &[3]),
        (&["--parallel", "--only", &first], "parallel", "flag", &[1]),
    ] {
        let ran = stack.run(&[&["check", "--json"][..], args].concat()).await.expect(0);
        let told = json(&ran.stdout);
        assert_eq!((&told["strategy"], &told["decided_by"]), (&strategy.into(), &by.into()), "{ran}");
        let batches = told["batches"].as_array().unwrap().iter().map(|batch| batch.as_array().unwrap().len());
        assert_eq!(batches.collect::<Vec<_>>(), sizes, "{ran}");
    }
    let ran = stack.run(&["check", "--serial", "--only", &first]).await.expect(0);
    assert!(ran.stdout.contains("strategy  serial (--serial)"), "{ran}");
    assert!(ran.stdout.contains("nothing is in the way of a deploy to 1 server\n"), "{ran}");

    // What is in the way of a serial run need not be in the way of a parallel one.
    stack.fleet.balancer_hosts()[0].kill().await;
    stack.run(&["check", "--serial"]).await.expect(5);
    let ran = stack.run(&["check", "--parallel"]).await.expect(0);
    assert!(ran.stdout.contains("note: ") && ran.stdout.contains("nothing is in the way"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_what_runs_for_its_health() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let ran = stack.run(&["check"]).await.expect(0);
    assert!(!ran.stdout.contains("fails its health check"), "{ran}");
    stack.fleet.write_config(&format!("{}health.accept = [\"201\"]\n", stack.extra)).unwrap();
    let ran = stack.run(&["check"]).await.expect(0);
    assert_eq!(ran.stdout.matches(", which runs, fails its health check: ").count(), 2, "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_directories_that_others_may_write() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let open = |place: &str, mode: u32| {
        let dir = stack.fleet.deploy_to(0).join(place);
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let told = "every user there may write in ";
    let ran = stack.run(&["check"]).await.expect(0);
    assert!(!ran.stdout.contains(told), "{ran}");
    open("releases", 0o777);
    open(".pitcrew", 0o777);
    let ran = stack.run(&["check"]).await.expect(0);
    assert_eq!(ran.stdout.matches(told).count(), 2, "{ran}");
    assert!(ran.stdout.contains(&format!("{told}releases in deploy_to")), "{ran}");
    assert!(ran.stdout.contains(&format!("{told}.pitcrew in deploy_to")), "{ran}");
}

/// The directory of another stack, and what a prune left behind, are told alike by whatever looks.
#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_name_what_a_deploy_would_refuse_or_leave() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::good("1"));
    let own = stack.fleet.deploy_to(0).join(".pitcrew");
    std::fs::create_dir(own.join("trash.20200101000000")).unwrap();
    for args in [&["check"][..], &["status"]] {
        let ran = stack.run(args).await.expect(0);
        assert!(ran.stdout.contains("cannot remove .pitcrew/trash.20200101000000 in deploy_to"), "{args:?}: {ran}");
    }
    std::fs::write(own.join("stack"), "blog\n").unwrap();
    let refused = stack.run(&["deploy", "--parallel", "--json"]).await;
    let checked = stack.run(&["check", "--json"]).await.expect(refused.code);
    let code = |problem: &Value| problem["code"].as_str().map(str::to_owned);
    let problems = json(&checked.stdout)["problems"].as_array().unwrap().iter().map(code).collect::<Vec<_>>();
    assert_eq!(problems, [Some("other_stack".to_owned())], "{checked}");
    let planned = &refused.events()[0];
    assert_eq!(planned["blockers"], json(&checked.stdout)["problems"], "{refused}");
}

/// A colleague's machine has not all that a deploy needs.
#[tokio::test(flavor = "multi_thread")]
async fn verbs_that_start_nothing_do_without_a_secret() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    let secret = "secrets.TOKEN = { env = 'PITCREW_TEST_NEVER_SET' }\n";
    stack.fleet.write_config(&format!("{}{secret}", stack.extra)).unwrap();
    let first = stack.fleet.servers()[0].ip().to_string();
    for args in [
        &["status"][..],
        &["releases"],
        &["lock", "--reason", "a test"],
        &["unlock"],
        &["lb", "drain", &first],
        &["lb", "restore", &first],
        &["lb", "status"],
    ] {
        let ran = stack.run(args).await.expect(0);
        assert!(ran.stderr.contains("cannot read the secret TOKEN") && ran.stderr.contains("run without it"), "{ran}");
    }
    for args in [&["deploy"][..], &["rollback"], &["recover"]] {
        let ran = stack.run(args).await.expect(2);
        assert!(ran.stderr.contains("export it before the run"), "{ran}");
    }
}
