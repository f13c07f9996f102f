//! Health checks: what the application itself answers, asked through the connection to its server.
//!
//! Owns one request over any byte stream, and the loop that wants so many good answers in a row within a limit. A
//! command probe is run by the caller; this file only counts its results.

mod request;
mod spelling;

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Health, HttpProbe, Named, Probe, Scheme};
use crate::event::{Progress, Unhealthy};
use crate::name::{ReleaseId, Revision};
use crate::ssh;

use spelling::{seconds, split_port};

pub use request::{HttpAnswer, http};

/// One answer to a health check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// It counts as healthy.
    pub ok: bool,
    /// Status, HTTP or exit.
    pub status: Option<u16>,
    /// `Location`, where there is one.
    pub location: Option<String>,
    /// The first bytes of the body, or the last lines a command printed.
    pub body: String,
    /// Why there was no (whole) answer.
    pub error: Option<String>,
    /// The URL that was asked; `None`: what the probe asks first.
    pub url: Option<String>,
    /// Waiting will not change it: an error of processes that are proven new.
    pub definite: bool,
}

/// The release that must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its id.
    pub release: ReleaseId,
    /// What was released; `None`: not known.
    pub revision: Option<Revision>,
}

/// What is asked of a server, and how its answers are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthQuestion {
    /// The requests.
    pub probe: HttpProbe,
    /// The release that must answer, where [`HttpProbe::release`] says how it names itself.
    pub expected: Option<Expected>,
    /// Whether the processes that answer are proven to be the wanted ones: then an error is theirs.
    pub proven: bool,
}

impl From<HttpProbe> for HealthQuestion {
    fn from(probe: HttpProbe) -> Self {
        Self { probe, expected: None, proven: false }
    }
}

/// Why a health check ended without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFailed {
    /// Too few good answers in time; holds the last one.
    Unhealthy(Box<Unhealthy>),
    /// The caller asked for the end of the wait.
    Stopped,
}

/// Asks until `successes` answers in a row are good, or `within` has passed; at least once.
///
/// Each attempt may take `timeout`; `on` hears how far it is after each.
pub async fn check<F, Fut>(
    health: &Health,
    mut ask: F,
    on: &mut (dyn FnMut(Progress) + Send),
    stop: &CancellationToken,
) -> Result<(), CheckFailed>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Attempt>,
{
    let deadline = Instant::now() + health.within;
    let needed = health.successes.max(1);
    let whole = health.timeout.saturating_mul(requests(&health.probe));
    let (mut good, mut asked) = (0u32, 0u32);
    let mut repeated = Repeated::default();
    let mut last: Option<Attempt> = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // The first attempt is whole, however short `within` is.
        let limit = if asked == 0 { whole } else { whole.min(left) };
        let attempt = match (unless(stop, timeout(limit, ask())).await?, last.take()) {
            (Ok(attempt), _) => attempt,
            // Cut short by the end: what was answered before says more.
            (Err(_), Some(before)) if limit < whole && before.error.is_none() => {
                return Err(CheckFailed::Unhealthy(Box::new(last_word(health, before, asked, good))));
            }
            (Err(_), _) => {
                Attempt { error: Some(format!("no answer within {}", seconds(limit))), ..Attempt::default() }
            }
        };
        asked = asked.saturating_add(1);
        good = if attempt.ok { good + 1 } else { 0 };
        on(Progress::Attempts { good, needed, asked });
        let mut attempt = attempt;
        if good >= needed {
            let more = (0..more_answers(&health.probe)).map(|_| timeout(whole, ask())).collect::<Vec<_>>();
            let answers = unless(stop, join_all(more)).await?.into_iter();
            let late =
                |_| Attempt { error: Some(format!("no answer within {}", seconds(whole))), ..Attempt::default() };
            match answers.map(|answer| answer.unwrap_or_else(late)).find(|answer| !answer.ok) {
                None => return Ok(()),
                Some(other) => (attempt, good) = (other, 0),
            }
        }
        if repeated.is_definite(&attempt) || Instant::now() + health.interval >= deadline {
            return Err(CheckFailed::Unhealthy(Box::new(last_word(health, attempt, asked, good))));
        }
        last = Some(attempt);
        unless(stop, sleep(health.interval)).await?;
    }
}

/// Answers that must name the release as well, once enough in a row have.
///
/// Where two releases answer by turns, a few in a row prove little.
const ALL_NAME_IT: usize = 12;

/// How many answers are asked for at once, beyond those in a row.
fn more_answers(probe: &Probe) -> usize {
    match probe {
        Probe::Http(http) if http.release.is_some() => ALL_NAME_IT,
        Probe::Http(_) | Probe::Command(_) => 0,
    }
}

/// Answers in a row after which an error is definite.
const SAME: u32 = 5;
/// The least time that they take: an application may still be warming up.
const SAME_FOR: Duration = Duration::from_secs(2);

/// One definite answer, again and again.
#[derive(Default)]
struct Repeated {
    answer: Option<(Option<u16>, Option<String>)>,
    count: u32,
    since: Option<Instant>,
}

impl Repeated {
    /// Counts an attempt; true once waiting longer would change nothing.
    fn is_definite(&mut self, attempt: &Attempt) -> bool {
        let answer = attempt.definite.then(|| (attempt.status, attempt.url.clone()));
        if answer.is_none() || answer != self.answer {
            *self = Self { answer, count: 0, since: Some(Instant::now()) };
        }
        self.count += u32::from(self.answer.is_some());
        self.count >= SAME && self.since.is_some_and(|since| since.elapsed() >= SAME_FOR)
    }
}

/// How many requests one attempt makes.
fn requests(probe: &Probe) -> u32 {
    match probe {
        Probe::Http(http) => u32::try_from(http.paths.len()).unwrap_or(u32::MAX).max(1),
        Probe::Command(_) => 1,
    }
}

/// Makes the report of a failed check from its last attempt.
fn last_word(health: &Health, last: Attempt, attempts: u32, good: u32) -> Unhealthy {
    let short = || {
        let (needed, within) = (health.successes, seconds(health.within));
        format!("{good} of the {needed} good answers needed in a row came within {within}")
    };
    let error = last.error.or_else(|| last.ok.then(short));
    Unhealthy {
        asked: last.url.unwrap_or_else(|| asked(&health.probe)),
        attempts,
        status: last.status,
        location: last.location,
        body: last.body,
        error,
    }
}

/// Says what a probe asks: a URL, or a command.
pub fn asked(probe: &Probe) -> String {
    match probe {
        Probe::Http(http) => url(http, http.paths.first().map_or("/", String::as_str)),
        Probe::Command(command) => command.clone(),
    }
}

/// Writes a probe's URL as people would type it, with the Host header for a host.
pub fn url(probe: &HttpProbe, path: &str) -> String {
    let scheme = match probe.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let (host, port) = split_port(&probe.host);
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    format!("{scheme}://{host}:{}{path}", port.unwrap_or(probe.port))
}

/// Judges an answer by the probe's accepted statuses, and by the release that it must name.
pub fn judge(question: &HealthQuestion, answer: HttpAnswer) -> Attempt {
    let accepted = |status: u16| question.probe.accept.iter().any(|(low, high)| (*low..=*high).contains(&status));
    let is_accepted = answer.status.is_some_and(accepted);
    let whole = answer.error.is_none();
    let misnamed = match &question.expected {
        Some(expected) if whole && is_accepted => expected.missing(&question.probe, &answer),
        _ => None,
    };
    Attempt {
        ok: whole && is_accepted && misnamed.is_none(),
        definite: question.proven && whole && !is_accepted && answer.status != Some(503),
        status: answer.status,
        location: answer.location,
        body: answer.body,
        error: answer.error.or(misnamed),
        url: None,
    }
}

impl Expected {
    /// Says what an answer lacks to name this release; `None`: nothing.
    fn missing(&self, probe: &HttpProbe, answer: &HttpAnswer) -> Option<String> {
        let (place, said) = match probe.release.as_ref()? {
            Named::Body => ("the body".to_owned(), Some(answer.body.as_str())),
            Named::Header(name) => (format!("the header {name}"), answer.release.as_deref()),
        };
        if said.is_some_and(|said| self.is_named_in(said)) {
            return None;
        }
        let revision = self.revision.as_ref().map(|r| format!(" or revision {}", r.short())).unwrap_or_default();
        let found = match (probe.release.as_ref()?, said.map(str::trim)) {
            (Named::Header(_), None) => "is missing".to_owned(),
            (Named::Header(_), Some(said)) => format!("says {said:?}"),
            (Named::Body, _) => "does not".to_owned(),
        };
        Some(format!("the answer must name release {}{revision}, and {place} {found}", self.release))
    }

    /// Finds the release's id, or seven or more digits of its revision, as a word of a text.
    fn is_named_in(&self, text: &str) -> bool {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() >= 7);
        let revision = self.revision.as_ref().map(|r| r.0.to_ascii_lowercase()).unwrap_or_default();
        words.into_iter().any(|word| {
            let word = word.to_ascii_lowercase();
            word == self.release.as_str() || (!revision.is_empty() && revision.starts_with(&word))
        })
    }
}

/// Sends the requests of a question to the server's own loopback, through its connection.
///
/// A lost connection is made again.
pub async fn through(link: &ssh::Link, question: &HealthQuestion, limit: Duration) -> Attempt {
    if let Err(e) = link.session().await {
        return Attempt { error: Some(e.to_string()), ..Attempt::default() };
    }
    let connect = |host| link.loopback(host, question.probe.port);
    let mut attempt = Attempt::default();
    for path in &question.probe.paths {
        attempt = ask_loopback(&connect, question, path, limit).await;
        attempt.url = Some(url(&question.probe, path));
        if !attempt.ok {
            break;
        }
    }
    attempt
}

/// Asks once, on IPv4's loopback or else on IPv6's: an application listens on either.
async fn ask_loopback<S, C>(
    connect: impl Fn(&'static str) -> C,
    question: &HealthQuestion,
    path: &str,
    limit: Duration,
) -> Attempt
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Future<Output = Result<S, String>>,
{
    let probe = &question.probe;
    let failed = |error: String| Attempt { error: Some(error), ..Attempt::default() };
    let began = Instant::now();
    let connecting = async {
        match connect("127.0.0.1").await {
            Ok(stream) => Ok(stream),
            // The first refusal is the one to show: few listen on ::1 only.
            Err(first) => connect("::1").await.map_err(|_| first),
        }
    };
    match timeout(limit, connecting).await {
        Ok(Ok(stream)) => judge(question, http(stream, probe, path, limit.saturating_sub(began.elapsed())).await),
        Ok(Err(why)) => failed(format!("cannot connect to port {}: {why}", probe.port)),
        Err(_) => failed(format!("cannot connect to port {} within {}", probe.port, seconds(limit))),
    }
}

/// Waits for something, or for the end of all waiting.
async fn unless<T>(stop: &CancellationToken, what: impl Future<Output = T>) -> Result<T, CheckFailed> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(CheckFailed::Stopped),
        done = what => Ok(done),
    }
}

#[cfg(test)]
mod tests;
