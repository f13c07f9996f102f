//! Runs a shell's command on this machine without blocking, within a limit.
//!
//! Owns the process, its limit and its end; what its output and its status mean is the caller's.

use std::future::pending;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::descendants::{ChildMark, Descendants, Group};
use super::end::Unended;
use crate::event::Stream;

/// Limit on the output after the command's end: a process that it left behind may hold the pipe open.
const AFTER_END: Duration = Duration::from_secs(1);
/// Bytes read at once.
const PIECE: usize = 8192;

/// A command for `sh -c`.
pub struct Shell<'a> {
    /// Its text.
    pub command: &'a str,
    /// Its working directory.
    pub directory: &'a Path,
    /// Variables added to the environment.
    pub env: Vec<(&'a str, &'a str)>,
    /// Limit on the whole.
    pub limit: Option<Duration>,
    /// Time between TERM and KILL.
    pub grace: Duration,
}

/// The two outputs of a command.
struct Outputs<O, E> {
    out: Option<O>,
    err: Option<E>,
    pieces: (Vec<u8>, Vec<u8>),
}

impl Shell<'_> {
    /// Runs the command to its end; `hear` gets its output piece by piece.
    ///
    /// At the limit, or when asked to stop, the command ends with all that it started. Dropping this kills them.
    ///
    /// # Errors
    /// When it cannot be started, or did not end by itself.
    pub async fn run(
        &self,
        stop: &CancellationToken,
        hear: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<ExitStatus, Unended> {
        let mark = ChildMark::random();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(self.command)
            .current_dir(self.directory)
            .envs(self.env.iter().copied())
            .env(ChildMark::NAME, mark.value())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Unended::Failed)?;
        let mut descendants = Descendants::of(child.id(), Group::Own, mark);
        let mut outputs = Outputs::new(child.stdout.take(), child.stderr.take());
        let ended = {
            let waiting = self.wait(&mut child, &mut descendants, stop);
            tokio::pin!(waiting);
            loop {
                tokio::select! {
                    ended = &mut waiting => break ended,
                    (stream, piece) = outputs.next() => hear(stream, piece),
                }
            }
        };
        let rest = async {
            while outputs.are_open() {
                let (stream, piece) = outputs.next().await;
                hear(stream, piece);
            }
        };
        let _ = tokio::time::timeout(AFTER_END, rest).await;
        ended
    }

    /// Waits for the child within the limit; ends all that it started otherwise.
    async fn wait(
        &self,
        child: &mut Child,
        descendants: &mut Descendants,
        stop: &CancellationToken,
    ) -> Result<ExitStatus, Unended> {
        let over = async {
            match self.limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => pending().await,
            }
        };
        let why = tokio::select! {
            status = child.wait() => {
                descendants.let_go();
                return status.map_err(Unended::Failed);
            }
            () = stop.cancelled() => Unended::Stopped,
            () = over => Unended::TimedOut(self.limit.unwrap_or_default()),
        };
        descendants.end(child, self.grace).await;
        Err(why)
    }
}

impl<O: AsyncRead + Unpin, E: AsyncRead + Unpin> Outputs<O, E> {
    fn new(out: Option<O>, err: Option<E>) -> Self {
        Self { out, err, pieces: (vec![0; PIECE], vec![0; PIECE]) }
    }

    fn are_open(&self) -> bool {
        self.out.is_some() || self.err.is_some()
    }

    /// Reads the next piece of either output; it is empty where an output ends.
    ///
    /// Waits for ever once both have ended.
    async fn next(&mut self) -> (Stream, &[u8]) {
        let (out, err) = (&mut self.pieces.0, &mut self.pieces.1);
        tokio::select! {
            got = read(&mut self.out, out) => (Stream::Stdout, out.get(..got).unwrap_or_default()),
            got = read(&mut self.err, err) => (Stream::Stderr, err.get(..got).unwrap_or_default()),
        }
    }
}

/// Reads once; waits for ever when the output has ended.
async fn read(from: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    let Some(open) = from else { return pending().await };
    let got: io::Result<usize> = open.read(into).await;
    match got {
        Ok(got @ 1..) => got,
        Ok(0) | Err(_) => {
            *from = None;
            0
        }
    }
}
