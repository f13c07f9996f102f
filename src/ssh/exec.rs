//! Runs one command on a session, from its channel to its end.
//!
//! One loop reads, sends and watches every limit. It always reads the channel, never waits for a writer alone, and ends a
//! command by signals: closing its channel would leave it running.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::closing::{Closing, Counted, REQUEST_LIMIT};
use super::command::{Ended, Exec, Heard, More};
use super::forward::{Lending, Needed};
use super::lost::Lost;
use super::pace::Pace;
use super::refused::{NotOpen, Refused};
use super::running::Running;
use super::session::Session;
use super::upload::{Input, Unsent, feed, upload};

/// Limit on an `end.sh`: a busy server takes a while to start a command.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Messages that are taken before a limit that has run out counts: this machine may be the slow one.
const LATE: usize = 1000;
/// Limit on the command of [`Session::hurry`].
const HURRY_LIMIT: Duration = Duration::from_secs(10);
/// Ends the commands of a connection from within the server.
const END_SCRIPT: &str = include_str!("../../templates/remote/end.sh");

/// Hears a command. It must not block: while it runs, nothing of the connection is read.
type Ear<'a> = dyn FnMut(Heard<'_>) + Send + 'a;

impl Session {
    /// Runs a command to its end. Errors are values of [`Ended`].
    ///
    /// It never hangs: it watches the limits, the end of the session, and `stop`. `heard` must not block: while it runs,
    /// nothing of this connection is read.
    pub async fn exec(&self, exec: Exec, heard: &mut (dyn FnMut(Heard<'_>) + Send), stop: &CancellationToken) -> Ended {
        self.commanded.store(true, SeqCst);
        run(self, exec, heard, stop).boxed().await
    }

    /// Has the server send small answers at once, also through tunnels. Does not wait.
    ///
    /// sshd sets TCP_NODELAY with the first command of a connection; before, it holds each second packet back for a round
    /// trip. Where the server refuses commands, nothing changes.
    pub fn hurry(self: &Arc<Self>) {
        if self.commanded.swap(true, SeqCst) {
            return;
        }
        let session = self.clone();
        tokio::spawn(async move {
            let exec = Exec { command: "true".to_owned(), limit: Some(HURRY_LIMIT), ..Exec::default() };
            run(&session, exec, &mut |_| {}, &CancellationToken::new()).await;
        });
    }
}

/// Runs the command on the channel that was opened ahead, or on a channel of its own.
async fn run(session: &Session, exec: Exec, heard: &mut Ear<'_>, stop: &CancellationToken) -> Ended {
    let ahead = tokio::select! {
        // First: a command that is stopped before it starts must not start, even if a channel is ready.
        biased;
        () = stop.cancelled() => return Ended::Stopped,
        ahead = session.opener.take_ahead() => ahead,
    };
    if let Some(channel) = ahead
        && let Some(ended) = run_on(channel, session, exec.clone(), Listener { heard: &mut *heard, stop }).await
    {
        return ended;
    }
    let handle = session.opener.handle.clone();
    let open = session.opener.open(async move { handle.channel_open_session().await });
    let opened = tokio::select! {
        opened = open => opened,
        () = stop.cancelled() => return Ended::Stopped,
    };
    let channel = match opened {
        Ok(channel) => channel,
        Err(NotOpen::Refused(why)) => return Ended::Refused(why),
        Err(NotOpen::Lost(why)) => return Ended::Unsent(why),
    };
    run_on(channel, session, exec, Listener { heard, stop }).await.unwrap_or(Ended::NoStatus)
}

/// The caller of a command.
struct Listener<'a> {
    heard: &'a mut Ear<'a>,
    stop: &'a CancellationToken,
}

/// Runs the command on a channel.
///
/// `None`: the server closed the channel before it took the command, which did not run.
async fn run_on<'a>(channel: Channel<Msg>, session: &'a Session, exec: Exec, listener: Listener<'a>) -> Option<Ended> {
    match Conducted::start(channel, session, exec, listener).await {
        Ok(conducted) => conducted.conduct().await,
        Err(ended) => Some(ended),
    }
}

/// A command on its channel. The order of the fields is the order in which they are dropped.
struct Conducted<'a> {
    /// An `end.sh` under way; `false`: it may still run.
    ending: Option<BoxFuture<'a, bool>>,
    /// Input that comes while the command runs.
    feeding: Option<BoxFuture<'static, Result<(), Unsent>>>,
    /// The input that is there from the start.
    sending: Option<BoxFuture<'static, Result<(), Unsent>>>,
    progress: watch::Receiver<u64>,
    /// Keeps the last progress readable when the upload is done.
    _sent: watch::Sender<u64>,
    pace: Arc<Pace>,
    more: Option<More>,
    running: Running,
    closing: Closing,
    write: Arc<ChannelWriteHalf<Msg>>,
    read: ChannelReadHalf,
    counted: Counted<'a>,
    session: &'a Session,
    listener: Listener<'a>,
    /// An `end.sh` ran into its limit.
    unended: bool,
    /// Messages that were taken after a limit had run out.
    late: usize,
    /// Lends the agent for as long as the command runs.
    _needed: Option<Needed>,
}

/// What happens next.
enum News {
    /// The server sent this; `None`: the channel is gone.
    Message(Option<ChannelMsg>),
    /// The upload is done.
    Sent(Result<(), Unsent>),
    /// The upload goes on.
    Progress,
    /// The input that comes meanwhile has ended.
    Fed,
    /// An `end.sh` sent its signal; `false`: it ran into its limit.
    Told(bool),
    /// A limit ran out, or the caller asked for the end.
    Due,
}

impl<'a> Conducted<'a> {
    /// Asks the server to run the command.
    async fn start(
        channel: Channel<Msg>,
        session: &'a Session,
        exec: Exec,
        listener: Listener<'a>,
    ) -> Result<Self, Ended> {
        // A command that waits for more input holds no other up.
        let counted = Counted::new(&session.running, usize::from(exec.more.is_none()));
        let (read, write) = channel.split();
        let write = Arc::new(write);
        let mut closing = Closing { write: Some(write.clone()), is_over: false, leaving: session.leaving.clone() };
        let needed = session.lent.as_ref().filter(|_| exec.lends).map(Lending::need);
        let request = async {
            if needed.is_some() {
                // Waits for no answer: a server that refuses it runs the command without the agent.
                write.agent_forward(false).await?;
            }
            write.exec(true, exec.command.as_str()).await
        };
        match timeout(session.opener.limit, request).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(closing.over(Ended::Lost(session.end.reason()))),
            Err(_) => return Err(Ended::Refused(Refused::NoRoom)),
        }
        session.opener.open_ahead();
        let (sent, progress) = watch::channel(0);
        let pace = Arc::new(Pace::new(session.round_trip));
        let running = Running::new(&exec, session.opener.limit);
        let input = Input { head: exec.head, payload: exec.payload, goes_on: exec.more.is_some() };
        Ok(Self {
            ending: None,
            feeding: None,
            sending: Some(upload(write.clone(), input, sent.clone(), pace.clone()).boxed()),
            progress,
            _sent: sent,
            pace,
            more: exec.more,
            running,
            closing,
            write,
            read,
            counted,
            session,
            listener,
            unended: false,
            late: 0,
            _needed: needed,
        })
    }

    /// Conducts the command to its end. `None`: the server closed the channel before it took the command.
    async fn conduct(mut self) -> Option<Ended> {
        loop {
            // These are looked at on every turn, so that a flood of output cannot delay them.
            if self.listener.stop.is_cancelled() {
                self.running.end(Ended::Stopped, &self.write);
            }
            let late = self.late_message();
            if late.is_none()
                && let Some(ended) = self.due()
            {
                return Some(ended);
            }
            self.settle();
            let news = match late {
                Some(message) => News::Message(message),
                None => self.next().await,
            };
            if let ControlFlow::Break(ended) = self.take(news).await {
                return ended;
            }
        }
    }

    /// Takes a message that is here already when a limit has run out.
    fn late_message(&mut self) -> Option<Option<ChannelMsg>> {
        let is_late = Instant::now() >= self.running.wake() && self.late < LATE;
        let message = if is_late { self.read.wait().now_or_never() } else { None };
        self.late = if message.is_some() { self.late + 1 } else { 0 };
        message
    }

    /// Does what is due; returns the outcome when the command is over.
    fn due(&mut self) -> Option<Ended> {
        let ended = self.running.due(Instant::now(), &self.write, self.listener.heard)?;
        self.running.finish(self.listener.heard);
        if self.unended || self.ending.is_some() {
            self.session.sever(Lost::TooSlow);
        }
        Some(self.closing.over(ended))
    }

    /// Drops the input that is no longer sent, and runs an `end.sh` where one is wanted.
    fn settle(&mut self) {
        if !self.running.is_sending() {
            // Dropped, not only ignored: a lock that waits in it would stall the session's task.
            self.sending = None;
        }
        if !self.running.may_end() {
            self.feeding = None;
        }
        if let Some(signal) = self.running.take_wanted()
            && self.counted.is_alone()
        {
            self.running.telling();
            self.ending = Some(end_all(self.session, signal));
        }
    }

    async fn next(&mut self) -> News {
        let Self { read, sending, feeding, ending, progress, running, listener, .. } = self;
        tokio::select! {
            message = read.wait() => News::Message(message),
            Some(done) = async { Some(sending.as_mut()?.await) }, if running.is_sending() => News::Sent(done),
            Ok(()) = progress.changed(), if running.is_sending() => News::Progress,
            Some(_) = async { Some(feeding.as_mut()?.await) }, if feeding.is_some() => News::Fed,
            Some(in_time) = async { Some(ending.as_mut()?.await) }, if ending.is_some() => News::Told(in_time),
            () = listener.stop.cancelled(), if running.may_end() => News::Due,
            () = sleep_until(running.wake()) => News::Due,
        }
    }

    /// Takes news; breaks with the outcome when the command is over.
    async fn take(&mut self, news: News) -> ControlFlow<Option<Ended>> {
        match news {
            News::Message(Some(message)) => return self.message(message).await,
            News::Message(None) => return ControlFlow::Break(Some(self.gone().await)),
            News::Sent(done) => self.sent(done),
            News::Progress => {
                self.running.moved();
                self.report();
            }
            News::Fed => self.feeding = None,
            News::Told(in_time) => {
                self.unended |= !in_time;
                self.ending = None;
                self.running.told(in_time);
            }
            News::Due => {}
        }
        ControlFlow::Continue(())
    }

    fn report(&mut self) {
        let bytes = *self.progress.borrow_and_update();
        (self.listener.heard)(Heard::Sent(bytes));
    }

    fn sent(&mut self, done: Result<(), Unsent>) {
        if self.progress.has_changed().is_ok_and(|changed| changed) {
            self.report();
        }
        // A finished future must not be polled again.
        self.sending = None;
        match done {
            Ok(()) | Err(Unsent::Channel) => {
                self.running.sent();
                self.feeding = self.more.clone().map(|more| feed(self.write.clone(), more).boxed());
            }
            Err(Unsent::Payload(e)) => self.running.end(Ended::Lost(Lost::Payload(e)), &self.write),
        }
    }

    async fn message(&mut self, message: ChannelMsg) -> ControlFlow<Option<Ended>> {
        if let ChannelMsg::WindowAdjusted { new_size } = message {
            self.pace.window(new_size);
        }
        if matches!(message, ChannelMsg::Close) {
            self.closing.write = None;
            // The server answers in order: it has confirmed what it took.
            if self.running.is_starting() {
                self.closing.is_over = true;
                return ControlFlow::Break(None);
            }
        }
        let Some(ended) = self.running.message(message, self.listener.heard) else { return ControlFlow::Continue(()) };
        self.running.finish(self.listener.heard);
        if let Some(ending) = self.ending.take() {
            self.unended |= !ending.await;
        }
        if self.unended {
            self.session.sever(Lost::TooSlow);
        }
        ControlFlow::Break(Some(self.closing.over(ended)))
    }

    /// Ends a command whose channel is gone.
    async fn gone(&mut self) -> Ended {
        self.closing.write = None;
        self.closing.is_over = true;
        self.running.finish(self.listener.heard);
        // The session's task drops the channel just before, or just after, it notes its end.
        let lost = timeout(REQUEST_LIMIT, self.session.end.wait()).await;
        self.running.outcome(Ended::Lost(lost.unwrap_or_else(|_| self.session.end.reason())))
    }
}

/// Runs `end.sh`, which reaches every command of the connection: only for a command that runs alone.
///
/// `false`: it may still run.
fn end_all<'a>(session: &'a Session, signal: &'static str) -> BoxFuture<'a, bool> {
    Box::pin(async move {
        let exec = Exec {
            // Without `exec` a shell in between would be taken for the command.
            command: "exec sh -s".into(),
            head: format!("p_signal={signal}\n{END_SCRIPT}").into(),
            ..Exec::default()
        };
        timeout(END_LIMIT, run(session, exec, &mut |_| {}, &CancellationToken::new())).await.is_ok()
    })
}
