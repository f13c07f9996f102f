//! Target groups of AWS's application and network load balancers.
//!
//! A server's places are every port it has in every configured group. Owns finding them, and the calls that change them;
//! what a target's state means is [`target`]'s, and how long anything is waited for the [`super::Walk`]'s. Attributes of
//! groups are read, never changed.

pub mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use futures::future::join_all;
use target::{AT, Group, LAG, NETWORK_LAG, Own, Spot, Stands, Target, describe, list, usual_ports};
use tokio::sync::OnceCell;

use super::aws::identity::{Identities, Told, Written};
use super::aws::{self, Access, Asked, error};
use super::walk::{Pace, Reading, Steer};
use super::{Around, BalancerError, MemberFacts};
use crate::config::Aws;

/// Steers target groups.
pub struct Elb {
    access: Access,
    /// As configured: ARNs or names.
    groups: Vec<String>,
    aws: Aws,
    identities: Identities,
    ready: OnceCell<Ready>,
    /// Places that were seen or are recorded: AWS forgets whom it was told to.
    known: Mutex<BTreeMap<Spot, Known>>,
}

struct Ready {
    client: Client,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    zone: Option<String>,
    /// AWS itself said that it is not registered, and has not listed it since.
    out: bool,
}

/// A place to be told of.
struct Wanted<'a> {
    name: &'a str,
    group: &'a Group,
    /// All targets of the group.
    targets: &'a [Target],
    spot: Spot,
}

impl Wanted<'_> {
    fn listed(&self) -> Option<&Target> {
        self.targets.iter().find(|t| t.id == self.spot.id && t.port == self.spot.port)
    }
}

impl Elb {
    /// Makes it; connects to nothing.
    pub fn new(groups: &[String], aws: &Aws, access: Access, around: &Around) -> Self {
        Self {
            access,
            groups: groups.to_vec(),
            aws: aws.clone(),
            identities: Identities::new(AT, around),
            ready: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    async fn ready(&self) -> Result<&Ready, BalancerError> {
        self.ready.get_or_try_init(|| self.prepare()).await
    }

    /// Asks what the groups are, once.
    async fn prepare(&self) -> Result<Ready, BalancerError> {
        let config = self.access.load(AT, self.region()?).await?;
        let client = Client::new(&config);
        let groups = join_all(self.groups.iter().map(|group| describe(&client, group))).await;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for group in groups {
            match group {
                Ok(group) => good.push(group),
                Err(error) => bad.push(error),
            }
        }
        super::together(bad)?;
        Ok(Ready { client, groups: good })
    }

    /// The region of the groups, as their ARNs have it.
    fn region(&self) -> Result<Option<&str>, BalancerError> {
        let mut all = self.groups.iter().filter_map(|group| group.strip_prefix("arn:")?.split(':').nth(2));
        let Some(first) = all.next() else { return Ok(None) };
        let written = self.aws.region.as_deref().unwrap_or(first);
        match std::iter::once(first).chain(all).find(|other| *other != written) {
            Some(other) => {
                let detail = format!("a target group is in {other}, and others, or `region`, in {written}");
                Err(error(AT, None, detail, "name groups of one region only, and leave `region` out or correct it"))
            }
            None => Ok(Some(written)),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Spot, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks about all groups and finds every server's places.
    async fn survey(&self, ready: &Ready, lb_names: &[String]) -> Reading {
        let lists = join_all(ready.groups.iter().map(|group| list(&ready.client, group, &[]))).await;
        let mut listed: Vec<Vec<Target>> = Vec::new();
        for answer in lists {
            match answer {
                Ok(targets) => listed.push(targets),
                Err(error) => return Reading::failed(error),
            }
        }
        let mut errors = Vec::new();
        let told = self.told(ready, &listed, lb_names, &mut errors).await;
        let refused: Vec<Option<String>> = errors.iter().map(|(name, _)| name.clone()).collect();
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for name in lb_names.iter().filter(|name| !refused.contains(&Some((*name).clone()))) {
            for (group, targets) in ready.groups.iter().zip(&listed) {
                match self.spots(name, group, targets, told.get(name)) {
                    Ok(spots) => wanted.extend(spots.into_iter().map(|spot| Wanted { name, group, targets, spot })),
                    Err(error) => errors.push((Some(name.clone()), error)),
                }
            }
        }
        // What is not listed any more is asked about by name: that answer is the proof.
        let absent: Vec<&Spot> = wanted.iter().filter(|w| self.is_to_be_proven(w)).map(|w| &w.spot).collect();
        let proofs = join_all(ready.groups.iter().map(|group| {
            let spots: Vec<&Spot> = absent.iter().filter(|s| s.group == group.arn).copied().collect();
            async move { if spots.is_empty() { Ok(Vec::new()) } else { list(&ready.client, group, &spots).await } }
        }));
        let mut proven: BTreeMap<Spot, Stands> = BTreeMap::new();
        for (group, answer) in ready.groups.iter().zip(proofs.await) {
            match answer {
                Ok(targets) => proven.extend(targets.into_iter().map(|t| (t.spot(group), t.stands))),
                Err(error) => return Reading::failed(error),
            }
        }
        let mut members = Vec::new();
        for place in &wanted {
            let (stands, zone) = self.learn(place, proven.get(&place.spot));
            if stands.idle {
                let detail = format!("it gets no traffic from this target group: {}", stands.status);
                let hint =
                    "a listener must use the group, in the zone of the target; or take it out of `target_groups`";
                let member = format!("{}/{}", place.group.name, place.name);
                errors.push((Some(place.name.to_owned()), error(AT, Some(member), detail, hint)));
                continue;
            }
            members.push(self.facts(place, stands, zone));
        }
        Reading { members, errors }
    }

    /// Tells whether a place is not listed, and AWS has not said why since it was.
    fn is_to_be_proven(&self, place: &Wanted<'_>) -> bool {
        place.listed().is_none() && !self.known().get(&place.spot).is_some_and(|known| known.out)
    }

    /// Decides how a place stands, and keeps what will not be told again; also returns its zone.
    fn learn(&self, place: &Wanted<'_>, proof: Option<&Stands>) -> (Stands, Option<String>) {
        let mut known = self.known();
        let entry = known.entry(place.spot.clone()).or_default();
        let stands = match (place.listed(), proof) {
            (Some(target), _) => {
                entry.zone.clone_from(&target.zone);
                target.stands.clone()
            }
            (None, Some(stands)) => stands.clone(),
            (None, None) if entry.out => Stands::gone(),
            (None, None) => Stands::unproven(),
        };
        entry.out = stands.gone;
        (stands, entry.zone.clone())
    }

    /// Asks those servers who they are whose targets cannot be told otherwise.
    async fn told(
        &self,
        ready: &Ready,
        listed: &[Vec<Target>],
        lb_names: &[String],
        errors: &mut Vec<(Option<String>, BalancerError)>,
    ) -> BTreeMap<String, Told> {
        let seen =
            |id: &str| listed.iter().flatten().any(|t| t.id == id) || self.known().keys().any(|spot| spot.id == id);
        let asked: Vec<&str> = lb_names
            .iter()
            .filter(|name| match self.identities.written(name) {
                Written::Instance(id, _) => !seen(&id) || ready.groups.iter().any(|g| g.addresses),
                Written::Address(address, _) => {
                    !seen(&address.to_string()) || ready.groups.iter().any(|g| !g.addresses)
                }
                Written::Name => true,
            })
            .map(String::as_str)
            .collect();
        let mut told = BTreeMap::new();
        for (name, answer) in self.identities.ask(&asked).await {
            match (self.identities.written(&name), answer) {
                // A slip in the file would deploy to a server in full traffic, and say it had been drained.
                (Written::Instance(id, _), Ok(says)) if says.instance.as_ref().is_some_and(|own| *own != id) => {
                    let own = says.instance.unwrap_or_default();
                    let detail = format!("the file says that it is {id}, and it says that it is {own}");
                    errors.push((Some(name.clone()), error(AT, Some(name), detail, "correct `lb` in [[servers]]")));
                }
                (Written::Instance(id, _), Ok(says)) if says.instance.is_none() && !seen(&id) => {
                    let why = &says.why;
                    errors.push((
                        Some(name.clone()),
                        unregistered(&name, &id, &format!("it does not confirm the id: {why}")),
                    ));
                }
                (Written::Address(ip, _), Ok(says))
                    if ready.groups.iter().any(|g| g.addresses)
                        && !says.addresses.contains(&ip)
                        && !seen(&ip.to_string()) =>
                {
                    let why = "it is no address of the server";
                    errors.push((Some(name.clone()), unregistered(&name, &ip.to_string(), why)));
                }
                (_, Ok(says)) => drop(told.insert(name, says)),
                (Written::Instance(id, _), Err(failed)) if !seen(&id) => {
                    errors.push((
                        Some(name.clone()),
                        BalancerError { unreachable: failed.unreachable, ..unregistered(&name, &id, &failed.detail) },
                    ));
                }
                (_, Err(error)) => errors.push((Some(name), error)),
            }
        }
        told
    }

    /// Finds a server's places in one group: where it is, where it was, or where it would be.
    fn spots(
        &self,
        name: &str,
        group: &Group,
        targets: &[Target],
        told: Option<&Told>,
    ) -> Result<BTreeSet<Spot>, BalancerError> {
        let (written, port) = match self.identities.written(name) {
            Written::Instance(id, port) => (Some(id).filter(|_| !group.addresses), port),
            Written::Address(ip, port) => (Some(ip.to_string()).filter(|_| group.addresses), port),
            Written::Name => (None, None),
        };
        let ids: Vec<String> = match written {
            Some(id) => vec![id],
            None if group.addresses => {
                told.map(|t| t.addresses.iter().map(ToString::to_string).collect()).unwrap_or_default()
            }
            None => match told.map(|t| t.instance.clone().ok_or(t)) {
                Some(Ok(id)) => vec![id],
                Some(Err(told)) => return Err(self.identities.untold(name, told)),
                None => Vec::new(),
            },
        };
        let fits = |id: &str, at: i32| ids.iter().any(|own| own == id) && port.is_none_or(|port| i32::from(port) == at);
        let now = targets.iter().filter(|t| fits(&t.id, t.port)).map(|t| (t.id.clone(), t.port));
        let mut spots: BTreeSet<Spot> = now.map(|(id, port)| Spot { group: group.arn.clone(), id, port }).collect();
        spots.extend(self.known().keys().filter(|s| s.group == group.arn && fits(&s.id, s.port)).cloned());
        if spots.is_empty() {
            let [id] = ids.as_slice() else {
                let detail = format!(
                    "none of its addresses is in the target group: {}",
                    if ids.is_empty() { "it tells none".to_owned() } else { ids.join(", ") }
                );
                let hint = "write `lb = \"10.0.0.4\"`, the address that is to be a target, in [[servers]]";
                return Err(error(AT, Some(format!("{}/{name}", group.name)), detail, hint));
            };
            let place = |port: i32| Spot { group: group.arn.clone(), id: id.clone(), port };
            match port {
                Some(port) => drop(spots.insert(place(i32::from(port)))),
                None => spots.extend(usual_ports(group, targets, name)?.into_iter().map(place)),
            }
        }
        Ok(spots)
    }

    fn facts(&self, place: &Wanted<'_>, stands: Stands, zone: Option<String>) -> MemberFacts {
        let Wanted { name, group, targets, spot } = place;
        let others: BTreeSet<&str> =
            targets.iter().filter(|t| t.id != spot.id && t.stands.in_service).map(|t| t.id.as_str()).collect();
        let mut all: BTreeSet<&str> = targets.iter().map(|t| t.id.as_str()).collect();
        all.insert(&spot.id);
        let own = Own { spot: spot.clone(), zone };
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
            out_takes: group.delay.max(self.lag(group).as_secs()),
            back_takes: group.back_takes,
            ..MemberFacts::default()
        }
    }

    fn lag(&self, group: &Group) -> Duration {
        self.aws.min_drain.unwrap_or(if group.network { NETWORK_LAG } else { LAG })
    }

    /// What a call about one place needs.
    async fn place<'a>(
        &self,
        place: &'a MemberFacts,
        action: &'static str,
    ) -> Result<(&Ready, Own, Asked<'a>), BalancerError> {
        let asked = Asked { at: AT, member: Some(place.label()), action };
        let own = serde_json::from_str(&place.own).map_err(|e| {
            let detail = format!("what is recorded of its target cannot be read: {e}");
            error(AT, asked.member.clone(), detail, "register it by hand, with `aws elbv2 register-targets`")
        })?;
        Ok((self.ready().await?, own, asked))
    }
}

impl Steer for Elb {
    fn at(&self) -> String {
        AT.to_owned()
    }

    fn pace(&self) -> Pace {
        let groups = self.ready.get().map(|r| r.groups.as_slice()).unwrap_or_default();
        let lag = groups.iter().map(|g| self.lag(g)).max();
        let delay = groups.iter().map(|g| Duration::from_secs(g.delay)).max();
        Pace {
            tick: self.aws.poll,
            jitter: self.aws.poll / 5,
            call: aws::CALL,
            patience: aws::CALL,
            lag: lag.or(self.aws.min_drain).unwrap_or(NETWORK_LAG),
            drains_within: delay,
            ..Pace::default()
        }
    }

    fn recall(&self, found: &[MemberFacts]) {
        let mut known = self.known();
        for own in found.iter().filter_map(|m| serde_json::from_str::<Own>(&m.own).ok()) {
            known.entry(own.spot).or_insert(Known { zone: own.zone, out: false });
        }
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        match self.ready().await {
            Ok(ready) => self.survey(ready, lb_names).await,
            Err(error) => Reading::failed(error),
        }
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        let (ready, own, asked) = self.place(now, "DeregisterTargets").await?;
        let call = ready.client.deregister_targets().target_group_arn(&own.spot.group).targets(own.target());
        match call.send().await {
            Ok(_) => Ok(()),
            // It is none any more.
            Err(refusal) if aws::code(&refusal) == "InvalidTarget" => Ok(()),
            Err(refusal) => Err(asked.failed(refusal)),
        }
    }

    async fn force(&self, _now: &MemberFacts) -> Result<bool, BalancerError> {
        Ok(false)
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        let (ready, own, asked) = self.place(found, "RegisterTargets").await?;
        if let Some(known) = self.known().get_mut(&own.spot) {
            known.out = false;
        }
        // A target that is still draining is kept by this.
        let call = ready.client.register_targets().target_group_arn(&own.spot.group).targets(own.target());
        match call.send().await {
            Ok(_) => Ok(()),
            Err(refusal) => {
                let invalid = aws::code(&refusal) == "InvalidTarget";
                let mut error = asked.failed(refusal);
                if invalid {
                    error.hint = "an instance must be running, and in the network of its target group".to_owned();
                }
                Err(error)
            }
        }
    }
}

fn unregistered(name: &str, id: &str, why: &str) -> BalancerError {
    let detail = format!("{id} is in none of the target groups, and {why}");
    error(
        AT,
        Some(name.to_owned()),
        detail,
        "correct `lb` in [[servers]], or register it with `aws elbv2 register-targets`",
    )
}

#[cfg(test)]
mod tests;
