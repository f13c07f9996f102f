//! Runs one command on a session, from its channel to its end.
//!
//! One loop reads, sends and watches every limit; the discipline it keeps: the channel is always read, a writer is
//! never waited for alone, and a command is ended by signals, since closing its channel would leave it running.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::FutureExt;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf, Sig};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use super::pace::Pace;
use super::session::{NotOpen, Session};
use super::upload::{Failed, feed, upload};
use super::{Ended, Exec, Heard, Pipe};

/// How long an exit status waits for the last output: background children may hold the output open for ever.
const AFTER_EXIT: Duration = Duration::from_secs(1);
/// The same, while output keeps coming, or its last line is missing: a busy server may take that long.
const AFTER_EXIT_AT_MOST: Duration = Duration::from_secs(20);
/// Between TERM as a channel request and TERM by `end.sh`, for servers that do not pass it on.
const AFTER_REQUEST: Duration = Duration::from_secs(2);
/// Between that and KILL, from the moment on when the signal was sent.
const AFTER_TERM: Duration = Duration::from_secs(3);
/// Between KILL and giving up, likewise.
const AFTER_KILL: Duration = Duration::from_secs(3);
/// Limit on an `end.sh`: a busy server takes a while to start a command.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Messages that are taken in at most before a limit that has run out counts: the client may have been the slow one.
const LATE: usize = 1000;
/// How many times the channel's limit input may not move while some is left.
const STALL_LIMITS: u32 = 2;
/// How often to look again when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// Ends the commands of a connection from within the server.
const END_SCRIPT: &str = include_str!("../../templates/remote/end.sh");
/// Why a connection is given up on which an `end.sh` may still run: it comes round to its signal one day, and would send
/// it to whatever runs there by then.
const TOO_SLOW: &str = "the server was too slow to end a command";
/// Limit on requests that nobody waits for.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Runs the command; see [`Session::exec`].
pub(super) async fn run(
    session: &Session,
    exec: Exec,
    heard: &mut (dyn FnMut(Heard<'_>) + Send),
    stop: &CancellationToken,
) -> Ended {
    let ahead = tokio::select! {
        // First: what is asked to stop before it starts must not start, though a channel is at hand.
        biased;
        () = stop.cancelled() => return Ended::Stopped,
        ahead = session.take_ahead() => ahead,
    };
    if let Some(channel) = ahead
        && let Some(ended) = run_on(session, channel, exec.clone(), (&mut *heard, stop)).await
    {
        return ended;
    }
    let handle = session.handle.clone();
    let open = session.open(async move { handle.channel_open_session().await });
    let opened = tokio::select! {
        opened = open => opened,
        () = stop.cancelled() => return Ended::Stopped,
    };
    let channel = match opened {
        Ok(channel) => channel,
        Err(NotOpen::Refused(why)) => return Ended::Refused(why),
        Err(NotOpen::Lost(why)) => return Ended::Lost(why),
    };
    run_on(session, channel, exec, (heard, stop)).await.unwrap_or(Ended::NoStatus)
}

/// Runs the command on a channel. `None`: the server closed the channel before it took the command, so it did not run.
async fn run_on(
    session: &Session,
    channel: Channel<Msg>,
    exec: Exec,
    (heard, stop): (&mut (dyn FnMut(Heard<'_>) + Send), &CancellationToken),
) -> Option<Ended> {
    // One that waits for more input is in nobody's way.
    let more = exec.more;
    let counted = usize::from(more.is_none());
    let _one_more = Counted::new(&session.running, counted);
    let (mut read, write) = channel.split();
    let write = Arc::new(write);
    let mut closing = Closing { write: Some(write.clone()), is_over: false, leaving: session.leaving.clone() };

    let request = async {
        if session.lends {
            // No answer is waited for: a server that refuses it runs the command without.
            write.agent_forward(false).await?;
        }
        write.exec(true, exec.command).await
    };
    match timeout(session.channel_timeout, request).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Some(closing.over(Ended::Lost(session.lost()))),
        Err(_) => return Some(Ended::Refused("the connection has no room for the command".into())),
    }
    session.open_ahead();
    let (sent, mut progress) = watch::channel(0);
    let pace = Pace::new(session.round_trip);
    let mut sending = Some(Box::pin(upload(&write, exec.head, exec.payload, (&sent, &pace), more.is_some())));
    let mut feeding = None;
    let mut run = Run::new(session.channel_timeout, exec.limit, exec.quiet, exec.last_words);
    let mut late = 0;
    let mut ending: Option<Pin<Box<dyn Future<Output = bool> + Send + '_>>> = None;
    // An `end.sh` that was not waited for any longer.
    let mut unended = false;

    loop {
        // Looked at on every turn, so that a flood of output cannot hold them off.
        if stop.is_cancelled() {
            run.end(Ended::Stopped, &write);
        }
        let now = Instant::now();
        let ready = if now >= run.wake() && late < LATE { read.wait().now_or_never() } else { None };
        if ready.is_some() {
            late += 1;
        } else {
            late = 0;
            if let Some(ended) = run.due(now, &write, heard) {
                run.finish(heard);
                if unended || ending.is_some() {
                    session.sever(TOO_SLOW);
                }
                return Some(closing.over(ended));
            }
        }
        if !run.sending() {
            // Dropped, not just left alone: a lock that waits in it would stall the session's task.
            sending = None;
        }
        if !run.may_end() {
            feeding = None;
        }
        if let Some(signal) = run.take_wanted()
            && session.running.load(SeqCst) == counted
        {
            run.telling = true;
            ending = Some(end_all(session, signal));
        }
        let message = if ready.is_some() {
            ready
        } else {
            tokio::select! {
                message = read.wait() => Some(message),
                Some(done) = async { Some(sending.as_mut()?.await) }, if run.sending() => {
                    if progress.has_changed().is_ok_and(|changed| changed) {
                        heard(Heard::Sent(*progress.borrow_and_update()));
                    }
                    match done {
                        Ok(()) | Err(Failed::Channel) => {
                            run.sent();
                            feeding = more.as_ref().map(|more| Box::pin(feed(&write, more)));
                        }
                        Err(Failed::Local(why)) => run.end(Ended::Lost(why), &write),
                    }
                    None
                },
                Ok(()) = progress.changed(), if run.sending() => {
                    let bytes = *progress.borrow_and_update();
                    run.moved();
                    heard(Heard::Sent(bytes));
                    None
                }
                Some(_) = async { Some(feeding.as_mut()?.await) }, if feeding.is_some() => {
                    feeding = None;
                    None
                }
                Some(in_time) = async { Some(ending.as_mut()?.await) }, if ending.is_some() => {
                    unended |= !in_time;
                    ending = None;
                    run.told(in_time);
                    None
                }
                () = stop.cancelled(), if run.may_end() => None,
                () = sleep_until(run.wake()) => None,
            }
        };
        match message {
            Some(Some(message)) => {
                if let ChannelMsg::WindowAdjusted { new_size } = message {
                    pace.window(new_size);
                }
                if matches!(message, ChannelMsg::Close) {
                    closing.write = None;
                    // It answers in order: what it took it has confirmed.
                    if run.starts() {
                        closing.is_over = true;
                        return None;
                    }
                }
                if let Some(ended) = run.message(message, heard) {
                    run.finish(heard);
                    if let Some(ending) = ending {
                        unended |= !ending.await;
                    }
                    if unended {
                        session.sever(TOO_SLOW);
                    }
                    return Some(closing.over(ended));
                }
            }
            Some(None) => {
                closing.write = None;
                closing.is_over = true;
                run.finish(heard);
                // The session's task drops the channel just before, or just after, it notes its end.
                let lost = timeout(REQUEST_LIMIT, session.end.wait()).await;
                return Some(run.outcome(Ended::Lost(lost.unwrap_or_else(|_| session.lost()))));
            }
            None => {}
        }
    }
}

/// Runs `end.sh`, which reaches every command of the connection: only for one that runs alone. False: it may still run.
fn end_all<'a>(session: &'a Session, signal: &'static str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
    Box::pin(async move {
        let exec = Exec {
            // Without `exec` a shell between would be taken for the command.
            command: "exec sh -s".into(),
            head: format!("p_signal={signal}\n{END_SCRIPT}").into(),
            ..Exec::default()
        };
        timeout(END_LIMIT, run(session, exec, &mut |_| {}, &CancellationToken::new())).await.is_ok()
    })
}

/// Counts the commands of a session while they run.
struct Counted<'a>(&'a AtomicUsize, usize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize, by: usize) -> Self {
        count.fetch_add(by, SeqCst);
        Self(count, by)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, SeqCst);
    }
}

/// Closes the channel when the command is left; one that is left in the middle, since nobody waits for it any longer, is
/// told to end: closing alone would leave it running.
struct Closing {
    write: Option<Arc<ChannelWriteHalf<Msg>>>,
    /// It ended, or was given up in order.
    is_over: bool,
    leaving: Leaving,
}

impl Closing {
    fn over(&mut self, ended: Ended) -> Ended {
        self.is_over = true;
        ended
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(write) = self.write.take() else { return };
        let (is_over, left) = (self.is_over, self.leaving.one());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let bye = async {
                    if !is_over {
                        write.signal(Sig::TERM).await.ok();
                    }
                    write.close().await
                };
                let _ = timeout(REQUEST_LIMIT, bye).await;
                drop(left);
            });
        }
    }
}

/// Counts what still has to be told to end before its connection may.
#[derive(Clone, Default)]
pub struct Leaving(Arc<AtomicUsize>);

/// One of those, until it is dropped.
pub struct Left(Arc<AtomicUsize>);

impl Leaving {
    /// Counts one more.
    pub fn one(&self) -> Left {
        self.0.fetch_add(1, SeqCst);
        Left(self.0.clone())
    }

    /// Tells whether there is none.
    pub(super) fn is_done(&self) -> bool {
        self.0.load(SeqCst) == 0
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Where a command stands.
enum Phase {
    /// Asked for, not confirmed.
    Starting(Instant),
    Running,
    /// It has ended, by itself or as it was told; its last output may still come.
    Exited {
        outcome: Ended,
        until: Instant,
        at_most: Instant,
    },
    /// It was told to end, for this reason.
    Ending {
        outcome: Ended,
        told: Told,
        until: Instant,
    },
}

/// How a command was told to end so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Requested,
    Terminated,
    Killed,
}

struct Run {
    phase: Phase,
    sending: bool,
    /// A signal to be sent by `end.sh`.
    wanted: Option<&'static str>,
    /// An `end.sh` is under way: no clock runs before it has sent its signal.
    telling: bool,
    stall: Duration,
    stdout: Lines,
    stderr: Lines,
    last_words: Vec<String>,
    limit: Option<(Duration, Instant)>,
    quiet: Duration,
    last_moved: Instant,
    /// How often silence was reported since.
    silences: u32,
}

impl Run {
    fn new(start: Duration, limit: Option<Duration>, quiet: Duration, last_words: Vec<String>) -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::Starting(now + start),
            sending: true,
            wanted: None,
            telling: false,
            stall: start.saturating_mul(STALL_LIMITS),
            stdout: Lines::default(),
            stderr: Lines::default(),
            last_words,
            // A limit beyond what the clock can count is none.
            limit: limit.and_then(|l| Some((l, now.checked_add(l)?))),
            quiet,
            last_moved: now,
            silences: 0,
        }
    }

    fn sending(&self) -> bool {
        self.sending
    }

    fn take_wanted(&mut self) -> Option<&'static str> {
        self.wanted.take()
    }

    /// An `end.sh` has sent its signal, or was not waited for any longer.
    fn told(&mut self, in_time: bool) {
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

    fn sent(&mut self) {
        self.sending = false;
        self.moved();
    }

    fn moved(&mut self) {
        self.last_moved = Instant::now();
        self.silences = 0;
    }

    /// Tells whether the server has not confirmed yet that it runs the command.
    fn starts(&self) -> bool {
        matches!(self.phase, Phase::Starting(_))
    }

    /// Tells whether the command may still be told to end.
    fn may_end(&self) -> bool {
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

    /// When something is due next.
    fn wake(&self) -> Instant {
        let phase = match &self.phase {
            Phase::Ending { .. } if self.telling => None,
            Phase::Starting(until) | Phase::Exited { until, .. } | Phase::Ending { until, .. } => Some(*until),
            Phase::Running => None,
        };
        let limit = self.limit.filter(|_| self.may_end()).map(|(_, at)| at);
        let first = [phase, limit, self.next_silence(), self.stalls()].into_iter().flatten().min();
        // Nothing due is no reason to sleep for ever: looking again costs nothing.
        first.unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Does what is due; the outcome when the command is over.
    fn due(
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
                let why = "the server did not start the command in time".to_owned();
                self.end(Ended::Refused(why), write);
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
    fn end(&mut self, outcome: Ended, write: &Arc<ChannelWriteHalf<Msg>>) {
        if self.may_end() {
            self.sending = false;
            self.phase = Phase::Ending { outcome, told: Told::Requested, until: Instant::now() + AFTER_REQUEST };
            signal(write, Sig::TERM);
        }
    }

    /// Takes a message in; the outcome when it was the last one.
    fn message(&mut self, message: ChannelMsg, heard: &mut (dyn FnMut(Heard<'_>) + Send)) -> Option<Ended> {
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
                    return Some(Ended::Refused("the server refused to run a command".into()));
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
                // Whoever was told to end owes nobody a last word.
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

    /// Gives out last lines without a newline.
    fn finish(&mut self, heard: &mut (dyn FnMut(Heard<'_>) + Send)) {
        self.stdout.finish(&mut |line| heard(Heard::Line(Pipe::Out, line)));
        self.stderr.finish(&mut |line| heard(Heard::Line(Pipe::Err, line)));
    }

    /// How it ended, when the channel is over; `else_`: without a status.
    fn outcome(&self, else_: Ended) -> Ended {
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
        Sig::Custom(name) => super::peer::said(name),
        known => format!("{known:?}"),
    }
}
