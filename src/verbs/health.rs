//! Questions for the health of servers outside any run.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Health, Server};
use crate::engine::checkup::{Checkup, Known};
use crate::event::Cause;
use crate::facts::Facts;
use crate::health::CheckFailed;
use crate::remote::Ear;
use crate::stack::Stack;
use crate::wording::cause;

/// Asks servers for their health outside any run.
pub struct HealthQuestions<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// What was found, which a `[health] command` reads as `PITCREW_…`.
    pub facts: &'a Facts,
    /// The verb that asks.
    pub verb: &'static str,
}

impl HealthQuestions<'_> {
    /// Asks a server once; `None`: it has no health to ask for, or no connection.
    pub async fn once(&self, server: &Server, stop: &CancellationToken) -> Option<Result<(), String>> {
        let health = self.stack.config.health.as_ref().filter(|_| server.is_web())?;
        // The first attempt is whole, and there is no time for another.
        let once = Health { within: Duration::ZERO, successes: 1, ..health.clone() };
        self.within(server, &once, stop).await
    }

    /// Asks a server within the limits of its check, as a deploy does; `None`: it has no connection.
    pub async fn within(
        &self,
        server: &Server,
        health: &Health,
        stop: &CancellationToken,
    ) -> Option<Result<(), String>> {
        self.stack.hosts.get(&server.name).ok()?;
        let known = Known::outside(&self.stack.config, self.facts, &server.name, self.verb);
        let hands = self.stack.hosts.as_ref();
        let checkup = Checkup {
            hands,
            site: self.stack.site(),
            known,
            ear: Ear::Off,
            proven: false,
            silent: AtomicBool::default(),
        };
        Some(checkup.healthy(health, &mut |_| {}, stop).await.map_err(|e| match e {
            CheckFailed::Stopped => "not asked".into(),
            CheckFailed::Unhealthy(unhealthy) => cause::reason(&Cause::Unhealthy(unhealthy)),
        }))
    }
}
