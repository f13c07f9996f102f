//! What AWS tells of target groups and their targets, and what it means: which state is out, which is in service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetAdministrativeOverrideStateEnum, TargetDescription, TargetHealthDescription,
    TargetHealthReasonEnum, TargetHealthStateEnum, TargetTypeEnum,
};
use serde::{Deserialize, Serialize};

use crate::balancer::aws::{self, Asked, error};
use crate::balancer::{Admin, BalancerError};

/// How errors and records name it.
pub const AT: &str = "elb";
/// How long requests have been seen to arrive after a target was taken out (an application balancer: 17 s).
pub const LAG: Duration = Duration::from_secs(20);
/// The same of a network balancer, whose nodes learn slowly.
pub const NETWORK_LAG: Duration = Duration::from_secs(120);
/// How long a registered target waits for its first check.
pub const BACK: u64 = 30;
/// The same of a network balancer.
pub const NETWORK_BACK: u64 = 180;

/// What a target group is.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Targets are addresses, not instances.
    pub addresses: bool,
    /// Where a target names none.
    pub port: i32,
    /// Of a network balancer, or of any but an application balancer.
    pub network: bool,
    /// `deregistration_delay.timeout_seconds`.
    pub delay: u64,
    /// Seconds from registration to health, at the soonest.
    pub back_takes: u64,
}

/// One target: the same instance may be in one group with several ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spot {
    /// ARN.
    pub group: String,
    /// An instance's id, or an address.
    pub id: String,
    /// Its port.
    pub port: i32,
}

/// What a snapshot must hold to register the same target again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Own {
    #[serde(flatten)]
    /// Which.
    pub spot: Spot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Availability zone, which only addresses may be registered with.
    pub zone: Option<String>,
}

/// A target as AWS lists it.
#[derive(Debug, Clone)]
pub struct Target {
    /// An instance's id, or an address.
    pub id: String,
    /// Its port.
    pub port: i32,
    /// Its zone, if it is an address.
    pub zone: Option<String>,
    /// How it stands.
    pub stands: Stands,
}

/// How a target stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// Whether it takes requests, or would.
    pub admin: Admin,
    /// Whether requests go to it.
    pub in_service: bool,
    /// Not even registered, which is the only proof that a drain has ended.
    pub gone: bool,
    /// Registered, but no balancer uses it.
    pub idle: bool,
    /// As AWS says it.
    pub status: String,
}

impl Own {
    /// The target as AWS wants to be told it.
    pub fn target(&self) -> TargetDescription {
        let target = TargetDescription::builder().id(&self.spot.id).port(self.spot.port);
        target.set_availability_zone(self.zone.clone()).build()
    }
}

impl Target {
    /// Its place.
    pub fn spot(&self, group: &Group) -> Spot {
        Spot { group: group.arn.clone(), id: self.id.clone(), port: self.port }
    }
}

impl Stands {
    /// Not registered.
    pub fn gone() -> Self {
        Self { admin: Admin::Maint, in_service: false, gone: true, idle: false, status: "not registered".to_owned() }
    }

    /// Neither listed nor spoken of, so that nothing is proven.
    pub fn unproven() -> Self {
        let status = "not listed, and not said to be unregistered".to_owned();
        Self { admin: Admin::Drain, in_service: false, gone: false, idle: false, status }
    }

    /// Reads what AWS says.
    pub fn read(target: &TargetHealthDescription) -> Self {
        let health = target.target_health();
        let state = health.and_then(|h| h.state());
        let reason = health.and_then(|h| h.reason());
        let mut status = state.map_or("without a state", |s| s.as_str()).to_owned();
        if let Some(reason) = reason {
            status.push_str(&format!(" ({})", reason.as_str()));
        }
        if let Some(text) = health.and_then(|h| h.description()) {
            status.push_str(&format!(": {text}"));
        }
        let shifted = target.administrative_override().and_then(|o| o.state());
        let shifted = shifted.is_some_and(|s| *s == TargetAdministrativeOverrideStateEnum::ZonalShiftActive);
        if shifted {
            status.push_str("; its zone is shifted away from");
        }
        let stands = |admin, in_service| Self { admin, in_service, gone: false, idle: false, status: status.clone() };
        match (state, reason) {
            (Some(TargetHealthStateEnum::Healthy), _)
            // Nobody checks it, so it gets traffic.
            | (Some(TargetHealthStateEnum::Unavailable), Some(TargetHealthReasonEnum::HealthCheckDisabled)) => {
                stands(Admin::Ready, !shifted)
            }
            (Some(TargetHealthStateEnum::Draining), _) => stands(Admin::Drain, false),
            // "Unused" alone may only mean that no listener uses the group: requests come as soon as one does.
            (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotRegistered)) => Self::gone(),
            (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotInUse)) => {
                Self { idle: true, ..stands(Admin::Ready, false) }
            }
            // Registered, and whatever AWS may yet invent is no proof of anything else.
            _ => stands(Admin::Ready, false),
        }
    }
}

/// Tells on which ports a server would be that is not in a group: on those where all others are.
pub fn usual_ports(group: &Group, targets: &[Target], name: &str) -> Result<BTreeSet<i32>, BalancerError> {
    let mut ports: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for target in targets {
        ports.entry(&target.id).or_default().insert(target.port);
    }
    let mut kinds: BTreeSet<BTreeSet<i32>> = ports.into_values().collect();
    match (kinds.pop_first(), kinds.is_empty()) {
        (None, _) => Ok([group.port].into()),
        (Some(ports), true) => Ok(ports),
        (Some(_), false) => {
            let detail = "it is not in the target group, whose targets have different ports".to_owned();
            let hint = "write its port into `lb` in [[servers]], as \"i-…:8080\"";
            Err(error(AT, Some(format!("{}/{name}", group.name)), detail, hint))
        }
    }
}

/// Asks what one group is.
pub async fn describe(client: &Client, configured: &str) -> Result<Group, BalancerError> {
    let asked = |action| Asked { at: AT, member: Some(configured.to_owned()), action };
    let call = client.describe_target_groups();
    let call = if configured.starts_with("arn:") { call.target_group_arns(configured) } else { call.names(configured) };
    let answer = call.send().await.map_err(|refusal| {
        let missing = aws::code(&refusal) == "TargetGroupNotFound";
        let mut error = asked("DescribeTargetGroups").failed(refusal);
        if missing {
            error.hint =
                "compare `target_groups` with `aws elbv2 describe-target-groups`; is it this region and account?"
                    .to_owned();
        }
        error
    })?;
    let bad = |detail: String, hint: &str| error(AT, Some(configured.to_owned()), detail, hint);
    let group = answer
        .target_groups()
        .first()
        .ok_or_else(|| bad("AWS knows no such target group".to_owned(), "correct `target_groups`"))?;
    let addresses = match group.target_type() {
        Some(TargetTypeEnum::Instance) | None => false,
        Some(TargetTypeEnum::Ip) => true,
        Some(other) => {
            let detail = format!("targets of this group are of the type {}, which no server can be", other.as_str());
            return Err(bad(detail, "name a group of the type instance or ip"));
        }
    };
    let (Some(arn), Some(port)) = (group.target_group_arn(), group.port()) else {
        return Err(bad("AWS tells no ARN or no port of it".to_owned(), ""));
    };
    let call = client.describe_target_group_attributes().target_group_arn(arn);
    let answer = call.send().await.map_err(|refusal| asked("DescribeTargetGroupAttributes").failed(refusal))?;
    let seconds = |key: &str, default: u64| {
        let found = answer.attributes().iter().find(|a| a.key() == Some(key));
        found.and_then(|a| a.value()?.parse().ok()).unwrap_or(default)
    };
    let network = !matches!(group.protocol(), Some(ProtocolEnum::Http | ProtocolEnum::Https));
    let base = if network { NETWORK_BACK } else { BACK };
    let checks =
        aws::checks(group.health_check_interval_seconds().unwrap_or(30), group.healthy_threshold_count().unwrap_or(5));
    Ok(Group {
        arn: arn.to_owned(),
        name: group.target_group_name().unwrap_or(configured).to_owned(),
        addresses,
        port,
        network,
        delay: seconds("deregistration_delay.timeout_seconds", 300),
        back_takes: base + checks + seconds("slow_start.duration_seconds", 0),
    })
}

/// Asks how all targets of a group stand, or these.
pub async fn list(client: &Client, group: &Group, spots: &[&Spot]) -> Result<Vec<Target>, BalancerError> {
    let named = spots.iter().map(|s| TargetDescription::builder().id(&s.id).port(s.port).build()).collect();
    let named = Some(named).filter(|n: &Vec<_>| !n.is_empty());
    let call = client.describe_target_health().target_group_arn(&group.arn).set_targets(named);
    let answer = match call.send().await {
        Ok(answer) => answer,
        // Nothing of what it does not list is a target to it.
        Err(refusal) if !spots.is_empty() && aws::code(&refusal) == "InvalidTarget" => {
            let gone = |s: &&Spot| Target { id: s.id.clone(), port: s.port, zone: None, stands: Stands::gone() };
            return Ok(spots.iter().map(gone).collect());
        }
        Err(refusal) => {
            let asked = Asked { at: AT, member: Some(group.name.clone()), action: "DescribeTargetHealth" };
            return Err(asked.failed(refusal));
        }
    };
    let read = |described: &TargetHealthDescription| {
        let target = described.target()?;
        Some(Target {
            id: target.id()?.to_owned(),
            port: target.port().unwrap_or(group.port),
            // Only an address may be registered with one.
            zone: target.availability_zone().filter(|_| group.addresses).map(str::to_owned),
            stands: Stands::read(described),
        })
    };
    Ok(answer.target_health_descriptions().iter().filter_map(read).collect())
}
