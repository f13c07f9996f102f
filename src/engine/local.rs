//! A command on the operator's machine: in a process group of its own, within a limit, its output passed on line by line.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::event::{Cause, Failure, Stream};

/// Lines kept to show with a failure.
const TAIL: usize = 20;
/// A longer line is passed on in pieces: memory stays bounded whatever a command prints.
const LINE: u64 = 8192;

/// What is run, and where.
pub struct Local<'a> {
    /// For `sh -c`.
    pub command: &'a str,
    /// Its working directory.
    pub directory: &'a Path,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Hard limit.
    pub limit: Option<Duration>,
}

impl Local<'_> {
    /// Runs it to its end; `hear` gets every line.
    ///
    /// # Errors
    /// Whatever kept it from ending with status 0.
    pub async fn run(&self, stop: &CancellationToken, hear: &(dyn Fn(Stream, &str) + Sync)) -> Result<(), Failure> {
        let tail = Mutex::new(VecDeque::new());
        let fail = |cause| {
            let lines = tail.lock().map(|t| t.iter().cloned().collect()).unwrap_or_default();
            Failure { cause, command: Some(self.command.to_owned()), tail: lines }
        };
        let local = |e: std::io::Error| fail(Cause::Local { detail: format!("cannot run `{}`: {e}", self.command) });
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(self.command)
            .current_dir(self.directory)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(local)?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let keep = |stream, line: &str| {
            if let Ok(mut tail) = tail.lock() {
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.to_owned());
            }
            hear(stream, line);
        };
        let listening = async { tokio::join!(listen(out, Stream::Stdout, &keep), listen(err, Stream::Stderr, &keep)) };
        let waiting = wait(&mut child, &mut group, self.limit, stop);
        tokio::pin!(listening, waiting);
        let mut heard_all = false;
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                _ = &mut listening, if !heard_all => heard_all = true,
            }
        };
        if !heard_all {
            // Something it left in the background may hold its output open for ever.
            let _ = tokio::time::timeout(Duration::from_secs(1), listening).await;
        }
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(fail(match (status.code(), status.signal()) {
                (Some(code), _) => Cause::Exit { status: u32::try_from(code).unwrap_or(1) },
                (None, Some(signal)) => Cause::Signal { signal: name_of(signal) },
                (None, None) => Cause::NoStatus,
            })),
            Err(Cut::Io(e)) => Err(local(e)),
            Err(Cut::Stopped) => Err(fail(Cause::Interrupted)),
            Err(Cut::TimedOut(limit)) => Err(fail(Cause::TimedOut { limit: limit.as_secs_f64() })),
        }
    }
}

fn name_of(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned())
}

enum Cut {
    Io(std::io::Error),
    Stopped,
    TimedOut(Duration),
}

/// The process group of a command; what is let go of before its end is killed.
struct Group(Option<Pid>);

impl Group {
    /// Sends a signal to whoever is left of it. True: somebody is.
    fn tell(&self, signal: Option<Signal>) -> bool {
        self.0.is_some_and(|group| killpg(group, signal).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.tell(Some(Signal::SIGKILL));
    }
}

/// Waits for the child within its limit; ends its whole group otherwise.
async fn wait(
    child: &mut Child,
    group: &mut Group,
    limit: Option<Duration>,
    stop: &CancellationToken,
) -> Result<std::process::ExitStatus, Cut> {
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let cut = tokio::select! {
        status = child.wait() => {
            // What it leaves in the background after its own end is meant to stay.
            group.0 = None;
            return status.map_err(Cut::Io);
        }
        () = stop.cancelled() => Cut::Stopped,
        () = over => Cut::TimedOut(limit.unwrap_or_default()),
    };
    for (signal, grace) in [(Signal::SIGTERM, 5), (Signal::SIGKILL, 1)] {
        group.tell(Some(signal));
        let gone = async {
            let _ = child.wait().await;
            // The shell may end at once, and what it ran take its time.
            while group.tell(None) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(grace), gone).await.is_ok() {
            break;
        }
    }
    group.0 = None;
    Err(cut)
}

async fn listen(from: Option<impl AsyncRead + Unpin>, stream: Stream, hear: &(dyn Fn(Stream, &str) + Sync)) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut from).take(LINE).read_until(b'\n', &mut line).await {
        let raw = String::from_utf8_lossy(&line);
        hear(stream, raw.trim_end_matches('\n'));
        line.clear();
    }
}
