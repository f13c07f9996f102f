//! A server's way back into every instance: each is walked by itself, side by side.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::back::InstanceBack;
use super::nodes::Nodes;
use crate::balancer::adapter::OnRestore;
use crate::balancer::error::{BalancerError, together};
use crate::balancer::facts::{MemberFacts, Snapshot};
use crate::balancer::fault::RestoreFault;
use crate::balancer::waiting::pause;

/// One server's way back.
pub struct HaproxyBack<'a> {
    /// All instances.
    pub all: &'a Nodes,
    /// The server's name there.
    pub server: &'a str,
    /// Ends the wait.
    pub stop: &'a CancellationToken,
}

impl HaproxyBack<'_> {
    /// Puts the server back as it was found; see [`crate::balancer::Balancer::restore`].
    pub async fn walk(&self, found: &Snapshot, on: OnRestore<'_>) -> Result<(), BalancerError> {
        let config = &self.all.config;
        let deadline = Instant::now() + config.restore_timeout;
        // The instances share one listener.
        let on = Mutex::new(on);
        let say = |text: String| {
            if let Ok(mut on) = on.lock() {
                on(text);
            }
        };
        let found = self.places(found, &say).await;
        let walks = self.all.nodes.iter().map(|node| {
            let found: Vec<&MemberFacts> = found.iter().filter(|m| m.at == node.at()).collect();
            let back = InstanceBack {
                node,
                alone: self.all.nodes.len() == 1,
                server: self.server,
                cases: Vec::new(),
                errors: Vec::new(),
                deadline,
                steady: config.min_healthy_time,
                stop: self.stop,
                say: &say,
            };
            async move { back.walk(&found).await }
        });
        let mut errors: Vec<BalancerError> = join_all(walks).await.into_iter().flatten().collect();
        errors.extend(found.iter().filter(|m| !self.all.nodes.iter().any(|n| n.at() == m.at)).map(|member| {
            let place = Some(format!("{}/{}", member.backend, self.server));
            BalancerError::new(&member.at, place, RestoreFault::NotConfigured)
        }));
        together(errors)?;
        // The server is back: an end of the wait changes nothing.
        let _ = pause(self.stop, config.wait_after_restore).await;
        Ok(())
    }

    /// Lists where the server was found, by the names that backends have today.
    ///
    /// Of a backend that was renamed meanwhile, in the balancer and in the file, the record stands for the new name.
    async fn places(&self, found: &Snapshot, say: &(dyn Fn(String) + Sync)) -> Vec<MemberFacts> {
        let own = found.members.iter().filter(|m| m.member == self.server);
        let (mut places, gone): (Vec<MemberFacts>, Vec<MemberFacts>) =
            own.cloned().partition(|m| self.all.backends.contains(&m.backend));
        for old in gone {
            say(format!("{}/{}: the file names this backend no more", old.backend, self.server));
            let today = self.today(&old.at).await;
            if today.is_empty() {
                // The record stays: its way back fails and names the place, which may still be out.
                places.push(old);
                continue;
            }
            for backend in today {
                if !places.iter().any(|m| m.at == old.at && m.backend == backend) {
                    places.push(MemberFacts { backend, ..old.clone() });
                }
            }
        }
        places
    }

    /// Lists the backends of one instance that have the server today; none where it cannot be asked.
    async fn today(&self, at: &str) -> Vec<String> {
        let Some(node) = self.all.nodes.iter().find(|node| node.at() == at) else { return Vec::new() };
        let Ok(table) = node.look(Duration::ZERO).await else { return Vec::new() };
        let places = node.places(&table, self.server).unwrap_or_default();
        places.into_iter().map(|(backend, _)| backend.to_owned()).collect()
    }
}
