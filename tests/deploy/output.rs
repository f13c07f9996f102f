//! What the program prints: for people, for cron, for programs; and what it never prints.

use pitcrew::demo::{Sample, WebKind};

use crate::stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_event_a_line_planned_first_finished_last_once() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample { broken: true, ..Sample::good("1") });
    for (flags, code) in [(["deploy", "--json", "--serial"], 1), (["deploy", "--json", "--parallel"], 1)] {
        let ran = stack.run(&flags).await.expect(code);
        let events = ran.events();
        assert_eq!(events[0]["event"], "planned");
        assert_eq!(events.iter().filter(|e| e["event"] == "planned").count(), 1);
        assert_eq!(events.iter().filter(|e| e["event"] == "finished").count(), 1);
        assert_eq!(events.last().unwrap()["event"], "finished");
        assert_eq!(events.last().unwrap()["exit_code"], code);
        let mut t = 0.0;
        for event in &events {
            assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
            assert_eq!(event["at"].as_str().unwrap().len(), "2026-11-23T04:59:00.000Z".len());
            assert!(event["t"].as_f64().unwrap() >= t, "time goes on: {event}");
            t = event["t"].as_f64().unwrap();
            assert_eq!(event["run"], events[0]["run"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_every_line_names_its_server_and_has_no_escapes() {
    let stack =
        Stack::serving(2, WebKind::Reload, "build.run = ['printf \"\\\\033[31mred\\\\033[0m\\\\rprogress\\\\n\"']")
            .await;
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["deploy", "-v"]).await.expect(0);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'), "{ran}");
    assert!(!ran.stderr.contains('\r'), "{ran}");
    for server in stack.fleet.servers() {
        let ip = server.ip().to_string();
        for step in ["lock", "transfer", "build", "switch", "restart", "check", "prune", "unlock"] {
            let line = ran.stderr.lines().find(|l| l.contains(&ip) && l.contains(step));
            assert!(line.is_some(), "{ip} {step}\n{ran}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_says_nothing_when_all_is_well_and_everything_when_it_is_not() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    let good = stack.run(&["deploy", "-q"]).await.expect(0);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("", ""));
    stack.release(&Sample { broken_boot: true, ..Sample::good("2") });
    let bad = stack.run(&["deploy", "-q"]).await.expect(1);
    assert!(bad.stderr.contains("restart"), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_leaves_its_events_and_a_log_of_each_server() {
    let stack = Stack::serving(2, WebKind::Reload, "build.run = ['echo gem by gem']").await;
    let latest = stack.logs().join("latest");
    let events = std::fs::read_to_string(latest.join("events.jsonl")).unwrap();
    assert!(events.lines().next().unwrap().contains("\"planned\""));
    assert!(events.lines().last().unwrap().contains("\"finished\""));
    for server in stack.fleet.servers() {
        let log = std::fs::read_to_string(latest.join(format!("{}.log", server.ip()))).unwrap_or_default();
        assert!(
            !log.is_empty(),
            "no log of {}: {:?}",
            server.ip(),
            std::fs::read_dir(&latest).unwrap().collect::<Vec<_>>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_commands_and_appear_nowhere() {
    let secret = "correct-horse-battery";
    let extra = "env.PLAIN = \"with 'quotes' and\\nlines\"\nsecrets.TOKEN = { file = 'token' }\n\
                 build.run = ['echo \"token is $TOKEN\"; printf %s \"$TOKEN\" > ../../got; printf %s \"$PLAIN\" > ../../plain', 'echo $TOKEN; exit $FAIL']\n";
    let stack = Stack::empty(1, WebKind::Reload, extra).await;
    std::fs::write(stack.fleet.path().join("token"), format!("{secret}\n")).unwrap();
    let ran = stack.run(&["deploy", "-v", "--json"]).await.expect(0);
    let root = stack.fleet.deploy_to(0);
    assert_eq!(std::fs::read_to_string(root.join("got")).unwrap(), secret, "it reaches the command");
    assert_eq!(std::fs::read_to_string(root.join("plain")).unwrap(), "with 'quotes' and\nlines");
    assert!(ran.stdout.contains("[REDACTED]"), "{ran}");
    stack.fleet.write_config(&format!("{}\nenv.FAIL = '1'", stack.extra)).unwrap();
    let failed = stack.run(&["deploy", "-v"]).await.expect(1);
    let dry = stack.run(&["deploy", "-v", "--dry-run"]).await.expect(0);
    for text in [&ran.stdout, &ran.stderr, &failed.stdout, &failed.stderr, &dry.stdout, &dry.stderr] {
        assert!(!text.contains(secret), "{text}");
    }
    // Neither in the logs of the runs, nor on any command line that the server saw.
    for (name, content) in crate::stack::tree(&stack.logs()) {
        let shown = format!("{:?}", secret.as_bytes());
        assert!(!content.contains(shown.trim_matches(['[', ']'])), "{name}");
    }
    for record in stack.fleet.log().records() {
        assert!(!format!("{record:?}").contains(secret), "{record:?}");
    }
}
