//! Which targets a server is: by the file, its own account, what AWS lists and what is recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{AT, ElbFault};
use super::group::TargetGroup;
use super::known::KnownSpots;
use super::target::{ListedTarget, Spot};
use crate::balancer::around::Around;
use crate::balancer::aws::identity::{Claims, Identities, IdentityFault, LbId};
use crate::balancer::error::BalancerError;

/// A group, and the targets that AWS lists in it.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The group.
    pub group: &'a TargetGroup,
    /// Its targets.
    pub targets: &'a [ListedTarget],
}

/// What the servers asked say of themselves.
#[derive(Default)]
pub struct Confirmed {
    /// By the server's name in the balancer; a server that was not asked is not here.
    pub claims: BTreeMap<String, Claims>,
    /// What is wrong with a server's answer.
    pub errors: Vec<(String, BalancerError)>,
}

/// The servers behind the target groups.
pub struct TargetServers {
    identities: Identities,
    /// Places that were seen or are recorded.
    pub known: KnownSpots,
}

impl TargetServers {
    /// Takes the stack's servers; asks none.
    pub fn new(around: &Around) -> Self {
        Self { identities: Identities::new(AT, around), known: KnownSpots::default() }
    }

    /// Asks those servers which instance they are whose targets cannot be found otherwise.
    pub async fn ask(&self, listed: &[Listed<'_>], lb_names: &[String]) -> Confirmed {
        let (addresses, instances) =
            (listed.iter().any(|l| l.group.addresses), listed.iter().any(|l| !l.group.addresses));
        let asked = lb_names.iter().filter(|name| match self.identities.written(name) {
            LbId::Instance(id, _) => addresses || !self.has_seen(listed, &id),
            LbId::Address(address, _) => instances || !self.has_seen(listed, &address.to_string()),
            LbId::Name => true,
        });
        let asked: Vec<&str> = asked.map(String::as_str).collect();
        let mut answers = Confirmed::default();
        for (name, answer) in self.identities.ask(&asked).await {
            match self.confirmed(listed, &name, answer) {
                Ok(claims) => drop(answers.claims.insert(name, claims)),
                Err(error) => answers.errors.push((name, error)),
            }
        }
        answers
    }

    /// Tells whether a target of this id is listed, or was seen before.
    fn has_seen(&self, listed: &[Listed<'_>], id: &str) -> bool {
        listed.iter().flat_map(|l| l.targets).any(|t| t.id == id) || self.known.has(id)
    }

    /// Holds a server's answer against what the file says of it.
    fn confirmed(
        &self,
        listed: &[Listed<'_>],
        name: &str,
        answer: Result<Claims, BalancerError>,
    ) -> Result<Claims, BalancerError> {
        let error = |fault: ElbFault| Err(BalancerError::new(AT, Some(name.to_owned()), fault));
        match (self.identities.written(name), answer) {
            // A slip in the file would deploy to a server in full traffic, and report it as drained.
            (LbId::Instance(id, _), Ok(Claims { instance: Some(own), .. })) if own != id => {
                Err(BalancerError::new(AT, Some(name.to_owned()), IdentityFault::Mistaken { written: id, own }))
            }
            (LbId::Instance(id, _), Ok(claims)) if claims.instance.is_none() && !self.has_seen(listed, &id) => {
                let why = format!("it does not confirm the id: {}", claims.why);
                error(ElbFault::Unregistered { id, why, unreachable: false })
            }
            (LbId::Address(ip, _), Ok(claims))
                if listed.iter().any(|l| l.group.addresses)
                    && !claims.addresses.contains(&ip)
                    && !self.has_seen(listed, &ip.to_string()) =>
            {
                let why = "it is no address of the server".to_owned();
                error(ElbFault::Unregistered { id: ip.to_string(), why, unreachable: false })
            }
            (LbId::Instance(id, _), Err(failed)) if !self.has_seen(listed, &id) => {
                error(ElbFault::Unregistered { id, why: failed.detail(), unreachable: failed.is_unreachable() })
            }
            (_, answer) => answer,
        }
    }

    /// Finds a server's places in one group: where it is, where it was, or where it would be.
    pub fn spots(
        &self,
        name: &str,
        listed: &Listed<'_>,
        claims: Option<&Claims>,
    ) -> Result<BTreeSet<Spot>, BalancerError> {
        let group = listed.group;
        let (ids, port) = self.ids(name, group, claims)?;
        let fits = |id: &str, at: i32| ids.iter().any(|own| own == id) && port.is_none_or(|port| port == at);
        let now = listed.targets.iter().filter(|t| fits(&t.id, t.port)).map(|t| t.spot(group));
        let mut spots: BTreeSet<Spot> = now.collect();
        spots.extend(self.known.matching(|spot| spot.group == group.arn && fits(&spot.id, spot.port)));
        if !spots.is_empty() {
            return Ok(spots);
        }
        let error = |fault| BalancerError::new(AT, Some(format!("{}/{name}", group.name)), fault);
        let [id] = ids.as_slice() else { return Err(error(ElbFault::NoAddress(ids))) };
        let ports = match port {
            Some(port) => [port].into(),
            None => usual_ports(listed).ok_or_else(|| error(ElbFault::Ports))?,
        };
        Ok(ports.into_iter().map(|port| Spot { group: group.arn.clone(), id: id.clone(), port }).collect())
    }

    /// Returns the ids that a server's target may have in a group, and its port where the file names one.
    fn ids(
        &self,
        name: &str,
        group: &TargetGroup,
        claims: Option<&Claims>,
    ) -> Result<(Vec<String>, Option<i32>), BalancerError> {
        let (written, port) = match self.identities.written(name) {
            LbId::Instance(id, port) => (Some(id).filter(|_| !group.addresses), port),
            LbId::Address(ip, port) => (Some(ip.to_string()).filter(|_| group.addresses), port),
            LbId::Name => (None, None),
        };
        let ids = match (written, claims) {
            (Some(id), _) => vec![id],
            (None, None) => Vec::new(),
            (None, Some(claims)) if group.addresses => claims.addresses.iter().map(ToString::to_string).collect(),
            (None, Some(claims)) => vec![self.identities.instance(name, claims)?],
        };
        Ok((ids, port.map(i32::from)))
    }
}

/// Tells on which ports a server would be that is not in a group: on those where all others are.
fn usual_ports(listed: &Listed<'_>) -> Option<BTreeSet<i32>> {
    let mut ports: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for target in listed.targets {
        ports.entry(&target.id).or_default().insert(target.port);
    }
    let mut kinds: BTreeSet<BTreeSet<i32>> = ports.into_values().collect();
    match kinds.pop_first() {
        None => Some([listed.group.port].into()),
        Some(ports) => kinds.is_empty().then_some(ports),
    }
}
