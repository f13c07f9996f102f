//! Executing one remote script: its output becomes events, its answers a value, its end a result.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Nonce, Refused};
use crate::event::{Cause, Event, Failure, Fate, Place, Progress, Refusal, StepName, Stream, Warning};
use crate::name::ServerName;
use crate::report::Emitter;
use crate::report::clean::clean;
use crate::script::kept::Kept;
use crate::script::{AfterLoss, Call, Script, Wired, calls};
use crate::ssh::{ConnectError, Ended, Exec, Heard, Link, Payload, Pipe};
use crate::{lease, machine};

/// Lines kept to show with a failure.
const TAIL: usize = 20;
/// Answers a script may give; more is no script of ours.
const ANSWERS: usize = 100_000;
/// Bytes of them.
const ANSWERED: usize = 16 << 20;

/// A script to execute, with its limits.
#[derive(Clone)]
pub struct Execution<'a> {
    /// The script and its parameters.
    pub call: Call,
    /// The text with the script in it that the server keeps: then it need not be sent.
    pub kept: Option<Arc<Kept>>,
    /// Sent after the environment.
    pub payload: Option<Payload>,
    /// Hard limit.
    pub limit: Option<Duration>,
    /// Silence that is worth a warning; zero: none is.
    pub quiet: Duration,
    /// Shown with a failure: the command as the configuration has it.
    pub command: Option<&'a str>,
    /// Ends the command when cancelled.
    pub stop: &'a CancellationToken,
}

/// Where events go, and at which place in the plan; `None`: nobody is told (probes before the plan).
pub type Ear<'a> = Option<(&'a Emitter, &'a Place)>;

/// What is heard of one script.
pub(super) struct Hearing<'a> {
    ear: Ear<'a>,
    nonce: &'a Nonce,
    total: u64,
    reported: u64,
    answers: Vec<Answer>,
    answered: usize,
    tail: VecDeque<String>,
    also: &'a mut (dyn FnMut(&str) + Send),
}

impl<'a> Hearing<'a> {
    pub(super) fn new(
        execution: &Execution<'_>,
        nonce: &'a Nonce,
        ear: Ear<'a>,
        also: &'a mut (dyn FnMut(&str) + Send),
    ) -> Self {
        let total = execution.payload.as_ref().map_or(0, |p| p.len);
        Self { ear, nonce, total, reported: 0, answers: Vec::new(), answered: 0, tail: VecDeque::new(), also }
    }

    /// Tells whether the script has told anything.
    pub(super) fn is_silent(&self) -> bool {
        self.answers.is_empty() && self.tail.is_empty()
    }

    /// Tells whether the script has said that it ran to its end.
    pub(super) fn is_done(&self) -> bool {
        Answer::is_done(&self.answers)
    }

    /// Takes an answer back.
    pub(super) fn take(&mut self, key: &str) -> Option<Answer> {
        let at = self.answers.iter().position(|a| a.key == key)?;
        Some(self.answers.remove(at))
    }

    pub(super) fn hear(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Line(pipe, line) => {
                let (before, answer) = self.nonce.split(line);
                if answer.is_none() || !before.is_empty() {
                    self.line(pipe.into(), before);
                }
                if let Some(answer) = answer
                    && self.answers.len() < ANSWERS
                    && self.answered < ANSWERED
                {
                    self.answered += answer.key.len() + answer.value.len();
                    self.answers.push(answer);
                }
            }
            Heard::Sent(done) => {
                // A line a twentieth is plenty for eyes and for logs.
                if done == self.total || done - self.reported >= self.total / 20 {
                    self.reported = done;
                    let progress = Progress::Bytes { done, total: self.total };
                    self.emit(|place| Event::Progress { place, progress });
                }
            }
            Heard::Quiet(silence) => {
                let last_line = self.tail.back().cloned().unwrap_or_default();
                self.emit(|place| Event::Warning {
                    server: Some(place.server.clone()),
                    warning: Warning::Quiet { step: place.step, seconds: silence.as_secs(), last_line },
                });
            }
        }
    }

    fn line(&mut self, stream: Stream, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        (self.also)(line);
        self.emit(|place| Event::Output { place, stream, line: line.to_owned() });
    }

    fn emit(&self, event: impl FnOnce(Place) -> Event) {
        if let Some((emitter, place)) = self.ear {
            emitter.emit(event(place.clone()));
        }
    }
}

/// Executes a script on a server, connecting first where the connection was lost.
///
/// # Errors
/// Whatever kept it from saying `done` and ending with status 0.
pub async fn execute(link: &Link, execution: Execution<'_>, ear: Ear<'_>) -> Result<Vec<Answer>, Failure> {
    execute_hearing(link, execution, ear, &mut |_| {}).await
}

/// The same, and every cleaned line of output goes to `also`.
///
/// When the connection is lost in the middle, the server is asked what became of the script, and the answer is the result;
/// a script that never began, or that changes nothing, is run once more.
///
/// # Errors
/// As [`execute`].
pub async fn execute_hearing(
    link: &Link,
    execution: Execution<'_>,
    ear: Ear<'_>,
    also: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<Answer>, Failure> {
    let nonce = Nonce::random();
    let result = once(link, &execution, &nonce, ear, also).await;
    after_loss(link, &execution, &nonce, (ear, also), result).await
}

/// The result after all, when the connection was lost: the server is asked.
pub(super) async fn after_loss(
    link: &Link,
    execution: &Execution<'_>,
    nonce: &Nonce,
    (ear, also): (Ear<'_>, &mut (dyn FnMut(&str) + Send)),
    result: Result<Vec<Answer>, Failure>,
) -> Result<Vec<Answer>, Failure> {
    let Err(lost) = &result else { return result };
    let Cause::Lost { detail } = &lost.cause else { return result };
    let after = execution.call.after_loss();
    if execution.stop.is_cancelled() || after == AfterLoss::Fail {
        return result;
    }
    let tell = |warning: fn(StepName, &str) -> Warning, detail: &str| {
        if let Some((emitter, place)) = ear {
            let warning = warning(place.step, detail);
            emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
        }
    };
    tell(|step, detail| Warning::Lost { step, detail: detail.to_owned() }, detail);
    let still_lost = |why: &str| {
        let detail = format!("{detail}; {why}");
        Failure { cause: Cause::Lost { detail }, ..lost.clone() }
    };
    let found = match after {
        AfterLoss::Ask => ask(link, execution, nonce).await,
        _ => Ok(Found::Never),
    };
    match found {
        Ok(Found::Done) => {
            tell(|step, _| Warning::Found { step, fate: Fate::Done }, "");
            Ok(Vec::new())
        }
        Ok(Found::Failed(cause)) => {
            tell(|step, _| Warning::Found { step, fate: Fate::Failed }, "");
            Err(Failure { cause, ..lost.clone() })
        }
        Ok(Found::Begun) => {
            tell(|step, _| Warning::Found { step, fate: Fate::Unfinished }, "");
            Err(still_lost("the server says that it began and never ended"))
        }
        Ok(Found::Never) => {
            tell(|step, _| Warning::Found { step, fate: Fate::Again }, "");
            let again = once(link, execution, &Nonce::random(), ear, also).await;
            match again {
                // Released the first time, and taken by somebody else since.
                Err(Failure { cause: Cause::Refused { code: Refusal::NotOurs, .. }, .. })
                    if execution.call.script == Script::Unlock =>
                {
                    Ok(Vec::new())
                }
                // That nobody can be reached now says nothing of the first time: it may have been done then.
                Err(Failure { cause: Cause::Connect { detail, .. }, .. }) => Err(still_lost(&detail)),
                other => other,
            }
        }
        Err(why) => Err(still_lost(&format!("the server could not be asked what became of it: {why}"))),
    }
}

/// What the server says of a script whose connection was lost.
enum Found {
    Done,
    Failed(Cause),
    Begun,
    Never,
}

/// Connects again and asks; the error says why there is no answer.
async fn ask(link: &Link, lost: &Execution<'_>, nonce: &Nonce) -> Result<Found, String> {
    // What has no limit is waited for as long as it takes; only a signal ends that.
    let limit = lost.limit.unwrap_or(Duration::from_secs(7 * 24 * 3600));
    let execution = Execution {
        call: calls::ask(&lost.call, nonce, limit),
        kept: None,
        payload: None,
        limit: Some(limit.saturating_add(Duration::from_secs(15))),
        quiet: Duration::ZERO,
        command: None,
        stop: lost.stop,
    };
    let asked = once(link, &execution, &Nonce::random(), None, &mut |_| {}).await;
    let answers = asked.map_err(|failure| crate::report::cause::reason(&failure.cause))?;
    let became = answers.iter().find(|a| a.key == "became").map(|a| a.value.as_str()).unwrap_or_default();
    let (word, rest) = became.split_once(' ').unwrap_or((became, ""));
    Ok(match word {
        "done" => Found::Done,
        "never" => Found::Never,
        "fail" => {
            let refused = Refused::read(rest);
            Found::Failed(Cause::Refused { code: Refusal::read(&refused.code), detail: clean(&refused.detail) })
        }
        "exit" => match rest.trim().parse() {
            Ok(0) => Found::Done,
            Ok(status) => Found::Failed(Cause::Exit { status }),
            Err(_) => Found::Begun,
        },
        _ => Found::Begun,
    })
}

/// One attempt; connects first where the connection was lost.
async fn once(
    link: &Link,
    execution: &Execution<'_>,
    nonce: &Nonce,
    ear: Ear<'_>,
    also: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<Answer>, Failure> {
    let fail = |cause| Failure { cause, command: execution.command.map(str::to_owned), tail: Vec::new() };
    let session = tokio::select! {
        session = link.regain() => session.map_err(|e| fail(Cause::from(e)))?,
        () = execution.stop.cancelled() => return Err(fail(Cause::Interrupted)),
    };
    let mut kept = execution.kept.as_ref().and_then(|kept| kept.alone(&execution.call, nonce));
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
            last_words: nonce.last_words(),
        };
        let mut hearing = Hearing::new(execution, nonce, ear, &mut *also);
        let ended = session.exec(exec, &mut |heard| hearing.hear(heard), execution.stop).await;
        // The server says itself that it has not run a line of it.
        if counts && hearing.take("unkept").is_some() {
            continue;
        }
        return conclude(ended, hearing, execution);
    }
}

/// A script's result, from how it ended and what was heard of it.
pub(super) fn conclude(ended: Ended, hearing: Hearing<'_>, execution: &Execution<'_>) -> Result<Vec<Answer>, Failure> {
    let refusal = Answer::refusal(&hearing.answers).map(|refused| match Refusal::read(&refused.code) {
        Refusal::Locked => locked(&hearing.answers),
        code => Cause::Refused { code, detail: refused.detail },
    });
    let signal = hearing.answers.iter().find(|a| a.key == "signal").map(|a| Cause::Signal { signal: a.value.clone() });
    let done = Answer::is_done(&hearing.answers);
    let cause = match ended {
        Ended::Exit(0) if done && refusal.is_none() => return Ok(hearing.answers),
        // A status of 0 without the last line is a script that something else ended: a login shell, a full disk.
        Ended::Exit(0) => refusal.unwrap_or(Cause::NoStatus),
        Ended::Exit(status) => refusal.or(signal).unwrap_or(Cause::Exit { status }),
        Ended::Signal(signal) => Cause::Signal { signal },
        // The last word was heard; only the goodbye was lost.
        Ended::Lost(_) | Ended::NoStatus
            if done && refusal.is_none() && signal.is_none() && !execution.call.has_status() =>
        {
            return Ok(hearing.answers);
        }
        Ended::Lost(why) => refusal.unwrap_or_else(|| Cause::Lost { detail: why.to_string() }),
        // So ends a command whose connection is just being cut, or whose sshd is killed: the server knows more.
        Ended::NoStatus => {
            refusal.unwrap_or_else(|| Cause::Lost { detail: "its channel closed without an exit status".into() })
        }
        Ended::TimedOut(limit) => Cause::TimedOut { limit: limit.as_secs_f64() },
        Ended::Stopped => Cause::Interrupted,
        Ended::Refused(why) => Cause::Refused { code: Refusal::Channel, detail: why.to_string() },
    };
    Err(Failure { cause, command: execution.command.map(str::to_owned), tail: hearing.tail.into() })
}

/// Makes the cause of a held lock from what the script says of its owner.
fn locked(answers: &[Answer]) -> Cause {
    let mut lock = machine::lock_held(answers);
    lock.owner = lock.owner.iter().map(|(k, v)| (clean(k), clean(v))).collect();
    Cause::Locked(Box::new(lease::held(&lock)))
}

impl From<Pipe> for Stream {
    fn from(pipe: Pipe) -> Self {
        match pipe {
            Pipe::Out => Self::Stdout,
            Pipe::Err => Self::Stderr,
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

/// A failure of a server that has no link: a mistake of the program, told as one.
pub fn no_link(server: &ServerName) -> Failure {
    Cause::Local { detail: format!("no connection was prepared for {server}") }.into()
}
