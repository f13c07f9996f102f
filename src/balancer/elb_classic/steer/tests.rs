//! Classic load balancers, held against a responder that lets time pass as AWS does.

use tokio_util::sync::CancellationToken;

use super::super::stands::ClassicStands;
use aws_sdk_elasticloadbalancing::types::InstanceState;

use super::*;
use crate::balancer::adapter::Adapter as _;
use crate::balancer::aws::tests::responder::{Classic, Responder, State};
use crate::balancer::aws::tests::{around, keys};
use crate::balancer::facts::{Admin, Drained, Snapshot};
use crate::balancer::testing;
use crate::balancer::walk::Walked;
use crate::config::{BalancerKind, LoadBalancer, OnDrainTimeout};

const A: &str = "i-0a";
const B: &str = "i-0b";

fn classic(change: impl Fn(&mut Classic)) -> State {
    let up = |id: &str| (id.to_owned(), ("in".to_owned(), None));
    let mut classic = Classic {
        draining: Some(300),
        drains_for: Some(Duration::from_millis(100)),
        initial_for: Duration::from_millis(60),
        lists_draining: true,
        instances: [up(A), up(B)].into(),
    };
    change(&mut classic);
    State { classic: [("shop-elb".to_owned(), classic)].into(), ..State::default() }
}

fn walking(responder: &Responder, servers: &[&str], change: impl Fn(&mut LoadBalancer)) -> Walked<ElbClassic> {
    let names = ["shop-elb".to_owned()];
    let steer = ElbClassic::new(&names, &keys(), Access::Responder(responder.endpoint.clone()), &around(servers));
    let kind = BalancerKind::ElbClassic { names: names.to_vec(), aws: keys() };
    let mut config = LoadBalancer { drain_timeout: Duration::from_secs(10), ..testing::config(kind) };
    change(&mut config);
    Walked::new(steer, &config, servers.iter().map(|s| (*s).to_owned()).collect())
}

async fn found(walk: &Walked<ElbClassic>, name: &str) -> Snapshot {
    Snapshot { members: walk.facts(&[name.to_owned()]).await.unwrap() }
}

async fn drain(walk: &Walked<ElbClassic>, name: &str, found: &Snapshot) -> Result<Drained, BalancerError> {
    walk.drain(name, found, &mut |_| {}, &CancellationToken::new()).await
}

fn changes(responder: &Responder) -> Vec<String> {
    responder.calls().into_iter().filter(|c| !c.starts_with("Describe")).collect()
}

#[tokio::test]
async fn a_draining_instance_that_says_in_service_is_neither_out_nor_back() {
    for lists_draining in [true, false] {
        let responder = Responder::start(classic(|c| c.lists_draining = lists_draining)).await;
        let walk = walking(&responder, &[A, B], |_| {});
        let before = found(&walk, A).await;
        let member = &before.members[0];
        assert_eq!((member.backend.as_str(), member.others_in_service, member.size), ("shop-elb", 1, 2));
        assert_eq!((member.out_takes, member.back_takes, member.status.as_str()), (300, 60, "InService"));
        let drained = drain(&walk, A, &before).await.unwrap();
        assert_eq!(drained.left, Some(0));
        // It only goes when its time is over.
        assert!(responder.with(|s| !s.classic["shop-elb"].instances.contains_key(A)));
        assert!(walk.still_out(A).await.unwrap());
        walk.restore(A, &before, &mut |_| {}, &CancellationToken::new()).await.unwrap();
        assert_eq!(responder.with(|s| s.classic["shop-elb"].instances[A].0.clone()), "in");
        let calls =
            ["DeregisterInstancesFromLoadBalancer shop-elb i-0a", "RegisterInstancesWithLoadBalancer shop-elb i-0a"];
        assert_eq!(changes(&responder), calls);
    }
}

#[tokio::test]
async fn another_process_puts_back_what_only_a_record_knows() {
    let responder = Responder::start(classic(|_| {})).await;
    let walk = walking(&responder, &[A, B], |_| {});
    let before = found(&walk, A).await;
    drain(&walk, A, &before).await.unwrap();
    let other = walking(&responder, &[A, B], |_| {});
    other.restore(A, &before, &mut |_| {}, &CancellationToken::new()).await.unwrap();
    assert!(found(&other, A).await.members[0].in_service);
}

#[tokio::test]
async fn a_drain_that_never_ends_fails_and_is_undone() {
    for lists_draining in [true, false] {
        let responder = Responder::start(classic(|c| (c.drains_for, c.lists_draining) = (None, lists_draining))).await;
        let walk = walking(&responder, &[A, B], |config| {
            (config.drain_timeout, config.on_drain_timeout) = (Duration::from_millis(100), OnDrainTimeout::Fail);
        });
        let before = found(&walk, A).await;
        let error = drain(&walk, A, &before).await.unwrap_err();
        assert!(error.detail().contains("still draining"), "{error}");
        assert_eq!(error.member.as_deref(), Some("shop-elb/i-0a"));
        assert_ne!(responder.with(|s| s.classic["shop-elb"].instances[A].0.clone()), "draining");
    }
}

#[tokio::test]
async fn without_connection_draining_that_is_said() {
    let responder = Responder::start(classic(|c| c.draining = None)).await;
    let walk = walking(&responder, &[A, B], |_| {});
    let before = found(&walk, A).await;
    assert!(before.members[0].status.contains("connection draining is off"), "{before:?}");
    assert_eq!(before.members[0].out_takes, 0, "min_drain is zero here");
    assert_eq!(drain(&walk, A, &before).await.unwrap().left, Some(0));
}

#[tokio::test]
async fn an_unhealthy_instance_is_registered_and_does_not_count() {
    let responder = Responder::start(classic(|c| drop(c.instances.insert(B.into(), ("sick".into(), None))))).await;
    let walk = walking(&responder, &[A, B], |config| config.capacity_timeout = Duration::ZERO);
    let (a, b) = (found(&walk, A).await, found(&walk, B).await);
    assert!(b.members[0].admin == Admin::Ready && !b.members[0].in_service, "{b:?}");
    assert_eq!(a.members[0].others_in_service, 0);
    assert!(drain(&walk, A, &a).await.unwrap_err().detail().contains("min_in_service"));
    assert_eq!(changes(&responder), [""; 0]);
}

#[tokio::test]
async fn what_it_cannot_know_is_refused() {
    let responder = Responder::start(classic(|_| {})).await;
    let names = ["10.0.0.4:80", "i-0a:80", "i-0c", "web1"];
    let walk = walking(&responder, &names, |_| {});
    let errors = walk.facts(&names.map(str::to_owned)).await.unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts[0].contains("no ports") && texts[1].contains("no ports"));
    assert!(texts[2].contains("i-0c is in none of the load balancers"), "{texts:?}");
    assert!(texts[3].contains("web1"), "{texts:?}");
    let missing =
        ElbClassic::new(&["typo".into()], &keys(), Access::Responder(responder.endpoint.clone()), &around(&[A]));
    let reading = missing.look(&[A.to_owned()]).await;
    let (_, error) = &reading.errors[0];
    assert!(
        error.member.as_deref() == Some("typo") && error.hint().contains("aws elb describe-load-balancers"),
        "{error:?}"
    );
}

#[tokio::test]
async fn throttling_and_missing_permissions_are_told_apart() {
    let responder = Responder::start(classic(|_| {})).await;
    let walk = walking(&responder, &[A, B], |_| {});
    responder.with(|s| s.throttle = 7);
    let before = found(&walk, A).await;
    responder.with(|s| s.denied.push("DeregisterInstancesFromLoadBalancer".into()));
    let error = drain(&walk, A, &before).await.unwrap_err();
    assert!(error.hint().contains("allow elasticloadbalancing:DeregisterInstancesFromLoadBalancer"), "{error:?}");
}

#[test]
fn what_a_state_means() {
    let read = |state: &str, text: &str| {
        let said = InstanceState::builder().instance_id(A).state(state).description(text).build();
        (ClassicStands::listed(&said), ClassicStands::absent(Some(&said)))
    };
    let draining = "Instance deregistration currently in progress.";
    let gone = "Instance is not currently registered with the LoadBalancer.";
    for (state, text, listed, absent) in [
        ("InService", "N/A", (Admin::Ready, true), (Admin::Drain, false)),
        ("InService", draining, (Admin::Drain, false), (Admin::Drain, false)),
        ("OutOfService", gone, (Admin::Maint, false), (Admin::Maint, false)),
        ("OutOfService", "Instance registration is still in progress.", (Admin::Ready, false), (Admin::Drain, false)),
        (
            "Unknown",
            "A transient error occurred. Please try again later.",
            (Admin::Ready, false),
            (Admin::Drain, false),
        ),
        ("Unknown", "N/A", (Admin::Ready, false), (Admin::Maint, false)),
    ] {
        let (a, b) = read(state, text);
        assert_eq!(((a.admin, a.in_service), (b.admin, b.in_service)), (listed, absent), "{state}: {text}");
    }
    assert_eq!(ClassicStands::absent(None).admin, Admin::Maint);
}
