//! A stack's load balancer, and which adapter serves which kind: one arm a kind.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adapter::{Adapter, OnDrain, OnRestore};
use super::around::Around;
use super::command::Commands;
use super::error::{BalancerError, together};
use super::facts::{Admin, Drained, MemberFacts, Snapshot};
use super::haproxy::{Haproxy, Instances};
use super::walk::Walked;
#[cfg(feature = "elb")]
use super::{aws, elb, elb_classic};
use crate::config::{BalancerKind, LoadBalancer};

/// How long a reload takes at most.
const RELOAD: Duration = Duration::from_secs(3);

/// A stack's load balancer: one instance, or several that serve alike and are all drained.
///
/// `lb_names` are a server's names in the balancer, [`crate::config::Server::lb`].
pub struct Balancer {
    adapter: Box<dyn Adapter>,
}

/// The names of one server in its balancer.
pub trait Names: Sync {
    /// Lists them.
    fn names(&self) -> Vec<&str>;
}

impl Names for str {
    fn names(&self) -> Vec<&str> {
        vec![self]
    }
}

impl<N: AsRef<str> + Sync> Names for [N] {
    fn names(&self) -> Vec<&str> {
        self.iter().map(AsRef::as_ref).collect()
    }
}

/// Makes the adapter of a kind.
fn adapter(config: &LoadBalancer, around: Around) -> Result<Box<dyn Adapter>, String> {
    let names = around.names();
    Ok(match &config.kind {
        BalancerKind::Haproxy { at, backends, access } => {
            Box::new(Haproxy::new(config, &Instances { at, backends, access }, &around)?)
        }
        BalancerKind::Command(commands) => Box::new(Walked::new(Commands::new(commands, around), config, names)),
        #[cfg(feature = "elb")]
        BalancerKind::Elb { target_groups, aws } => {
            let steer = elb::Elb::new(target_groups, aws, aws::Access::new(aws), &around);
            Box::new(Walked::new(steer, config, names))
        }
        #[cfg(feature = "elb")]
        BalancerKind::ElbClassic { names: balancers, aws } => {
            let steer = elb_classic::ElbClassic::new(balancers, aws, aws::Access::new(aws), &around);
            Box::new(Walked::new(steer, config, names))
        }
        #[cfg(not(feature = "elb"))]
        BalancerKind::Elb { .. } | BalancerKind::ElbClassic { .. } => {
            return Err(
                "this build of pitcrew speaks to no load balancers of AWS: it was made without the feature `elb`"
                    .to_owned(),
            );
        }
    })
}

impl Balancer {
    /// Makes the adapter that the configuration asks for; connects to nothing.
    ///
    /// # Errors
    /// When this build has no adapter of that kind, or the adapter misses something on this machine.
    pub fn new(config: &LoadBalancer, around: Around) -> Result<Self, String> {
        Ok(Self { adapter: adapter(config, around)? })
    }

    /// Limits each call to this, where its own limit is longer.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.adapter.limit(limit);
        self
    }

    /// Asks every balancer about these servers, and changes nothing.
    ///
    /// # Errors
    /// Everything that would make a drain fail.
    pub async fn facts(&self, lb_names: &[String]) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let (members, errors) = self.survey(lb_names).await;
        if errors.is_empty() { Ok(members) } else { Err(errors) }
    }

    /// Returns the facts, and asks again for a moment where no answer comes.
    ///
    /// A reload takes a balancer's socket away for that long.
    pub async fn facts_soon(
        &self,
        lb_names: &[String],
        stop: &CancellationToken,
    ) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let until = Instant::now() + RELOAD;
        loop {
            match self.facts(lb_names).await {
                Err(errors)
                    if errors.iter().any(|e| e.is_unreachable()) && Instant::now() < until && !stop.is_cancelled() =>
                {
                    tokio::time::sleep(RELOAD / 10).await;
                }
                result => return result,
            }
        }
    }

    /// Like [`Self::facts`], with the facts of the other servers where something is wrong with some.
    pub async fn survey(&self, lb_names: &[String]) -> (Vec<MemberFacts>, Vec<BalancerError>) {
        self.adapter.survey(lb_names).await
    }

    /// Learns what was recorded of places that a balancer may have forgotten.
    pub fn recall(&self, found: &[MemberFacts]) {
        self.adapter.recall(found);
    }

    /// Takes a server out of every balancer and waits until its connections have ended, or `drain_timeout`.
    ///
    /// A server that has several names there is taken out by one after another. Before that it waits for others to be in
    /// service, no longer than `capacity_timeout`. `on` hears how it goes. An error leaves the server as it was found
    /// before the call, unless it says otherwise.
    pub async fn drain(
        &self,
        lb_names: &(impl Names + ?Sized),
        found: &Snapshot,
        on: OnDrain<'_>,
        stop: &CancellationToken,
    ) -> Result<Drained, BalancerError> {
        let (names, mut all) = (lb_names.names(), None);
        for (index, name) in names.iter().enumerate() {
            match self.adapter.drain(name, found, &mut *on, stop).await {
                Ok(drained) => all = Some(and_then(all, drained)),
                Err(error) => {
                    // The wait may have been ended: what is out goes back all the same.
                    let back = self.restore(&names[..index], found, &mut |_| {}, &CancellationToken::new()).await;
                    return Err(back.map_or_else(|kept| error.clone().and_stays_out(kept), |()| error.clone()));
                }
            }
        }
        Ok(all.unwrap_or(Drained { left: Some(0), waited: Duration::ZERO }))
    }

    /// Tells whether no balancer sends the server traffic; a reload silently puts it back.
    pub async fn still_out(&self, lb_names: &(impl Names + ?Sized)) -> Result<bool, BalancerError> {
        for name in lb_names.names() {
            if !self.adapter.still_out(name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a server out again where it is not; returns `None` where it was still out.
    ///
    /// Unlike after [`Balancer::drain`], an error leaves it as far out as it got: it is in the middle of a deploy.
    pub async fn ensure_out(
        &self,
        lb_names: &(impl Names + ?Sized),
        found: &Snapshot,
        on: OnDrain<'_>,
        stop: &CancellationToken,
    ) -> Result<Option<Drained>, BalancerError> {
        let mut all = None;
        for name in lb_names.names() {
            if let Some(drained) = self.adapter.ensure_out(name, found, &mut *on, stop).await? {
                all = Some(and_then(all, drained));
            }
        }
        Ok(all)
    }

    /// Puts a server back as it was found, with proof where it took traffic; `on` hears how it stands.
    ///
    /// Every balancer, and every name of the server there, is tried even when one fails. Where the proof fails, the
    /// server stays out.
    pub async fn restore(
        &self,
        lb_names: &(impl Names + ?Sized),
        found: &Snapshot,
        on: OnRestore<'_>,
        stop: &CancellationToken,
    ) -> Result<(), BalancerError> {
        let mut errors = Vec::new();
        for name in lb_names.names() {
            errors.extend(self.adapter.restore(name, found, &mut *on, stop).await.err());
        }
        together(errors)
    }

    /// Sets a server's administrative state in every balancer, without waiting for anything.
    pub async fn set(&self, lb_names: &(impl Names + ?Sized), to: Admin) -> Result<(), BalancerError> {
        let mut errors = Vec::new();
        for name in lb_names.names() {
            errors.extend(self.adapter.set(name, to).await.err());
        }
        together(errors)
    }
}

/// One drain after another, as one.
fn and_then(first: Option<Drained>, next: Drained) -> Drained {
    match first {
        None => next,
        Some(first) => Drained {
            left: first.left.zip(next.left).map(|(one, other)| one.saturating_add(other)),
            waited: first.waited.saturating_add(next.waited),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::config::HaproxyAccess;

    #[test]
    fn futures_travel_between_threads() {
        fn sendable<T: Send>(_: T) {}
        let config = testing::config(BalancerKind::Haproxy {
            at: Vec::new(),
            backends: Vec::new(),
            access: HaproxyAccess::default(),
        });
        let (b, found, stop) = (
            Balancer::new(&config, Around::default()).unwrap(),
            Snapshot { members: Vec::new() },
            CancellationToken::new(),
        );
        sendable(b.facts(&[]));
        sendable(b.drain("a", &found, &mut |_| {}, &stop));
        sendable(b.still_out("a"));
        sendable(b.ensure_out("a", &found, &mut |_| {}, &stop));
        sendable(b.restore("a", &found, &mut |_| {}, &stop));
        sendable(b.set("a", Admin::Ready));
    }
}
