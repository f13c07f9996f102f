//! AWS's classic load balancers.
//!
//! A draining instance says `InService` there, so neither being in nor being out is read from the state alone. A server's
//! places are the named balancers; they know instances, not ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_elasticloadbalancing::Client;
use aws_sdk_elasticloadbalancing::types::{Instance, InstanceState};
use futures::future::join_all;
use tokio::sync::OnceCell;

use super::aws::identity::{Identities, Told, Written};
use super::aws::{self, Access, Asked, error};
use super::walk::{Pace, Reading, Steer};
use super::{Admin, Around, BalancerError, MemberFacts};
use crate::config::Aws;

/// How errors and records name it.
const AT: &str = "elb-classic";
/// How long requests may still arrive after an instance was taken out.
const LAG: Duration = Duration::from_secs(20);
/// How long a registered instance waits for its first check.
const BACK: u64 = 30;

/// Steers classic load balancers.
pub struct ElbClassic {
    access: Access,
    names: Vec<String>,
    aws: Aws,
    identities: Identities,
    ready: OnceCell<Ready>,
    /// Instances that were seen registered or are recorded, by their server: AWS forgets them once they are out.
    known: Mutex<BTreeMap<String, String>>,
}

struct Ready {
    client: Client,
    /// In the order of the names.
    balancers: Vec<Described>,
}

/// What a balancer is.
#[derive(Debug, Clone)]
struct Described {
    name: String,
    /// Seconds that connections are left to end; `None`: they are cut at once.
    draining: Option<u64>,
    back_takes: u64,
}

/// How an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stands {
    admin: Admin,
    in_service: bool,
    status: String,
}

impl ElbClassic {
    /// Makes it; connects to nothing.
    pub fn new(names: &[String], aws: &Aws, access: Access, around: &Around) -> Self {
        Self {
            access,
            names: names.to_vec(),
            aws: aws.clone(),
            identities: Identities::new(AT, around),
            ready: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ready(&self) -> Result<&Ready, BalancerError> {
        self.ready.get_or_try_init(|| self.prepare()).await
    }

    async fn prepare(&self) -> Result<Ready, BalancerError> {
        let client = Client::new(&self.access.load(AT, None).await?);
        let balancers = join_all(self.names.iter().map(|name| describe(&client, name))).await;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for balancer in balancers {
            match balancer {
                Ok(balancer) => good.push(balancer),
                Err(error) => bad.push(error),
            }
        }
        super::together(bad)?;
        Ok(Ready { client, balancers: good })
    }

    fn lag(&self) -> Duration {
        self.aws.min_drain.unwrap_or(LAG)
    }

    async fn survey(&self, ready: &Ready, lb_names: &[String]) -> Reading {
        let lists = join_all(ready.balancers.iter().map(|b| list(&ready.client, b, &[]))).await;
        let mut listed: Vec<BTreeMap<String, InstanceState>> = Vec::new();
        for answer in lists {
            match answer {
                Ok(states) => listed.push(states),
                Err(error) => return Reading::failed(error),
            }
        }
        let mut errors = Vec::new();
        let ids = self.instances(&listed, lb_names, &mut errors).await;
        // What is not listed any more is asked about by name: it may be draining, and the answer is the proof.
        let proofs =
            join_all(ready.balancers.iter().zip(&listed).map(|(balancer, states)| {
                let absent: BTreeSet<&str> =
                    ids.values().filter(|id| !states.contains_key(*id)).map(String::as_str).collect();
                let absent: Vec<&str> = absent.into_iter().collect();
                async move {
                    if absent.is_empty() { Ok(BTreeMap::new()) } else { list(&ready.client, balancer, &absent).await }
                }
            }));
        let mut members = Vec::new();
        for ((balancer, states), proof) in ready.balancers.iter().zip(&listed).zip(proofs.await) {
            let proof = match proof {
                Ok(proof) => proof,
                Err(error) => return Reading::failed(error),
            };
            let up: BTreeSet<&str> = states
                .values()
                .filter(|s| Stands::listed(s).in_service)
                .filter_map(InstanceState::instance_id)
                .collect();
            for (name, id) in &ids {
                let stands = match states.get(id) {
                    Some(state) => Stands::listed(state),
                    None => Stands::absent(proof.get(id)),
                };
                let mut all: BTreeSet<&str> = states.keys().map(String::as_str).collect();
                all.insert(id);
                let cut =
                    if balancer.draining.is_none() { "; connection draining is off: connections are cut" } else { "" };
                members.push(MemberFacts {
                    at: AT.to_owned(),
                    backend: balancer.name.clone(),
                    member: name.clone(),
                    admin: stands.admin,
                    in_service: stands.in_service,
                    status: stands.status + cut,
                    others_in_service: up.iter().filter(|other| **other != id).count(),
                    size: all.len(),
                    own: id.clone(),
                    out_takes: balancer.draining.unwrap_or_default().max(self.lag().as_secs()),
                    back_takes: balancer.back_takes,
                    ..MemberFacts::default()
                });
            }
        }
        Reading { members, errors }
    }

    /// Finds which instance each server is.
    async fn instances(
        &self,
        listed: &[BTreeMap<String, InstanceState>],
        lb_names: &[String],
        errors: &mut Vec<(Option<String>, BalancerError)>,
    ) -> BTreeMap<String, String> {
        let registered = |id: &str| {
            listed.iter().any(|states| states.contains_key(id)) || self.known().values().any(|known| known == id)
        };
        let mut ids = BTreeMap::new();
        let mut asked: Vec<&str> = Vec::new();
        for name in lb_names {
            match self.identities.written(name) {
                Written::Instance(id, None) if registered(&id) => drop(ids.insert(name.clone(), id)),
                // A host that stands in the file with its address has that for a name.
                Written::Instance(_, None) | Written::Address(_, None) | Written::Name => asked.push(name),
                Written::Instance(_, Some(_)) | Written::Address(_, Some(_)) => {
                    let detail = "a classic load balancer knows instances, and no ports".to_owned();
                    let found =
                        error(AT, Some(name.clone()), detail, "write `lb = \"i-…\"` in [[servers]], or leave it out");
                    errors.push((Some(name.clone()), found));
                }
            }
        }
        for (name, answer) in self.identities.ask(&asked).await {
            match self.found(&name, answer) {
                Ok(id) => drop(ids.insert(name, id)),
                Err(error) => errors.push((Some(name), error)),
            }
        }
        self.known().extend(ids.clone());
        ids
    }

    /// Decides which instance a server is that had to be asked.
    fn found(&self, name: &str, answer: Result<Told, BalancerError>) -> Result<String, BalancerError> {
        let (written, own) = match (self.identities.written(name), answer) {
            (Written::Instance(id, _), Ok(told)) => match told.instance {
                Some(own) => (Some(id), own),
                None => return Err(unregistered(name, &id, &told.why)),
            },
            (Written::Instance(id, _), Err(failed)) => {
                return Err(BalancerError {
                    unreachable: failed.unreachable,
                    ..unregistered(name, &id, &failed.detail)
                });
            }
            (_, Ok(told)) => match &told.instance {
                Some(own) => (None, own.clone()),
                None => return Err(self.identities.untold(name, &told)),
            },
            (_, Err(failed)) => return Err(failed),
        };
        match written {
            // A slip in the file would deploy to a server in full traffic, and say it had been drained.
            Some(id) if id != own => {
                let detail = format!("the file says that it is {id}, and it says that it is {own}");
                Err(error(AT, Some(name.to_owned()), detail, "correct `lb` in [[servers]]"))
            }
            _ => Ok(own),
        }
    }

    /// What a call about one place needs.
    async fn place<'a>(
        &self,
        place: &'a MemberFacts,
        action: &'static str,
    ) -> Result<(&Ready, Instance, Asked<'a>), BalancerError> {
        let asked = Asked { at: AT, member: Some(place.label()), action };
        if !aws::identity::is_instance(&place.own) {
            let detail = "what is recorded of it names no instance".to_owned();
            let hint = "register it by hand, with `aws elb register-instances-with-load-balancer`";
            return Err(error(AT, asked.member, detail, hint));
        }
        Ok((self.ready().await?, Instance::builder().instance_id(&place.own).build(), asked))
    }
}

impl Steer for ElbClassic {
    fn at(&self) -> String {
        AT.to_owned()
    }

    fn pace(&self) -> Pace {
        let balancers = self.ready.get().map(|r| r.balancers.as_slice()).unwrap_or_default();
        let own = balancers.iter().map(|b| Duration::from_secs(b.draining.unwrap_or_default())).max();
        Pace {
            tick: self.aws.poll,
            jitter: self.aws.poll / 5,
            call: aws::CALL,
            patience: aws::CALL,
            lag: self.lag(),
            drains_within: own,
            ..Pace::default()
        }
    }

    fn recall(&self, found: &[MemberFacts]) {
        let recorded = found.iter().filter(|m| aws::identity::is_instance(&m.own));
        self.known().extend(recorded.map(|m| (m.member.clone(), m.own.clone())));
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        match self.ready().await {
            Ok(ready) => self.survey(ready, lb_names).await,
            Err(error) => Reading::failed(error),
        }
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        let (ready, instance, asked) = self.place(now, "DeregisterInstancesFromLoadBalancer").await?;
        let call = ready.client.deregister_instances_from_load_balancer().load_balancer_name(&now.backend);
        match call.instances(instance).send().await {
            Ok(_) => Ok(()),
            // It is none any more.
            Err(refusal) if is_unknown(aws::code(&refusal)) => Ok(()),
            Err(refusal) => Err(asked.failed(refusal)),
        }
    }

    async fn force(&self, _now: &MemberFacts) -> Result<bool, BalancerError> {
        Ok(false)
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        let (ready, instance, asked) = self.place(found, "RegisterInstancesWithLoadBalancer").await?;
        let call = ready.client.register_instances_with_load_balancer().load_balancer_name(&found.backend);
        call.instances(instance).send().await.map(drop).map_err(|refusal| asked.failed(refusal))
    }
}

impl Stands {
    /// Reads what is said of an instance that the balancer lists.
    fn listed(state: &InstanceState) -> Self {
        let text = state.description().filter(|d| *d != "N/A");
        let word = state.state().unwrap_or("without a state");
        let status = text.map_or_else(|| word.to_owned(), |text| format!("{word}: {text}"));
        let says = |words: &str| text.is_some_and(|t| t.to_ascii_lowercase().contains(words));
        if says("deregistration currently in progress") {
            Self { admin: Admin::Drain, in_service: false, status }
        } else if says("not currently registered") {
            Self { admin: Admin::Maint, in_service: false, status: "not registered".to_owned() }
        } else {
            Self { admin: Admin::Ready, in_service: word == "InService", status }
        }
    }

    /// Reads what is said of an instance by its name that is not listed; `None`: it is unknown altogether.
    fn absent(state: Option<&InstanceState>) -> Self {
        let gone = Self { admin: Admin::Maint, in_service: false, status: "not registered".to_owned() };
        let Some(state) = state else { return gone };
        match Self::listed(state) {
            stands if stands.admin != Admin::Ready => stands,
            // "A transient error occurred" proves nothing.
            stands if state.description().is_some_and(|d| d != "N/A") || stands.in_service => {
                Self { admin: Admin::Drain, in_service: false, status: stands.status }
            }
            _ => gone,
        }
    }
}

/// Tells whether AWS says that it does not know an instance.
fn is_unknown(code: &str) -> bool {
    matches!(code, "InvalidInstance" | "InvalidEndPoint")
}

fn unregistered(name: &str, id: &str, why: &str) -> BalancerError {
    let detail = format!("{id} is in none of the load balancers, and it does not confirm the id: {why}");
    let hint = "correct `lb` in [[servers]], or register it with `aws elb register-instances-with-load-balancer`";
    error(AT, Some(name.to_owned()), detail, hint)
}

/// Asks what one balancer is.
async fn describe(client: &Client, name: &str) -> Result<Described, BalancerError> {
    let asked = |action| Asked { at: AT, member: Some(name.to_owned()), action };
    let answer = client.describe_load_balancers().load_balancer_names(name).send().await.map_err(|refusal| {
        let missing = matches!(aws::code(&refusal), "LoadBalancerNotFound" | "AccessPointNotFound");
        let mut error = asked("DescribeLoadBalancers").failed(refusal);
        if missing {
            error.hint =
                "compare `names` with `aws elb describe-load-balancers`; is it this region and account?".to_owned();
        }
        error
    })?;
    let Some(found) = answer.load_balancer_descriptions().first() else {
        let detail = "AWS knows no such classic load balancer".to_owned();
        return Err(error(AT, Some(name.to_owned()), detail, "correct `names`"));
    };
    let checks = found.health_check().map_or(0, |c| aws::checks(c.interval(), c.healthy_threshold()));
    let call = client.describe_load_balancer_attributes().load_balancer_name(name);
    let answer = call.send().await.map_err(|refusal| asked("DescribeLoadBalancerAttributes").failed(refusal))?;
    let draining = answer.load_balancer_attributes().and_then(|a| a.connection_draining()).filter(|d| d.enabled());
    Ok(Described {
        name: name.to_owned(),
        draining: draining.map(|d| d.timeout().and_then(|t| u64::try_from(t).ok()).unwrap_or(300)),
        back_takes: BACK + checks,
    })
}

/// Asks how all instances of a balancer stand, or these; one that it does not know is left out.
async fn list(
    client: &Client,
    balancer: &Described,
    ids: &[&str],
) -> Result<BTreeMap<String, InstanceState>, BalancerError> {
    let instances = ids.iter().map(|id| Instance::builder().instance_id(*id).build()).collect();
    let instances = Some(instances).filter(|i: &Vec<_>| !i.is_empty());
    let call = client.describe_instance_health().load_balancer_name(&balancer.name).set_instances(instances);
    let answer = match call.send().await {
        Ok(answer) => answer,
        // One unknown instance spoils the answer about the others: each by itself.
        Err(refusal) if ids.len() > 1 && is_unknown(aws::code(&refusal)) => {
            let mut all = BTreeMap::new();
            for id in ids {
                all.extend(Box::pin(list(client, balancer, &[id])).await?);
            }
            return Ok(all);
        }
        Err(refusal) if !ids.is_empty() && is_unknown(aws::code(&refusal)) => return Ok(BTreeMap::new()),
        Err(refusal) => {
            let asked = Asked { at: AT, member: Some(balancer.name.clone()), action: "DescribeInstanceHealth" };
            return Err(asked.failed(refusal));
        }
    };
    let named = |state: &InstanceState| Some((state.instance_id()?.to_owned(), state.clone()));
    Ok(answer.instance_states().iter().filter_map(named).collect())
}

#[cfg(test)]
mod tests;
