//! A command on the operator's machine: in a process group of its own, within a limit, its output passed on line by line.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::family::{Family, signal_name};
use crate::event::{Cause, Failure, Stream};

/// Lines kept to show with a failure.
const TAIL: usize = 20;
/// A longer line is passed on in pieces: memory stays bounded whatever a command prints.
const LINE: u64 = 8192;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

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
        let mut family = Family::of(child.id());
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
        let waiting = wait(&mut child, &mut family, self.limit, stop);
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
                (None, Some(signal)) => Cause::Signal { signal: signal_name(signal) },
                (None, None) => Cause::NoStatus,
            })),
            Err(Cut::Io(e)) => Err(local(e)),
            Err(Cut::Stopped) => Err(fail(Cause::Interrupted)),
            Err(Cut::TimedOut(limit)) => Err(fail(Cause::TimedOut { limit: limit.as_secs_f64() })),
        }
    }
}

enum Cut {
    Io(std::io::Error),
    Stopped,
    TimedOut(Duration),
}

/// Waits for the child within its limit; ends all that it started otherwise.
async fn wait(
    child: &mut Child,
    family: &mut Family,
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
            family.let_go();
            return status.map_err(Cut::Io);
        }
        () = stop.cancelled() => Cut::Stopped,
        () = over => Cut::TimedOut(limit.unwrap_or_default()),
    };
    family.end(child, GRACE).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_command_started_in_other_process_groups_ends_with_it() {
        if !Path::new("/proc/self/stat").exists() {
            return;
        }
        let (stop, told) = (CancellationToken::new(), Mutex::new(Vec::new()));
        // `timeout` leads a group of its own, and what it runs ignores being told.
        let command = "timeout 600 sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & \
                       timeout 600 sh -c 'echo $$; sleep 600' & wait";
        let directory = std::env::temp_dir();
        let local = Local { command, directory: &directory, env: Vec::new(), limit: None };
        let hear = |_: Stream, line: &str| {
            // A shell may say as well that what it ran was terminated.
            let Ok(pid) = line.parse::<u32>() else { return };
            let mut told = told.lock().unwrap();
            told.push(pid);
            if told.len() == 2 {
                stop.cancel();
            }
        };
        let failure = local.run(&stop, &hear).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Interrupted);
        for pid in told.lock().unwrap().iter() {
            assert_eq!(super::super::machine::start(*pid), None, "{pid} still runs");
        }
    }
}
