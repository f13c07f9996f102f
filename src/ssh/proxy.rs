//! A `ProxyCommand`: a process whose standard input and output are the connection.
//!
//! The process ends with the connection.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::sync::lock;
use super::text::said;

/// Bytes of its standard error that are kept, from the end.
const SAID: usize = 2 * 1024;
/// Time that a command has to end by itself and to say why, once its connection has ended.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(300);
/// Time between HUP and KILL.
const GRACE: Duration = Duration::from_secs(1);

/// A running command.
pub(super) struct Proxy {
    input: Option<ChildStdin>,
    output: ChildStdout,
    child: Option<Child>,
    group: Option<Pid>,
}

/// The last words of a command on its standard error.
#[derive(Clone, Default)]
pub(super) struct Complaint(Arc<Mutex<Vec<u8>>>);

impl Complaint {
    /// Returns the last words on one line.
    pub(super) fn text(&self) -> Option<String> {
        let bytes = lock(&self.0);
        let text = said(&String::from_utf8_lossy(&bytes));
        (!text.is_empty()).then_some(text)
    }

    fn add(&self, more: &[u8]) {
        let mut bytes = lock(&self.0);
        bytes.extend_from_slice(more);
        let over = bytes.len().saturating_sub(SAID);
        bytes.drain(..over);
    }
}

impl Proxy {
    /// Starts a command as ssh does: by the user's shell, which it replaces.
    ///
    /// It gets a process group of its own: an interrupt at the terminal must not cut the connections that the run needs to
    /// take things back.
    pub(super) fn start(command: &str, shell: Option<&str>) -> io::Result<(Self, Complaint)> {
        let mut child = Command::new(shell.filter(|s| !s.is_empty()).unwrap_or("/bin/sh"))
            .arg("-c")
            .arg(format!("exec {command}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output), Some(mut error)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no standard input and output"));
        };
        let complaint = Complaint::default();
        let keep = complaint.clone();
        // This task ends with the process. It always reads, so that the process never waits.
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = error.read(&mut buffer).await {
                keep.add(buffer.get(..n).unwrap_or_default());
            }
        });
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok((Self { input: Some(input), output, child: Some(child), group }, complaint))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Closed first, so that a command that only copies ends by itself.
        self.input = None;
        let (Some(mut child), Some(group)) = (self.child.take(), self.group) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            let _ = killpg(group, Signal::SIGHUP);
            return;
        };
        runtime.spawn(async move {
            // A command that failed may be about to say why.
            if timeout(LAST_WORDS, child.wait()).await.is_ok() {
                return;
            }
            let _ = killpg(group, Signal::SIGHUP);
            if timeout(GRACE, child.wait()).await.is_err() {
                let _ = killpg(group, Signal::SIGKILL);
                let _ = child.wait().await;
            }
        });
    }
}

impl AsyncRead for Proxy {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl Proxy {
    fn input(&mut self) -> io::Result<Pin<&mut ChildStdin>> {
        self.input.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Proxy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.input()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}
