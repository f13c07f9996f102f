//! Carries commands to one HAProxy and answers back, each call with a deadline and a size limit.
//!
//! Each call has a connection of its own. Owns when to try again, and that a master passes commands on to its worker; the
//! words are [`super::protocol`]'s, and the way there is [`super::route`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failed::CallFailed;
use super::fault::HaproxyFault;
use super::limits::{CALL_LIMIT, RETRY_FOR, RETRY_PAUSE, Tries};
use super::protocol::{self, Listener};
use super::route::SocketRoute;
use crate::balancer::error::BalancerError;
use crate::config::{BalancerAddress, Via};
use crate::ssh;

/// The longest line that is sent: HAProxy reads a line into one buffer (`tune.bufsize`, 16 KiB).
const LINE_LIMIT: usize = 4000;

/// A way to one HAProxy's Runtime API.
pub struct Client {
    at: String,
    route: SocketRoute,
    limit: Duration,
    /// The socket is a master's, as its answers showed.
    master: AtomicBool,
}

impl Client {
    /// Makes a client; connects to nothing. An `ssh://` address needs a `link`.
    pub fn new(at: &BalancerAddress, via: Via, link: Option<Arc<ssh::Link>>) -> Self {
        Self {
            at: at.to_string(),
            route: SocketRoute::new(at, via, link),
            limit: CALL_LIMIT,
            master: AtomicBool::new(false),
        }
    }

    /// Shortens the limit on one call.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit.min(CALL_LIMIT);
    }

    /// The balancer's address as configured.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Runs commands in order and returns what each answered.
    pub async fn ask(&self, commands: &[String], tries: Tries) -> Result<Vec<String>, BalancerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for line in lines(commands) {
            answers.extend(self.ask_line(line, tries).await?);
        }
        Ok(answers)
    }

    /// Asks a master for the workers that it has replaced and that still have connections.
    ///
    /// Where no master listens there are none.
    pub async fn old_workers(&self, tries: Tries) -> Result<Vec<u32>, BalancerError> {
        if !self.master.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let question = [protocol::SHOW_PROC.to_owned()];
        let asked = self.until(tries, || self.call(&question, Listener::Worker)).await?;
        Ok(asked.first().map(|a| protocol::old_workers(a)).unwrap_or_default())
    }

    /// Runs commands in a worker that was replaced; `None`: it has ended.
    pub async fn ask_old(&self, worker: u32, commands: &[String]) -> Result<Option<Vec<String>>, BalancerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for line in lines(commands) {
            match self.until(Tries::Retry, || self.call_old(worker, line)).await? {
                Some(more) => answers.extend(more),
                None => return Ok(None),
            }
        }
        Ok(Some(answers))
    }

    async fn call_old(&self, worker: u32, commands: &[String]) -> Result<Option<Vec<String>>, CallFailed> {
        let answer = self.route.call(&protocol::line(commands, Listener::Old(worker)), self.limit).await?;
        if protocol::worker_is_gone(&answer) {
            return Ok(None);
        }
        let sections = protocol::sections(&answer, commands.len()).map_err(CallFailed::Senseless)?;
        Ok(Some(sections.into_iter().map(str::to_owned).collect()))
    }

    async fn ask_line(&self, commands: &[String], tries: Tries) -> Result<Vec<String>, BalancerError> {
        self.until(tries, || self.say(commands)).await
    }

    /// Tries once, or for a while.
    async fn until<T, F>(&self, tries: Tries, mut say: impl FnMut() -> F) -> Result<T, BalancerError>
    where
        F: Future<Output = Result<T, CallFailed>>,
    {
        let began = Instant::now();
        loop {
            let failed = match say().await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if tries == Tries::Once || failed.lasts() || began.elapsed() >= RETRY_FOR {
                return Err(self.error(None, HaproxyFault::Call(failed)));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Says a line once; a command that a master does not know shows that it is one.
    async fn say(&self, commands: &[String]) -> Result<Vec<String>, CallFailed> {
        let listener = if self.master.load(Ordering::Relaxed) { Listener::Master } else { Listener::Worker };
        let answers = self.call(commands, listener).await?;
        if listener == Listener::Master || !answers.iter().any(|a| protocol::is_unknown(a)) {
            return Ok(answers);
        }
        let asked = self.call(&[protocol::SHOW_PROC.to_owned()], Listener::Worker).await?;
        if !asked.first().is_some_and(|a| protocol::is_master(a)) {
            return Ok(answers);
        }
        self.master.store(true, Ordering::Relaxed);
        // A master may have run a command itself that it knows too: all commands may be sent twice.
        self.call(commands, Listener::Master).await
    }

    async fn call(&self, commands: &[String], listener: Listener) -> Result<Vec<String>, CallFailed> {
        let line = protocol::line(commands, listener);
        let answer = self.route.call(&line, self.limit).await?;
        let sections = protocol::sections(&answer, commands.len()).map_err(CallFailed::Senseless)?;
        Ok(sections.into_iter().map(str::to_owned).collect())
    }

    /// Makes an error about this balancer.
    pub fn error(&self, member: Option<String>, fault: HaproxyFault) -> BalancerError {
        BalancerError::new(&self.at, member, fault)
    }
}

/// Packs commands into lines of bounded length.
fn lines(commands: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = commands;
    std::iter::from_fn(move || {
        let mut length = 0;
        let fit = rest.iter().take_while(|c| {
            length += c.len() + 1;
            length <= LINE_LIMIT
        });
        let (line, after) = rest.split_at_checked(fit.count().max(1))?;
        rest = after;
        Some(line)
    })
}

#[cfg(test)]
mod tests;
