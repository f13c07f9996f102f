//! Health checks: what the application itself answers, asked through the connection to its server.
//!
//! Owns one request over any byte stream, and the loop that wants so many good answers in a row within a limit. A
//! command probe is run by the caller; this file only counts its results.

mod request;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{Health, HttpProbe, Probe, Scheme};
use crate::event::{Progress, Unhealthy};
use crate::ssh;

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
    let (mut good, mut asked) = (0u32, 0u32);
    let mut last: Option<Attempt> = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // The first attempt is whole, however short `within` is.
        let limit = if asked == 0 { health.timeout } else { health.timeout.min(left) };
        let attempt = match (unless(stop, timeout(limit, ask())).await?, last.take()) {
            (Ok(attempt), _) => attempt,
            // Cut short by the end: what was answered before says more.
            (Err(_), Some(before)) if limit < health.timeout && before.error.is_none() => {
                return Err(CheckFailed::Unhealthy(Box::new(last_word(health, before, asked, good))));
            }
            (Err(_), _) => {
                Attempt { error: Some(format!("no answer within {}", seconds(limit))), ..Attempt::default() }
            }
        };
        asked = asked.saturating_add(1);
        good = if attempt.ok { good + 1 } else { 0 };
        on(Progress::Attempts { good, needed, asked });
        if good >= needed {
            return Ok(());
        }
        if Instant::now() + health.interval >= deadline {
            return Err(CheckFailed::Unhealthy(Box::new(last_word(health, attempt, asked, good))));
        }
        last = Some(attempt);
        unless(stop, sleep(health.interval)).await?;
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
        asked: asked(&health.probe),
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
        Probe::Http(http) => url(http),
        Probe::Command(command) => command.clone(),
    }
}

/// Writes a probe's URL as people would type it, with the Host header for a host.
pub fn url(probe: &HttpProbe) -> String {
    let scheme = match probe.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let (host, port) = split_port(&probe.host);
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    format!("{scheme}://{host}:{}{}", port.unwrap_or(probe.port), probe.path)
}

/// Splits `host:port`; an IPv6 address is a host.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

/// Judges an answer by the probe's accepted statuses.
pub fn judge(probe: &HttpProbe, answer: HttpAnswer) -> Attempt {
    let accepted = |status: u16| probe.accept.iter().any(|(low, high)| (*low..=*high).contains(&status));
    Attempt {
        ok: answer.error.is_none() && answer.status.is_some_and(accepted),
        status: answer.status,
        location: answer.location,
        body: answer.body,
        error: answer.error,
    }
}

/// Makes the question for [`check`] from an HTTP probe: a request to the server's own loopback, through its connection.
///
/// A lost connection is made again. `limit` is for one attempt.
pub fn through(
    link: Arc<ssh::Link>,
    probe: HttpProbe,
    limit: Duration,
) -> impl FnMut() -> futures::future::BoxFuture<'static, Attempt> {
    move || {
        let (link, probe) = (link.clone(), probe.clone());
        Box::pin(async move {
            let session = match link.session().await {
                Ok(session) => session,
                Err(e) => return Attempt { error: Some(e.to_string()), ..Attempt::default() },
            };
            let port = probe.port;
            let connect = |host| {
                let session = session.clone();
                async move { session.direct_tcpip(host, port).await.map_err(|e| e.to_string()) }
            };
            ask_loopback(connect, &probe, limit).await
        })
    }
}

/// Asks once, on IPv4's loopback or else on IPv6's: an application listens on either.
async fn ask_loopback<S, C>(connect: impl Fn(&'static str) -> C, probe: &HttpProbe, limit: Duration) -> Attempt
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Future<Output = Result<S, String>>,
{
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
        Ok(Ok(stream)) => judge(probe, http(stream, probe, limit.saturating_sub(began.elapsed())).await),
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

/// Shows a limit: `5s`, `1.5s`.
fn seconds(time: Duration) -> String {
    format!("{}s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests;
