//! What a balancer of few calls does, and how slow it is.
//!
//! An adapter waits for nothing and remembers nothing but connections: all waiting is the walk's.

use std::future::Future;
use std::time::Duration;

use crate::balancer::error::BalancerError;
use crate::balancer::facts::MemberFacts;
use crate::balancer::fault::AskFault;

/// A balancer of few calls. Every call may be made twice, and any may be cut off.
///
/// A place in [`Admin::Ready`] takes traffic, or would if it were healthy; one in [`Admin::Drain`] takes no more and may
/// still have connections; one in [`Admin::Maint`] has none, or none that the balancer can tell of.
///
/// [`Admin::Ready`]: crate::balancer::Admin::Ready
/// [`Admin::Drain`]: crate::balancer::Admin::Drain
/// [`Admin::Maint`]: crate::balancer::Admin::Maint
pub trait Steer: Send + Sync {
    /// Names the balancer in errors.
    fn at(&self) -> String;

    /// Tells how slow the balancer is. Asked again for every wait, since a look may have taught it.
    fn pace(&self) -> SteerPace;

    /// Learns what is recorded of places that the balancer may have forgotten.
    fn recall(&self, found: &[MemberFacts]) {
        let _ = found;
    }

    /// Asks once about these servers, and returns every place that each has, or could be put back to.
    ///
    /// A server of which nothing is said is an error of its own; what is wrong with one server hides no other. Unreachable
    /// errors are asked about again, others are final.
    fn look(&self, lb_names: &[String]) -> impl Future<Output = Reading> + Send;

    /// Begins to take one place out, and does not wait for its connections.
    fn take_out(&self, now: &MemberFacts) -> impl Future<Output = Result<(), BalancerError>> + Send;

    /// Ends the connections of a place that was taken out. `false`: the balancer cannot do that.
    fn force(&self, now: &MemberFacts) -> impl Future<Output = Result<bool, BalancerError>> + Send {
        let _ = now;
        async { Ok(false) }
    }

    /// Puts one place back as it was found, and does not wait for its health.
    fn put_back(&self, found: &MemberFacts) -> impl Future<Output = Result<(), BalancerError>> + Send;
}

/// How slow a balancer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SteerPace {
    /// The pause between two looks of one wait; lanes that wait side by side share their looks.
    pub tick: Duration,
    /// The most that is added to the pause at random, so that many runs do not ask in step.
    pub jitter: Duration,
    /// The limit on one call.
    pub call: Duration,
    /// How long a look is repeated that fails as unreachable.
    pub patience: Duration,
    /// How long after a change a look may still show the state before it.
    pub shows_within: Duration,
    /// How long traffic goes on after a place was taken out: a drain takes at least this.
    pub lag: Duration,
    /// The balancer's own limit on a drain, after which a longer `drain_timeout` waits for nothing.
    pub drains_within: Option<Duration>,
}

impl Default for SteerPace {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            jitter: Duration::from_millis(200),
            call: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            shows_within: Duration::from_secs(10),
            lag: Duration::ZERO,
            drains_within: None,
        }
    }
}

/// What one look brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every place of every server asked about.
    pub members: Vec<MemberFacts>,
    /// What could not be read, of one server or (`None`) of all.
    pub errors: Vec<(Option<String>, BalancerError)>,
}

impl Reading {
    /// Makes the reading of a look that brought nothing.
    pub fn failed(error: BalancerError) -> Self {
        Self { members: Vec::new(), errors: vec![(None, error)] }
    }

    /// Returns a server's places.
    ///
    /// # Errors
    /// The first error that concerns it, or that the balancer `at` says nothing of it.
    pub fn of(&self, at: &str, lb_name: &str) -> Result<Vec<MemberFacts>, BalancerError> {
        if let Some((_, error)) = self.errors.iter().find(|(name, _)| name.as_deref().is_none_or(|n| n == lb_name)) {
            return Err(error.clone());
        }
        let places: Vec<MemberFacts> = self.members.iter().filter(|m| m.member == lb_name).cloned().collect();
        if places.is_empty() {
            return Err(BalancerError::new(at, Some(lb_name.to_owned()), AskFault::Silent(lb_name.to_owned())));
        }
        Ok(places)
    }
}
