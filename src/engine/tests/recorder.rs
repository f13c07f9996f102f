//! Hands and a balancer that do nothing but record: what was called, on which server, at which moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::answer::Answer;
use crate::balancer::error::{BalancerErrorKind, BalancerFault};
use crate::balancer::{Admin, BalancerError, Drained, Draining, MemberFacts, Snapshot};

use crate::engine::Stop;
use crate::engine::hands::{Balance, Hands, Hear};
use crate::event::{Cause, Event, Failure, Warning};
use crate::health::{Attempt, HealthQuestion};
use crate::name::ServerName;
use crate::outcome::Emitter;
use crate::policy::HERE;
use crate::process::command::UserCommand;
use crate::remote::{Ear, Execution};
use crate::script::calls::Site;
use crate::script::{Call, Param, Script};
use crate::sync::lock;

/// How long a call takes.
const SECOND: Duration = Duration::from_secs(1);

/// What a rule makes of a call.
#[derive(Debug, Clone)]
pub enum What {
    /// The call fails.
    Fails(Cause),
    /// The call takes so long.
    Takes(Duration),
    /// A signal reaches the run in the middle of the call.
    Signal,
    /// A request gets no answer.
    Silent,
    /// The call answers this beside `done`.
    Answers(&'static str, &'static str),
}

/// A rule: which call it is about, and what it makes of it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `SERVER CALL`.
    pub call: String,
    /// The how manieth such call, from 1; `None`: every one.
    pub nth: Option<usize>,
    /// What it makes of it.
    pub what: What,
}

/// A call as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// When it began.
    pub at: Instant,
    /// Where.
    pub server: String,
    /// What; `…` at its end: it was cut short by a signal.
    pub call: String,
}

/// Records all that a run does.
#[derive(Default)]
pub struct Recorder {
    /// The signals of the run.
    pub stop: Stop,
    /// Where the run's events go.
    pub emitter: OnceLock<Emitter>,
    /// What differs from a call that goes well within a second.
    pub rules: Vec<Rule>,
    /// The release that each server runs before the run: calls for it are written `CALL:old`.
    pub old: String,
    /// All calls but the renewals of locks.
    pub made: Mutex<Vec<Made>>,
    /// Servers whose lock was renewed.
    pub renewed: Mutex<BTreeSet<String>>,
    /// Environments of the commands that were run, by `SERVER CALL`.
    pub environments: Mutex<BTreeMap<String, Vec<(String, String)>>>,
    /// Members that are out of the balancer.
    pub out: Mutex<BTreeSet<String>>,
    /// How often each call was made.
    pub counts: Mutex<BTreeMap<String, usize>>,
}

impl Recorder {
    /// The rules for the next call of that name.
    fn rules_for(&self, call: &str) -> Vec<What> {
        let mut counts = lock(&self.counts);
        let nth = counts.entry(call.to_owned()).or_default();
        *nth += 1;
        let fits = |r: &&Rule| r.call == call && r.nth.is_none_or(|wanted| wanted == *nth);
        self.rules.iter().filter(fits).map(|r| r.what.clone()).collect()
    }

    /// Makes a call: it takes its time, ends early when it is stopped, and answers what the rules say.
    async fn make(
        &self,
        server: &str,
        call: &str,
        stop: &CancellationToken,
        limit: Option<Duration>,
    ) -> Result<Vec<Answer>, Cause> {
        if stop.is_cancelled() {
            return Err(Cause::Interrupted);
        }
        let number = {
            let mut made = lock(&self.made);
            made.push(Made { at: Instant::now(), server: server.to_owned(), call: call.to_owned() });
            made.len() - 1
        };
        let rules = self.rules_for(&format!("{server} {call}"));
        if rules.iter().any(|rule| matches!(rule, What::Silent)) {
            sleep(SECOND).await;
            return Err(Cause::NoStatus);
        }
        let takes = |rule: &What| if let What::Takes(time) = rule { Some(*time) } else { None };
        let time = rules.iter().find_map(takes).unwrap_or(SECOND);
        let signal = async {
            if rules.iter().any(|rule| matches!(rule, What::Signal)) {
                sleep(time / 2).await;
                self.signal();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = signal => {}
            () = stop.cancelled() => {
                lock(&self.made)[number].call.push('…');
                return Err(Cause::Interrupted);
            }
            () = sleep(time.min(limit.unwrap_or(time))) => {}
        }
        if let Some(limit) = limit.filter(|limit| *limit < time) {
            return Err(Cause::TimedOut { limit: limit.as_secs_f64() });
        }
        let fails = |rule: &What| if let What::Fails(cause) = rule { Some(cause.clone()) } else { None };
        match rules.iter().find_map(fails) {
            Some(cause) => Err(cause),
            None => Ok(rules
                .iter()
                .filter_map(|rule| match rule {
                    What::Answers(key, value) => Some(Answer { key: (*key).into(), value: (*value).into() }),
                    _ => None,
                })
                .collect()),
        }
    }

    /// Tells whether a health command is told of the old release.
    fn is_old(&self, call: &Call) -> bool {
        call.env.iter().any(|(name, value)| name == "PITCREW_RELEASE" && *value == self.old)
    }

    /// Tells the run of a signal, as [`Stop::listen`] does.
    fn signal(&self) {
        if let Some(emitter) = self.emitter.get() {
            let warning = Warning::Interrupted { signal: "INT".into(), again: self.stop.asked() };
            emitter.emit(Event::Warning { server: None, warning });
        }
        self.stop.ask("INT");
    }

    /// The name of a script in tables.
    fn name(&self, call: &Call, ear: Ear<'_>) -> String {
        let param = |wanted: &str| match call.params.iter().rfind(|(name, _)| *name == wanted) {
            Some((_, Param::Text(text))) => text.as_str(),
            _ => "",
        };
        let old = |param: &str| if param == self.old { ":old" } else { "" };
        let name = call.script.name();
        match (call.script, ear) {
            (Script::Lock, _) if param("mode") != "take" => param("mode").to_owned(),
            (Script::Command, Ear::Step(_, place)) => place.step.to_string(),
            (Script::Check, _) if self.is_old(call) => "check:old".to_owned(),
            (Script::Switch, _) => format!("switch{}", old(param("to"))),
            (Script::Restart | Script::Prove, _) => format!("{name}{}", old(param("id"))),
            _ => name.to_owned(),
        }
    }
}

fn failure(cause: Cause) -> Failure {
    Failure { cause, command: None, tail: Vec::new() }
}

impl Hands for Recorder {
    fn connect<'a>(&'a self, server: &'a ServerName) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            let made = self.make(server.as_str(), "connect", &self.stop.hard, None).await;
            made.map(drop).map_err(failure)
        })
    }

    fn stand_ready<'a>(&'a self, _: &'a ServerName, _: &'a Site<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn run<'a>(
        &'a self,
        server: &'a ServerName,
        execution: &'a Execution<'a>,
        ear: Ear<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>> {
        Box::pin(async move {
            let name = self.name(&execution.call, ear);
            let environment = execution.call.env.clone();
            lock(&self.environments).insert(format!("{server} {name}"), environment);
            self.make(server.as_str(), &name, execution.stop, execution.limit).await.map_err(failure)
        })
    }

    fn run_beside<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a Execution<'a>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Failure>> {
        Box::pin(async move {
            lock(&self.renewed).insert(server.0.clone());
            let rules = self.rules_for(&format!("{server} renewal"));
            let fails = |rule: What| if let What::Fails(cause) = rule { Some(cause) } else { None };
            rules.into_iter().find_map(fails).map_or(Ok(Vec::new()), |cause| Err(failure(cause)))
        })
    }

    fn http<'a>(&'a self, server: &'a ServerName, _: &'a HealthQuestion, limit: Duration) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match self.make(server.as_str(), "health", &CancellationToken::new(), Some(limit)).await {
                Ok(_) => Attempt { ok: true, status: Some(200), ..Attempt::default() },
                Err(Cause::NoStatus) => Attempt { error: Some("connection refused".into()), ..Attempt::default() },
                Err(_) => Attempt { status: Some(500), ..Attempt::default() },
            }
        })
    }

    fn lends(&self, _: &ServerName) -> bool {
        false
    }

    fn here<'a>(
        &'a self,
        command: &'a UserCommand<'a>,
        stop: &'a CancellationToken,
        _: Hear<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            let made = self.make(HERE, command.command, stop, command.limit).await;
            made.map(drop).map_err(failure)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A balancer that does not do what it is asked.
#[derive(Debug)]
struct No(BalancerErrorKind);

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it said no")
    }
}

impl std::error::Error for No {}

impl BalancerFault for No {
    fn kind(&self) -> BalancerErrorKind {
        self.0
    }
}

/// The one balancer of the tests; a member is named as its server.
impl Recorder {
    /// The value of a variable in the environment of the last script of that name, as `SERVER CALL`.
    pub fn variable(&self, call: &str, name: &str) -> Option<String> {
        let environments = lock(&self.environments);
        environments.get(call)?.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    /// A member as it is now.
    pub fn member(&self, name: &str) -> MemberFacts {
        let out = lock(&self.out).contains(name);
        MemberFacts {
            at: "lb".into(),
            backend: "shop".into(),
            member: name.to_owned(),
            admin: if out { Admin::Maint } else { Admin::Ready },
            in_service: !out,
            status: if out { "MAINT" } else { "UP" }.into(),
            others_in_service: 9,
            size: 10,
            ..MemberFacts::default()
        }
    }

    async fn balance(&self, name: &str, call: &str, stop: &CancellationToken) -> Result<Vec<Answer>, BalancerError> {
        self.make(name, call, stop, None).await.map_err(|cause| {
            let kind =
                if cause == Cause::Interrupted { BalancerErrorKind::Stopped } else { BalancerErrorKind::Unproven };
            BalancerError::new("lb", Some(name.to_owned()), No(kind))
        })
    }
}

impl Balance for Recorder {
    fn facts<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>> {
        self.facts_soon(names, &self.stop.hard)
    }

    fn facts_soon<'a>(
        &'a self,
        names: &'a [String],
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Vec<MemberFacts>, Vec<BalancerError>>> {
        Box::pin(async move {
            let of = if let [one] = names { one } else { "lb" };
            self.balance(of, "look", stop).await.map_err(|e| vec![e])?;
            Ok(names.iter().map(|name| self.member(name)).collect())
        })
    }

    fn drain<'a>(
        &'a self,
        names: &'a [String],
        _: &'a Snapshot,
        _: &'a mut (dyn FnMut(Draining) + Send + Sync),
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>> {
        Box::pin(async move {
            let name = &names[0];
            self.balance(name, "drain", stop).await?;
            lock(&self.out).insert(name.clone());
            Ok(Drained { left: Some(0), waited: SECOND })
        })
    }

    fn ensure_out<'a>(
        &'a self,
        names: &'a [String],
        _: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>> {
        Box::pin(async move { self.balance(&names[0], "stay-out", stop).await.map(|_| None) })
    }

    fn restore<'a>(
        &'a self,
        names: &'a [String],
        found: &'a Snapshot,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>> {
        Box::pin(async move {
            let name = &names[0];
            self.balance(name, "restore", stop).await?;
            if found.was_in() {
                lock(&self.out).remove(name);
            }
            Ok(())
        })
    }
}
