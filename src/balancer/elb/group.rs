//! What a target group is, as AWS describes it.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{ProtocolEnum, TargetTypeEnum};

use super::fault::{AT, ElbFault};
use crate::balancer::aws::refusal::AwsCall;
use crate::balancer::aws::times::{self, BACK, LAG};
use crate::balancer::error::BalancerError;

/// How long requests may arrive after a target left a network balancer, whose nodes learn slowly.
pub const NETWORK_LAG: Duration = Duration::from_secs(120);
/// Seconds that a registered target of a network balancer waits for its first check.
const NETWORK_BACK: u64 = 180;

/// A target group.
#[derive(Debug, Clone)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Its targets are addresses, not instances.
    pub addresses: bool,
    /// The port of a target that names none.
    pub port: i32,
    /// It belongs to a network balancer, or to any but an application balancer.
    pub network: bool,
    /// `deregistration_delay.timeout_seconds`.
    pub delay: u64,
    /// Seconds from registration to health, at the soonest.
    pub back_takes: u64,
}

impl TargetGroup {
    /// Tells how long requests may arrive after a target was taken out.
    pub fn lag(&self) -> Duration {
        if self.network { NETWORK_LAG } else { LAG }
    }
}

/// Asks what one group is.
///
/// # Errors
/// When AWS refuses, does not know the group, or its targets cannot be servers.
pub async fn describe(client: &Client, configured: &str) -> Result<TargetGroup, BalancerError> {
    let member = Some(configured.to_owned());
    let asked = |action| AwsCall { at: AT, member: member.clone(), action };
    let call = client.describe_target_groups();
    let call = if configured.starts_with("arn:") { call.target_group_arns(configured) } else { call.names(configured) };
    let answer = call.send().await.map_err(|refusal| {
        let hint = "compare `target_groups` with `aws elbv2 describe-target-groups`; is it this region and account?";
        asked("DescribeTargetGroups").failed_or(refusal, &[("TargetGroupNotFound", hint)])
    })?;
    let bad = |fault: ElbFault| BalancerError::new(AT, member.clone(), fault);
    let group = answer.target_groups().first().ok_or_else(|| bad(ElbFault::NoGroup))?;
    let addresses = match group.target_type() {
        Some(TargetTypeEnum::Instance) | None => false,
        Some(TargetTypeEnum::Ip) => true,
        Some(other) => return Err(bad(ElbFault::Type(other.as_str().to_owned()))),
    };
    let (Some(arn), Some(port)) = (group.target_group_arn(), group.port()) else {
        return Err(bad(ElbFault::NoArn));
    };
    let call = client.describe_target_group_attributes().target_group_arn(arn);
    let answer = call.send().await.map_err(|refusal| asked("DescribeTargetGroupAttributes").failed(refusal))?;
    let seconds = |key: &str, default: u64| {
        let found = answer.attributes().iter().find(|a| a.key() == Some(key));
        found.and_then(|a| a.value()?.parse().ok()).unwrap_or(default)
    };
    let network = !matches!(group.protocol(), Some(ProtocolEnum::Http | ProtocolEnum::Https));
    let base = if network { NETWORK_BACK } else { BACK };
    let checks = times::checks(
        group.health_check_interval_seconds().unwrap_or(30),
        group.healthy_threshold_count().unwrap_or(5),
    );
    Ok(TargetGroup {
        arn: arn.to_owned(),
        name: group.target_group_name().unwrap_or(configured).to_owned(),
        addresses,
        port,
        network,
        delay: seconds("deregistration_delay.timeout_seconds", 300),
        back_takes: base + checks + seconds("slow_start.duration_seconds", 0),
    })
}
