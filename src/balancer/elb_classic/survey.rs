//! One look at all classic load balancers: every server's places, and how they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_elasticloadbalancing::types::InstanceState;
use futures::future::join_all;

use super::described::{Described, DescribedBalancers, list};
use super::fault::AT;
use super::servers::ClassicServers;
use super::stands::ClassicStands;
use crate::balancer::error::BalancerError;
use crate::balancer::facts::MemberFacts;
use crate::balancer::walk::Reading;

/// What a look needs.
pub struct ClassicSurvey<'a> {
    /// The balancers.
    pub described: &'a DescribedBalancers,
    /// The servers, and the instances that are known of them.
    pub servers: &'a ClassicServers,
    /// How long requests may still arrive after an instance was taken out.
    pub lag: Duration,
}

/// One balancer, with what it lists and what it says of instances that it does not list.
struct Listed<'a> {
    balancer: &'a Described,
    states: &'a BTreeMap<String, InstanceState>,
    proof: BTreeMap<String, InstanceState>,
}

impl ClassicSurvey<'_> {
    /// Asks about all balancers, and returns these servers' places.
    pub async fn read(&self, lb_names: &[String]) -> Reading {
        self.try_read(lb_names).await.unwrap_or_else(Reading::failed)
    }

    async fn try_read(&self, lb_names: &[String]) -> Result<Reading, BalancerError> {
        let DescribedBalancers { client, balancers } = self.described;
        let lists = join_all(balancers.iter().map(|b| list(client, b, &[]))).await;
        let all_states: Vec<BTreeMap<String, InstanceState>> = lists.into_iter().collect::<Result<_, _>>()?;
        let (ids, errors) = self.servers.find(&all_states, lb_names).await;
        // An instance that is not listed is asked about by name: it may be draining, and the answer is the proof.
        let proofs =
            join_all(
                balancers.iter().zip(&all_states).map(|(balancer, states)| {
                    let absent: BTreeSet<&str> =
                        ids.values().filter(|id| !states.contains_key(*id)).map(String::as_str).collect();
                    let absent: Vec<&str> = absent.into_iter().collect();
                    async move {
                        if absent.is_empty() { Ok(BTreeMap::new()) } else { list(client, balancer, &absent).await }
                    }
                }),
            );
        let mut members = Vec::new();
        for ((balancer, states), proof) in balancers.iter().zip(&all_states).zip(proofs.await) {
            let listed = Listed { balancer, states, proof: proof? };
            members.extend(ids.iter().map(|(name, id)| self.facts(&listed, name, id)));
        }
        let errors = errors.into_iter().map(|(name, error)| (Some(name), error)).collect();
        Ok(Reading { members, errors })
    }

    fn facts(&self, listed: &Listed<'_>, name: &str, id: &str) -> MemberFacts {
        let Listed { balancer, states, proof } = listed;
        let stands = match states.get(id) {
            Some(state) => ClassicStands::listed(state),
            None => ClassicStands::absent(proof.get(id)),
        };
        let up = states.iter().filter(|(_, state)| ClassicStands::listed(state).in_service);
        let cut = if balancer.draining.is_none() { "; connection draining is off: connections are cut" } else { "" };
        MemberFacts {
            at: AT.to_owned(),
            backend: balancer.name.clone(),
            member: name.to_owned(),
            admin: stands.admin,
            in_service: stands.in_service,
            status: stands.status + cut,
            others_in_service: up.filter(|(other, _)| *other != id).count(),
            size: states.len() + usize::from(!states.contains_key(id)),
            own: id.to_owned(),
            out_takes: balancer.draining.unwrap_or_default().max(self.lag.as_secs()),
            back_takes: balancer.back_takes,
            ..MemberFacts::default()
        }
    }
}
