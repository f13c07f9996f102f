//! What happens before there is a plan: it is in the log as all else is, and what comes to nothing ends as a run does.

use std::path::PathBuf;

use pitcrew::demo::{Sample, WebKind, make_release};
use serde_json::Value;

use crate::deploy::sources::configure;
use crate::deploy::stack::{Ran, Stack};
use crate::hosts::Repository;

/// The log of the last run: its events, and what it holds of this machine.
fn log(stack: &Stack) -> (Vec<Value>, String) {
    let latest: PathBuf = stack.logs().join("latest");
    let events = std::fs::read_to_string(latest.join("events.jsonl")).unwrap();
    let here = std::fs::read_to_string(latest.join("here.log")).unwrap_or_default();
    (events.lines().map(|l| serde_json::from_str(l).unwrap()).collect(), here)
}

fn output(events: &[Value], step: &str) -> Vec<(String, String)> {
    let of = events.iter().filter(|e| e["event"] == "output" && e["step"] == step && e["server"] == "here");
    of.map(|e| (e["stream"].as_str().unwrap().to_owned(), e["line"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_and_hooks_here_print_is_in_the_log_cleaned_and_masked() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    std::fs::write(stack.fleet.path().join("token"), "correct-horse\n").unwrap();
    make_release(&stack.fleet.path().join("dist"), &Sample::good("1")).unwrap();
    let print = r#"printf "with \033[31m$TOKEN\033[0m of $PITCREW_APP\n"; echo complaint >&2"#;
    let extra = format!(
        "build.on = 'here'\nbuild.run = ['''{print}''']\nsecrets.TOKEN = {{ file = 'token' }}\n\
         [[hooks]]\nat = 'before lock'\non = 'here'\nrun = '''{print}'''"
    );
    configure(&stack, "kind = 'archive'\npath = 'dist'", &extra);
    for args in [&["deploy"][..], &["deploy", "--json"], &["deploy", "-q"], &["deploy", "-v"]] {
        let ran = stack.run(args).await.expect(0);
        let (events, here) = log(&stack);
        assert_eq!(events[0]["event"], "planned");
        for step in ["build", "hook"] {
            let mut said = output(&events, step);
            said.sort();
            let expected = [("stderr", "complaint"), ("stdout", "with [REDACTED] of demo")];
            assert_eq!(said, expected.map(|(s, l)| (s.to_owned(), l.to_owned())), "{step}, {args:?}");
            assert!(here.contains(&format!("{step} stdout with [REDACTED] of demo")), "{here}");
        }
        // The plan announces it, and it comes to an end like any other.
        let first = &events[0]["steps"][0];
        assert_eq!((&first["server"], &first["step"]), (&"here".into(), &"build".into()));
        let ended = events.iter().find(|e| e["event"] == "step_finished" && e["step"] == "build").unwrap();
        assert_eq!(ended["outcome"], "ok");
        // Shown once, while it ran.
        let shown = ran.stderr.lines().filter(|l| l.starts_with("  | with [REDACTED]")).count();
        assert_eq!(shown, usize::from(args.len() == 1 || args[1] == "-v"), "{ran}");
        assert!(!format!("{ran}{here}{events:?}").contains("correct-horse"), "{ran}");
    }
    let dry = stack.run(&["deploy", "--dry-run"]).await.expect(0);
    assert!(dry.stdout.contains("build       on this machine"), "{dry}");
}

/// The event and the process agree, the plan comes first, and who waits for word of a failure gets one.
#[track_caller]
fn assert_ended(stack: &Stack, ran: &Ran, code: i32, outcome: &str) {
    assert_eq!(ran.code, code, "{ran}");
    let (events, _) = log(stack);
    assert_eq!(events[0]["event"], "planned", "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["exit_code"], &last["outcome"]),
        (&"finished".into(), &code.into(), &outcome.into()),
        "{ran}"
    );
    let told = stack.home().join("hooks");
    assert_eq!(std::fs::read_to_string(&told).unwrap_or_default(), "told\n", "{ran}");
    std::fs::remove_file(told).unwrap();
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_to_nothing_ends_as_a_run_does() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    let repository = Repository::new();
    let sha = repository.commit(&[("VERSION", "1\n")]);
    let git = format!("kind = 'git'\nrepo = '{}'\nref = 'main'", repository.url());
    let hook = "[[hooks]]\nat = 'on failure'\non = 'here'\nrun = 'echo told >> \"$HOME/hooks\"'\n\
                [[hooks]]\nat = 'on failure'\non = 'each'\nrun = 'echo told >> \"$HOME/hooks\"'\n";
    let build = |status: u32| format!("build.on = 'here'\nbuild.run = ['exit {status}']\n{hook}");
    let nowhere = "kind = 'archive'\nurl = 'http://127.0.0.1:9/x.tgz'\nsha256 = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'";
    for (source, extra, args, code, outcome, said) in [
        (&git[..], hook, &["deploy", "mian"][..], 2, "reverted", "Did you mean `main`?"),
        (&git, hook, &["deploy", "mian", "-q"], 2, "reverted", "Did you mean `main`?"),
        (&git, hook, &["deploy", &sha[..9], "--serial"], 2, "reverted", "Write the whole SHA"),
        ("kind = 'archive'\npath = 'no/such'", hook, &["deploy"], 2, "reverted", "Correct `path`"),
        (
            "kind = 'git'\nrepo = 'file:///nowhere/x.git'",
            hook,
            &["deploy"],
            5,
            "unreachable",
            "could not reach the source",
        ),
        (nowhere, hook, &["deploy", "--json"], 5, "unreachable", ""),
        ("kind = 'archive'\npath = '.'", &build(7), &["deploy"], 1, "reverted", "exit status 7"),
        ("kind = 'archive'\npath = 'no/such'", &build(0), &["deploy"], 2, "reverted", "Correct `path`"),
    ] {
        configure(&stack, source, extra);
        let ran = stack.run(args).await;
        assert_ended(&stack, &ran, code, outcome);
        assert!(ran.printed().contains(said), "{said}: {ran}");
        let of_source = ran.stderr.contains("here: the source cannot be used\n  cannot ");
        assert_eq!(of_source, code != 1, "{ran}");
        // Nobody else's servers are told.
        let homes = (0..2).map(|i| stack.fleet.deploy_to(i).parent().unwrap().join("hooks"));
        assert!(homes.clone().all(|h| !h.exists()), "{ran}");
        assert_eq!(stack.versions(), ["0", "0"]);
    }
    // Everything is told at once, and waiting for whoever holds the lock would mend nothing of it.
    configure(&stack, &git, &format!("shared.files = ['no/such/file']\n{hook}"));
    stack.run(&["lock", "--reason", "the fair"]).await.expect(0);
    let ran = stack.run(&["deploy", "mian", "--wait-lock", "30s", "--json"]).await;
    assert_eq!(ran.code, 2, "{ran}");
    let blockers = ran.events()[0]["blockers"].to_string();
    assert!(blockers.contains("no/such/file") && blockers.contains("the fair") && blockers.contains("mian"), "{ran}");
    assert_eq!(ran.finished()["exit_code"], 2);
    stack.run(&["unlock"]).await.expect(0);
}
