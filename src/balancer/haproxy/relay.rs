//! HAProxy's socket through a program on its host, socat or nc, with sudo where the socket is root's.
//!
//! One exec a call; all values go to the shell's standard input, quoted. sudo is never let ask for anything.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::route::{Failed, too_large};
use super::{ANSWER_LIMIT, CALL_LIMIT};
use crate::config::Via;
use crate::remote::{Nonce, quote};
use crate::ssh::{Ended, Exec, Heard, Pipe, Session};
use crate::text::one_line;

/// What the host's shell gets.
const SCRIPT: &str = include_str!("../../../templates/remote/socket.sh");
/// Calls at once: a server that passes on commands for others has 10 sessions for one connection (`MaxSessions`).
const AT_ONCE: usize = 4;
/// How many calls, one after another, are waited for.
const TURNS: u32 = 20;
/// Lines kept of what the program complained about.
const COMPLAINTS: usize = 4;

/// A program on the socket's host.
pub struct Relay {
    path: String,
    sudo: bool,
    room: Semaphore,
}

/// Why a relay passed nothing on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRelayed {
    path: String,
    sudo: bool,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// The user may not look into this directory.
    Hidden(String),
    /// Nothing is at the path.
    Missing,
    /// Something else is.
    NoSocket,
    /// The user may not write to it: mode, owner and group.
    Denied(String),
    /// There is neither socat nor an nc that knows unix sockets.
    NoTool,
    /// There is no sudo.
    NoSudo,
    /// sudo refused to run this command line, with these words.
    NotAllowed { command: String, said: String },
    /// The program itself failed, with these words.
    Program(String),
    /// The shell was not run, or not to its end.
    Shell(String),
    /// What was answered is of no use.
    Answer(Failed),
}

impl Relay {
    /// Makes one for a socket.
    pub fn new(path: &str, via: Via) -> Self {
        Self { path: path.to_owned(), sudo: via == Via::Sudo, room: Semaphore::new(AT_ONCE) }
    }

    /// Waits for its turn, which is long only where many lanes ask at once; each call before it has this limit.
    pub async fn turn(&self, limit: Duration) -> Result<SemaphorePermit<'_>, Failed> {
        match timeout(limit.saturating_mul(TURNS), self.room.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Failed::new("too many calls to it wait for each other", "use smaller batches")),
        }
    }

    /// Says one line and returns all that is answered. Whoever calls has a turn.
    pub async fn call(&self, session: &Session, line: &str) -> Result<String, NotRelayed> {
        let not = |why| NotRelayed { path: self.path.clone(), sudo: self.sudo, why };
        let nonce = Nonce::random();
        let text = script(&nonce, &self.path, self.sudo, line)
            .ok_or_else(|| not(Why::Shell("a NUL cannot be passed on".to_owned())))?;
        let exec = Exec {
            command: "exec sh -s".to_owned(),
            head: text.into(),
            last_words: vec![format!("@pitcrew:{} ", nonce.0)],
            ..Exec::default()
        };
        let mut heard = Said::default();
        let take = &mut |h: Heard<'_>| heard.take(&nonce, &h);
        let ended = session.exec(exec, take, &CancellationToken::new()).await;
        heard.judge(ended).map_err(not)
    }
}

/// Writes what the shell reads; `None` when something in it cannot be said to a shell.
fn script(nonce: &Nonce, path: &str, sudo: bool, line: &str) -> Option<String> {
    let values = [
        ("nonce", nonce.0.as_str()),
        ("p_path", path),
        ("p_address", &socat_address(path)),
        ("p_line", line.trim_end()),
        ("p_limit", &CALL_LIMIT.as_secs().to_string()),
        ("p_sudo", if sudo { "yes" } else { "" }),
    ];
    let mut text = String::new();
    for (name, value) in values {
        text.push_str(&format!("{name}={}\n", quote::word(value)?));
    }
    text.push_str(SCRIPT);
    Some(text)
}

/// Escapes what has a meaning in an address of socat's (socat(1), "Address specifications").
fn socat_address(path: &str) -> String {
    path.chars().flat_map(|c| ":,!\\\"'([{".contains(c).then_some('\\').into_iter().chain([c])).collect()
}

/// What was heard of one call.
#[derive(Debug, Default)]
struct Said {
    answer: String,
    complaints: Vec<String>,
    /// How the script says that it ended.
    end: Option<(String, String)>,
    too_large: bool,
}

impl Said {
    fn take(&mut self, nonce: &Nonce, heard: &Heard<'_>) {
        match heard {
            Heard::Line(Pipe::Out, line) => match nonce.read(line) {
                Some(answer) if answer.key == "begin" => *self = Self::default(),
                Some(answer) => self.end = Some((answer.key, answer.value)),
                None if self.answer.len() as u64 > ANSWER_LIMIT => self.too_large = true,
                None => {
                    self.answer.push_str(line);
                    self.answer.push('\n');
                }
            },
            Heard::Line(Pipe::Err, line) if self.complaints.len() < COMPLAINTS => {
                self.complaints.push(one_line(line, 200));
            }
            _ => {}
        }
    }

    fn judge(mut self, ended: Ended) -> Result<String, Why> {
        if self.too_large {
            return Err(Why::Answer(too_large()));
        }
        let said = self.complaints.join(" / ");
        let Some((word, rest)) = self.end else {
            return Err(Why::Shell(match ended {
                Ended::Exit(0) | Ended::NoStatus => "its shell does not do as it is told".to_owned(),
                Ended::Exit(status) => format!("its shell ended with exit status {status}: {said}"),
                Ended::Signal(signal) => format!("its shell was ended by signal {signal}"),
                Ended::Lost(why) => format!("the connection was lost: {why}"),
                Ended::Refused(why) => format!("it runs no command: {why}"),
                Ended::TimedOut(_) | Ended::Stopped => "its shell was ended".to_owned(),
            }));
        };
        match word.as_str() {
            "hidden" => Err(Why::Hidden(rest)),
            "missing" => Err(Why::Missing),
            "no-socket" => Err(Why::NoSocket),
            "denied" => Err(Why::Denied(rest)),
            "no-tool" => Err(Why::NoTool),
            "no-sudo" => Err(Why::NoSudo),
            "ran" => {
                let (status, command) = rest.split_once(' ').unwrap_or((&rest, ""));
                let program =
                    |line: &String| line.contains("socat[") || line.starts_with("nc: ") || line.starts_with("Ncat: ");
                if status == "0" {
                    // The newline before the last line is the script's.
                    if self.answer.ends_with('\n') {
                        self.answer.pop();
                    }
                    Ok(self.answer)
                } else if self.complaints.iter().any(program) {
                    Err(Why::Program(said))
                } else {
                    Err(Why::NotAllowed { command: command.to_owned(), said })
                }
            }
            other => Err(Why::Shell(format!("its shell answered {other:?}"))),
        }
    }
}

impl NotRelayed {
    /// Says it where the relay is the way that was asked for, or known to be the only one.
    pub fn told(self, user: &str, host: &str) -> Failed {
        let path = &self.path;
        let cannot = format!("{user} cannot open {path} on {host}");
        match self.why {
            Why::Hidden(dir) => {
                Failed::for_good(format!("{cannot}: it may not look into {dir}"), socket_hint(path, user))
            }
            Why::Denied(mode) => {
                Failed::for_good(format!("{cannot}: it may not write to it ({mode})"), socket_hint(path, user))
            }
            Why::Missing => Failed::new(
                format!("there is no {path} on {host}"),
                "is haproxy running, and is this the path of its `stats socket`?",
            ),
            Why::NoSocket => Failed::for_good(
                format!("{path} on {host} is no socket"),
                "write the path of haproxy's `stats socket` in `at`",
            ),
            Why::NoTool => Failed::for_good(
                format!("{host} has neither socat nor an nc that can open {path}"),
                "install socat there, or have its sshd allow AllowStreamLocalForwarding",
            ),
            Why::NoSudo => Failed::for_good(
                format!("{host} has no sudo, which `via = \"sudo\"` asks for"),
                format!("install it there, or leave `via` out and {}", socket_hint(path, user)),
            ),
            Why::NotAllowed { command, said } if self.sudo => Failed::for_good(
                format!("sudo on {host} does not let {user} open {path}: {said}"),
                format!("in sudoers there: `{}`", sudoers(user, &command)),
            ),
            Why::NotAllowed { said, .. } | Why::Program(said) => Failed::new(
                format!("{cannot}: {said}"),
                "is haproxy running, and is this the path of its `stats socket`?",
            ),
            Why::Shell(why) => Failed::new(format!("{cannot}: {why}"), ""),
            Why::Answer(failed) => failed,
        }
    }

    /// Says it after sshd had refused a channel to the socket, for this reason.
    pub fn after(self, refused: &str, user: &str, host: &str) -> Failed {
        let path = &self.path;
        match self.why {
            Why::NoTool => Failed::for_good(
                format!("sshd on {host} opens no channel to {path} ({refused}), and neither socat nor nc is there"),
                "have sshd there allow AllowStreamLocalForwarding, or install socat",
            ),
            Why::Shell(why) => Failed::new(
                format!("{user} cannot open {path} on {host}: {refused}; and {why}"),
                format!("{}; sshd there must allow AllowStreamLocalForwarding", socket_hint(path, user)),
            ),
            _ => self.told(user, host),
        }
    }
}

/// Says what lets `user` use the socket.
pub fn socket_hint(path: &str, user: &str) -> String {
    format!(
        "in haproxy.cfg: `stats socket {path} user {user} mode 660 level admin`, then restart haproxy; \
         or `via = \"sudo\"` in [load_balancer], for an ssh:// address"
    )
}

/// Writes the line of sudoers that allows just this command (sudoers(5): `,`, `:`, `=` and `\` are escaped).
fn sudoers(user: &str, command: &str) -> String {
    let escaped: String =
        command.chars().flat_map(|c| ",:=\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
    format!("{user} ALL=(root) NOPASSWD: {escaped}")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

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
    fn what_only_somebody_can_change_is_not_asked_for_again() {
        let refused = || Why::NotAllowed { command: "socat".into(), said: "no".into() };
        assert!(
            told(refused(), true).lasts
                && told(Why::NoSudo, true).lasts
                && told(Why::Denied(String::new()), false).lasts
        );
        for why in [Why::Missing, Why::Program("Connection refused".into()), Why::Shell("lost".into()), refused()] {
            assert!(!told(why, false).lasts, "a reload takes the socket away for a moment");
        }
    }

    fn told(why: Why, sudo: bool) -> Failed {
        NotRelayed { path: PATH.into(), sudo, why }.told(USER, "lb1")
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
        assert_eq!(failed.detail, format!("sudo on lb1 does not let deploy open {PATH}: sudo: a password is required"));
        assert_eq!(
            failed.hint,
            "in sudoers there: `deploy ALL=(root) NOPASSWD: /usr/bin/socat -t 10 -T 10 - \
             UNIX-CONNECT\\:/run/haproxy/admin.sock`"
        );
        // What the program says is no word of sudo's, whatever sudo had to say before.
        let warned = ["sudo: unable to resolve host lb1", "2026/01/01 00:00:00 socat[7] E connect: Connection refused"];
        let failed = told(judged(end, &[""], &warned).unwrap_err(), true);
        assert!(
            failed.detail.contains("Connection refused") && failed.hint.contains("is haproxy running"),
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
            assert!(failed.detail.contains(detail) && failed.hint.contains(hint), "{failed:?}");
        }
        let refused = Said::default().judge(Ended::Refused("no room".into())).unwrap_err();
        let failed = NotRelayed { path: PATH.into(), sudo: false, why: refused }.after("it forbids it", USER, "lb1");
        assert!(failed.detail.ends_with("on lb1: it forbids it; and it runs no command: no room"), "{failed:?}");
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let line = "x".repeat(8000);
        let out = vec![line.as_str(); (ANSWER_LIMIT / 8000) as usize + 3];
        assert!(matches!(judged("@pitcrew:n ran 0 socat", &out, &[]), Err(Why::Answer(_))));
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
}
