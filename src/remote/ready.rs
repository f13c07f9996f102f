//! An exec that stands ready on a server and runs script after script.
//!
//! An exec costs a server more than most scripts do.
//!
//! A script answers, takes its time and ends there as it does in an exec of its own; [`super::host`] chooses between the two.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::execution::Execution;
use super::hearing::Hearing;
use crate::answer::{Answer, Nonce};
use crate::script::Wired;
use crate::script::standing::Feed;
use crate::ssh::{Ended, Exec, Heard, Left, Lost, More, Pipe, Session};
use crate::sync::lock;

/// Stands for no limit.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Lines that are kept for the next listener.
const WAITING: usize = 2000;
/// Limit on going away when told to.
const GOING: Duration = Duration::from_secs(5);

/// An exec that waits for scripts.
pub(super) struct ReadyExec {
    /// How scripts are put to it.
    pub script: Feed,
    input: mpsc::UnboundedSender<Bytes>,
    heard: mpsc::UnboundedReceiver<Said>,
    /// How many lines wait to be heard.
    waiting: Arc<AtomicUsize>,
    stop: CancellationToken,
    session: Arc<Session>,
    /// A script runs in the exec.
    is_busy: bool,
    /// The server has said that it does not keep the text.
    is_unkept: bool,
    /// Shared with the exec's task, which holds it until the exec has ended.
    left: Arc<Mutex<Option<Left>>>,
    /// Ends the script when the exec is dropped in the middle of it.
    _stop_on_drop: DropGuard,
}

impl Drop for ReadyExec {
    fn drop(&mut self) {
        if self.is_busy {
            *lock(&self.left) = Some(self.session.leave());
        }
    }
}

/// Output that waits for a listener.
///
/// It is read at all times, since unread output would hold up the connection.
enum Said {
    Line(Pipe, String),
    Ended(Ended),
}

/// How a script ended.
pub(super) enum Over {
    /// The exec stands ready for the next.
    Ready(Ended),
    /// The exec ended with it.
    Gone(Ended),
    /// The exec ended before it: the server does not keep the text that it counts on.
    Unkept,
}

impl ReadyExec {
    /// Starts the exec; `None`: the feed does not fit into a command line.
    pub fn begin(session: Arc<Session>, script: Feed) -> Option<Self> {
        let Wired { command, head } = script.wired()?;
        let (input, more) = More::channel();
        // Limits and silence are judged for each script, by its listener.
        let exec = Exec { command, head, more: Some(more), ..Exec::default() };
        let marker = script.marker();
        let (say, heard) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let waiting = Arc::new(AtomicUsize::new(0));
        let count = waiting.clone();
        let left = Arc::new(Mutex::new(None));
        let (of, until_over) = (session.clone(), left.clone());
        tokio::spawn(async move {
            let mut hear = |heard: Heard<'_>| {
                if let Heard::Line(pipe, line) = heard
                    // Answers are few. Of a flood without a listener the beginning is enough.
                    && (count.load(Relaxed) < WAITING || line.contains(&marker))
                {
                    count.fetch_add(1, Relaxed);
                    let _ = say.send(Said::Line(pipe, line.to_owned()));
                }
            };
            let ended = session.exec(exec, &mut hear, &stopped).await;
            let _ = say.send(Said::Ended(ended));
            drop(until_over);
        });
        let _stop_on_drop = stop.clone().drop_guard();
        Some(Self {
            script,
            input,
            heard,
            waiting,
            stop,
            session: of,
            is_busy: false,
            is_unkept: false,
            left,
            _stop_on_drop,
        })
    }

    /// Runs one script; `input` is what [`Feed::ask`] made of it.
    pub async fn run(
        &mut self,
        input: Bytes,
        nonce: &Nonce,
        hearing: &mut Hearing<'_>,
        execution: &Execution<'_>,
    ) -> Over {
        // Drop output that a background process of an earlier script printed in the meantime.
        let mut gone = None;
        while let Ok(said) = self.heard.try_recv() {
            match said {
                Said::Line(_, line) => {
                    self.waiting.fetch_sub(1, Relaxed);
                    self.is_unkept |= self.script.is_unkept(&line);
                }
                Said::Ended(_) if self.is_unkept => gone = Some(Over::Unkept),
                Said::Ended(ended) => gone = Some(Over::Gone(ended)),
            }
        }
        if let Some(gone) = gone {
            return gone;
        }
        // Where the exec takes no more input, its end is heard next.
        let _ = self.input.send(input);
        self.listen(nonce, hearing, execution).await
    }

    /// Tells whether the exec takes another script.
    pub fn takes_more(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Listens until the script is over.
    async fn listen(&mut self, nonce: &Nonce, hearing: &mut Hearing<'_>, execution: &Execution<'_>) -> Over {
        self.is_busy = true;
        let limit = execution.limit.unwrap_or(FAR).min(FAR);
        let deadline = Instant::now() + limit;
        let (mut told, mut last_heard, mut silences) = (None, Instant::now(), 0u32);
        // The exec tells the script's end on both outputs, behind all that the script wrote there.
        let (mut ends, mut status, mut late) = (0, 0, 0);
        // An empty line right before it belongs to it.
        let (mut empty_out, mut empty_err) = (false, false);
        loop {
            let silence = execution.quiet.saturating_mul(silences + 1).min(FAR);
            let quiet = last_heard + if execution.quiet.is_zero() { FAR } else { silence };
            tokio::select! {
                // A script that ended in time has ended, whatever else is due by now.
                biased;
                said = self.heard.recv() => match said {
                    Some(Said::Line(pipe, line)) => {
                        self.waiting.fetch_sub(1, Relaxed);
                        (last_heard, silences) = (Instant::now(), 0);
                        if let Some(why) = overdue(execution, deadline, limit).filter(|_| told.is_none()) {
                            late += 1;
                            // A flood leaves the clocks below no turn.
                            if late > WAITING {
                                told = Some(why);
                                self.stop.cancel();
                            }
                        }
                        if self.script.is_unkept(&line) {
                            self.is_unkept = true;
                            continue;
                        }
                        let empty = match pipe {
                            Pipe::Out => &mut empty_out,
                            Pipe::Err => &mut empty_err,
                        };
                        let was_empty = std::mem::replace(empty, line.is_empty());
                        match nonce.split(&line) {
                            (before, Some(Answer { key, value })) if key == "over" => {
                                if !before.is_empty() {
                                    hearing.hear(Heard::Line(pipe, before));
                                }
                                ends += 1;
                                status = value.trim().parse().unwrap_or(255);
                            }
                            _ => {
                                if was_empty {
                                    hearing.hear(Heard::Line(pipe, ""));
                                }
                                if !line.is_empty() {
                                    hearing.hear(Heard::Line(pipe, &line));
                                }
                            }
                        }
                        if ends == 2 {
                            self.is_busy = false;
                            // A script that says `done` has told its status itself.
                            let how = if hearing.is_done() { Ended::Exit(status) } else { ended(status) };
                            return Over::Ready(told.take().unwrap_or(how));
                        }
                    }
                    Some(Said::Ended(_)) if self.is_unkept => return Over::Unkept,
                    Some(Said::Ended(Ended::Stopped)) => return Over::Gone(told.take().unwrap_or(Ended::Stopped)),
                    Some(Said::Ended(ended)) => return Over::Gone(told.take().unwrap_or(ended)),
                    None => return Over::Gone(Ended::Lost(Lost::Ended)),
                },
                () = execution.stop.cancelled(), if told.is_none() => {
                    told = Some(Ended::Stopped);
                    self.stop.cancel();
                }
                () = sleep_until(deadline), if told.is_none() => {
                    told = Some(Ended::TimedOut(limit));
                    self.stop.cancel();
                }
                () = sleep_until(quiet), if told.is_none() => {
                    silences += 1;
                    hearing.hear(Heard::Quiet(silence));
                }
            }
        }
    }

    /// Closes the exec's input, and waits a moment for its end.
    pub async fn end(mut self) {
        // Without a sender there is no more input.
        self.input = mpsc::unbounded_channel().0;
        let over = async { while !matches!(self.heard.recv().await, Some(Said::Ended(_)) | None) {} };
        let _ = tokio::time::timeout(GOING, over).await;
    }
}

/// Tells why a script is to end by now.
fn overdue(execution: &Execution<'_>, deadline: Instant, limit: Duration) -> Option<Ended> {
    if execution.stop.is_cancelled() {
        return Some(Ended::Stopped);
    }
    (Instant::now() >= deadline).then_some(Ended::TimedOut(limit))
}

/// A shell's word for how a command ended.
fn ended(status: u32) -> Ended {
    let signal = status.checked_sub(128).and_then(|n| i32::try_from(n).ok()).and_then(|n| Signal::try_from(n).ok());
    match signal {
        Some(signal) => Ended::Signal(signal.as_str().trim_start_matches("SIG").to_owned()),
        None => Ended::Exit(status),
    }
}
