//! Runs one of the operator's own short commands (`ssh -G`, `KnownHostsCommand`), within a limit.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::timeout;

/// Bytes of an answer that are kept.
const LONGEST: usize = 1 << 20;

/// Why a command gave no answer.
#[derive(Debug)]
pub(super) enum NoOutput {
    /// It could not be started, or read.
    NotStarted(io::Error),
    /// It did not end within the limit, and was killed with all that it had started.
    Silent,
}

/// Returns what a command printed once it has ended, well or not.
///
/// It gets no input, and a process group of its own.
///
/// # Errors
/// When it cannot be started, or does not end within `limit`.
pub(super) async fn output(mut command: Command, limit: Duration) -> Result<Output, NoOutput> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().map_err(NoOutput::NotStarted)?;
    let mut group = Group(child.id());
    let mut output = match timeout(limit, child.wait_with_output()).await {
        Ok(ended) => ended.map_err(NoOutput::NotStarted)?,
        Err(_) => return Err(NoOutput::Silent),
    };
    // It ended by itself: what it meant to leave running stays.
    group.0 = None;
    output.stdout.truncate(LONGEST);
    Ok(output)
}

/// The process group of a command: killed when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
