//! A relay's words, and its script under the shells of a test's own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use super::*;
use crate::balancer::haproxy::not_relayed::NotRelayed;
use crate::ssh::{ChannelRefusal, NotOpen, Refused};

const USER: &str = "deploy";
const PATH: &str = "/run/haproxy/admin.sock";

fn judged(end: &str, out: &[&str], err: &[&str]) -> Result<String, Why> {
    let nonce = Nonce("n".into());
    let mut said = Said::default();
    out.iter().for_each(|line| said.take(&nonce, &Heard::Line(Pipe::Out, line)));
    err.iter().for_each(|line| said.take(&nonce, &Heard::Line(Pipe::Err, line)));
    said.take(&nonce, &Heard::Line(Pipe::Out, end));
    said.judge(Ended::Exit(0))
}

#[test]
fn what_only_a_person_can_change_is_not_asked_for_again() {
    let refused = || Why::NotAllowed { command: "socat".into(), said: "no".into() };
    assert!(
        told(refused(), true).lasts()
            && told(Why::NoSudo, true).lasts()
            && told(Why::Denied(String::new()), false).lasts()
    );
    for why in [Why::Missing, Why::Program("Connection refused".into()), Why::Shell("lost".into()), refused()] {
        assert!(!told(why, false).lasts(), "a reload takes the socket away for a moment");
    }
}

fn told(why: Why, sudo: bool) -> NotRelayed {
    NotRelayed { path: PATH.into(), user: USER.into(), host: "lb1".into(), sudo, refused: None, why }
}

#[test]
fn an_answer_comes_back_as_it_was() {
    assert_eq!(judged("@pitcrew:n ran 0 /usr/bin/socat -", &["admin", "", ""], &[]).unwrap(), "admin\n\n");
    assert_eq!(judged("@pitcrew:n ran 0 /usr/bin/socat -", &["", ""], &[]).unwrap(), "\n");
    // A login shell talks before.
    let noisy = ["NOISE", "half a line@pitcrew:n begin", "admin", "", ""];
    assert_eq!(judged("@pitcrew:n ran 0 /usr/bin/socat -", &noisy, &["noise"]).unwrap(), "admin\n\n");
    // It broke off.
    assert_eq!(judged("@pitcrew:n ran 0 /usr/bin/socat -", &["adm"], &[]).unwrap(), "adm");
}

#[test]
fn what_sudo_refuses_names_the_line_that_allows_it() {
    let end = "@pitcrew:n ran 1 /usr/bin/socat -t 10 -T 10 - UNIX-CONNECT:/run/haproxy/admin.sock";
    let why = judged(end, &[""], &["sudo: a password is required"]).unwrap_err();
    let failed = told(why, true);
    assert_eq!(
        failed.to_string(),
        format!("sudo on lb1 does not let deploy open {PATH}: sudo: a password is required")
    );
    assert_eq!(
        failed.hint(),
        "in sudoers there: `deploy ALL=(root) NOPASSWD: /usr/bin/socat -t 10 -T 10 - \
         UNIX-CONNECT\\:/run/haproxy/admin.sock`"
    );
    // What the program says is no word of sudo's, whatever sudo had to say before.
    let warned = ["sudo: unable to resolve host lb1", "2026/01/01 00:00:00 socat[7] E connect: Connection refused"];
    let failed = told(judged(end, &[""], &warned).unwrap_err(), true);
    assert!(
        failed.to_string().contains("Connection refused") && failed.hint().contains("is haproxy running"),
        "{failed:?}"
    );
}

#[test]
fn each_failure_says_what_to_do() {
    for (end, detail, hint) in [
        ("denied srw-rw---- root root", "may not write to it (srw-rw---- root root)", "via = \"sudo\""),
        ("hidden /run/haproxy", "may not look into /run/haproxy", "user deploy mode 660 level admin"),
        ("missing", "there is no /run/haproxy/admin.sock on lb1", "is haproxy running"),
        ("no-socket", "is no socket", "`at`"),
        ("no-tool", "neither socat nor", "install socat"),
        ("no-sudo", "has no sudo", "leave `via` out"),
        ("hm", "answered \"hm\"", ""),
    ] {
        let failed = told(judged(&format!("@pitcrew:n {end}"), &[""], &[]).unwrap_err(), false);
        assert!(failed.to_string().contains(detail) && failed.hint().contains(hint), "{failed:?}");
    }
    let forbidden = Refused::Channel { why: ChannelRefusal::Forbidden, words: "it forbids it".into() };
    let refused = Said::default().judge(Ended::Refused(Refused::Command)).unwrap_err();
    let failed = NotRelayed { refused: Some(NotOpen::Refused(forbidden)), ..told(refused, false) };
    assert!(
        failed
            .to_string()
            .ends_with("on lb1: it forbids it; and it runs no command: the server refused to run a command"),
        "{failed:?}"
    );
}

#[test]
fn an_endless_answer_is_cut_off() {
    let line = "x".repeat(8000);
    let out = vec![line.as_str(); (ANSWER_LIMIT / 8000) as usize + 3];
    assert!(matches!(judged("@pitcrew:n ran 0 socat", &out, &[]), Err(Why::TooLarge)));
}

#[test]
fn a_path_survives_the_shell_and_socat() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b,c:d'e$(x)\\.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap().to_owned();
    for shell in [&["dash"][..], &["busybox", "sh"], &["bash", "--posix"]] {
        if Command::new("socat").arg("-V").output().is_err() || Command::new(shell[0]).arg("-c").output().is_err() {
            continue;
        }
        let nonce = Nonce("n".into());
        let text = script(&nonce, &path, false, "show 'x';quit\n").unwrap();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let (mut wire, _) = listener.accept().unwrap();
        let mut line = [0; 64];
        let read = wire.read(&mut line).unwrap();
        assert_eq!(&line[..read], b"show 'x';quit\n", "{shell:?}");
        wire.write_all(b"rows\n\n").unwrap();
        drop(wire);
        let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(out.starts_with("\n@pitcrew:n begin\nrows\n\n\n@pitcrew:n ran 0 "), "{shell:?}: {out}");
    }
    assert!(script(&Nonce("n".into()), "/a\0b", false, "").is_none());
}
