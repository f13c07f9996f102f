//! HAProxy's socket through a program on its host, socat or nc, with sudo where the socket is root's.
//!
//! One exec a call; all values go to the shell's standard input, quoted. sudo may not ask for anything.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::failed::CallFailed;
use super::limits::{ANSWER_LIMIT, CALL_LIMIT};
use super::not_relayed::Why;
use crate::answer::Nonce;
use crate::config::Via;
use crate::script::quote;
use crate::ssh::{Ended, Exec, Heard, Pipe, Session};
use crate::text::one_line;

/// The script that the host's shell reads.
const SCRIPT: &str = include_str!("../../../templates/remote/socket.sh");
/// How many calls run at once: sshd allows 10 sessions a connection (`MaxSessions`) to all users.
const AT_ONCE: usize = 4;
/// How many calls may come before one, one after another.
const TURNS: u32 = 20;
/// How many lines of the program's complaints are kept.
const COMPLAINTS: usize = 4;

/// A program on the socket's host.
pub struct Relay {
    path: String,
    sudo: bool,
    room: Semaphore,
}

impl Relay {
    /// Makes the relay of one socket; connects to nothing.
    pub fn new(path: &str, via: Via) -> Self {
        Self { path: path.to_owned(), sudo: via == Via::Sudo, room: Semaphore::new(AT_ONCE) }
    }

    /// Waits for its turn; each call before it has this limit.
    pub async fn turn(&self, limit: Duration) -> Result<SemaphorePermit<'_>, CallFailed> {
        match timeout(limit.saturating_mul(TURNS), self.room.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(CallFailed::Crowded),
        }
    }

    /// Tells whether the program is to run with sudo.
    pub fn sudo(&self) -> bool {
        self.sudo
    }

    /// Says one line and returns the whole answer. The caller holds a turn.
    pub async fn call(&self, session: &Session, line: &str) -> Result<String, Why> {
        let nonce = Nonce::random();
        let text = script(&nonce, &self.path, self.sudo, line)
            .ok_or_else(|| Why::Shell("a NUL cannot be passed on".to_owned()))?;
        let exec = Exec {
            command: "sh -s".to_owned(),
            head: text.into(),
            last_words: vec![format!("@pitcrew:{} ", nonce.0)],
            ..Exec::default()
        };
        let mut heard = Said::default();
        let take = &mut |h: Heard<'_>| heard.take(&nonce, &h);
        let ended = session.exec(exec, take, &CancellationToken::new()).await;
        heard.judge(ended)
    }
}

/// Writes what the shell reads; `None` where a value holds a NUL.
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

/// The output of one call.
#[derive(Debug, Default)]
struct Said {
    answer: String,
    complaints: Vec<String>,
    /// How the script reports its end.
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
            return Err(Why::TooLarge);
        }
        let said = self.complaints.join(" / ");
        let Some((word, rest)) = self.end else {
            return Err(Why::Shell(match ended {
                Ended::Exit(0) | Ended::NoStatus => "its shell does not do as it is told".to_owned(),
                Ended::Exit(status) => format!("its shell ended with exit status {status}: {said}"),
                Ended::Signal(signal) => format!("its shell was ended by signal {signal}"),
                Ended::Lost(why) | Ended::Unsent(why) => format!("the connection was lost: {why}"),
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

#[cfg(test)]
mod tests;
