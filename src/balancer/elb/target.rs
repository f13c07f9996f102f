//! What AWS tells of targets, and what it means: which state is out, which is in service.

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    TargetAdministrativeOverrideStateEnum, TargetDescription, TargetHealthDescription, TargetHealthReasonEnum,
    TargetHealthStateEnum,
};
use serde::{Deserialize, Serialize};

use super::fault::AT;
use super::group::TargetGroup;
use crate::balancer::aws::refusal::{AwsCall, code};
use crate::balancer::error::BalancerError;
use crate::balancer::facts::Admin;

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
    /// The place.
    pub spot: Spot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Availability zone, which only addresses may be registered with.
    pub zone: Option<String>,
}

/// A target as AWS lists it.
#[derive(Debug, Clone)]
pub struct ListedTarget {
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
    /// Whether the target takes requests, or would if it were healthy.
    pub admin: Admin,
    /// Whether requests go to the target.
    pub in_service: bool,
    /// Not even registered, which is the only proof that a drain has ended.
    pub gone: bool,
    /// Registered, but no balancer uses it.
    pub idle: bool,
    /// As AWS says it.
    pub status: String,
}

impl Own {
    /// Makes the target's description for a call.
    pub fn target(&self) -> TargetDescription {
        let target = TargetDescription::builder().id(&self.spot.id).port(self.spot.port);
        target.set_availability_zone(self.zone.clone()).build()
    }
}

impl ListedTarget {
    /// Returns the target's place.
    pub fn spot(&self, group: &TargetGroup) -> Spot {
        Spot { group: group.arn.clone(), id: self.id.clone(), port: self.port }
    }
}

impl Stands {
    /// Makes the state of a target that is not registered.
    pub fn gone() -> Self {
        Self { admin: Admin::Maint, in_service: false, gone: true, idle: false, status: "not registered".to_owned() }
    }

    /// Makes the state of a target of which AWS says nothing, so that nothing is proven.
    pub fn unproven() -> Self {
        let status = "not listed, and not said to be unregistered".to_owned();
        Self { admin: Admin::Drain, in_service: false, gone: false, idle: false, status }
    }

    /// Reads what AWS says of a target.
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
            // No health check looks at it, so it gets traffic.
            | (Some(TargetHealthStateEnum::Unavailable), Some(TargetHealthReasonEnum::HealthCheckDisabled)) => {
                stands(Admin::Ready, !shifted)
            }
            (Some(TargetHealthStateEnum::Draining), _) => stands(Admin::Drain, false),
            // "Unused" alone may only mean that no listener uses the group: requests come as soon as one does.
            (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotRegistered)) => Self::gone(),
            (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotInUse)) => {
                Self { idle: true, ..stands(Admin::Ready, false) }
            }
            // Registered. A state that AWS may yet invent proves nothing else.
            _ => stands(Admin::Ready, false),
        }
    }
}

/// Asks how the targets of a group stand: all, or these.
pub async fn list(client: &Client, group: &TargetGroup, spots: &[&Spot]) -> Result<Vec<ListedTarget>, BalancerError> {
    let named = spots.iter().map(|s| TargetDescription::builder().id(&s.id).port(s.port).build()).collect();
    let named = Some(named).filter(|n: &Vec<_>| !n.is_empty());
    let call = client.describe_target_health().target_group_arn(&group.arn).set_targets(named);
    let answer = match call.send().await {
        Ok(answer) => answer,
        // AWS knows none of these as a target.
        Err(refusal) if !spots.is_empty() && code(&refusal) == "InvalidTarget" => {
            let gone = |s: &&Spot| ListedTarget { id: s.id.clone(), port: s.port, zone: None, stands: Stands::gone() };
            return Ok(spots.iter().map(gone).collect());
        }
        Err(refusal) => {
            let asked = AwsCall { at: AT, member: Some(group.name.clone()), action: "DescribeTargetHealth" };
            return Err(asked.failed(refusal));
        }
    };
    let read = |described: &TargetHealthDescription| {
        let target = described.target()?;
        Some(ListedTarget {
            id: target.id()?.to_owned(),
            port: target.port().unwrap_or(group.port),
            // Only an address may be registered with one.
            zone: target.availability_zone().filter(|_| group.addresses).map(str::to_owned),
            stands: Stands::read(described),
        })
    };
    Ok(answer.target_health_descriptions().iter().filter_map(read).collect())
}
