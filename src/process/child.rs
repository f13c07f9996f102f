//! Runs a local program so that it can neither hang the run nor outlive it.
//!
//! Owns process groups, limits and the end of a child; what is run, and what its output means, is the caller's.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::source::Stop;

/// How soon a wish to stop is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How long a child may take to end once its output has.
const GRACE: Duration = Duration::from_secs(5);
/// As much as is kept of what a child complains of.
const STDERR_MAX: usize = 16 * 1024;

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// Its standard error: the first 16 KiB, trimmed.
    pub stderr: String,
}

/// Why a child did not end by itself.
#[derive(Debug)]
pub enum Unended {
    /// It could not be started, or not be waited for.
    Failed(io::Error),
    /// It wrote nothing for too long and was killed.
    Silent(Duration),
    /// The caller asked for its end and it was killed.
    Stopped,
}

/// Runs a command with all its children in a process group of its own and hands its standard output to `read`.
///
/// It is killed when `stop` answers true, and when it neither writes nor ends for `silence`. When `read` returns early,
/// the rest of the output is not waited for.
pub fn run<T>(
    command: &mut Command,
    silence: Duration,
    stop: Stop<'_>,
    read: impl FnOnce(&mut dyn Read) -> T,
) -> Result<(T, Ended), Unended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C at the terminal is for pitcrew, which then decides; and filters that git starts die with it.
        .process_group(0)
        .spawn()
        .map_err(Unended::Failed)?;
    let stdout = child.stdout.take();
    let complaints = collect(child.stderr.take());
    let heard = AtomicU64::new(0);
    let (done, finished) = mpsc::channel();
    let (value, outcome) = thread::scope(|scope| {
        let (child, heard) = (&mut child, &heard);
        let watch = scope.spawn(move || watch(child, &finished, heard, silence, stop));
        let value = match stdout {
            Some(stdout) => read(&mut Counted { from: stdout, heard }),
            None => read(&mut io::empty()),
        };
        drop(done);
        let outcome = watch.join().unwrap_or_else(|_| Err(Unended::Failed(io::Error::other("its watch died"))));
        (value, outcome)
    });
    // Something of it may still hold the pipe open; then its complaints are not worth waiting for.
    let stderr = complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    outcome.map(|status| (value, Ended { status, stderr }))
}

fn watch(
    child: &mut Child,
    finished: &mpsc::Receiver<()>,
    heard: &AtomicU64,
    silence: Duration,
    stop: Stop<'_>,
) -> Result<ExitStatus, Unended> {
    let mut last = (0, Instant::now());
    let verdict = loop {
        match finished.recv_timeout(TICK) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = heard.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        if stop() {
            break Some(Unended::Stopped);
        }
        if last.1.elapsed() >= silence {
            break Some(Unended::Silent(silence));
        }
    };
    if let Some(why) = verdict {
        kill(child);
        child.wait().map_err(Unended::Failed)?;
        return Err(why);
    }
    let deadline = Instant::now() + GRACE;
    let mut pause = Duration::from_micros(200);
    while Instant::now() < deadline && !stop() {
        if let Some(status) = child.try_wait().map_err(Unended::Failed)? {
            return Ok(status);
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(TICK);
    }
    kill(child);
    child.wait().map_err(Unended::Failed)
}

/// Ends the whole group; the child has not been waited for yet, so that its number is still its own.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let killed = group.is_ok_and(|group| killpg(group, Signal::SIGKILL).is_ok());
    if !killed {
        // Best effort: it may be gone already.
        let _ = child.kill();
    }
}

fn collect(from: Option<ChildStderr>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            // Read to the end even so: a child must not block on what nobody keeps.
            let _ = from.by_ref().take(STDERR_MAX as u64).read_to_end(&mut kept);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        let _ = send.send(String::from_utf8_lossy(&kept).trim().to_owned());
    });
    receive
}

struct Counted<'a, R> {
    from: R,
    heard: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.from.read(into);
        self.heard.fetch_add(1, Ordering::Relaxed);
        got
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    fn all(from: &mut dyn Read) -> String {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn output_complaints_and_status_come_back() {
        let (text, ended) = run(&mut shell("echo out; echo err >&2; exit 3"), GRACE, &|| false, all).unwrap();
        assert_eq!((text.as_str(), ended.stderr.as_str(), ended.status.code()), ("out\n", "err", Some(3)));
    }

    #[test]
    fn a_silent_child_is_killed_with_its_children() {
        let error = run(&mut shell("sleep 600 & sleep 600"), TICK, &|| false, all).unwrap_err();
        assert!(matches!(error, Unended::Silent(_)), "{error:?}");
    }

    #[test]
    fn a_child_is_killed_when_asked() {
        let error = run(&mut shell("echo x; sleep 600"), Duration::MAX, &|| true, all).unwrap_err();
        assert!(matches!(error, Unended::Stopped), "{error:?}");
    }

    #[test]
    fn output_that_nobody_wants_does_not_block() {
        let (first, ended) = run(&mut shell("while echo y; do :; done"), GRACE, &|| false, |from| {
            let mut byte = [0];
            from.read_exact(&mut byte).unwrap();
            byte[0]
        })
        .unwrap();
        assert_eq!(first, b'y');
        assert!(!ended.status.success() || !ended.stderr.is_empty());
    }

    #[test]
    fn floods_of_complaints_are_cut() {
        let (_, ended) = run(&mut shell("head -c 300000 /dev/zero | tr '\\0' e >&2"), GRACE, &|| false, all).unwrap();
        assert_eq!(ended.stderr.len(), STDERR_MAX);
    }
}
