//! One server's way out of a balancer of few calls.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::steer::Steer;
use super::steered::{Steered, error};
use crate::balancer::adapter::OnDrain;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::{Admin, Drained, Draining, MemberFacts, Snapshot};
use crate::balancer::fault::DrainFault;
use crate::balancer::waiting::{pause, unless};
use crate::config::OnDrainTimeout;

/// How much longer than the balancer's own limit a drain may take.
const SLACK: Duration = Duration::from_secs(30);
/// How long connections may take to end after they were forced.
const SETTLE: Duration = Duration::from_secs(5);

/// Tells whether no traffic goes to a place any more, as far as the balancer tells.
fn is_empty(place: &MemberFacts) -> bool {
    match (place.admin, place.sessions) {
        (Admin::Ready, _) | (Admin::Drain, None) => false,
        (Admin::Maint, None) => true,
        (Admin::Drain | Admin::Maint, Some(open)) => open == 0,
    }
}

/// One server's way out.
pub struct WayOut<'a, A> {
    all: &'a Steered<A>,
    server: &'a str,
    /// The places that were taken out, as they were just before.
    pub taken: Vec<MemberFacts>,
    on: OnDrain<'a>,
    stop: &'a CancellationToken,
}

impl<'a, A: Steer> WayOut<'a, A> {
    /// Makes the way out of a server; nothing is asked yet.
    pub fn new(all: &'a Steered<A>, server: &'a str, on: OnDrain<'a>, stop: &'a CancellationToken) -> Self {
        Self { all, server, taken: Vec::new(), on, stop }
    }

    /// Takes the server out of all its places and waits for its connections, up to `drain_timeout`.
    ///
    /// # Errors
    /// When the server is not proven to be out; [`Self::taken`] then holds what is to be put back.
    pub async fn take(&mut self, found: &Snapshot) -> Result<Drained, BalancerError> {
        self.pass_gate(found).await?;
        let began = Instant::now();
        let (config, lag) = (&self.all.config, self.all.steer.pace().lag);
        let places = self.empty(began + lag, began).await?;
        let open = places.iter().filter(|m| !is_empty(m));
        let left = open.clone().try_fold(0u64, |all, m| Some(all.saturating_add(m.sessions?)));
        if let Some(place) = open.clone().next()
            && config.on_drain_timeout == OnDrainTimeout::Fail
        {
            let fault = DrainFault::StillOpen { open: left, after: self.limit(), instead: "\"proceed\"" };
            return Err(error(place, fault));
        }
        // Even with no connection left, traffic goes on for that long.
        unless(self.stop, sleep_until(began + lag)).await?;
        let drained = Drained { left, waited: began.elapsed() };
        pause(self.stop, config.wait_after_drain).await?;
        match self.places().await?.iter().find(|m| m.admin == Admin::Ready) {
            Some(place) => Err(error(place, DrainFault::PutBack)),
            None => Ok(drained),
        }
    }

    /// Returns how long connections are waited for.
    fn limit(&self) -> Duration {
        let own = self.all.steer.pace().drains_within.map_or(Duration::MAX, |own| own.saturating_add(SLACK));
        self.all.config.drain_timeout.min(own)
    }

    /// Waits for the connections of all places, and ends the rest where `on_drain_timeout` says so.
    async fn empty(&mut self, least: Instant, began: Instant) -> Result<Vec<MemberFacts>, BalancerError> {
        let limit = self.limit();
        let places = self.wait(least, began + limit).await?;
        if self.all.config.on_drain_timeout != OnDrainTimeout::Kill || places.iter().all(is_empty) {
            return Ok(places);
        }
        for place in places.iter().filter(|m| !is_empty(m)) {
            if !self.all.force(place).await? {
                return Err(error(place, DrainFault::CannotEnd(limit)));
            }
        }
        self.wait(Instant::now(), Instant::now() + SETTLE.max(self.all.steer.pace().shows_within)).await
    }

    /// Counts the others and takes the server out of new traffic, with no other lane in between.
    async fn pass_gate(&mut self, found: &Snapshot) -> Result<(), BalancerError> {
        let all = self.all;
        // The time that other lanes wait here counts.
        let patient = Instant::now() + all.config.capacity_timeout;
        let _gate = unless(self.stop, all.gate.lock()).await?;
        let places = self.capacity(patient).await?;
        // A place that was not asked about could not be restored.
        if let Some(place) = places.iter().find(|place| !found.members.iter().any(|m| m.is_there(place))) {
            return Err(error(place, DrainFault::NotAsked));
        }
        for place in places.into_iter().filter(|m| m.admin == Admin::Ready) {
            // Noted before the call: half of it may arrive.
            self.taken.push(place.clone());
            all.take_out(&place).await?;
        }
        let shown = Instant::now() + all.steer.pace().shows_within;
        loop {
            let places = self.places().await?;
            let Some(place) = places.iter().find(|m| m.admin == Admin::Ready) else { return Ok(()) };
            if Instant::now() >= shown {
                return Err(error(place, DrainFault::Ignored(place.status.clone())));
            }
            pause(self.stop, all.tick()).await?;
        }
    }

    /// Waits until enough others are in service; returns the server's places as they are then.
    async fn capacity(&mut self, until: Instant) -> Result<Vec<MemberFacts>, BalancerError> {
        let written = self.all.config.min_in_service;
        loop {
            let places = self.places().await?;
            let least = |m: &MemberFacts| written.of(m.size);
            // A place out of service (a first deploy, a site that is down) takes no capacity with it.
            let Some(place) = places.iter().find(|m| m.in_service && m.others_in_service < least(m)) else {
                return Ok(places);
            };
            let fault = DrainFault::TooFew { others: place.others_in_service, least: least(place), written };
            if Instant::now() >= until {
                return Err(error(place, fault));
            }
            (self.on)(Draining::Waiting(format!("{}: {fault}", place.label())));
            pause(self.stop, self.all.tick()).await?;
        }
    }

    /// Waits until every place is empty, not before `least`; returns them as they are then or at `until`.
    async fn wait(&mut self, least: Instant, until: Instant) -> Result<Vec<MemberFacts>, BalancerError> {
        let age = self.all.steer.pace().tick;
        loop {
            let places = unless(self.stop, self.all.places(self.server, age)).await??;
            let again: Vec<&MemberFacts> = places.iter().filter(|m| m.admin == Admin::Ready).collect();
            for place in &again {
                // A reload forgets what was set before it, and puts the place back into service.
                self.all.take_out(place).await?;
            }
            if let Some(open) = places.iter().filter_map(|m| m.sessions).reduce(u64::saturating_add) {
                (self.on)(Draining::Open(open));
            }
            let now = Instant::now();
            let empty = places.iter().all(is_empty) && now >= least;
            if empty || (now >= until && again.is_empty()) || now >= until + age {
                return Ok(places);
            }
            pause(self.stop, self.all.tick()).await?;
        }
    }

    /// Looks at the server's places now.
    async fn places(&self) -> Result<Vec<MemberFacts>, BalancerError> {
        unless(self.stop, self.all.places(self.server, Duration::ZERO)).await?
    }
}
