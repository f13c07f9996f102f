//! Steers target groups: one look, and the calls that change a target.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::fault::{AT, ElbFault};
use super::group::NETWORK_LAG;
use super::ready::DescribedGroups;
use super::servers::TargetServers;
use super::survey::Survey;
use super::target::Own;
use crate::balancer::around::Around;
use crate::balancer::aws::Access;
use crate::balancer::aws::refusal::{AwsCall, code};
use crate::balancer::aws::times::CALL;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::MemberFacts;
use crate::balancer::walk::{Reading, Steer, SteerPace};
use crate::config::Aws;

/// Steers target groups.
pub struct Elb {
    access: Access,
    /// As configured: ARNs or names.
    groups: Vec<String>,
    aws: Aws,
    servers: TargetServers,
    described: OnceCell<DescribedGroups>,
}

impl Elb {
    /// Makes the adapter; connects to nothing.
    pub fn new(groups: &[String], aws: &Aws, access: Access, around: &Around) -> Self {
        Self {
            access,
            groups: groups.to_vec(),
            aws: aws.clone(),
            servers: TargetServers::new(around),
            described: OnceCell::new(),
        }
    }

    async fn described(&self) -> Result<&DescribedGroups, BalancerError> {
        self.described.get_or_try_init(|| DescribedGroups::load(&self.access, &self.groups, &self.aws)).await
    }

    /// Returns what a call about one place needs.
    async fn place<'a>(
        &self,
        place: &'a MemberFacts,
        action: &'static str,
    ) -> Result<(&DescribedGroups, Own, AwsCall<'a>), BalancerError> {
        let asked = AwsCall { at: AT, member: Some(place.label()), action };
        let own = serde_json::from_str(&place.own)
            .map_err(|e| BalancerError::new(AT, asked.member.clone(), ElbFault::Record(Arc::new(e))))?;
        Ok((self.described().await?, own, asked))
    }
}

impl Steer for Elb {
    fn at(&self) -> String {
        AT.to_owned()
    }

    fn pace(&self) -> SteerPace {
        let groups = self.described.get().map(|d| d.groups.as_slice()).unwrap_or_default();
        let lag = groups.iter().map(|g| self.aws.min_drain.unwrap_or(g.lag())).max();
        let delay = groups.iter().map(|g| Duration::from_secs(g.delay)).max();
        SteerPace {
            tick: self.aws.poll,
            jitter: self.aws.poll / 5,
            call: CALL,
            patience: CALL,
            lag: lag.or(self.aws.min_drain).unwrap_or(NETWORK_LAG),
            drains_within: delay,
            ..SteerPace::default()
        }
    }

    fn recall(&self, found: &[MemberFacts]) {
        for own in found.iter().filter_map(|m| serde_json::from_str::<Own>(&m.own).ok()) {
            self.servers.known.recall(own);
        }
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        match self.described().await {
            Ok(described) => {
                Survey { described, servers: &self.servers, min_drain: self.aws.min_drain }.read(lb_names).await
            }
            Err(error) => Reading::failed(error),
        }
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        let (described, own, asked) = self.place(now, "DeregisterTargets").await?;
        let call = described.client.deregister_targets().target_group_arn(&own.spot.group).targets(own.target());
        match call.send().await {
            Ok(_) => Ok(()),
            // The target is not registered any more.
            Err(refusal) if code(&refusal) == "InvalidTarget" => Ok(()),
            Err(refusal) => Err(asked.failed(refusal)),
        }
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        let (described, own, asked) = self.place(found, "RegisterTargets").await?;
        self.servers.known.registered(&own.spot);
        // This keeps a target that is still draining.
        let call = described.client.register_targets().target_group_arn(&own.spot.group).targets(own.target());
        let hint = "an instance must be running, and in the network of its target group";
        call.send().await.map(drop).map_err(|refusal| asked.failed_or(refusal, &[("InvalidTarget", hint)]))
    }
}

#[cfg(test)]
mod tests;
