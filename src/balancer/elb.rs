//! Target groups of AWS's application and network load balancers.
//!
//! A server's places are every port it has in every configured group. Owns what a target's state means; how long anything
//! is waited for is the [`super::Walk`]'s. Attributes of groups are read, never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetAdministrativeOverrideStateEnum, TargetDescription, TargetHealthDescription,
    TargetHealthReasonEnum, TargetHealthStateEnum, TargetTypeEnum,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::aws::identity::{Identities, Told, Written};
use super::aws::{self, Access, Asked, error};
use super::walk::{Pace, Reading, Steer};
use super::{Admin, Around, BalancerError, MemberFacts};
use crate::config::Aws;

/// How errors and records name it.
const AT: &str = "elb";
/// How long requests have been seen to arrive after a target was taken out (an application balancer: 17 s).
const LAG: Duration = Duration::from_secs(20);
/// The same of a network balancer, whose nodes learn slowly.
const NETWORK_LAG: Duration = Duration::from_secs(120);
/// How long a registered target waits for its first check.
const BACK: u64 = 30;
/// The same of a network balancer.
const NETWORK_BACK: u64 = 180;

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

/// What a target group is.
#[derive(Debug, Clone)]
struct Group {
    arn: String,
    name: String,
    /// Targets are addresses, not instances.
    addresses: bool,
    port: i32,
    network: bool,
    /// `deregistration_delay.timeout_seconds`.
    delay: u64,
    back_takes: u64,
}

/// One target: the same instance may be in one group with several ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Spot {
    group: String,
    id: String,
    port: i32,
}

#[derive(Debug, Clone, Default)]
struct Known {
    zone: Option<String>,
    /// AWS itself said that it is not registered, and has not listed it since.
    out: bool,
}

/// What a snapshot must hold to register the same target again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Own {
    #[serde(flatten)]
    spot: Spot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

/// A target as AWS lists it.
#[derive(Debug, Clone)]
struct Target {
    id: String,
    port: i32,
    zone: Option<String>,
    stands: Stands,
}

/// How a target stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stands {
    admin: Admin,
    in_service: bool,
    /// Not even registered, which is the only proof that a drain has ended.
    gone: bool,
    /// Registered, but no balancer uses it.
    idle: bool,
    status: String,
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
        let mut wanted: Vec<(&String, &Group, &[Target], BTreeSet<Spot>)> = Vec::new();
        let refused: Vec<Option<String>> = errors.iter().map(|(name, _)| name.clone()).collect();
        for name in lb_names.iter().filter(|name| !refused.contains(&Some((*name).clone()))) {
            for (group, targets) in ready.groups.iter().zip(&listed) {
                match self.spots(name, group, targets, told.get(name)) {
                    Ok(spots) => wanted.push((name, group, targets, spots)),
                    Err(error) => errors.push((Some(name.clone()), error)),
                }
            }
        }
        // What is not listed any more is asked about by name: that answer is the proof.
        let asked: BTreeSet<&Spot> = {
            let mut known = self.known();
            let absent = |known: &mut BTreeMap<Spot, Known>, targets: &[Target], spot: &Spot| {
                let found = targets.iter().find(|t| t.id == spot.id && t.port == spot.port);
                let entry = known.entry(spot.clone()).or_default();
                match found {
                    Some(target) => {
                        *entry = Known { zone: target.zone.clone(), out: target.stands.gone };
                        false
                    }
                    None => !entry.out,
                }
            };
            wanted
                .iter()
                .flat_map(|(_, _, targets, spots)| {
                    let known = &mut known;
                    spots.iter().filter(|spot| absent(known, targets, spot)).collect::<Vec<_>>()
                })
                .collect()
        };
        let proofs = join_all(ready.groups.iter().map(|group| {
            let spots: Vec<&Spot> = asked.iter().filter(|s| s.group == group.arn).copied().collect();
            async move { if spots.is_empty() { Ok(Vec::new()) } else { list(&ready.client, group, &spots).await } }
        }));
        let mut proven: BTreeMap<Spot, Stands> = BTreeMap::new();
        for (group, answer) in ready.groups.iter().zip(proofs.await) {
            match answer {
                Ok(targets) => proven.extend(
                    targets.into_iter().map(|t| (Spot { group: group.arn.clone(), id: t.id, port: t.port }, t.stands)),
                ),
                Err(error) => return Reading::failed(error),
            }
        }
        let mut members = Vec::new();
        let mut known = self.known();
        for (name, group, targets, spots) in wanted {
            for spot in spots {
                let entry = known.entry(spot.clone()).or_default();
                let found = targets.iter().find(|t| t.id == spot.id && t.port == spot.port).map(|t| &t.stands);
                let stands = match found.or(proven.get(&spot)) {
                    Some(stands) => stands.clone(),
                    None if entry.out => Stands::gone(),
                    // Neither listed nor spoken of: nothing is proven.
                    None => Stands {
                        admin: Admin::Drain,
                        in_service: false,
                        gone: false,
                        idle: false,
                        status: "not listed".into(),
                    },
                };
                entry.out = stands.gone;
                if stands.idle {
                    let detail = format!("it gets no traffic from this target group: {}", stands.status);
                    let hint = "a listener must use the group, in the zone of the target; or take the group out of `target_groups`";
                    errors.push((Some(name.clone()), error(AT, Some(format!("{}/{name}", group.name)), detail, hint)));
                    continue;
                }
                members.push(self.facts(name, group, targets, &spot, entry.zone.clone(), stands));
            }
        }
        Reading { members, errors }
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
                (Written::Address(ip, _), Ok(says)) if !says.addresses.contains(&ip) && !seen(&ip.to_string()) => {
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

    fn facts(
        &self,
        name: &str,
        group: &Group,
        targets: &[Target],
        spot: &Spot,
        zone: Option<String>,
        stands: Stands,
    ) -> MemberFacts {
        let others: BTreeSet<&str> =
            targets.iter().filter(|t| t.id != spot.id && t.stands.in_service).map(|t| t.id.as_str()).collect();
        let mut all: BTreeSet<&str> = targets.iter().map(|t| t.id.as_str()).collect();
        all.insert(&spot.id);
        let own = Own { spot: spot.clone(), zone };
        MemberFacts {
            at: AT.to_owned(),
            backend: if spot.port == group.port { group.name.clone() } else { format!("{}:{}", group.name, spot.port) },
            member: name.to_owned(),
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
        let asked = Asked { at: AT, member: Some(super::walk::member(place)), action };
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

impl Own {
    fn target(&self) -> TargetDescription {
        let target = TargetDescription::builder().id(&self.spot.id).port(self.spot.port);
        target.set_availability_zone(self.zone.clone()).build()
    }
}

impl Stands {
    fn gone() -> Self {
        Self { admin: Admin::Maint, in_service: false, gone: true, idle: false, status: "not registered".to_owned() }
    }

    fn read(target: &TargetHealthDescription) -> Self {
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
fn usual_ports(group: &Group, targets: &[Target], name: &str) -> Result<BTreeSet<i32>, BalancerError> {
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

fn unregistered(name: &str, id: &str, why: &str) -> BalancerError {
    let detail = format!("{id} is in none of the target groups, and {why}");
    error(
        AT,
        Some(name.to_owned()),
        detail,
        "correct `lb` in [[servers]], or register it with `aws elbv2 register-targets`",
    )
}

/// Asks what one group is.
async fn describe(client: &Client, configured: &str) -> Result<Group, BalancerError> {
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
async fn list(client: &Client, group: &Group, spots: &[&Spot]) -> Result<Vec<Target>, BalancerError> {
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

#[cfg(test)]
mod tests;
