//! A command to run on a server: its input, what is heard of it, and how it ended. Values only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::lost::Lost;
use super::payload::Payload;
use super::refused::Refused;

/// A command to execute, with all its input.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// The command line that the login shell gets.
    pub command: String,
    /// The first part of its standard input.
    pub head: Bytes,
    /// The second part.
    pub payload: Option<Payload>,
    /// The third part, sent as it comes; the input ends when its senders are gone.
    ///
    /// A command with such input may wait for it: pitcrew does not end it for that.
    pub more: Option<More>,
    /// Ends the command (TERM, grace, KILL) when it runs longer.
    pub limit: Option<Duration>,
    /// Silence after which [`Heard::Quiet`] is reported; zero: never.
    pub quiet: Duration,
    /// The command needs the agent, if the configuration lends it.
    pub lends: bool,
    /// Texts of which the last line of output contains one.
    ///
    /// Servers may send the exit status before the last output: pitcrew then waits for that line. Empty: the last line
    /// is not known.
    pub last_words: Vec<String>,
}

/// Input that comes while the command runs.
#[derive(Debug, Clone)]
pub struct More(Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>>);

impl More {
    /// Makes an input and its sender.
    pub fn channel() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(Arc::new(tokio::sync::Mutex::new(receiver))))
    }

    /// Waits for the next bytes; `None`: all senders are gone.
    pub(super) async fn next(&self) -> Option<Bytes> {
        self.0.lock().await.recv().await
    }
}

/// One of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What is heard of a command while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line without its newline, cut at 8 KiB, or at 64 KiB if an answer begins in it.
    ///
    /// Invalid UTF-8 is replaced; control characters stay.
    Line(Pipe, &'a str),
    /// The bytes of the payload that were sent so far.
    Sent(u64),
    /// Nothing was heard or sent for this long.
    Quiet(Duration),
}

/// How a command ended. Only `Exit(0)` is a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exit(u32),
    /// By this signal, without SIG.
    Signal(String),
    /// The channel closed without an exit status.
    NoStatus,
    /// The connection ended first.
    Lost(Lost),
    /// The connection ended before the command was sent, which never ran.
    Unsent(Lost),
    /// The command ran into this limit, and pitcrew ended it.
    TimedOut(Duration),
    /// The caller asked for its end, and pitcrew ended it.
    Stopped,
    /// The server refused the channel or the command.
    Refused(Refused),
}
