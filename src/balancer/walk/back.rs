//! One server's way back into a balancer of few calls.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::steer::Steer;
use super::steered::{Steered, error};
use crate::balancer::adapter::OnRestore;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::{Admin, MemberFacts};
use crate::balancer::fault::{RestoreFault, Whereabouts};
use crate::balancer::waiting::{pause, unless};

const NOT_BACK: &str = "the balancer checks in its own way: compare its health check with what the server answers, or \
                        raise `restore_timeout`";

/// A place on its way back into traffic.
struct Case<'a> {
    found: &'a MemberFacts,
    /// The place was in already.
    was_in: bool,
    /// In how many readings in a row the place is out again; `None`: it was not seen in yet.
    out_again: Option<u8>,
    /// Since when the place is in service without a break.
    since: Option<Instant>,
    /// The last status that was reported.
    said: String,
    back: bool,
}

impl<'a> Case<'a> {
    fn new(found: &'a MemberFacts, was_in: bool) -> Self {
        Self { found, was_in, out_again: was_in.then_some(0), since: None, said: String::new(), back: false }
    }
}

/// Why a place is given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// `restore_timeout` is over.
    Late,
    /// An error ended the walk, and is reported already.
    CutOff,
}

/// One server's way back.
pub struct WayBack<'a, A> {
    all: &'a Steered<A>,
    server: &'a str,
    cases: Vec<Case<'a>>,
    errors: Vec<BalancerError>,
    on: OnRestore<'a>,
    stop: &'a CancellationToken,
}

impl<'a, A: Steer> WayBack<'a, A> {
    /// Makes the way back of a server; nothing is asked yet.
    pub fn new(all: &'a Steered<A>, server: &'a str, on: OnRestore<'a>, stop: &'a CancellationToken) -> Self {
        Self { all, server, cases: Vec::new(), errors: Vec::new(), on, stop }
    }

    /// Puts the server back as it was found; returns what went wrong at each place.
    pub async fn walk(mut self, found: &[&'a MemberFacts]) -> Vec<BalancerError> {
        if let Err(error) = self.through(found).await {
            self.errors.insert(0, error);
            // Interrupted or cut off: a place that is not proven stays out, as far as that can still be set.
            self.abandon(Why::CutOff).await;
        }
        self.errors
    }

    async fn through(&mut self, found: &[&'a MemberFacts]) -> Result<(), BalancerError> {
        if found.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.all.config.restore_timeout;
        let places = unless(self.stop, self.all.places(self.server, Duration::ZERO)).await??;
        for found in found.iter().copied() {
            match places.iter().find(|m| m.is_there(found)) {
                Some(now) => self.begin(found, now).await,
                None => self.errors.push(error(found, RestoreFault::Gone)),
            }
        }
        while self.cases.iter().any(|c| !c.back) {
            let places = unless(self.stop, self.all.places(self.server, self.all.steer.pace().tick)).await??;
            self.look(&places);
            let steady = self.cases.iter().all(|c| c.back || c.since.is_some());
            if Instant::now() >= deadline && !steady {
                self.abandon(Why::Late).await;
            } else if self.cases.iter().any(|c| !c.back) {
                pause(self.stop, self.all.tick()).await?;
            }
        }
        Ok(())
    }

    /// Puts one place back as it was found, without a wait for its health.
    async fn begin(&mut self, found: &'a MemberFacts, now: &MemberFacts) {
        let changed = match (found.admin, now.admin) {
            (Admin::Ready, admin) => {
                // Noted before the call: half of it may arrive.
                let was_in = admin == Admin::Ready;
                self.cases.push(Case::new(found, was_in));
                if was_in { Ok(()) } else { self.all.put_back(found).await }
            }
            // An operator had taken the place out before the run.
            (_, Admin::Ready) => self.all.take_out(now).await,
            _ => Ok(()),
        };
        let Err(mut error) = changed else { return };
        self.cases.retain(|c| !c.found.is_there(found));
        // Half of the change may have arrived: a place that is not proven stays out.
        if found.admin == Admin::Ready
            && let Err(also) = self.all.take_out(found).await
        {
            error = error.and_may_be_in(also);
        }
        self.errors.push(error);
    }

    /// Holds the cases against a reading.
    fn look(&mut self, places: &[MemberFacts]) {
        for case in self.cases.iter_mut().filter(|c| !c.back) {
            let now = places.iter().find(|m| m.is_there(case.found));
            let said = now.map_or("gone", |m| m.status.as_str());
            if case.said != said {
                said.clone_into(&mut case.said);
                (self.on)(format!("{}: {said}", case.found.label()));
            }
            case.out_again = match now.map(|m| m.admin) {
                Some(Admin::Ready) => Some(0),
                Some(_) => case.out_again.map(|readings| readings.saturating_add(1)),
                None => case.out_again,
            };
            // One reading may be an old one: not all balancers show a change at once.
            if case.out_again >= Some(2) {
                case.back = true;
                (self.on)(format!("{}: an operator has taken it out meanwhile; it is left so", case.found.label()));
                continue;
            }
            if !now.is_some_and(|m| m.in_service && m.admin == Admin::Ready) {
                case.since = None;
                continue;
            }
            let since = *case.since.get_or_insert_with(Instant::now);
            case.back = since.elapsed() >= self.all.config.min_healthy_time;
        }
    }

    /// Takes every place out again that is not back.
    async fn abandon(&mut self, why: Why) {
        for case in self.cases.iter_mut().filter(|c| !c.back) {
            case.back = true;
            if case.found.may_stay_down && case.out_again == Some(0) && why == Why::Late {
                (self.on)(format!("{}: {}, as it was before", case.found.label(), case.said));
                continue;
            }
            if case.was_in && why == Why::CutOff {
                // The place is as it was.
                continue;
            }
            let kept = match self.all.take_out(case.found).await {
                // The reason is an error already.
                Ok(()) if why == Why::CutOff => continue,
                Ok(()) => Whereabouts::Out("is out again"),
                Err(error) => Whereabouts::NotSet("taken out again", Box::new(error)),
            };
            let why = match why {
                Why::Late => "it was not reported up in time",
                Why::CutOff => "its way back was cut off",
            };
            let fault = RestoreFault::NotBack { why, last: case.said.clone(), hint: NOT_BACK, kept };
            self.errors.push(error(case.found, fault));
        }
    }
}
