//! What the program prints: for people, for cron, for programs; and what it never prints.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use pitcrew::demo::{Flaw, FleetOptions, Sample, WebKind};

use crate::deploy::stack::{PITCREW, Ran, Stack};

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_event_a_line_planned_first_finished_last_once() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
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
    stack.release(&Sample::flawed("2", Flaw::Stillborn));
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
    for (name, content) in crate::deploy::stack::tree(&stack.logs()) {
        let shown = format!("{:?}", secret.as_bytes());
        assert!(!content.contains(shown.trim_matches(['[', ']'])), "{name}");
    }
    for record in stack.fleet.log().records() {
        assert!(!format!("{record:?}").contains(secret), "{record:?}");
    }
}

/// Of a login that echoes what it is sent, the last words are what this side has said.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_echoes_shows_no_secret() {
    let mut options = FleetOptions::new(PITCREW);
    options.servers = 1;
    options.shell = ["/bin/sh", "-c", "exec cat", "sh"].map(str::to_owned).to_vec();
    let stack = Stack::with(options, "secrets.TOKEN = { file = 'token' }\n").await;
    let secret = "correct-horse-battery";
    std::fs::write(stack.fleet.path().join("token"), format!("{secret}\n")).unwrap();
    for args in [&["check"][..], &["check", "--json"], &["check", "-v"], &["deploy"], &["status"], &["recover"]] {
        let ran = stack.run(args).await;
        assert!(ran.code != 0 && !ran.printed().contains(secret), "{args:?}: {ran}");
        assert!(ran.printed().lines().all(|line| line.len() < 1000 || args.contains(&"--json")), "{args:?}: {ran}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_too_short_to_be_masked_is_named() {
    let secrets = "secrets.PIN = { file = 'pin' }\nsecrets.TOKEN = { file = 'token' }\n";
    let stack = Stack::empty(1, WebKind::Reload, secrets).await;
    std::fs::write(stack.fleet.path().join("pin"), "x7z\n").unwrap();
    std::fs::write(stack.fleet.path().join("token"), "correct-horse\n").unwrap();
    for verb in ["check", "deploy"] {
        let ran = stack.run(&[verb]).await;
        assert!(ran.printed().contains("PIN of [secrets] is too short to be masked"), "{verb}: {ran}");
        assert!(!ran.printed().contains("TOKEN of") && !ran.printed().contains("x7z"), "{verb}: {ran}");
    }
}

/// A build that prints what would clear a screen, rename a window, move a cursor, and bytes that are no text.
const HOSTILE: &str = r#"build.run = ['printf "\033[2J\033[H\033]0;owned\007\033[31mred\033[0m\n"; printf "10%%\r50%%\rdone \r\n"; printf "\377\376\200 bytes \302\n"; printf "\302\2332J c1 \342\200\256 back\n"; head -c 3000000 /dev/zero | tr "\0" x; printf "\nafter the long line\n"; i=0; while [ $i -lt 3000 ]; do printf "\033[1Aline %s\007\n" $i; i=$((i+1)); done; printf "\033[2Jno newline"; exit $STATUS']
"#;

/// All of a text but its newlines is harmless to a terminal, and no line is longer than one that is cut.
#[track_caller]
fn assert_tame(what: &str, text: &str) {
    let bad = text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
    assert_eq!(bad, None, "{what} holds a control character");
    let longest = text.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 20_000, "{what} has a line of {longest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_output_disturbs_neither_terminal_nor_log_nor_events() {
    let stack = Stack::serving(2, WebKind::Reload, &format!("env.STATUS = '0'\n{HOSTILE}")).await;
    for (status, code) in [("0", 0), ("9", 1)] {
        stack
            .fleet
            .write_config(&format!("{}\nenv.STATUS = '{status}'", stack.extra.replace("env.STATUS = '0'\n", "")))
            .unwrap();
        for flags in [&["deploy", "-v"][..], &["deploy", "--json"]] {
            stack.release(&Sample::good("1"));
            let ran = stack.run(flags).await.expect(code);
            assert_tame("stdout", &ran.stdout);
            assert_tame("stderr", &ran.stderr);
            if flags.contains(&"--json") {
                let lines: Vec<String> =
                    ran.events().iter().filter_map(|e| Some(e["line"].as_str()?.to_owned())).collect();
                for wanted in ["red", "done ", "after the long line", "line 2999", "no newline"] {
                    assert!(lines.iter().any(|l| l.trim_end() == wanted.trim_end()), "{wanted:?} is passed on");
                }
                lines.iter().for_each(|l| assert_tame("an event", l));
            }
            for (name, _) in crate::deploy::stack::tree(&stack.logs()) {
                if let Ok(text) = std::fs::read_to_string(stack.logs().join(&name)) {
                    assert_tame(&name, &text);
                }
            }
        }
    }
    let lines: usize = std::fs::read_to_string(stack.logs().join("latest/events.jsonl")).unwrap().lines().count();
    assert!(lines > 6000, "nothing was left out: {lines} lines");
}

/// On a terminal the live lines are redrawn, and nothing that a server prints is part of that.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_output_never_reaches_a_terminal_raw() {
    let Some(script) = on_path("script") else { return };
    let stack = Stack::serving(2, WebKind::Reload, &format!("env.STATUS = '9'\n{HOSTILE}")).await;
    stack.release(&Sample::good("1"));
    let typescript = stack.fleet.path().join("typescript");
    let command = format!("{} deploy", crate::deploy::stack::PITCREW);
    let mut on_terminal = stack.command(&[]);
    let environment: Vec<_> =
        on_terminal.as_std().get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    on_terminal = tokio::process::Command::new(script);
    on_terminal.arg("-qec").arg(command).arg(&typescript).env_clear().envs(environment).env("TERM", "xterm");
    on_terminal.current_dir(stack.fleet.path()).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(100), on_terminal.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let mut seen = Vec::new();
    std::fs::File::open(typescript).unwrap().read_to_end(&mut seen).unwrap();
    let seen = String::from_utf8(seen).expect("no byte that is no text");
    for hostile in ["\u{1b}]0", "\u{1b}[2J", "\u{7}", "\u{9b}", "\u{202e}", "\u{1b}[31mred"] {
        assert!(!seen.contains(hostile), "{hostile:?} reached the terminal");
    }
    assert!(seen.contains("no newline"), "the last lines are shown");
}

fn on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    if found.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
    }
    found
}

/// Memory that is the process's own, in KiB (proc(5), RssAnon): how large the program itself is does not count.
fn own_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?.trim().trim_end_matches(" kB").trim().parse().ok()
}

/// Floods of long lines, with a reader that never reads: memory stays bounded, and the run ends as it must.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_not_kept_in_memory() {
    let flood = "x=x; i=0; while [ $i -lt 12 ]; do x=$x$x; i=$((i+1)); done; i=0; while [ $i -lt 4000 ]; do echo $x$x; i=$((i+1)); done";
    let stack = Stack::empty(2, WebKind::Reload, &format!("build.run = ['{flood}']")).await;
    let mut child = stack.start(&["deploy", "--json"]);
    let pid = child.id().unwrap();
    let mut most = 0;
    let ended = async {
        loop {
            most = most.max(own_memory(pid).unwrap_or_default());
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(110), ended).await.expect("it ends, read or not");
    assert_eq!(status.code(), Some(0));
    // 64 MiB were printed; some 10 are in use anyway, and 16 are kept of what nobody reads.
    assert!((1..48 * 1024).contains(&most), "{most} KiB");
    let mut ran = Ran { code: 0, stdout: String::new(), stderr: String::new() };
    use tokio::io::AsyncReadExt as _;
    let _ = child.stdout.take().unwrap().read_to_string(&mut ran.stdout).await;
    assert!(ran.stdout.starts_with("{\"at\""), "what was read begins with the first event");
}

/// What a step prints without end fills neither the log nor what reads the events nor the terminal.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_the_beginning_and_the_end_are_kept() {
    let flood = "echo first; yes the same line again and again and again and again | head -c 20000000; echo; echo last";
    for (on, flags) in [("each", "--json"), ("each", "-v"), ("here", "-v")] {
        let stack = Stack::empty(1, WebKind::Reload, &format!("build.run = ['{flood}']\nbuild.on = '{on}'")).await;
        stack.release(&Sample::good("1"));
        let ran = stack.run(&["deploy", flags]).await.expect(0);
        assert!(ran.stdout.len() + ran.stderr.len() < 6 << 20, "{on}: {} {}", ran.stdout.len(), ran.stderr.len());
        let mut logged = 0;
        for (name, _) in crate::deploy::stack::tree(&stack.logs()) {
            let Ok(text) = std::fs::read_to_string(stack.logs().join(&name)) else { continue };
            logged += text.len();
            if name.ends_with("events.jsonl") {
                for kept in ["\"line\":\"first\"", "\"line\":\"last\"", "output_left_out"] {
                    assert!(text.contains(kept), "{on} {name}: {kept}");
                }
            }
        }
        assert!((1 << 20..12 << 20).contains(&logged), "{on}: {logged}");
    }
}
