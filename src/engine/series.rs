//! Steps whose scripts run in one exec, and yet are waited for, judged and told one by one.
//!
//! A series is begun by its first step, which knows what follows it without a pause; each step then takes its own script's
//! end out of it, as if it had executed it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Running;
use super::remote::{Ear, Execution, Hearing, after_loss, conclude};
use crate::event::{Cause, Failure, Stream};
use crate::name::ServerName;
use crate::remote::series::Series;
use crate::remote::{Answer, Call, Nonce, Wired};
use crate::ssh::{Ended, Exec, Heard, Link, Payload, Session};

/// When nothing limits a script.
const FAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Scripts that run on one server, of which some are still to be waited for.
pub struct UnderWay {
    coming: VecDeque<(Call, Nonce)>,
    heard: mpsc::UnboundedReceiver<Said>,
    /// How the exec ended; the scripts that are still coming ended with it.
    ended: Option<Ended>,
    stop: CancellationToken,
    /// Nobody who could be told is left: the scripts are ended.
    _stop_on_drop: DropGuard,
}

/// What is heard of a command, to be kept until it is asked for.
enum Said {
    Line(Stream, String),
    Sent(u64),
    Quiet(Duration),
    Ended(Ended),
}

impl UnderWay {
    /// Begins; the session is read all the time, whoever waits for the scripts.
    fn begin(session: Arc<Session>, series: Series, payload: Option<Payload>, quiet: Duration) -> Self {
        let Wired { command, head } = series.wired();
        // Each script's limit is kept by whoever waits for it.
        let exec = Exec { command, head, payload, limit: None, quiet };
        let (say, heard) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let ending = stop.clone();
        tokio::spawn(async move {
            let tell = say.clone();
            let mut hear = move |heard: Heard<'_>| {
                let said = match heard {
                    Heard::Line(stream, line) => Said::Line(stream, line.to_owned()),
                    Heard::Sent(bytes) => Said::Sent(bytes),
                    Heard::Quiet(silence) => Said::Quiet(silence),
                };
                let _ = tell.send(said);
            };
            let ended = session.exec(exec, &mut hear, &ending).await;
            let _ = say.send(Said::Ended(ended));
        });
        Self { coming: series.0.into(), heard, ended: None, _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// Waits for the end of the next script, which `execution` describes.
    async fn next(
        &mut self,
        link: &Link,
        execution: &Execution<'_>,
        ear: Ear<'_>,
    ) -> Result<Vec<Answer>, Failure> {
        let Some((_, nonce)) = self.coming.pop_front() else { return Err(Cause::NoStatus.into()) };
        let mut also = |_: &str| {};
        let mut hearing = Hearing::new(execution, &nonce, ear, &mut also);
        let ended = match self.hear(&mut hearing, execution).await {
            Ok(answers) => return Ok(answers),
            Err(ended) => ended,
        };
        let result = conclude(ended, hearing, execution);
        after_loss(link, execution, &nonce, ear, &mut |_| {}, result).await
    }

    /// Listens until the script is done or everything is over.
    async fn hear(&mut self, hearing: &mut Hearing<'_>, execution: &Execution<'_>) -> Result<Vec<Answer>, Ended> {
        let limit = execution.limit.unwrap_or(FAR).min(FAR);
        let deadline = Instant::now() + limit;
        let mut told = None;
        loop {
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            tokio::select! {
                // What was heard comes first: a script that was done in time is done.
                biased;
                said = self.heard.recv() => match said {
                    Some(Said::Line(stream, line)) => {
                        hearing.hear(Heard::Line(stream, &line));
                        // The last one's end is the exec's: only then has everything been heard.
                        if !self.coming.is_empty() && let Some(answers) = hearing.well_done() {
                            return Ok(answers);
                        }
                    }
                    Some(Said::Sent(bytes)) => hearing.hear(Heard::Sent(bytes)),
                    Some(Said::Quiet(silence)) => hearing.hear(Heard::Quiet(silence)),
                    Some(Said::Ended(ended)) => {
                        let ended = if ended == Ended::Stopped { told.take().unwrap_or(ended) } else { ended };
                        self.ended = Some(ended);
                    }
                    None => self.ended = Some(Ended::Lost("the connection ended".into())),
                },
                () = execution.stop.cancelled(), if told.is_none() => {
                    told = Some(Ended::Stopped);
                    self.stop.cancel();
                }
                () = sleep_until(deadline), if told.is_none() => {
                    told = Some(Ended::TimedOut(limit));
                    self.stop.cancel();
                }
            }
        }
    }

    /// Ends what nobody waits for, and sees to it that it has ended.
    async fn abandon(mut self) {
        self.stop.cancel();
        while self.ended.is_none() {
            match self.heard.recv().await {
                Some(Said::Ended(_)) | None => return,
                Some(_) => {}
            }
        }
    }
}

impl Running {
    /// Begins several scripts in one exec; those who execute them one by one get their ends. With nothing to gain, or
    /// without a connection, nothing happens: they are then executed one by one indeed.
    pub async fn begin(&self, server: &ServerName, calls: Vec<Call>, payload: Option<Payload>) {
        let Some(link) = self.world.links.get(server).filter(|_| calls.len() > 1) else { return };
        let Ok(session) = link.session().await else { return };
        let quiet = self.world.config.timeouts.quiet;
        let under_way = UnderWay::begin(session, Series::new(calls), payload, quiet);
        super::lock(&self.under_way).insert(server.clone(), under_way);
    }

    /// Executes a script: the next one of those under way, or by itself.
    pub(super) async fn next_under_way(
        &self,
        server: &ServerName,
        link: &Link,
        execution: &Execution<'_>,
        ear: Ear<'_>,
    ) -> Option<Result<Vec<Answer>, Failure>> {
        let mut under_way = {
            let mut all = super::lock(&self.under_way);
            let next = all.get(server).and_then(|u| u.coming.front());
            next.filter(|(call, _)| *call == execution.call)?;
            all.remove(server)?
        };
        let result = under_way.next(link, execution, ear).await;
        // After a failure nothing of it runs any more.
        if result.is_ok() && !under_way.coming.is_empty() {
            super::lock(&self.under_way).insert(server.clone(), under_way);
        }
        Some(result)
    }

    /// Tells whether scripts run on the server that a step is still to wait for.
    pub fn is_under_way(&self, server: &ServerName) -> bool {
        super::lock(&self.under_way).contains_key(server)
    }

    /// Ends what is under way on the server and will not be waited for.
    pub async fn abandon(&self, server: &ServerName) {
        let left = super::lock(&self.under_way).remove(server);
        if let Some(left) = left {
            left.abandon().await;
        }
    }
}
