//! What a classic load balancer is, and how its instances stand, as AWS tells it.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancing::Client;
use aws_sdk_elasticloadbalancing::types::{Instance, InstanceState};
use futures::future::join_all;

use super::fault::{AT, ClassicFault};
use crate::balancer::aws::Access;
use crate::balancer::aws::refusal::{AwsCall, code};
use crate::balancer::aws::times::{self, BACK};
use crate::balancer::error::{BalancerError, together};

/// A client, and the balancers that it was asked about.
pub struct DescribedBalancers {
    /// Calls AWS.
    pub client: Client,
    /// In the order of the configuration.
    pub balancers: Vec<Described>,
}

/// What a balancer is.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Seconds that connections are left to end; `None`: they are cut at once.
    pub draining: Option<u64>,
    /// Seconds from registration to health, at the soonest.
    pub back_takes: u64,
}

impl DescribedBalancers {
    /// Asks what the balancers are.
    ///
    /// # Errors
    /// When AWS cannot be asked, or with what is wrong with any balancer.
    pub async fn load(access: &Access, names: &[String]) -> Result<Self, BalancerError> {
        let client = Client::new(&access.load(AT, None).await?);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for balancer in join_all(names.iter().map(|name| describe(&client, name))).await {
            match balancer {
                Ok(balancer) => good.push(balancer),
                Err(error) => bad.push(error),
            }
        }
        together(bad)?;
        Ok(Self { client, balancers: good })
    }
}

/// Tells whether AWS says that it does not know an instance.
pub fn is_unknown(code: &str) -> bool {
    matches!(code, "InvalidInstance" | "InvalidEndPoint")
}

async fn describe(client: &Client, name: &str) -> Result<Described, BalancerError> {
    let asked = |action| AwsCall { at: AT, member: Some(name.to_owned()), action };
    let answer = client.describe_load_balancers().load_balancer_names(name).send().await.map_err(|refusal| {
        let hint = "compare `names` with `aws elb describe-load-balancers`; is it this region and account?";
        let advice = [("LoadBalancerNotFound", hint), ("AccessPointNotFound", hint)];
        asked("DescribeLoadBalancers").failed_or(refusal, &advice)
    })?;
    let Some(found) = answer.load_balancer_descriptions().first() else {
        return Err(BalancerError::new(AT, Some(name.to_owned()), ClassicFault::NoBalancer));
    };
    let checks = found.health_check().map_or(0, |c| times::checks(c.interval(), c.healthy_threshold()));
    let call = client.describe_load_balancer_attributes().load_balancer_name(name);
    let answer = call.send().await.map_err(|refusal| asked("DescribeLoadBalancerAttributes").failed(refusal))?;
    let draining = answer.load_balancer_attributes().and_then(|a| a.connection_draining()).filter(|d| d.enabled());
    Ok(Described {
        name: name.to_owned(),
        draining: draining.map(|d| d.timeout().and_then(|t| u64::try_from(t).ok()).unwrap_or(300)),
        back_takes: BACK + checks,
    })
}

/// Asks how all instances of a balancer stand, or these; an instance that it does not know is left out.
///
/// # Errors
/// When AWS refuses.
pub async fn list(
    client: &Client,
    balancer: &Described,
    ids: &[&str],
) -> Result<BTreeMap<String, InstanceState>, BalancerError> {
    let instances = ids.iter().map(|id| Instance::builder().instance_id(*id).build()).collect();
    let instances = Some(instances).filter(|i: &Vec<_>| !i.is_empty());
    let call = client.describe_instance_health().load_balancer_name(&balancer.name).set_instances(instances);
    let answer = match call.send().await {
        Ok(answer) => answer,
        // One unknown instance spoils the answer about the others: each is asked about by itself.
        Err(refusal) if ids.len() > 1 && is_unknown(code(&refusal)) => {
            let mut all = BTreeMap::new();
            for id in ids {
                all.extend(Box::pin(list(client, balancer, &[id])).await?);
            }
            return Ok(all);
        }
        Err(refusal) if !ids.is_empty() && is_unknown(code(&refusal)) => return Ok(BTreeMap::new()),
        Err(refusal) => {
            let asked = AwsCall { at: AT, member: Some(balancer.name.clone()), action: "DescribeInstanceHealth" };
            return Err(asked.failed(refusal));
        }
    };
    let named = |state: &InstanceState| Some((state.instance_id()?.to_owned(), state.clone()));
    Ok(answer.instance_states().iter().filter_map(named).collect())
}
