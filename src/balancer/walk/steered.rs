//! A balancer of few calls with a limit on each call and with looks that lanes share.
//!
//! Owns how often the balancer is asked and which question is repeated. What a drain and a restore wait for is in
//! `out` and `back`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::steer::{Reading, Steer};
use crate::balancer::error::{BalancerError, BalancerFault};
use crate::balancer::facts::MemberFacts;
use crate::balancer::fault::AskFault;
use crate::balancer::reading::SharedReading;
use crate::config::LoadBalancer;

/// A balancer of few calls.
pub struct Steered<A> {
    /// Its calls.
    pub steer: A,
    /// `[load_balancer]`.
    pub config: LoadBalancer,
    /// The names of all servers behind it, which are asked about together.
    pub names: Vec<String>,
    /// An upper limit on one call, beside the balancer's own.
    pub limit: Duration,
    /// Held from the count of the others until a server is out: two lanes must not count on each other.
    pub gate: Mutex<()>,
    /// The last look.
    pub looks: SharedReading<Reading>,
}

impl<A: Steer> Steered<A> {
    /// Looks at a server's places, and repeats that where the balancer cannot be reached for a moment.
    pub async fn places(&self, lb_name: &str, age: Duration) -> Result<Vec<MemberFacts>, BalancerError> {
        let began = Instant::now();
        loop {
            match self.read(age).await.of(&self.steer.at(), lb_name) {
                Err(error) if error.is_unreachable() && began.elapsed() < self.steer.pace().patience => {
                    sleep(self.tick()).await;
                }
                result => return result,
            }
        }
    }

    /// Asks about all servers, or returns a reading that began at most `age` ago and after the last change.
    pub async fn read(&self, age: Duration) -> Arc<Reading> {
        let look = async {
            let asked = timeout(self.call_limit(), self.steer.look(&self.names)).await;
            Ok::<_, Infallible>(asked.unwrap_or_else(|_| Reading::failed(self.late())))
        };
        let Ok(reading) = self.looks.get(age, look).await;
        reading
    }

    /// Begins to take one place out.
    pub async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        self.change(self.steer.take_out(now)).await
    }

    /// Ends a place's connections; `false`: the balancer cannot do that.
    pub async fn force(&self, now: &MemberFacts) -> Result<bool, BalancerError> {
        self.change(self.steer.force(now)).await
    }

    /// Puts one place back as it was found.
    pub async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        self.change(self.steer.put_back(found)).await
    }

    async fn change<T>(&self, call: impl Future<Output = Result<T, BalancerError>>) -> Result<T, BalancerError> {
        let result = timeout(self.call_limit(), call).await;
        self.looks.changed();
        result.unwrap_or_else(|_| Err(self.late()))
    }

    fn call_limit(&self) -> Duration {
        self.steer.pace().call.min(self.limit)
    }

    fn late(&self) -> BalancerError {
        BalancerError::new(&self.steer.at(), None, AskFault::Late(self.call_limit()))
    }

    /// Returns the pause before the next look.
    pub fn tick(&self) -> Duration {
        let pace = self.steer.pace();
        pace.tick + pace.jitter.mul_f64(rand::random())
    }
}

/// Makes an error about one place.
pub fn error(place: &MemberFacts, fault: impl BalancerFault) -> BalancerError {
    BalancerError::new(&place.at, Some(place.label()), fault)
}
