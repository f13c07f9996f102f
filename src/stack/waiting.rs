//! `--wait-lock`: waits until no other run holds a lock of the stack, then takes all locks.
//!
//! It touches nothing while it waits. The run that gets the lock of the file's first server goes on to the others. A run
//! that does not get all locks gives back those it has, so that two waiting runs never wait for each other.
//!
//! A run that leaves unreachable servers behind takes all locks first too, without waiting: another run that reaches them
//! begins with another server, and then each could hold a lock that the other needs.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::prepare::Stack;
use crate::config::values::parse_duration;
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::event::{Cause, Failure, Refusal};
use crate::facts::Facts;
use crate::lease::Held;
use crate::lease::{self, Standing};
use crate::machine;
use crate::name::ServerName;
use crate::out;
use crate::script::calls;
use crate::script::{Call, Owner};
use crate::text::units;
use crate::wording::lock as held;

/// The least pause between two looks at the lock.
///
/// Up to as much again is added, so that waiting runs do not ask in step.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a run that leaves servers behind tries again to get all locks.
const TIES: usize = 5;
/// The least pause before that; up to twice as much is added, so that two runs do not try in step.
const TIE: Duration = Duration::from_millis(500);

/// What waits, and for what.
pub struct Waiting<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// What is written into the locks.
    pub owner: &'a Owner,
    /// The longest wait for a lock; `None`: `--wait-lock` was not given.
    pub wait: Option<Duration>,
    /// Signals.
    pub stop: &'a Stop,
    /// `-q`.
    pub quiet: bool,
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// All locks are this run's now.
    Taken {
        /// On which servers.
        held: Vec<ServerName>,
        /// How long it took.
        waited: Duration,
        /// Who held them, at the end.
        whose: Box<Held>,
    },
    /// All locks are this run's now, and none was another's.
    Free(Vec<ServerName>),
    /// Time ran out, or waiting does not help: who held the lock at the last look, and where.
    GivenUp(ServerName, Box<Held>),
}

/// Reads `--wait-lock`'s value.
///
/// # Errors
/// When it is no duration.
pub fn read(text: Option<&str>) -> Result<Option<Duration>, Error> {
    let Some(text) = text else { return Ok(None) };
    parse_duration(text).map(Some).map_err(|bad| Error::usage(format!("--wait-lock: {}", bad.what)).hint(bad.hint))
}

/// What takes a lock.
pub type Taking<'a> = &'a (dyn Fn(&Owner) -> Call + Sync);

/// How taking every lock ended.
pub enum Take {
    /// All are this run's.
    All(Vec<ServerName>),
    /// One is another's, and none is this run's.
    Refused(ServerName, Box<Held>),
    /// A server failed otherwise; the locks that were taken are given back as far as is known.
    Failed(ServerName, Box<Failure>),
}

impl Waiting<'_> {
    /// Waits where another run holds a lock, and takes all locks for this run.
    ///
    /// # Errors
    /// When a signal came: all that was taken is given back then.
    pub async fn wait(&self, facts: &Facts) -> Result<Option<Waited>, Error> {
        let Some(first) = self.in_the_way(facts) else { return Ok(None) };
        self.wait_for(first, &self.reached(facts), &|owner| calls::lock(&self.stack.site(), owner)).await.map(Some)
    }

    /// Takes all locks, which were free a moment ago; waits where another run was faster.
    ///
    /// `None`: a server failed otherwise, and the run finds out why.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn take_or_wait(&self, facts: &Facts) -> Result<Option<Waited>, Error> {
        let (reached, take) = (self.reached(facts), |owner: &Owner| calls::lock(&self.stack.site(), owner));
        match self.take_all(&reached, &take).await? {
            Take::All(held) => Ok(Some(Waited::Free(held))),
            Take::Refused(server, held) => self.wait_for((server, held), &reached, &take).await.map(Some),
            Take::Failed(..) => Ok(None),
        }
    }

    /// Waits for `first` to be free, and takes the locks of all `reached` servers with `take`.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_for(
        &self,
        first: (ServerName, Box<Held>),
        reached: &[ServerName],
        take: Taking<'_>,
    ) -> Result<Waited, Error> {
        let (mut server, mut whose) = first;
        let began = Instant::now();
        let mut told = BTreeSet::new();
        loop {
            let left = self.wait.unwrap_or_default().saturating_sub(began.elapsed());
            if left.is_zero() || !may_end(&whose, left) {
                return Ok(Waited::GivenUp(server, whose));
            }
            let run = whose.owner.get("run").cloned().unwrap_or_default();
            if told.insert(run) && !self.quiet {
                let left = units::long(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
                out::notice(&format!("waiting up to {left} for the lock: {server} is {}", held::locked(&whose)));
            }
            tokio::select! {
                () = sleep((PAUSE + PAUSE.mul_f64(rand::random())).min(left)) => {}
                () = self.stop.soft.cancelled() => return Err(interrupted()),
            }
            match self.look(&server).await {
                Ok(Some(held)) => {
                    whose = held;
                    continue;
                }
                Ok(None) => {}
                Err(_) if self.stop.asked() => return Err(interrupted()),
                // It could be asked a moment ago: the next look at all servers says what is wrong with it.
                Err(_) => return Ok(Waited::GivenUp(server, whose)),
            }
            match self.take_all(reached, take).await? {
                Take::All(held) => return Ok(Waited::Taken { held, waited: began.elapsed(), whose }),
                Take::Refused(by, held) => (server, whose) = (by, held),
                Take::Failed(..) => return Ok(Waited::GivenUp(server, whose)),
            }
        }
    }

    /// Takes the locks of all reached servers before the run.
    ///
    /// Empty: another run has the first lock, or keeps others for longer than two runs need to make way for each other.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn take_first(&self, facts: &Facts) -> Result<Vec<ServerName>, Error> {
        let reached = self.reached(facts);
        for _ in 0..TIES {
            match self.take_all(&reached, &|owner| calls::lock(&self.stack.site(), owner)).await? {
                Take::All(held) => return Ok(held),
                // The other has begun with another server.
                Take::Refused(by, held) if reached.first() != Some(&by) && may_end(&held, TIE) => {}
                Take::Refused(..) | Take::Failed(..) => break,
            }
            tokio::select! {
                () = sleep(TIE + TIE.mul_f64(2.0 * rand::random::<f64>())) => {}
                () = self.stop.soft.cancelled() => return Err(interrupted()),
            }
        }
        Ok(Vec::new())
    }

    /// The servers that could be asked, in the file's order.
    fn reached(&self, facts: &Facts) -> Vec<ServerName> {
        let names = self.stack.config.servers.iter().map(|s| s.name.clone());
        names.filter(|s| facts.servers.contains_key(s)).collect()
    }

    /// Waits for something long, and renews the locks that were taken as often as a run does.
    ///
    /// The run's first step that needs a lock finds out whether it is still this run's.
    pub async fn meanwhile<T>(&self, held: &[ServerName], what: impl Future<Output = T>) -> T {
        let every = self.stack.config.timeouts.lease / lease::RENEWALS;
        let site = self.stack.site();
        let renew = |server| async move {
            let call = calls::renew(&site, &self.owner.run, "asking the servers");
            // Asking may have a longer limit than a lease.
            let _ = timeout(every, self.stack.ask(server, call, &self.stop.hard)).await;
        };
        let mut what = std::pin::pin!(what);
        loop {
            let renewed = async {
                sleep(every).await;
                join_all(held.iter().map(renew)).await;
            };
            tokio::select! {
                done = &mut what => return done,
                () = renewed => {}
            }
        }
    }

    /// The first server, in the file's order, whose lock keeps the run from its work.
    fn in_the_way(&self, facts: &Facts) -> Option<(ServerName, Box<Held>)> {
        let mut servers = self.stack.config.servers.iter();
        servers.find_map(|s| {
            let held = lease::held(facts.servers.get(&s.name)?.lock.as_ref()?);
            (held.standing != Some(Standing::Expired)).then(|| (s.name.clone(), Box::new(held)))
        })
    }

    /// Asks a server who holds its lock; `None`: it is free, or its lease is over.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn look(&self, server: &ServerName) -> Result<Option<Box<Held>>, Failure> {
        let answers = self.stack.ask(server, calls::look(&self.stack.site()), &self.stop.soft).await?;
        if answers.iter().any(|a| a.key == "lock" && a.value == "free") {
            return Ok(None);
        }
        let lock = machine::lock_held(&answers);
        let held = lease::held(&lock);
        Ok((held.standing != Some(Standing::Expired)).then(|| Box::new(held)))
    }

    /// Takes every server's lock, the deciding one first, or none.
    ///
    /// # Errors
    /// When a signal came.
    pub async fn take_all(&self, servers: &[ServerName], take: Taking<'_>) -> Result<Take, Error> {
        let (lead, rest) = servers.split_at(servers.len().min(1));
        let mut tried: Vec<ServerName> = Vec::new();
        for group in [lead, rest] {
            let asked = join_all(
                group.iter().map(|s| async { (s.clone(), self.stack.ask(s, take(self.owner), &self.stop.soft).await) }),
            );
            let mut failed = None;
            for (server, end) in asked.await {
                match end {
                    Ok(_) => tried.push(server),
                    Err(Failure { cause: Cause::Locked(held), .. }) => failed = Some(Take::Refused(server, held)),
                    // It may have been taken.
                    Err(failure) => {
                        tried.push(server.clone());
                        failed.get_or_insert(Take::Failed(server, Box::new(failure)));
                    }
                }
            }
            if failed.is_some() || self.stop.asked() {
                let kept = self.give_back(&tried).await;
                let left = match kept.as_slice() {
                    [] => String::new(),
                    kept => format!(
                        "a lock may be left: `pitcrew unlock {}` removes it from {}",
                        self.owner.run,
                        kept.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ")
                    ),
                };
                if self.stop.asked() {
                    return Err(interrupted().hint(left));
                }
                if let Some(failed) = failed {
                    if !left.is_empty() {
                        out::notice(&left);
                    }
                    return Ok(failed);
                }
            }
        }
        Ok(Take::All(tried))
    }

    /// Releases the run's own locks, the deciding one last; returns where that failed.
    async fn give_back(&self, servers: &[ServerName]) -> Vec<ServerName> {
        let (lead, rest) = servers.split_at(servers.len().min(1));
        let mut kept = Vec::new();
        for group in [rest, lead] {
            let gone = join_all(
                group.iter().map(|s| async { (s.clone(), release(self.stack, s, self.owner, &self.stop.hard).await) }),
            );
            kept.extend(gone.await.into_iter().filter(|(_, gone)| !gone).map(|(s, _)| s));
        }
        kept
    }
}

/// Releases one lock, if it is this run's. False: it may be there still.
async fn release(stack: &Stack, server: &ServerName, owner: &Owner, stop: &CancellationToken) -> bool {
    match stack.ask(server, calls::unlock(&stack.site(), &owner.run), stop).await {
        Ok(_) => true,
        Err(failure) => matches!(failure.cause, Cause::Refused { code: Refusal::NotOurs, .. }),
    }
}

fn may_end(held: &Held, left: Duration) -> bool {
    held.standing.as_ref().is_none_or(|standing| standing.may_end_within(left))
}

/// A signal came before anything was done.
pub fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted while waiting for the lock; nothing was changed") }
}
