//! The adapter that is made of a balancer of few calls.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::back::WayBack;
use super::out::WayOut;
use super::steer::Steer;
use super::steered::Steered;
use crate::balancer::adapter::{Adapter, OnDrain, OnRestore};
use crate::balancer::error::{BalancerError, together};
use crate::balancer::facts::{Admin, Drained, MemberFacts, Snapshot};
use crate::balancer::reading::SharedReading;
use crate::balancer::waiting::{pause, unless};
use crate::config::LoadBalancer;

/// A balancer of few calls, with everything that has to be waited for.
pub struct Walked<A> {
    all: Steered<A>,
}

impl<A: Steer> Walked<A> {
    /// Makes the adapter of a stack whose servers have these names in the balancer.
    pub fn new(steer: A, config: &LoadBalancer, names: Vec<String>) -> Self {
        Self {
            all: Steered {
                steer,
                config: config.clone(),
                names,
                limit: Duration::MAX,
                gate: Mutex::new(()),
                looks: SharedReading::default(),
            },
        }
    }

    /// Returns the facts, or what is wrong with any of them.
    #[cfg(test)]
    pub async fn facts(&self, lb_names: &[String]) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let (facts, errors) = self.survey(lb_names).await;
        if errors.is_empty() { Ok(facts) } else { Err(errors) }
    }
}

impl<A: Steer> Adapter for Walked<A> {
    fn limit(&mut self, limit: Duration) {
        self.all.limit = limit;
    }

    fn recall(&self, found: &[MemberFacts]) {
        self.all.steer.recall(found);
    }

    fn survey<'a>(&'a self, lb_names: &'a [String]) -> BoxFuture<'a, (Vec<MemberFacts>, Vec<BalancerError>)> {
        async move {
            let reading = self.all.read(Duration::ZERO).await;
            let (mut facts, mut errors) = (Vec::new(), Vec::new());
            for name in lb_names {
                match reading.of(&self.all.steer.at(), name) {
                    Ok(places) => facts.extend(places),
                    Err(error) if errors.contains(&error) => {}
                    Err(error) => errors.push(error),
                }
            }
            (facts, errors)
        }
        .boxed()
    }

    fn drain<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Drained, BalancerError>> {
        async move {
            self.recall(&found.members);
            let mut out = WayOut::new(&self.all, lb_name, on, stop);
            let failed = match out.take(found).await {
                Ok(drained) => return Ok(drained),
                Err(failed) => failed,
            };
            let back = join_all(out.taken.iter().map(|taken| self.all.put_back(taken))).await;
            match together(back.into_iter().filter_map(Result::err)) {
                Ok(()) => Err(failed),
                Err(kept) => Err(failed.and_stays_out(kept)),
            }
        }
        .boxed()
    }

    fn ensure_out<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnDrain<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Option<Drained>, BalancerError>> {
        async move {
            self.recall(&found.members);
            if unless(stop, self.still_out(lb_name)).await?? {
                return Ok(None);
            }
            WayOut::new(&self.all, lb_name, on, stop).take(found).await.map(Some)
        }
        .boxed()
    }

    fn still_out<'a>(&'a self, lb_name: &'a str) -> BoxFuture<'a, Result<bool, BalancerError>> {
        async move { Ok(self.all.places(lb_name, Duration::ZERO).await?.iter().all(|m| m.admin != Admin::Ready)) }
            .boxed()
    }

    fn restore<'a>(
        &'a self,
        lb_name: &'a str,
        found: &'a Snapshot,
        on: OnRestore<'a>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), BalancerError>> {
        async move {
            self.recall(&found.members);
            let found: Vec<&MemberFacts> = found.members.iter().filter(|m| m.member == lb_name).collect();
            together(WayBack::new(&self.all, lb_name, on, stop).walk(&found).await)?;
            // The server is back: an end of the wait changes nothing.
            let _ = pause(stop, self.all.config.wait_after_restore).await;
            Ok(())
        }
        .boxed()
    }

    fn set<'a>(&'a self, lb_name: &'a str, to: Admin) -> BoxFuture<'a, Result<(), BalancerError>> {
        async move {
            let all = &self.all;
            let places = all.places(lb_name, Duration::ZERO).await?;
            let set = join_all(places.iter().map(|now| async move {
                match (to, now.admin) {
                    (Admin::Ready, Admin::Ready) => Ok(()),
                    (Admin::Ready, _) => all.put_back(&MemberFacts { admin: Admin::Ready, ..now.clone() }).await,
                    (Admin::Drain | Admin::Maint, Admin::Ready) => all.take_out(now).await,
                    (Admin::Drain | Admin::Maint, _) => Ok(()),
                }
            }));
            together(set.await.into_iter().filter_map(Result::err))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
