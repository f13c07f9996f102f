//! One exec a server that runs script after script: an exec costs a server more than what most scripts do.
//!
//! It is a way to execute, no more: what a script answers, how long it may take and how it ends is the same. Where there is
//! none, or it cannot run a script, the script gets an exec of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::execute::{Ear, Execution, Hearing, after_loss, conclude};
use crate::answer::{Answer, Nonce};
use crate::event::Failure;
use crate::name::ServerName;
use crate::script::calls::{self, Site};
use crate::script::kept::{Kept, UNKEPT};
use crate::script::standing::Feed;
use crate::script::{Call, Script, Wired};
use crate::ssh::{ConnectError, Ended, Exec, Heard, Left, Link, Lost, More, Pipe, Session};
use crate::sync::lock;

/// Stands for no limit.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Lines that are kept for whoever listens next.
const WAITING: usize = 2000;
/// Limit on going away when told to.
const GOING: Duration = Duration::from_secs(5);

/// An exec that waits for scripts.
pub struct ReadyExec {
    script: Feed,
    input: mpsc::UnboundedSender<Bytes>,
    heard: mpsc::UnboundedReceiver<Said>,
    /// How many lines wait to be heard.
    waiting: Arc<AtomicUsize>,
    stop: CancellationToken,
    session: Arc<Session>,
    /// A script runs in it.
    is_busy: bool,
    /// Held by the exec, too: as long as it goes on.
    left: Arc<Mutex<Option<Left>>>,
    /// Whoever leaves in the middle of a script ends it.
    _stop_on_drop: DropGuard,
}

impl Drop for ReadyExec {
    fn drop(&mut self) {
        if self.is_busy {
            *lock(&self.left) = Some(self.session.leave());
        }
    }
}

/// What is heard of it, kept until somebody listens: it is read at all times, or it would hold up its connection.
enum Said {
    Line(Pipe, String),
    Ended(Ended),
}

/// How a script ended.
enum Over {
    /// The exec stands ready for the next.
    Ready(Ended),
    /// With the exec.
    Gone(Ended),
}

impl ReadyExec {
    /// `None`: it cannot be said in a command line.
    fn begin(session: Arc<Session>, script: Feed) -> Option<Self> {
        let Wired { command, head } = script.wired()?;
        let (input, more) = More::channel();
        // Limits and silence are the business of whoever waits for a script.
        let exec = Exec { command, head, more: Some(more), ..Exec::default() };
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
                    // Answers are few. Of a flood that nobody listens to, the beginning will do.
                    && (count.load(Relaxed) < WAITING || line.contains("@pitcrew:"))
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
        Some(Self { script, input, heard, waiting, stop, session: of, is_busy: false, left, _stop_on_drop })
    }

    /// Listens until the script is over.
    async fn listen(&mut self, nonce: &Nonce, hearing: &mut Hearing<'_>, execution: &Execution<'_>) -> Over {
        self.is_busy = true;
        let limit = execution.limit.unwrap_or(FAR).min(FAR);
        let deadline = Instant::now() + limit;
        let (mut told, mut last_heard, mut silences) = (None, Instant::now(), 0u32);
        // Its end is told on both outputs, behind all else that it said there.
        let (mut ends, mut status) = (0, 0);
        // An empty line that comes before it is part of how it is told.
        let (mut empty_out, mut empty_err) = (false, false);
        loop {
            let silence = execution.quiet.saturating_mul(silences + 1).min(FAR);
            let quiet = last_heard + if execution.quiet.is_zero() { FAR } else { silence };
            tokio::select! {
                // A script that was done in time is done.
                biased;
                said = self.heard.recv() => match said {
                    Some(Said::Line(pipe, line)) => {
                        self.waiting.fetch_sub(1, Relaxed);
                        (last_heard, silences) = (Instant::now(), 0);
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
                            // What is done tells its status itself.
                            let how = if hearing.is_done() { Ended::Exit(status) } else { ended(status) };
                            return Over::Ready(told.take().unwrap_or(how));
                        }
                    }
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

    /// Lets it end, and sees to it that it does.
    async fn end(mut self) {
        // Without a sender there is no more input.
        self.input = mpsc::unbounded_channel().0;
        let over = async { while !matches!(self.heard.recv().await, Some(Said::Ended(_)) | None) {} };
        let _ = tokio::time::timeout(GOING, over).await;
    }
}

/// A shell's word for how a command ended.
fn ended(status: u32) -> Ended {
    let signal = status.checked_sub(128).and_then(|n| i32::try_from(n).ok()).and_then(|n| Signal::try_from(n).ok());
    match signal {
        Some(signal) => Ended::Signal(signal.as_str().trim_start_matches("SIG").to_owned()),
        None => Ended::Exit(status),
    }
}

/// The execs that stand ready, one a server, where no script uses them this moment.
#[derive(Default)]
pub struct ReadyExecs {
    ready: Mutex<BTreeMap<ServerName, ReadyExec>>,
    /// The scripts of the run's site in one text, made once.
    text: Mutex<Option<(Call, Option<Arc<Kept>>)>>,
    /// Servers that keep it, whole.
    keeping: Mutex<BTreeSet<ServerName>>,
}

impl ReadyExecs {
    /// Has an exec stand ready on the server, unless one does; without one everything works as well.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn begin(&self, server: &ServerName, link: &Link, site: &Site<'_>) -> Result<(), ConnectError> {
        if lock(&self.ready).contains_key(server) {
            return Ok(());
        }
        let Some(kept) = self.text(calls::all_of(site)) else { return Ok(()) };
        let session = link.session().await?;
        let standing = ReadyExec::begin(session.clone(), Feed::counting(kept.clone()))
            .or_else(|| ReadyExec::begin(session, Feed::whole(kept)));
        if let Some(standing) = standing {
            lock(&self.ready).insert(server.clone(), standing);
        }
        Ok(())
    }

    fn text(&self, site: Call) -> Option<Arc<Kept>> {
        let mut made = lock(&self.text);
        if let Some((of, text)) = &*made
            && *of == site
        {
            return text.clone();
        }
        let text = Kept::new(site.clone()).map(Arc::new);
        *made = Some((site, text.clone()));
        text
    }

    /// The text that the server keeps, for scripts with an exec of their own.
    pub fn kept(&self, server: &ServerName) -> Option<Arc<Kept>> {
        let keeps = lock(&self.keeping).contains(server);
        lock(&self.text).as_ref().filter(|_| keeps).and_then(|(_, text)| text.clone())
    }

    /// Executes a script in the exec that stands ready; `None`: there is none for it, and nothing was done.
    pub async fn execute(
        &self,
        server: &ServerName,
        link: &Link,
        execution: &Execution<'_>,
        ear: Ear<'_>,
    ) -> Option<Result<Vec<Answer>, Failure>> {
        if execution.payload.is_some() || execution.stop.is_cancelled() {
            return None;
        }
        let mut standing = lock(&self.ready).remove(server)?;
        loop {
            let Some((input, nonce)) = standing.script.ask(&execution.call) else {
                lock(&self.ready).insert(server.clone(), standing);
                return None;
            };
            let mut also = |_: &str| {};
            let mut hearing = Hearing::new(execution, &nonce, ear, &mut also);
            // What somebody in the background of an earlier script has said since belongs to nobody.
            let mut over = None;
            while let Ok(said) = standing.heard.try_recv() {
                match said {
                    Said::Line(..) => drop(standing.waiting.fetch_sub(1, Relaxed)),
                    Said::Ended(ended) => over = Some(Over::Gone(ended)),
                }
            }
            let over = match over {
                Some(over) => over,
                None => {
                    // Where nobody listens any more its end is heard next.
                    let _ = standing.input.send(input);
                    standing.listen(&nonce, &mut hearing, execution).await
                }
            };
            let went = hearing.take("go").is_some();
            let ended = match over {
                Over::Ready(ended) => {
                    // A text that was brought is kept with the lock.
                    if !standing.script.is_whole() || (execution.call.script == Script::Lock && hearing.is_done()) {
                        lock(&self.keeping).insert(server.clone());
                    }
                    // One that was told to end while the script's last word was on its way takes no more.
                    if !standing.stop.is_cancelled() {
                        lock(&self.ready).insert(server.clone(), standing);
                    }
                    ended
                }
                // The server does not keep the text, or another one.
                Over::Gone(Ended::Exit(UNKEPT)) if !went && !standing.script.is_whole() => {
                    let whole = Feed::whole(standing.script.kept().clone());
                    standing = ReadyExec::begin(link.session().await.ok()?, whole)?;
                    continue;
                }
                // It had ended before it came to this script.
                Over::Gone(Ended::Exit(_) | Ended::NoStatus | Ended::Refused(_)) if !went && hearing.is_silent() => {
                    return None;
                }
                Over::Gone(ended) => ended,
            };
            let result = conclude(ended, hearing, execution);
            return Some(after_loss(link, execution, &nonce, (ear, &mut |_| {}), result).await);
        }
    }

    /// Lets the server's exec go, for servers that allow no second one beside it. False: there is none.
    pub async fn end(&self, server: &ServerName) -> bool {
        let standing = lock(&self.ready).remove(server);
        match standing {
            Some(standing) => {
                standing.end().await;
                true
            }
            None => false,
        }
    }
}
