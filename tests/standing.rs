//! Scripts one after the other in one exec that waits for them, under every shell a server's `sh` may be.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::sync::Arc;

use pitcrew::answer::{Answer, Nonce};
use pitcrew::script::Call;
use pitcrew::script::calls;
use pitcrew::script::calls::Dir;
use pitcrew::script::kept::Kept;
use pitcrew::script::standing::Feed;

use crate::server::{Server, everywhere, id, owner, run, tarball};

const A: &str = "20260101000001";
const B: &str = "20260101000002";

/// What was said of one script.
#[derive(Debug)]
struct Said {
    answers: Vec<Answer>,
    /// The statuses with which it was told to be over, on standard output and on standard error.
    over: (Vec<String>, Vec<String>),
}

impl Said {
    fn values(&self, key: &str) -> Vec<&str> {
        self.answers.iter().filter(|a| a.key == key).map(|a| a.value.as_str()).collect()
    }

    fn ended(&self, status: &str) -> bool {
        self.over.0 == [status] && self.over.1 == [status]
    }

    fn is_done(&self) -> bool {
        self.values("done") == [""] && self.ended("0")
    }
}

fn text(server: &Server) -> Arc<Kept> {
    Arc::new(Kept::new(calls::all_of(&server.site())).unwrap())
}

fn standing(server: &Server) -> Feed {
    Feed::whole(text(server))
}

/// Runs them all in one exec; also what else was printed.
fn all(server: &Server, scripts: &[Call]) -> (Vec<Said>, String) {
    all_in(server, standing(server), scripts)
}

fn all_in(server: &Server, mut standing: Feed, scripts: &[Call]) -> (Vec<Said>, String) {
    let wired = standing.wired().unwrap();
    let mut input = wired.head.to_vec();
    let mut nonces = Vec::new();
    for call in scripts {
        let (lines, nonce) = standing.ask(call).unwrap();
        assert_eq!(lines.iter().filter(|b| **b == b'\n').count(), 3, "{lines:?}");
        input.extend_from_slice(&lines);
        nonces.push(nonce);
    }
    let ran = server.exec(&wired.command, &input, &Nonce("none".into()));
    assert_eq!(ran.status, 0, "{}: {ran:?}", server.shell);
    let of = |nonce: &Nonce, text: &str| -> Vec<Answer> { text.lines().filter_map(|l| nonce.split(l).1).collect() };
    let said = nonces.into_iter().map(|nonce| {
        let (answers, errors) = (of(&nonce, &ran.output), of(&nonce, &ran.errors));
        let over = |all: &[Answer]| all.iter().filter(|a| a.key == "over").map(|a| a.value.clone()).collect();
        Said { over: (over(&answers), over(&errors)), answers }
    });
    let said = said.collect();
    let printed = ran.output.lines().filter(|l| !l.contains("@pitcrew:")).map(|l| format!("{l}\n")).collect();
    (said, printed)
}

fn transferred(server: &Server, release: &str, revision: &str) {
    let revision = pitcrew::name::Revision(revision.into());
    let call = calls::transfer(&server.site(), &run(), &id(release), &revision);
    let sent = server.send(&call, &tarball(&revision.0));
    assert_eq!(sent.status, 0, "{sent:?}");
}

#[test]
fn scripts_run_one_after_the_other_as_if_alone() {
    everywhere(|server| {
        let site = server.site();
        assert_eq!(server.run(&calls::lock(&site, &owner())).status, 0);
        transferred(server, A, "aaa");
        transferred(server, B, "bbb");
        let (said, _) = all(
            server,
            &[
                calls::lock(&site, &owner()),
                calls::switch(&site, &run(), None, Some(&id(A))),
                calls::switch(&site, &run(), Some(&id(A)), Some(&id(B))),
                calls::prune(&site, &run(), 5, &[]),
                calls::probe(&site, &[]),
                calls::unlock(&site, &run()),
                calls::probe(&site, &[]),
            ],
        );
        assert!(said.iter().all(Said::is_done), "{}: {said:#?}", server.shell);
        assert_eq!(said[0].values("taken"), ["again"]);
        assert_eq!(said[2].values("was"), [A]);
        assert_eq!((said[4].values("current"), said[4].values("previous")), (vec![B], vec![A]));
        assert_eq!((said[4].values("lock"), said[6].values("lock")), (vec!["held"], vec![]));
    });
}

#[test]
fn a_script_that_fails_is_told_and_the_next_one_runs() {
    everywhere(|server| {
        let site = server.site();
        let (said, _) = all(
            server,
            &[
                calls::lock(&site, &owner()),
                calls::switch(&site, &run(), Some(&id(A)), Some(&id(B))),
                calls::unlock(&site, &run()),
            ],
        );
        assert!(said[1].values("fail")[0].starts_with("current_changed "), "{said:#?}");
        assert!(said[1].ended("70"), "{said:#?}");
        assert!(said[0].is_done() && said[2].is_done(), "{}: {said:#?}", server.shell);
    });
}

/// What the first script needs may come to be only then: links on the way to a place that did not exist.
#[test]
fn a_first_deploy_through_a_link_finds_its_own_release() {
    everywhere(|server| {
        let parent = server.root().parent().unwrap();
        let aside = parent.with_file_name("elsewhere");
        std::fs::create_dir_all(&aside).unwrap();
        std::os::unix::fs::symlink(&aside, parent).unwrap();
        let site = server.site();
        let (mut child, mut standing) = locked(server);
        transferred(server, A, "aaa");
        tell(&mut child, &mut standing, &calls::switch(&site, &run(), None, Some(&id(A))));
        let heard = tell(&mut child, &mut standing, &calls::probe(&site, &[]));
        assert!(heard.contains(&format!("current {A}")), "{}: {heard}", server.shell);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

/// The connection is lost while scripts are at work: they leave word of their end although nobody hears their answers.
#[test]
fn answers_that_nobody_hears_do_not_end_a_script() {
    everywhere(|server| {
        let site = server.site();
        let (mut child, mut standing) = locked(server);
        transferred(server, A, "aaa");
        drop((child.stdout.take(), child.stderr.take()));
        let scripts = [
            calls::link(&site, &run(), &id(A), &pitcrew::config::Shared::default()),
            calls::switch(&site, &run(), None, Some(&id(A))),
            calls::prune(&site, &run(), 5, &[]),
        ];
        let mut nonces = Vec::new();
        for call in scripts {
            let (lines, nonce) = standing.ask(&call).unwrap();
            child.stdin.as_mut().unwrap().write_all(&lines).unwrap();
            nonces.push(nonce);
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        for nonce in nonces {
            assert_eq!(server.read(&format!(".pitcrew/lock/step.{}", nonce.mark())), "done\n", "{}", server.shell);
        }
    });
}

/// An exec that stands, and holds the lock.
fn locked(server: &Server) -> (Child, Feed) {
    let mut standing = standing(server);
    let wired = standing.wired().unwrap();
    let mut child = server.start(&wired.command);
    child.stdin.as_mut().unwrap().write_all(&wired.head).unwrap();
    tell(&mut child, &mut standing, &calls::lock(&server.site(), &owner()));
    (child, standing)
}

/// Has a script run, and returns what it said once it is over.
fn tell(child: &mut Child, standing: &mut Feed, call: &Call) -> String {
    let (lines, nonce) = standing.ask(call).unwrap();
    child.stdin.as_mut().unwrap().write_all(&lines).unwrap();
    let mut heard = String::new();
    // One byte at a time: what comes after belongs to the next script.
    let mut out = BufReader::with_capacity(1, child.stdout.as_mut().unwrap());
    while !heard.contains(&format!("@pitcrew:{} over", nonce.0)) || !heard.ends_with('\n') {
        assert!(out.read_line(&mut heard).unwrap() > 0, "it ended early: {heard}");
    }
    heard
}

/// Asked after a lost connection: what has ended is told at once, and what never came is never begun.
#[test]
fn who_asks_does_not_wait_for_an_exec_that_waits_for_scripts() {
    everywhere(|server| {
        let site = server.site();
        let (mut child, mut standing) = locked(server);
        let prune = calls::prune(&site, &run(), 5, &[]);
        let (lines, done) = standing.ask(&prune).unwrap();
        let (_, never) = standing.ask(&prune).unwrap();
        child.stdin.as_mut().unwrap().write_all(&lines).unwrap();
        let limit = std::time::Duration::from_secs(60);
        let became = |nonce: &Nonce| {
            let ran = server.run(&calls::ask(&prune, nonce, limit));
            ran.answers.iter().find(|a| a.key == "became").map(|a| a.value.clone()).unwrap_or_default()
        };
        assert_eq!(became(&done), "done", "{}", server.shell);
        assert!(child.try_wait().unwrap().is_none(), "it stands for others");
        assert_eq!(became(&never), "never", "{}", server.shell);
        // Its input is still open: it was ended, so that the script can never begin.
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert!(!child.wait().unwrap().success(), "{}: {rest}", server.shell);
    });
}

#[test]
fn what_it_does_not_know_gets_an_exec_of_its_own() {
    let Some(server) = Server::new("dash") else { return };
    let site = server.site();
    let mut standing = standing(&server);
    let revision = pitcrew::name::Revision("aaa".into());
    assert!(standing.ask(&calls::transfer(&site, &run(), &id(A), &revision)).is_none(), "it has a payload");
    assert!(standing.ask(&calls::history(&site)).is_none());
    let elsewhere = pitcrew::script::calls::Site { deploy_to: "/srv/other", ..site };
    assert!(standing.ask(&calls::unlock(&elsewhere, &run())).is_none());
    let nul = calls::mark(&site, &run(), &calls::Mark { line: Some("a\0b"), ..calls::Mark::default() });
    assert!(standing.ask(&nul).is_none());
    // What a user's command leaves in the background must not end with a later script.
    assert!(standing.ask(&calls::command(&site, Dir::Root, "true")).is_none());
    assert!(standing.ask(&calls::restart(&site, &run(), &id(A), std::time::Duration::from_secs(1))).is_none());
    // Four characters tell an exec's scripts apart, so there is an end to them.
    let mark = calls::mark(&site, &run(), &calls::Mark::default());
    let given = (0..100_000).take_while(|_| standing.ask(&mark).is_some()).count();
    assert_eq!(given, 65_535);
}

/// Runs a script by itself from the text that the server keeps.
fn alone(server: &Server, call: &Call, payload: &[u8]) -> crate::server::Ran {
    let nonce = Nonce::random();
    let wired = text(server).alone(call, &nonce).unwrap();
    assert!(wired.command.len() < 600, "{}", wired.command);
    server.exec(&wired.command, &[&wired.head[..], payload].concat(), &nonce)
}

#[test]
fn a_text_that_the_server_keeps_need_not_be_sent() {
    everywhere(|server| {
        let site = server.site();
        let counting = || Feed::counting(text(server));
        let wired = counting().wired().unwrap();
        assert!(wired.command.len() < 1500, "{}", wired.command);
        // Nothing is kept yet, and asking changes nothing.
        let ran = server.exec(&wired.command, b"\n", &Nonce("none".into()));
        assert!(ran.status == 72 && ran.output.ends_with(" unkept\n"), "{}: {ran:?}", server.shell);
        assert!(!server.root().exists());
        let (said, _) = all(server, &[calls::probe(&site, &[])]);
        assert!(
            said[0].is_done() && !server.root().join(".pitcrew/scripts").exists(),
            "questions leave nothing behind"
        );
        let lock = calls::lock(&site, &owner());
        let (said, _) = all(server, std::slice::from_ref(&lock));
        assert!(said[0].is_done(), "{}: {said:?}", server.shell);
        let kept = server.root().join(".pitcrew/scripts");
        let files: Vec<_> = std::fs::read_dir(&kept).unwrap().flatten().map(|e| e.path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");

        let revision = pitcrew::name::Revision("aaa".into());
        let transfer = calls::transfer(&site, &run(), &id(A), &revision);
        let sent = alone(server, &transfer, &tarball("aaa"));
        assert_eq!(sent.status, 0, "{}: {sent:?}", server.shell);
        let command = calls::command(&site, Dir::Release(id(A)), "echo \"it's $PWD\"; exit 3");
        let ran = alone(server, &command.under(&run(), "build"), b"");
        assert!(ran.status == 3 && ran.output.contains("it's ") && ran.output.contains(A), "{}: {ran:?}", server.shell);
        let (said, _) = all_in(server, counting(), &[calls::probe(&site, &[]), calls::unlock(&site, &run())]);
        assert!(said.iter().all(Said::is_done), "{}: {said:?}", server.shell);

        for dir in [&kept, &server.root().join(".pitcrew")] {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
        }
        // Damaged by a byte, cut off, empty: not a line of it runs, in no exec.
        let whole = std::fs::read(&files[0]).unwrap();
        for damaged in [[&whole[..], b"x"].concat(), whole[..whole.len() / 2].to_vec(), Vec::new()] {
            std::fs::write(&files[0], damaged).unwrap();
            let ran = server.exec(&wired.command, b"\n", &Nonce("none".into()));
            assert!(ran.status == 72 && ran.output.ends_with(" unkept\n"), "{}: {ran:?}", server.shell);
            let ran = alone(server, &transfer, b"");
            assert_eq!((ran.status, ran.answers[0].key.as_str()), (72, "unkept"), "{}: {ran:?}", server.shell);
        }
        // Another user's text, which would run as the login.
        let planted =
            format!("touch '{}/planted'\n{}", server.home().display(), String::from_utf8(whole.clone()).unwrap());
        std::fs::write(&files[0], planted).unwrap();
        let ran = alone(server, &transfer, b"");
        assert_eq!((ran.status, ran.answers[0].key.as_str()), (72, "unkept"), "{}: {ran:?}", server.shell);
        assert!(!server.home().join("planted").exists());
        std::fs::remove_file(&files[0]).unwrap();
        let ran = alone(server, &transfer, b"");
        assert_eq!((ran.status, ran.answers[0].key.as_str()), (72, "unkept"), "{}: {ran:?}", server.shell);
        std::fs::write(&files[0], "echo damaged; exit 0\n").unwrap();
        // The next lock mends it.
        let (said, _) = all(server, &[lock]);
        assert!(said[0].is_done(), "{}: {said:?}", server.shell);
        assert_eq!(std::fs::read(&files[0]).unwrap(), whole);
    });
}

#[test]
fn a_place_that_cannot_be_named_keeps_no_text() {
    let Some(server) = Server::new("dash") else { return };
    for root in ["/", "~", "-x", "/srv/a\\b"] {
        let site = pitcrew::script::calls::Site { deploy_to: root, ..server.site() };
        let kept = Arc::new(Kept::new(calls::all_of(&site)).unwrap());
        assert_eq!(Feed::counting(kept.clone()).wired(), None, "{root}");
        assert_eq!(kept.alone(&calls::command(&site, Dir::Root, "true"), &Nonce::random()), None, "{root}");
        assert!(Feed::whole(kept).wired().is_some());
    }
}

#[test]
fn a_users_command_that_asks_for_health_is_one_of_them() {
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        transferred(server, A, "one");
        server.run(&calls::switch(&server.site(), &run(), None, Some(&id(A)))).ok();
        let site = server.site();
        let (said, printed) = all(
            server,
            &[
                calls::check(&site, "cat REVISION; cat; exit 7"),
                calls::check(&site, "kill -KILL $$"),
                calls::check(&site, "printf half; true"),
                calls::renew(&site, &run(), ""),
            ],
        );
        assert!(said[0].ended("7") && said[0].values("exit") == ["7"], "{}: {said:?}", server.shell);
        assert_eq!((said[1].values("signal"), said[1].values("exit")), (vec!["KILL"], vec!["137"]), "{}", server.shell);
        assert_eq!(said[2].values("exit"), ["0"], "{}: {said:?}", server.shell);
        assert!(said[3].is_done(), "{}: {said:?}", server.shell);
        assert!(printed.contains("one\n"), "{printed:?}");
    });
}

/// Whoever cuts long lines off must not cut the script's end off with them.
#[test]
fn the_end_of_a_script_stands_on_a_line_of_its_own() {
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        transferred(server, A, "one");
        server.run(&calls::switch(&server.site(), &run(), None, Some(&id(A)))).ok();
        let mut standing = standing(server);
        let wired = standing.wired().unwrap();
        let mut input = wired.head.to_vec();
        let long = "i=0; while [ $i -lt 1000 ]; do printf '0123456789' >&2; i=$((i + 1)); done";
        let (lines, nonce) = standing.ask(&calls::check(&server.site(), long)).unwrap();
        input.extend_from_slice(&lines);
        let ran = server.exec(&wired.command, &input, &Nonce("none".into()));
        let over = format!("@pitcrew:{} over 0", nonce.0);
        let errors: Vec<&str> =
            ran.errors.lines().filter(|l| l.contains("0123456789") || l.contains(" over ")).collect();
        assert_eq!(errors.len(), 2, "{}: {ran:?}", server.shell);
        assert!(errors[0].len() >= 10_000 && errors[1] == over, "{}: {errors:?}", server.shell);
    });
}
