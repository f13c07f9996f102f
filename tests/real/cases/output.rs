//! What is printed: dry runs, plain lines, events, and mistakes in the file.

use std::collections::BTreeSet;

use super::strategies::{addresses, assert_finished};
use super::{FILES, Row};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[
    ("output::dry_run_changes_nothing", FILES, dry_run_changes_nothing),
    ("output::plain_lines_without_a_terminal", FILES, plain_lines_without_a_terminal),
    ("output::events_line_by_line", FILES, events_line_by_line),
    ("output::quiet_says_nothing", FILES, quiet_says_nothing),
    ("output::a_typo_in_the_file", FILES, typo_in_the_file),
    ("output::a_local_record_of_every_run", FILES, local_record),
];

fn dry_run_changes_nothing() {
    let stack = Stack::new(App::Static);
    stack.commit(&[]);
    // Without namespaces the stacks of all cases lie there, too.
    let list = "ls -A ~ | grep -v -e '^app[0-9]*$' -e separate || :";
    let homes = |stack: &Stack| stack.servers.iter().map(|h| h.sh(list)).collect::<Vec<_>>();
    let at_home = homes(&stack);
    // Before the first release, and after it.
    for _ in 0..2 {
        let before = stack.listing();
        for strategy in ["--parallel", "--serial", "--rolling=2"] {
            let ran = stack.pitcrew(&["--json", "deploy", "--dry-run", strategy]).run().expect(0);
            let lines: Vec<_> = ran.stdout.lines().collect();
            assert_eq!(lines.len(), 1, "just one event");
            let planned: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
            assert_eq!(planned["event"], "planned");
            assert!(planned["steps"].as_array().is_some_and(|s| s.len() > 6), "all steps are listed");
            let text = stack.pitcrew(&["deploy", "--dry-run", strategy]).run().expect(0);
            for server in addresses(&stack) {
                assert!(text.printed().contains(&server), "the plan names {server}");
            }
        }
        assert_eq!(stack.listing(), before, "nothing was changed anywhere");
        assert_eq!(homes(&stack), at_home, "nothing was left in a home directory");
        stack.assert_no_lock();
        stack.deploy_first();
    }
}

fn plain_lines_without_a_terminal() {
    let stack = Stack::new(App::Static).tables("[build]\nrun = [\"echo building; printf 'half a line'\"]");
    stack.commit(&[]);
    for strategy in ["--parallel", "--serial"] {
        let ran = stack.pitcrew(&["deploy", strategy]).run().expect(0);
        assert!(!ran.stderr.is_empty(), "progress goes to standard error");
        for text in [&ran.stdout, &ran.stderr] {
            let strange = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(strange, None, "no escapes, no carriage returns: {text:?}");
        }
        for server in addresses(&stack) {
            assert!(ran.stderr.lines().any(|l| l.contains(&server)), "lines name {server}");
        }
        let built: Vec<_> = ran.stderr.lines().filter(|l| l.contains("building")).collect();
        let named = |line: &&&str| addresses(&stack).iter().any(|a| line.contains(a.as_str()));
        assert_eq!(built.iter().filter(named).count(), built.len(), "output bears its server's name: {built:?}");
    }
}

fn events_line_by_line() {
    let stack =
        Stack::new(App::Static).tables("[build]\nrun = [\"echo 'a \\\"quote\\\"'; printf '\\\\033[31mred\\\\n'\"]");
    let first = stack.commit(&[]);
    let ran = stack.pitcrew(&["--json", "deploy", "--serial"]).run().expect(0);
    let events = ran.events();
    let planned = &events[0];
    assert_eq!(planned["revision"], first.as_str());
    let release = planned["release"].as_str().expect("a release");
    assert!(release.len() == 14 && release.bytes().all(|b| b.is_ascii_digit()), "{release}");
    for h in &stack.servers {
        assert_eq!(stack.current(h).as_deref(), Some(release), "the same release on {}", h.name);
    }
    assert_finished(&stack, &events, "deployed", Some(release));
    // What was planned is what is done, no more and no less.
    let key = |e: &serde_json::Value| [&e["stage"], &e["batch"], &e["server"], &e["step"]].map(|v| v.to_string());
    let planned: BTreeSet<_> = planned["steps"].as_array().expect("steps").iter().map(key).collect();
    let of = |name: &str| events.iter().filter(|e| e["event"] == name).map(key).collect::<BTreeSet<_>>();
    assert_eq!(of("step_finished"), planned, "finished steps are the planned ones");
    assert_eq!(of("step_started"), of("step_finished"));
    let words = BTreeSet::from([
        "planned",
        "stage_started",
        "stage_finished",
        "step_started",
        "progress",
        "output",
        "step_finished",
        "undo_started",
        "undo_finished",
        "warning",
        "finished",
    ]);
    for event in &events {
        assert!(words.contains(event["event"].as_str().unwrap_or_default()), "a word of the contract: {event}");
    }
    let lines: Vec<_> = events.iter().filter(|e| e["event"] == "output" && e["step"] == "build").collect();
    assert_eq!(lines.iter().filter(|e| e["line"] == "a \"quote\"" && e["stream"] == "stdout").count(), 3, "{lines:?}");
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains("\\u001b"), "escapes are gone");
}

fn quiet_says_nothing() {
    let stack = Stack::new(App::Static);
    stack.commit(&[]);
    let ran = stack.pitcrew(&["-q", "deploy"]).run().expect(0);
    assert_eq!(ran.printed(), "", "nothing needs reading");
}

fn typo_in_the_file() {
    let stack = Stack::new(App::Static).app("stratgy = \"serial\"");
    stack.commit(&[]);
    let line = stack.config().lines().position(|l| l.starts_with("stratgy")).unwrap() + 1;
    let ran = stack.pitcrew(&["deploy"]).run().expect(2);
    for needle in ["stratgy", "`strategy`", &format!(":{line}")] {
        assert!(ran.stderr.contains(needle), "the message contains {needle}");
    }
    assert_eq!(ran.stdout, "");
    for h in &stack.servers {
        assert!(!stack.seen(h, "").exists(), "{} was never touched", h.name);
    }
    stack.pitcrew(&["deploy", "--no-such-flag"]).run().expect(2);
}

/// `$XDG_STATE_HOME/pitcrew/<app>/<run id>/` has the events and what each server printed.
fn local_record() {
    let stack = Stack::new(App::Static).tables("[build]\nrun = [\"echo from the build\"]");
    stack.commit(&[]);
    let events = stack.pitcrew(&["--json", "deploy"]).run().expect(0).events();
    let run = events[0]["run"].as_str().expect("a run id");
    let record = stack.dir().join("state/pitcrew").join(&stack.name).join(run);
    let files: Vec<_> = std::fs::read_dir(&record).expect("the run's record").flatten().map(|e| e.path()).collect();
    let with = |needle: &str| {
        let has = |p: &&std::path::PathBuf| std::fs::read_to_string(p).is_ok_and(|text| text.contains(needle));
        files.iter().filter(has).count()
    };
    assert_eq!(with("\"finished\""), 1, "one event log: {files:?}");
    assert!(with("from the build") >= 3, "one output log a server: {files:?}");
}
