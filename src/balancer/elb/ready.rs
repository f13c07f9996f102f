//! The configured target groups, described once.

use aws_sdk_elasticloadbalancingv2::Client;
use futures::future::join_all;

use super::fault::{AT, ElbFault};
use super::group::{TargetGroup, describe};
use crate::balancer::aws::Access;
use crate::balancer::error::{BalancerError, together};
use crate::config::Aws;

/// A client, and the groups that it was asked about.
pub struct DescribedGroups {
    /// Calls AWS.
    pub client: Client,
    /// In the order of the configuration.
    pub groups: Vec<TargetGroup>,
}

impl DescribedGroups {
    /// Asks what the groups are, given by ARN or name.
    ///
    /// # Errors
    /// When AWS cannot be asked, or with what is wrong with any group.
    pub async fn load(access: &Access, groups: &[String], aws: &Aws) -> Result<Self, BalancerError> {
        let config = access.load(AT, region(groups, aws)?).await?;
        let client = Client::new(&config);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for group in join_all(groups.iter().map(|group| describe(&client, group))).await {
            match group {
                Ok(group) => good.push(group),
                Err(error) => bad.push(error),
            }
        }
        together(bad)?;
        Ok(Self { client, groups: good })
    }
}

/// Reads the region of the groups from their ARNs.
fn region<'a>(groups: &'a [String], aws: &'a Aws) -> Result<Option<&'a str>, BalancerError> {
    let mut all = groups.iter().filter_map(|group| group.strip_prefix("arn:")?.split(':').nth(2));
    let Some(first) = all.next() else { return Ok(None) };
    let written = aws.region.as_deref().unwrap_or(first);
    match std::iter::once(first).chain(all).find(|other| *other != written) {
        Some(other) => {
            let fault = ElbFault::Regions { other: other.to_owned(), written: written.to_owned() };
            Err(BalancerError::new(AT, None, fault))
        }
        None => Ok(Some(written)),
    }
}
