//! One look at all target groups: every server's places, and how they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::fault::{AT, ElbFault};
use super::ready::DescribedGroups;
use super::servers::{Listed, TargetServers};
use super::target::{ListedTarget, Own, Spot, Stands, list};
use crate::balancer::error::BalancerError;
use crate::balancer::facts::MemberFacts;
use crate::balancer::walk::Reading;

/// What a look needs.
pub struct Survey<'a> {
    /// The groups.
    pub described: &'a DescribedGroups,
    /// The servers, and the places that are known of them.
    pub servers: &'a TargetServers,
    /// `min_drain`.
    pub min_drain: Option<Duration>,
}

/// A place that is looked at.
struct Wanted<'a> {
    name: &'a str,
    listed: &'a Listed<'a>,
    spot: Spot,
}

impl Wanted<'_> {
    fn target(&self) -> Option<&ListedTarget> {
        self.listed.targets.iter().find(|t| t.id == self.spot.id && t.port == self.spot.port)
    }
}

impl Survey<'_> {
    /// Asks about all groups, and returns these servers' places.
    pub async fn read(&self, lb_names: &[String]) -> Reading {
        self.try_read(lb_names).await.unwrap_or_else(Reading::failed)
    }

    async fn try_read(&self, lb_names: &[String]) -> Result<Reading, BalancerError> {
        let DescribedGroups { client, groups } = self.described;
        let targets = join_all(groups.iter().map(|group| list(client, group, &[]))).await;
        let targets: Vec<Vec<ListedTarget>> = targets.into_iter().collect::<Result<_, _>>()?;
        let listed: Vec<Listed<'_>> =
            groups.iter().zip(&targets).map(|(group, targets)| Listed { group, targets }).collect();
        let answers = self.servers.ask(&listed, lb_names).await;
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut errors = answers.errors;
        let refused: BTreeSet<String> = errors.iter().map(|(name, _)| name.clone()).collect();
        for name in lb_names.iter().filter(|name| !refused.contains(*name)) {
            for listed in &listed {
                match self.servers.spots(name, listed, answers.claims.get(name)) {
                    Ok(spots) => wanted.extend(spots.into_iter().map(|spot| Wanted { name, listed, spot })),
                    Err(error) => errors.push((name.clone(), error)),
                }
            }
        }
        let proven = self.proven(&wanted).await?;
        let mut members = Vec::new();
        for place in &wanted {
            let (stands, zone) = self.servers.known.learn(&place.spot, place.target(), proven.get(&place.spot));
            if stands.idle {
                let member = format!("{}/{}", place.listed.group.name, place.name);
                let error = BalancerError::new(AT, Some(member), ElbFault::Idle(stands.status));
                errors.push((place.name.to_owned(), error));
            } else {
                members.push(self.facts(place, stands, zone));
            }
        }
        let errors = errors.into_iter().map(|(name, error)| (Some(name), error)).collect();
        Ok(Reading { members, errors })
    }

    /// Asks by name about the places that are not listed: that answer is the proof that a target is out.
    ///
    /// A place of which AWS has said so already, and which it has not listed since, is not asked about again.
    async fn proven(&self, wanted: &[Wanted<'_>]) -> Result<BTreeMap<Spot, Stands>, BalancerError> {
        let DescribedGroups { client, groups } = self.described;
        let absent = wanted.iter().filter(|w| w.target().is_none() && !self.servers.known.is_out(&w.spot));
        let absent: Vec<&Spot> = absent.map(|w| &w.spot).collect();
        let answers = join_all(groups.iter().map(|group| {
            let spots: Vec<&Spot> = absent.iter().filter(|s| s.group == group.arn).copied().collect();
            async move { if spots.is_empty() { Ok(Vec::new()) } else { list(client, group, &spots).await } }
        }));
        let mut proven = BTreeMap::new();
        for (group, answer) in groups.iter().zip(answers.await) {
            proven.extend(answer?.into_iter().map(|t| (t.spot(group), t.stands)));
        }
        Ok(proven)
    }

    fn facts(&self, place: &Wanted<'_>, stands: Stands, zone: Option<String>) -> MemberFacts {
        let Wanted { name, listed: Listed { group, targets }, spot } = place;
        let others: BTreeSet<&str> =
            targets.iter().filter(|t| t.id != spot.id && t.stands.in_service).map(|t| t.id.as_str()).collect();
        let mut all: BTreeSet<&str> = targets.iter().map(|t| t.id.as_str()).collect();
        all.insert(&spot.id);
        let own = Own { spot: spot.clone(), zone };
        let lag = self.min_drain.unwrap_or(group.lag());
        MemberFacts {
            at: AT.to_owned(),
            backend: if spot.port == group.port { group.name.clone() } else { format!("{}:{}", group.name, spot.port) },
            member: (*name).to_owned(),
            admin: stands.admin,
            in_service: stands.in_service,
            status: stands.status,
            others_in_service: others.len(),
            size: all.len(),
            own: serde_json::to_string(&own).unwrap_or_default(),
            out_takes: group.delay.max(lag.as_secs()),
            back_takes: group.back_takes,
            ..MemberFacts::default()
        }
    }
}
