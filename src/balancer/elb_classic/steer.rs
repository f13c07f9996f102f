//! Steers classic load balancers: one look, and the calls that change an instance.

use std::time::Duration;

use aws_sdk_elasticloadbalancing::types::Instance;
use tokio::sync::OnceCell;

use super::described::{DescribedBalancers, is_unknown};
use super::fault::{AT, ClassicFault};
use super::servers::ClassicServers;
use super::survey::ClassicSurvey;
use crate::balancer::around::Around;
use crate::balancer::aws::Access;
use crate::balancer::aws::refusal::{AwsCall, code};
use crate::balancer::aws::times::{CALL, LAG};
use crate::balancer::aws::written::is_instance;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::MemberFacts;
use crate::balancer::walk::{Reading, Steer, SteerPace};
use crate::config::Aws;

/// Steers classic load balancers.
pub struct ElbClassic {
    access: Access,
    names: Vec<String>,
    aws: Aws,
    servers: ClassicServers,
    described: OnceCell<DescribedBalancers>,
}

impl ElbClassic {
    /// Makes the adapter; connects to nothing.
    pub fn new(names: &[String], aws: &Aws, access: Access, around: &Around) -> Self {
        Self {
            access,
            names: names.to_vec(),
            aws: aws.clone(),
            servers: ClassicServers::new(around),
            described: OnceCell::new(),
        }
    }

    async fn described(&self) -> Result<&DescribedBalancers, BalancerError> {
        self.described.get_or_try_init(|| DescribedBalancers::load(&self.access, &self.names)).await
    }

    /// Returns how long requests may still arrive after an instance was taken out.
    fn lag(&self) -> Duration {
        self.aws.min_drain.unwrap_or(LAG)
    }

    /// Returns what a call about one place needs.
    async fn place<'a>(
        &self,
        place: &'a MemberFacts,
        action: &'static str,
    ) -> Result<(&DescribedBalancers, Instance, AwsCall<'a>), BalancerError> {
        let asked = AwsCall { at: AT, member: Some(place.label()), action };
        if !is_instance(&place.own) {
            return Err(BalancerError::new(AT, asked.member, ClassicFault::Record));
        }
        Ok((self.described().await?, Instance::builder().instance_id(&place.own).build(), asked))
    }
}

impl Steer for ElbClassic {
    fn at(&self) -> String {
        AT.to_owned()
    }

    fn pace(&self) -> SteerPace {
        let balancers = self.described.get().map(|d| d.balancers.as_slice()).unwrap_or_default();
        let own = balancers.iter().map(|b| Duration::from_secs(b.draining.unwrap_or_default())).max();
        SteerPace {
            tick: self.aws.poll,
            jitter: self.aws.poll / 5,
            call: CALL,
            patience: CALL,
            lag: self.lag(),
            drains_within: own,
            ..SteerPace::default()
        }
    }

    fn recall(&self, found: &[MemberFacts]) {
        let recorded = found.iter().filter(|m| is_instance(&m.own));
        self.servers.recall(recorded.map(|m| (m.member.clone(), m.own.clone())));
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        match self.described().await {
            Ok(described) => ClassicSurvey { described, servers: &self.servers, lag: self.lag() }.read(lb_names).await,
            Err(error) => Reading::failed(error),
        }
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        let (described, instance, asked) = self.place(now, "DeregisterInstancesFromLoadBalancer").await?;
        let call = described.client.deregister_instances_from_load_balancer().load_balancer_name(&now.backend);
        match call.instances(instance).send().await {
            Ok(_) => Ok(()),
            // The instance is not registered any more.
            Err(refusal) if is_unknown(code(&refusal)) => Ok(()),
            Err(refusal) => Err(asked.failed(refusal)),
        }
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        let (described, instance, asked) = self.place(found, "RegisterInstancesWithLoadBalancer").await?;
        let call = described.client.register_instances_with_load_balancer().load_balancer_name(&found.backend);
        call.instances(instance).send().await.map(drop).map_err(|refusal| asked.failed(refusal))
    }
}

#[cfg(test)]
mod tests;
