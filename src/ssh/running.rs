//! The state of one command: its phase, its limits, its output, and the signals that end it.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelWriteHalf, Sig};
use tokio::time::{Instant, timeout};

use super::closing::REQUEST_LIMIT;
use super::command::{Ended, Exec, Heard, Pipe};
use super::lines::Lines;
use super::refused::Refused;
use super::text::said;

/// Time that an exit status waits for the last output.
///
/// Background children may hold the output open for ever.
const AFTER_EXIT: Duration = Duration::from_secs(1);
/// The same, while output keeps coming or its last line is missing: a busy server may take that long.
const AFTER_EXIT_AT_MOST: Duration = Duration::from_secs(20);
/// Time between TERM as a channel request and TERM by `end.sh`, for servers that do not pass it on.
const AFTER_REQUEST: Duration = Duration::from_secs(2);
/// Time between that TERM and KILL, counted from the moment when the signal was sent.
const AFTER_TERM: Duration = Duration::from_secs(3);
/// Time between KILL and giving up, counted likewise.
const AFTER_KILL: Duration = Duration::from_secs(3);
/// Input may stand still for this many times the channel's limit.
const STALL_LIMITS: u32 = 2;
/// Pause between two looks when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// The phase of a command.
enum Phase {
    /// The server has not confirmed the command; until when it may take.
    Starting(Instant),
    /// It runs.
    Running,
    /// It has ended. Its last output may still come.
    Exited { outcome: Ended, until: Instant, at_most: Instant },
    /// It was told to end.
    Ending { outcome: Ended, told: Told, until: Instant },
}

/// The last way in which a command was told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// By TERM as a channel request.
    Requested,
    /// By TERM from `end.sh`.
    Terminated,
    /// By KILL, in both ways.
    Killed,
}

/// The state of one command.
pub(super) struct Running {
    phase: Phase,
    sending: bool,
    /// The signal that an `end.sh` is to send.
    wanted: Option<&'static str>,
    /// An `end.sh` is under way. No clock runs before it has sent its signal.
    telling: bool,
    stall: Duration,
    stdout: Lines,
    stderr: Lines,
    last_words: Vec<String>,
    limit: Option<(Duration, Instant)>,
    quiet: Duration,
    last_moved: Instant,
    /// Reports of silence since then.
    silences: u32,
}

impl Running {
    /// Begins; `start` is the limit on the server's confirmation.
    pub(super) fn new(exec: &Exec, start: Duration) -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::Starting(now + start),
            sending: true,
            wanted: None,
            telling: false,
            stall: start.saturating_mul(STALL_LIMITS),
            stdout: Lines::default(),
            stderr: Lines::default(),
            last_words: exec.last_words.clone(),
            // A limit beyond what the clock can count is none.
            limit: exec.limit.and_then(|l| Some((l, now.checked_add(l)?))),
            quiet: exec.quiet,
            last_moved: now,
            silences: 0,
        }
    }

    /// Tells whether input is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        self.sending
    }

    /// Takes the signal that an `end.sh` is to send.
    pub(super) fn take_wanted(&mut self) -> Option<&'static str> {
        self.wanted.take()
    }

    /// Notes that an `end.sh` is under way.
    pub(super) fn telling(&mut self) {
        self.telling = true;
    }

    /// Notes that an `end.sh` has sent its signal, or ran into its limit.
    pub(super) fn told(&mut self, in_time: bool) {
        self.telling = false;
        if let Phase::Ending { told, until, .. } = &mut self.phase {
            let now = Instant::now();
            *until = match told {
                _ if !in_time => now,
                Told::Killed => now + AFTER_KILL,
                Told::Requested | Told::Terminated => now + AFTER_TERM,
            };
        }
    }

    /// Notes that the input was sent.
    pub(super) fn sent(&mut self) {
        self.sending = false;
        self.moved();
    }

    /// Notes that something was heard or sent.
    pub(super) fn moved(&mut self) {
        self.last_moved = Instant::now();
        self.silences = 0;
    }

    /// Tells whether the server has not confirmed the command yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting(_))
    }

    /// Tells whether the command may still be told to end.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.phase, Phase::Starting(_) | Phase::Running)
    }

    fn next_silence(&self) -> Option<Instant> {
        if self.quiet.is_zero() || !self.may_end() {
            return None;
        }
        self.last_moved.checked_add(self.quiet.saturating_mul(self.silences.saturating_add(1)))
    }

    fn stalls(&self) -> Option<Instant> {
        (self.sending && self.may_end()).then(|| self.last_moved + self.stall)
    }

    /// Returns the time at which something is due next.
    pub(super) fn wake(&self) -> Instant {
        let phase = match &self.phase {
            Phase::Ending { .. } if self.telling => None,
            Phase::Starting(until) | Phase::Exited { until, .. } | Phase::Ending { until, .. } => Some(*until),
            Phase::Running => None,
        };
        let limit = self.limit.filter(|_| self.may_end()).map(|(_, at)| at);
        let first = [phase, limit, self.next_silence(), self.stalls()].into_iter().flatten().min();
        // If nothing is due, looking again costs nothing.
        first.unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Does what is due; returns the outcome when the command is over.
    pub(super) fn due(
        &mut self,
        now: Instant,
        write: &Arc<ChannelWriteHalf<Msg>>,
        heard: &mut (dyn FnMut(Heard<'_>) + Send),
    ) -> Option<Ended> {
        if let Some((limit, at)) = self.limit
            && now >= at
        {
            self.end(Ended::TimedOut(limit), write);
        }
        if self.stalls().is_some_and(|at| now >= at) {
            self.end(Ended::TimedOut(self.stall), write);
        }
        if self.next_silence().is_some_and(|at| now >= at) {
            self.silences = self.silences.saturating_add(1);
            heard(Heard::Quiet(self.quiet.saturating_mul(self.silences)));
        }
        match &mut self.phase {
            Phase::Starting(until) if now >= *until => {
                self.end(Ended::Refused(Refused::NotStarted), write);
                None
            }
            Phase::Exited { outcome, until, .. } if now >= *until => Some(outcome.clone()),
            Phase::Ending { outcome, told, until } if now >= *until && !self.telling => match told {
                Told::Requested => {
                    (*told, *until, self.wanted) = (Told::Terminated, now + AFTER_TERM, Some("TERM"));
                    None
                }
                Told::Terminated => {
                    (*told, *until, self.wanted) = (Told::Killed, now + AFTER_KILL, Some("KILL"));
                    signal(write, Sig::KILL);
                    None
                }
                Told::Killed => Some(outcome.clone()),
            },
            _ => None,
        }
    }

    /// Tells the command to end, unless it has ended or was told before.
    pub(super) fn end(&mut self, outcome: Ended, write: &Arc<ChannelWriteHalf<Msg>>) {
        if self.may_end() {
            self.sending = false;
            self.phase = Phase::Ending { outcome, told: Told::Requested, until: Instant::now() + AFTER_REQUEST };
            signal(write, Sig::TERM);
        }
    }

    /// Takes a message; returns the outcome when it was the last one.
    pub(super) fn message(&mut self, message: ChannelMsg, heard: &mut (dyn FnMut(Heard<'_>) + Send)) -> Option<Ended> {
        match message {
            ChannelMsg::Data { data } => self.output(Pipe::Out, &data, heard),
            ChannelMsg::ExtendedData { data, .. } => self.output(Pipe::Err, &data, heard),
            ChannelMsg::WindowAdjusted { .. } => self.moved(),
            ChannelMsg::Success => {
                if matches!(self.phase, Phase::Starting(_)) {
                    self.phase = Phase::Running;
                }
            }
            ChannelMsg::Failure => {
                if matches!(self.phase, Phase::Starting(_)) {
                    return Some(Ended::Refused(Refused::Command));
                }
            }
            ChannelMsg::ExitStatus { exit_status } => self.exited(Ended::Exit(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => self.exited(Ended::Signal(name(&signal_name))),
            ChannelMsg::Close => return Some(self.outcome(Ended::NoStatus)),
            _ => {}
        }
        None
    }

    fn exited(&mut self, status: Ended) {
        self.sending = false;
        let outcome = match &self.phase {
            Phase::Exited { .. } => return,
            Phase::Ending { outcome, .. } => {
                // A command that was told to end need not print its last line.
                self.last_words.clear();
                outcome.clone()
            }
            Phase::Starting(_) | Phase::Running => status,
        };
        let now = Instant::now();
        let at_most = now + AFTER_EXIT_AT_MOST;
        let until = if self.last_words.is_empty() { now + AFTER_EXIT } else { at_most };
        self.phase = Phase::Exited { outcome, until, at_most };
    }

    fn output(&mut self, pipe: Pipe, data: &[u8], heard: &mut (dyn FnMut(Heard<'_>) + Send)) {
        self.moved();
        let lines = match pipe {
            Pipe::Out => &mut self.stdout,
            Pipe::Err => &mut self.stderr,
        };
        let mut over = false;
        lines.push(data, &mut |line| {
            over |= self.last_words.iter().any(|words| line.contains(words));
            heard(Heard::Line(pipe, line));
        });
        if over {
            self.last_words.clear();
        }
        if let Phase::Exited { until, at_most, .. } = &mut self.phase
            && self.last_words.is_empty()
        {
            *until = (Instant::now() + AFTER_EXIT).min(*at_most);
        }
    }

    /// Reports last lines without a newline.
    pub(super) fn finish(&mut self, heard: &mut (dyn FnMut(Heard<'_>) + Send)) {
        self.stdout.finish(&mut |line| heard(Heard::Line(Pipe::Out, line)));
        self.stderr.finish(&mut |line| heard(Heard::Line(Pipe::Err, line)));
    }

    /// Returns how the command ended, when its channel is over; `else_`: the end without a status.
    pub(super) fn outcome(&self, else_: Ended) -> Ended {
        match &self.phase {
            Phase::Exited { outcome, .. } | Phase::Ending { outcome, .. } => outcome.clone(),
            Phase::Starting(_) | Phase::Running => else_,
        }
    }
}

/// Sends a signal to the command's process group, without waiting: the channel must be read meanwhile.
fn signal(write: &Arc<ChannelWriteHalf<Msg>>, signal: Sig) {
    let write = write.clone();
    tokio::spawn(async move { timeout(REQUEST_LIMIT, write.signal(signal)).await });
}

fn name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => said(name),
        known => format!("{known:?}"),
    }
}
