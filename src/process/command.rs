//! A command of the user's on this machine: its output line by line, and a failure as events tell it.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::end::{Unended, signal_name};
use super::shell::Shell;
use crate::event::{Cause, Failure, Stream};

/// Lines kept to show with a failure.
const TAIL: usize = 20;
/// Longest line in bytes: a longer one is passed on in pieces, so that memory stays bounded.
const LINE: usize = 8192;
/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// A command of the configuration that runs on this machine.
pub struct UserCommand<'a> {
    /// For `sh -c`.
    pub command: &'a str,
    /// Its working directory.
    pub directory: &'a Path,
    /// Variables added to the environment.
    pub env: Vec<(String, String)>,
    /// Limit on the whole.
    pub limit: Option<Duration>,
}

impl UserCommand<'_> {
    /// Runs it to its end; `hear` gets every line.
    ///
    /// # Errors
    /// When it does not end with status 0 within the limit.
    pub async fn run(&self, stop: &CancellationToken, hear: &(dyn Fn(Stream, &str) + Sync)) -> Result<(), Failure> {
        let mut tail = VecDeque::new();
        let mut tell = |stream, line: &str| {
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
            hear(stream, line);
        };
        let (mut out, mut err) = (Lines::default(), Lines::default());
        let shell = Shell {
            command: self.command,
            directory: self.directory,
            env: self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            limit: self.limit,
            grace: GRACE,
        };
        let ended = shell
            .run(stop, &mut |stream, piece| match stream {
                Stream::Stdout => out.add(piece, |line| tell(stream, line)),
                Stream::Stderr => err.add(piece, |line| tell(stream, line)),
            })
            .await;
        out.end(|line| tell(Stream::Stdout, line));
        err.end(|line| tell(Stream::Stderr, line));
        match ended.map_or_else(|why| Some(self.unended(why)), failed) {
            None => Ok(()),
            Some(cause) => Err(Failure { cause, command: Some(self.command.to_owned()), tail: tail.into() }),
        }
    }

    fn unended(&self, why: Unended) -> Cause {
        match why {
            Unended::Failed(e) => Cause::Local { detail: format!("cannot run `{}`: {e}", self.command) },
            Unended::Silent(limit) | Unended::TimedOut(limit) => Cause::TimedOut { limit: limit.as_secs_f64() },
            Unended::Stopped => Cause::Interrupted,
        }
    }
}

/// Makes a cause of a status; `None`: it is a success.
fn failed(status: ExitStatus) -> Option<Cause> {
    Some(match (status.code(), status.signal()) {
        (Some(0), _) => return None,
        (Some(code), _) => Cause::Exit { status: u32::try_from(code).unwrap_or(1) },
        (None, Some(signal)) => Cause::Signal { signal: signal_name(signal) },
        (None, None) => Cause::NoStatus,
    })
}

/// Makes lines of pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, piece: &[u8], mut hear: impl FnMut(&str)) {
        for byte in piece {
            if *byte != b'\n' {
                self.0.push(*byte);
            }
            if *byte == b'\n' || self.0.len() == LINE {
                hear(&String::from_utf8_lossy(&self.0));
                self.0.clear();
            }
        }
    }

    /// Passes on a last line that has no end.
    fn end(self, mut hear: impl FnMut(&str)) {
        if !self.0.is_empty() {
            hear(&String::from_utf8_lossy(&self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::proc;
    use super::*;

    fn command<'a>(command: &'a str, directory: &'a Path) -> UserCommand<'a> {
        UserCommand { command, directory, env: Vec::new(), limit: None }
    }

    #[tokio::test]
    async fn what_a_command_started_in_other_process_groups_ends_with_it() {
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        let (stop, told) = (CancellationToken::new(), Mutex::new(Vec::new()));
        // `timeout` leads a group of its own, and what it runs ignores TERM; the parent of the third has ended.
        let text = "timeout 600 sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & \
                    timeout 600 sh -c 'echo $$; sleep 600' & \
                    (timeout 600 sh -c 'echo $$; sleep 600' &); wait";
        let hear = |_: Stream, line: &str| {
            // A shell may say as well that what it ran was terminated.
            let Ok(pid) = line.parse::<u32>() else { return };
            let mut told = told.lock().unwrap();
            told.push(pid);
            if told.len() == 3 {
                stop.cancel();
            }
        };
        let failure = command(text, &std::env::temp_dir()).run(&stop, &hear).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Interrupted);
        for pid in told.lock().unwrap().iter() {
            assert!(proc::ends(*pid), "{pid} still runs");
        }
    }

    #[tokio::test]
    async fn output_comes_in_lines_and_the_last_of_them_with_a_failure() {
        let heard = Mutex::new(Vec::new());
        let hear = |stream: Stream, line: &str| heard.lock().unwrap().push((stream, line.to_owned()));
        let text = "printf 'a\\n\\nb'; head -c 8193 /dev/zero | tr '\\0' x >&2; exit 3";
        let failure = command(text, Path::new("/")).run(&CancellationToken::new(), &hear).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Exit { status: 3 });
        assert_eq!(failure.tail.len(), 5);
        let heard = heard.into_inner().unwrap();
        let of =
            |wanted: Stream| heard.iter().filter(|(s, _)| *s == wanted).map(|(_, l)| l.as_str()).collect::<Vec<_>>();
        assert_eq!(of(Stream::Stdout), ["a", "", "b"]);
        assert_eq!(of(Stream::Stderr).iter().map(|line| line.len()).collect::<Vec<_>>(), [8192, 1]);
    }
}
