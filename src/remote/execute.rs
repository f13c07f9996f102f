//! Runs one script in an exec of its own.
//!
//! Where the connection is lost in the middle, it asks the server what became of the script.

use std::sync::Arc;
use std::time::Duration;

use super::execution::{Ear, Execution};
use super::hearing::Hearing;
use crate::answer::{Answer, Fail, Nonce};
use crate::event::{Cause, Event, Failure, Fate, Refusal, StepName, Warning};
use crate::name::ServerName;
use crate::script::kept::Kept;
use crate::script::{AfterLoss, Script, Wired, calls};
use crate::ssh::{ConnectError, Ended, Exec, Link};
use crate::text::clean::clean;
use crate::wording::cause::reason;

/// Waited for the answer about a script without a limit: only a signal ends such a wait.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Connections that are made for a command which the one before did not take.
const RECONNECTS: usize = 2;
/// How much longer than the script's own limit the question about it may take.
const MARGIN: Duration = Duration::from_secs(15);

/// A script on its way through an exec of its own.
pub(super) struct Alone<'a> {
    /// The connection.
    pub link: &'a Link,
    /// The script.
    pub execution: &'a Execution<'a>,
    /// The text of scripts that the server keeps, so that the script need not be sent.
    pub kept: Option<Arc<Kept>>,
    /// Where its output goes.
    pub ear: Ear<'a>,
}

impl Alone<'_> {
    /// Runs the script, connecting first where the connection was lost.
    ///
    /// # Errors
    /// Whatever kept the script from saying `done` and ending with status 0.
    pub async fn run(&self) -> Result<Vec<Answer>, Failure> {
        let nonce = Nonce::random();
        let result = self.once(&nonce).await;
        self.after_loss(&nonce, result).await
    }

    /// Asks the server what became of a script whose connection was lost; its answer is the result.
    ///
    /// A script that never began, or that changes nothing, is run once more.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn after_loss(
        &self,
        nonce: &Nonce,
        result: Result<Vec<Answer>, Failure>,
    ) -> Result<Vec<Answer>, Failure> {
        let Err(lost) = &result else { return result };
        let Cause::Lost { detail } = &lost.cause else { return result };
        let after = self.execution.call.after_loss();
        if self.execution.stop.is_cancelled() || after == AfterLoss::Fail {
            return result;
        }
        self.tell(|step| Warning::Lost { step, detail: detail.clone() });
        let still_lost = |why: &str| {
            let detail = format!("{detail}; {why}");
            Err(Failure { cause: Cause::Lost { detail }, ..lost.clone() })
        };
        let found = match after {
            AfterLoss::Ask => self.ask(nonce).await,
            _ => Ok(Found::Never),
        };
        match found {
            Ok(Found::Done) => {
                self.tell(|step| Warning::Found { step, fate: Fate::Done });
                Ok(Vec::new())
            }
            Ok(Found::Failed(cause)) => {
                self.tell(|step| Warning::Found { step, fate: Fate::Failed });
                Err(Failure { cause, ..lost.clone() })
            }
            Ok(Found::Begun) => {
                self.tell(|step| Warning::Found { step, fate: Fate::Unfinished });
                still_lost("the server says that it began and never ended")
            }
            Ok(Found::Never) => {
                self.tell(|step| Warning::Found { step, fate: Fate::Again });
                match self.once(&Nonce::random()).await {
                    // The first unlock did its work, and another run has taken the lock since.
                    Err(Failure { cause: Cause::Refused { code: Refusal::NotOurs, .. }, .. })
                        if self.execution.call.script == Script::Unlock =>
                    {
                        Ok(Vec::new())
                    }
                    // A server out of reach now says nothing of the first time, which may have done its work.
                    Err(Failure { cause: Cause::Connect { detail, .. }, .. }) => still_lost(&detail),
                    other => other,
                }
            }
            Err(why) => still_lost(&format!("the server could not be asked what became of it: {why}")),
        }
    }

    fn tell(&self, warning: impl FnOnce(StepName) -> Warning) {
        if let Ear::Step(emitter, place) = self.ear {
            emitter.emit(Event::Warning { server: Some(place.server.clone()), warning: warning(place.step) });
        }
    }

    /// Connects again and asks; the error says why there is no answer.
    async fn ask(&self, nonce: &Nonce) -> Result<Found, String> {
        let limit = self.execution.limit.unwrap_or(WEEK);
        let call = calls::ask(&self.execution.call, nonce, limit);
        let execution = Execution::new(call, Some(limit.saturating_add(MARGIN)), self.execution.stop);
        let question = Alone { link: self.link, execution: &execution, kept: None, ear: Ear::Off };
        let asked = question.once(&Nonce::random()).await;
        let answers = asked.map_err(|failure| reason(&failure.cause))?;
        let became = answers.iter().find(|a| a.key == "became").map(|a| a.value.as_str()).unwrap_or_default();
        Ok(Found::read(became))
    }

    /// One attempt; connects first where the connection was lost.
    async fn once(&self, nonce: &Nonce) -> Result<Vec<Answer>, Failure> {
        // Some servers end a connection with its first command.
        for _ in 0..RECONNECTS {
            match self.on_connection(nonce).await? {
                (Ended::Unsent(_), _) if !self.execution.stop.is_cancelled() => {}
                (ended, hearing) => return hearing.conclude(ended, self.execution),
            }
        }
        let (ended, hearing) = self.on_connection(nonce).await?;
        hearing.conclude(ended, self.execution)
    }

    /// One attempt on the connection that there is; the error is that of making one.
    async fn on_connection<'b>(&'b self, nonce: &'b Nonce) -> Result<(Ended, Hearing<'b>), Failure> {
        let execution = self.execution;
        let fail = |cause| Failure { cause, command: execution.command.map(str::to_owned), tail: Vec::new() };
        let session = tokio::select! {
            session = self.link.regain() => session.map_err(|e| fail(Cause::from(e)))?,
            () = execution.stop.cancelled() => return Err(fail(Cause::Interrupted)),
        };
        let mut kept = self.kept.as_ref().and_then(|kept| kept.alone(&execution.call, nonce));
        loop {
            let counts = kept.is_some();
            let Wired { command, head } = kept.take().unwrap_or_else(|| execution.call.wired(nonce));
            let exec = Exec {
                command,
                head,
                payload: execution.payload.clone(),
                more: None,
                limit: execution.limit,
                quiet: execution.quiet,
                // Nothing else there has a use for it.
                lends: execution.call.script == Script::Fetch,
                last_words: nonce.last_words(),
            };
            let mut hearing = Hearing::new(execution, nonce, self.ear);
            let ended = session.exec(exec, &mut |heard| hearing.hear(heard), execution.stop).await;
            // The server says itself that it has not run a line of it.
            if counts && hearing.take("unkept").is_some() {
                continue;
            }
            return Ok((ended, hearing));
        }
    }
}

/// What the server says of a script whose connection was lost.
enum Found {
    Done,
    Failed(Cause),
    Begun,
    Never,
}

impl Found {
    fn read(became: &str) -> Self {
        let (word, rest) = became.split_once(' ').unwrap_or((became, ""));
        match word {
            "done" => Self::Done,
            "never" => Self::Never,
            "fail" => {
                let refused = Fail::read(rest);
                Self::Failed(Cause::Refused { code: Refusal::read(&refused.code), detail: clean(&refused.detail) })
            }
            "exit" => match rest.trim().parse() {
                Ok(0) => Self::Done,
                Ok(status) => Self::Failed(Cause::Exit { status }),
                Err(_) => Self::Begun,
            },
            _ => Self::Begun,
        }
    }
}

impl From<ConnectError> for Cause {
    fn from(error: ConnectError) -> Self {
        Self::Connect { detail: error.to_string(), hint: error.hint() }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, command: None, tail: Vec::new() }
    }
}

/// Makes the failure of a server that no connection was prepared for.
///
/// That is a mistake of the program.
pub fn no_link(server: &ServerName) -> Failure {
    Cause::Local { detail: format!("no connection was prepared for {server}") }.into()
}
