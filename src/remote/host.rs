//! One server that scripts run on.
//!
//! A script runs in the exec that stands ready there, or else in an exec of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::execute::Alone;
use super::execution::{Ear, Execution};
use super::hearing::Hearing;
use super::ready::{Over, ReadyExec};
use crate::answer::Answer;
use crate::event::{Cause, Failure, Refusal};
use crate::health::{self, Attempt, HealthQuestion};
use crate::script::Script;
use crate::script::kept::Kept;
use crate::script::standing::Feed;
use crate::ssh::{ConnectError, Ended, Link};
use crate::sync::lock;

/// How long a server that refuses one more session is asked again.
const ONE_SESSION: Duration = Duration::from_secs(5);

/// A server that scripts run on.
pub struct Host {
    link: Arc<Link>,
    /// The exec that stands ready, while no script uses it.
    ready: Mutex<Option<ReadyExec>>,
    /// The text of scripts that the server keeps, once it is known to keep it.
    kept: Mutex<Option<Arc<Kept>>>,
}

impl Host {
    /// Makes a host of a connection, without an exec that stands ready.
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, ready: Mutex::default(), kept: Mutex::default() }
    }

    /// The connection.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Connects to the server, unless a connection stands.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(&self) -> Result<(), Failure> {
        self.link.session().await.map(drop).map_err(|e| Cause::from(e).into())
    }

    /// Has an exec with this text of scripts stand ready, unless one does; scripts run without one as well.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn stand_ready(&self, text: Arc<Kept>) -> Result<(), ConnectError> {
        if lock(&self.ready).is_some() {
            return Ok(());
        }
        let session = self.link.session().await?;
        let exec = ReadyExec::begin(session.clone(), Feed::counting(text.clone()))
            .or_else(|| ReadyExec::begin(session, Feed::whole(text)));
        *lock(&self.ready) = exec;
        Ok(())
    }

    /// Runs a script: in the exec that stands ready, or else in one of its own.
    ///
    /// # Errors
    /// Whatever kept the script from saying `done` and ending with status 0.
    pub async fn run(&self, execution: &Execution<'_>, ear: Ear<'_>) -> Result<Vec<Answer>, Failure> {
        if let Some(result) = self.in_ready(execution, ear).await {
            return result;
        }
        let began = Instant::now();
        loop {
            let result = self.alone(execution, ear).run().await;
            if !is_refused(&result) || began.elapsed() >= ONE_SESSION || execution.stop.is_cancelled() {
                return result;
            }
            // The one session that such a server allows is the exec that stands ready, or the renewal of the lock.
            if !self.let_go().await {
                sleep(ONE_SESSION / 20).await;
            }
        }
    }

    /// Runs a script beside the one that runs there.
    ///
    /// It uses a second connection where the server allows one session at a time.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_beside(&self, execution: &Execution<'_>) -> Result<Vec<Answer>, Failure> {
        if let Some(result) = self.in_ready(execution, Ear::Off).await {
            return result;
        }
        let result = Alone { link: &self.link, execution, kept: None, ear: Ear::Off }.run().await;
        if !is_refused(&result) {
            return result;
        }
        let beside = self.link.beside();
        let result = Alone { link: &beside, execution, kept: None, ear: Ear::Off }.run().await;
        beside.close().await;
        result
    }

    /// Sends the requests of a health check to the server's own loopback, through its connection.
    ///
    /// A lost connection is made again.
    pub async fn http(&self, question: &HealthQuestion, limit: Duration) -> Attempt {
        health::through(&self.link, question, limit).await
    }

    fn alone<'a>(&'a self, execution: &'a Execution<'a>, ear: Ear<'a>) -> Alone<'a> {
        Alone { link: &self.link, execution, kept: lock(&self.kept).clone(), ear }
    }

    /// Runs a script in the exec that stands ready.
    ///
    /// `None`: no exec stands ready, or it cannot run this script, and nothing was done.
    async fn in_ready(&self, execution: &Execution<'_>, ear: Ear<'_>) -> Option<Result<Vec<Answer>, Failure>> {
        if execution.payload.is_some() || execution.stop.is_cancelled() {
            return None;
        }
        let mut exec = lock(&self.ready).take()?;
        loop {
            let Some((input, nonce)) = exec.script.ask(&execution.call) else {
                *lock(&self.ready) = Some(exec);
                return None;
            };
            let mut hearing = Hearing::new(execution, &nonce, ear);
            let over = exec.run(input, &nonce, &mut hearing, execution).await;
            let went = hearing.take("go").is_some();
            let ended = match over {
                Over::Ready(ended) => {
                    let brought = execution.call.script == Script::Lock && hearing.is_done();
                    self.still_ready(exec, brought);
                    ended
                }
                // The server keeps no text, or another one.
                Over::Unkept => {
                    let whole = Feed::whole(exec.script.kept().clone());
                    exec = ReadyExec::begin(self.link.session().await.ok()?, whole)?;
                    continue;
                }
                // The exec had ended before it came to this script.
                Over::Gone(Ended::Exit(_) | Ended::NoStatus | Ended::Refused(_) | Ended::Unsent(_))
                    if !went && hearing.is_silent() =>
                {
                    return None;
                }
                Over::Gone(ended) => ended,
            };
            let result = hearing.conclude(ended, execution);
            return Some(self.alone(execution, ear).after_loss(&nonce, result).await);
        }
    }

    /// Takes the exec back after a script.
    ///
    /// `brought`: the script was the one that keeps a text that was sent with the exec.
    fn still_ready(&self, exec: ReadyExec, brought: bool) {
        if brought || !exec.script.is_whole() {
            *lock(&self.kept) = Some(exec.script.kept().clone());
        }
        // An exec that was told to end while the script's last word was on its way takes no more.
        if exec.takes_more() {
            *lock(&self.ready) = Some(exec);
        }
    }

    /// Ends the exec that stands ready, for servers that allow no second session beside it.
    ///
    /// False: no exec stands ready.
    async fn let_go(&self) -> bool {
        let exec = lock(&self.ready).take();
        match exec {
            Some(exec) => {
                exec.end().await;
                true
            }
            None => false,
        }
    }
}

/// Tells whether the server refused one more session on the connection.
fn is_refused(result: &Result<Vec<Answer>, Failure>) -> bool {
    matches!(result, Err(Failure { cause: Cause::Refused { code: Refusal::Channel, .. }, .. }))
}
