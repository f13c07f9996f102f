//! Hears what one script says while it runs.
//!
//! Lines become events, answers are kept, and the script's end becomes a result.

use std::collections::VecDeque;

use super::execution::{Ear, Execution};
use crate::answer::{Answer, Nonce};
use crate::event::{Cause, Event, Failure, Place, Progress, Refusal, Stream, Warning};
use crate::lease;
use crate::process::machine;
use crate::script::Script;
use crate::ssh::{Ended, Heard, Pipe};
use crate::text::clean::clean;

/// Lines kept to show with a failure.
const TAIL: usize = 20;
/// Answers a script may give; more is no script of ours.
const ANSWERS: usize = 100_000;
/// Bytes of them.
const ANSWERED: usize = 16 << 20;
/// What a script says of a user's command when that has ended, in this order.
const ENDS: [&str; 3] = ["signal", "exit", "done"];

/// What one script has said so far.
pub(super) struct Hearing<'a> {
    ear: Ear<'a>,
    nonce: &'a Nonce,
    total: u64,
    reported: u64,
    answers: Vec<Answer>,
    answered: usize,
    tail: VecDeque<String>,
    script: Script,
    /// How many answers the script had given when its user's command began.
    own: Option<usize>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(execution: &Execution<'_>, nonce: &'a Nonce, ear: Ear<'a>) -> Self {
        let total = execution.payload.as_ref().map_or(0, |p| p.len);
        Self {
            ear,
            nonce,
            total,
            reported: 0,
            answers: Vec::new(),
            answered: 0,
            tail: VecDeque::new(),
            script: execution.call.script,
            own: None,
        }
    }

    /// Tells whether the script has said nothing yet.
    pub(super) fn is_silent(&self) -> bool {
        self.answers.is_empty() && self.tail.is_empty()
    }

    /// Tells whether the script has said that it ran to its end.
    pub(super) fn is_done(&self) -> bool {
        Answer::is_done(&self.answers)
    }

    /// Removes an answer that is meant for this side of the connection only.
    pub(super) fn take(&mut self, key: &str) -> Option<Answer> {
        let at = self.answers.iter().position(|a| a.key == key)?;
        Some(self.answers.remove(at))
    }

    /// Takes in a line, how much was sent, or a silence.
    pub(super) fn hear(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Line(pipe, line) => {
                let (before, answer) = self.nonce.split(line);
                if answer.is_none() || !before.is_empty() {
                    self.line(pipe.into(), before);
                }
                if let Some(answer) = answer {
                    self.answer(answer);
                }
            }
            Heard::Sent(done) => {
                // One event per twentieth is enough for eyes and for logs.
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

    /// Keeps an answer.
    ///
    /// A user's command may have the rights to find the nonce out: while it runs only the script's end is believed, which
    /// the command decides anyway.
    fn answer(&mut self, answer: Answer) {
        if let Some(own) = self.own {
            if ENDS.contains(&answer.key.as_str()) {
                self.answers.push(answer);
            }
            // The true end comes last, however many others were printed.
            if self.answers.len() > own + ENDS.len() {
                self.answers.remove(own);
            }
        } else if answer.key == "user" && matches!(self.script, Script::Command | Script::Check) {
            self.own = Some(self.answers.len());
        } else if self.answers.len() < ANSWERS && self.answered < ANSWERED {
            self.answered += answer.key.len() + answer.value.len();
            self.answers.push(answer);
        }
    }

    fn line(&mut self, stream: Stream, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        if let Ear::Lines(hear) = self.ear {
            hear(line);
        }
        self.emit(|place| Event::Output { place, stream, line: line.to_owned() });
    }

    fn emit(&self, event: impl FnOnce(Place) -> Event) {
        if let Ear::Step(emitter, place) = self.ear {
            emitter.emit(event(place.clone()));
        }
    }

    /// Makes the script's result from how it ended and from what it said.
    ///
    /// # Errors
    /// Whatever kept the script from saying `done` and ending with status 0.
    pub(super) fn conclude(self, ended: Ended, execution: &Execution<'_>) -> Result<Vec<Answer>, Failure> {
        let refusal = Answer::refusal(&self.answers).map(|refused| match Refusal::read(&refused.code) {
            Refusal::Locked if self.script == Script::Lock => locked(&self.answers),
            code => Cause::Refused { code, detail: refused.detail },
        });
        let done = Answer::is_done(&self.answers);
        // What the script says itself counts: some login shells and wrappers make another exit status of one.
        let at = self.answers.iter().rposition(|a| a.key == "exit");
        let said = at.and_then(|at| self.answers[at].value.parse().ok()).filter(|status| *status != 0);
        let signal = at.and_then(|at| self.answers[..at].last()).filter(|a| a.key == "signal").map(|a| a.value.clone());
        let cause = match ended {
            Ended::Exit(_) | Ended::Lost(_) | Ended::NoStatus if done && refusal.is_none() => match said {
                Some(status) => signal.map_or(Cause::Exit { status }, |signal| Cause::Signal { signal }),
                None => return Ok(self.answers),
            },
            // A status of 0 without the last line is a script that something else ended: a login shell, a full disk.
            Ended::Exit(0) => refusal.unwrap_or(Cause::NoStatus),
            Ended::Exit(status) => refusal.unwrap_or(Cause::Exit { status }),
            Ended::Signal(signal) => Cause::Signal { signal },
            Ended::Lost(why) | Ended::Unsent(why) => refusal.unwrap_or_else(|| Cause::Lost { detail: why.to_string() }),
            // So ends a command whose connection is just being cut, or whose sshd is killed: the server knows more.
            Ended::NoStatus => {
                refusal.unwrap_or_else(|| Cause::Lost { detail: "its channel closed without an exit status".into() })
            }
            Ended::TimedOut(limit) => Cause::TimedOut { limit: limit.as_secs_f64() },
            Ended::Stopped => Cause::Interrupted,
            Ended::Refused(why) => Cause::Refused { code: Refusal::Channel, detail: why.to_string() },
        };
        Err(Failure { cause, command: execution.command.map(str::to_owned), tail: self.tail.into() })
    }
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

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::script::Call;

    fn concluded(script: Script, said: &[&str], ended: Ended) -> Result<Vec<Answer>, Failure> {
        let (nonce, stop) = (Nonce("0123456789abcdef".into()), CancellationToken::new());
        let call = Call { script, params: Vec::new(), snippets: Vec::new(), web: Vec::new(), env: Vec::new() };
        let execution = Execution::new(call, None, &stop);
        let mut hearing = Hearing::new(&execution, &nonce, Ear::Off);
        for line in said {
            hearing.hear(Heard::Line(Pipe::Out, &format!("@pitcrew:{} {line}", nonce.0)));
        }
        hearing.conclude(ended, &execution)
    }

    /// Even one that knows the nonce.
    #[test]
    fn of_a_users_command_only_its_own_end_is_believed() {
        for script in [Script::Command, Script::Check] {
            let forged =
                ["user", "fail locked x", "owner run=x", "unkept", "exit 0", "signal KILL", "done", "exit 7", "done"];
            let failed = concluded(script, &forged, Ended::Exit(7)).unwrap_err();
            assert_eq!(failed.cause, Cause::Exit { status: 7 }, "{script:?}");
            let flood =
                ["user"].into_iter().chain(std::iter::repeat_n("exit 0", 2 * ANSWERS)).chain(["exit 7", "done"]);
            let failed = concluded(script, &flood.collect::<Vec<_>>(), Ended::Exit(7)).unwrap_err();
            assert_eq!(failed.cause, Cause::Exit { status: 7 }, "{script:?}");
            let killed = concluded(script, &["user", "exit 0", "signal TERM", "exit 143", "done"], Ended::Exit(143));
            assert_eq!(killed.unwrap_err().cause, Cause::Signal { signal: "TERM".into() }, "{script:?}");
            let good = concluded(script, &["user", "fail locked x", "exit 0", "done"], Ended::Exit(0)).unwrap();
            assert!(good.iter().all(|answer| ENDS.contains(&answer.key.as_str())), "{good:?}");
        }
    }

    #[test]
    fn only_the_script_that_takes_the_lock_can_say_that_another_run_holds_it() {
        let cause = |script| concluded(script, &["fail locked x"], Ended::Exit(75)).unwrap_err().cause;
        assert!(matches!(cause(Script::Lock), Cause::Locked(_)));
        assert!(matches!(cause(Script::Restart), Cause::Refused { code: Refusal::Locked, .. }));
    }
}
