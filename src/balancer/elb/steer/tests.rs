//! Target groups, held against a responder that lets time pass as AWS does.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::super::target::Stands;
use super::*;
use crate::balancer::adapter::Adapter as _;
use crate::balancer::aws::tests::responder::{Group, Responder, State, Target};
use crate::balancer::aws::tests::{around, keys};
use crate::balancer::facts::{Admin, Drained, Draining, Snapshot};
use crate::balancer::testing;
use crate::balancer::walk::Walked;
use crate::config::{BalancerKind, LoadBalancer, OnDrainTimeout};

const A: &str = "i-0a";
const B: &str = "i-0b";
const C: &str = "i-0c";

fn state(groups: Vec<(&str, Group)>) -> State {
    State { groups: groups.into_iter().map(|(name, group)| (name.to_owned(), group)).collect(), ..State::default() }
}

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/0123456789abcdef")
}

/// An adapter for these servers and groups, with these keys.
fn elb(responder: &Responder, groups: &[&str], servers: &[&str], keys: &Aws) -> Elb {
    let groups: Vec<String> = groups.iter().map(|g| arn(g)).collect();
    Elb::new(&groups, keys, Access::Responder(responder.endpoint.clone()), &around(servers))
}

fn walking(steer: Elb, servers: &[&str], change: impl Fn(&mut LoadBalancer)) -> Walked<Elb> {
    let kind = BalancerKind::Elb { target_groups: steer.groups.clone(), aws: steer.aws.clone() };
    let mut config = LoadBalancer { drain_timeout: Duration::from_secs(10), ..testing::config(kind) };
    change(&mut config);
    Walked::new(steer, &config, servers.iter().map(|s| (*s).to_owned()).collect())
}

fn walk_of(responder: &Responder, groups: &[&str], servers: &[&str]) -> Walked<Elb> {
    walking(elb(responder, groups, servers, &keys()), servers, |_| {})
}

async fn found(walk: &Walked<Elb>, name: &str) -> Snapshot {
    Snapshot { members: walk.facts(&[name.to_owned()]).await.unwrap() }
}

async fn drain(walk: &Walked<Elb>, name: &str, found: &Snapshot) -> Result<Drained, BalancerError> {
    walk.drain(name, found, &mut |_| {}, &CancellationToken::new()).await
}

async fn restore(walk: &Walked<Elb>, name: &str, found: &Snapshot) -> Result<(), BalancerError> {
    walk.restore(name, found, &mut |_| {}, &CancellationToken::new()).await
}

fn changes(responder: &Responder) -> Vec<String> {
    responder.calls().into_iter().filter(|c| !c.starts_with("Describe")).collect()
}

/// Two groups; in the second, the first server has two ports.
fn two_groups() -> State {
    let mut api = Group::of(9000, &[A, B]);
    let second = Target { zone: None, state: "healthy".into(), since: Instant::now() };
    api.targets.insert((A.into(), 9001), second);
    state(vec![("web", Group::of(80, &[A, B])), ("api", api)])
}

#[tokio::test]
async fn every_port_in_every_group_is_taken_out_and_put_back_exactly() {
    let responder = Responder::start(two_groups()).await;
    let walk = walk_of(&responder, &["web", "api"], &[A, B]);
    let found = found(&walk, A).await;
    let places: Vec<(&str, bool)> = found.members.iter().map(|m| (m.backend.as_str(), m.in_service)).collect();
    assert_eq!(places, [("web", true), ("api", true), ("api:9001", true)]);
    assert!(found.members.iter().all(|m| (m.others_in_service, m.size) == (1, 2) && m.at == "elb"), "{found:?}");
    responder.calls();

    let drained = drain(&walk, A, &found).await.unwrap();
    assert_eq!(drained.left, Some(0));
    let mut out = changes(&responder);
    out.sort();
    let deregistered =
        ["DeregisterTargets api i-0a:9000", "DeregisterTargets api i-0a:9001", "DeregisterTargets web i-0a:80"];
    assert_eq!(out, deregistered);
    for (group, port) in [("web", 80), ("api", 9000), ("api", 9001)] {
        assert_eq!(responder.target(group, A, port), None);
        assert!(responder.target(group, B, if port == 9001 { 9000 } else { port }).is_some());
    }
    assert!(walk.still_out(A).await.unwrap());

    restore(&walk, A, &found).await.unwrap();
    let mut back = changes(&responder);
    back.sort();
    assert_eq!(back, deregistered.map(|c| c.replace("Deregister", "Register")));
    for (group, port) in [("web", 80), ("api", 9000), ("api", 9001)] {
        assert_eq!(responder.target(group, A, port).as_deref(), Some("healthy"));
    }
}

#[tokio::test]
async fn another_process_puts_back_what_only_a_record_knows() {
    let responder = Responder::start(two_groups()).await;
    let walk = walk_of(&responder, &["web", "api"], &[A, B]);
    let before = found(&walk, A).await;
    drain(&walk, A, &before).await.unwrap();
    let text = serde_json::to_string(&before).unwrap();

    let other = walk_of(&responder, &["web", "api"], &[A, B]);
    let record: Snapshot = serde_json::from_str(&text).unwrap();
    // AWS lists nothing of it any more, and without a connection the id is not confirmed.
    let refused = other.facts(&[A.to_owned()]).await.unwrap_err();
    assert!(refused[0].detail().contains("i-0a is in none of the target groups"), "{refused:?}");
    restore(&other, A, &record).await.unwrap();
    assert_eq!(found(&other, A).await.members.len(), 3);
    assert_eq!(responder.target("api", A, 9001).as_deref(), Some("healthy"));
}

#[tokio::test]
async fn what_was_out_before_is_left_out() {
    let mut state = two_groups();
    state.groups.get_mut("web").unwrap().targets.remove(&(A.to_owned(), 80));
    let responder = Responder::start(state).await;
    let walk = walk_of(&responder, &["web", "api"], &[A, B]);
    let found = found(&walk, A).await;
    assert_eq!((found.members[0].admin, found.members[0].status.as_str()), (Admin::Maint, "not registered"));
    drain(&walk, A, &found).await.unwrap();
    restore(&walk, A, &found).await.unwrap();
    assert_eq!(responder.target("web", A, 80), None);
    assert_eq!(responder.target("api", A, 9000).as_deref(), Some("healthy"));
}

#[tokio::test]
async fn a_server_that_is_nowhere_is_expected_where_the_others_are() {
    let up = || Target { zone: None, state: "healthy".into(), since: Instant::now() };
    let mut web = Group::of(80, &[]);
    web.targets = [((B.to_owned(), 8080), up()), ((B.to_owned(), 8081), up())].into();
    // It is known, since it is in the other group.
    let responder = Responder::start(state(vec![("api", Group::of(9000, &[A])), ("web", web)])).await;
    let walk = walk_of(&responder, &["api", "web"], &[A, B]);
    let places: Vec<String> = found(&walk, A).await.members.into_iter().map(|m| m.backend).collect();
    assert_eq!(places, ["api", "web:8080", "web:8081"]);
    responder.with(|s| drop(s.groups.get_mut("web").unwrap().targets.insert((C.to_owned(), 8080), up())));
    let walk = walk_of(&responder, &["api", "web"], &[A, B]);
    let errors = walk.facts(&[A.to_owned()]).await.unwrap_err();
    assert!(
        errors[0].detail().contains("different ports") && errors[0].member.as_deref() == Some("web/i-0a"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_drain_that_never_ends_is_proceeded_from_or_undone() {
    for ending in [OnDrainTimeout::Proceed, OnDrainTimeout::Fail] {
        let mut group = Group::of(80, &[A, B]);
        group.drains_for = None;
        let responder = Responder::start(state(vec![("web", group)])).await;
        let walk = walking(elb(&responder, &["web"], &[A, B], &keys()), &[A, B], |config| {
            (config.drain_timeout, config.on_drain_timeout) = (Duration::from_millis(150), ending);
        });
        let found = found(&walk, A).await;
        let drained = drain(&walk, A, &found).await;
        if ending == OnDrainTimeout::Proceed {
            let drained = drained.unwrap();
            assert_eq!(drained.left, None, "AWS does not tell how many connections are left");
            assert_eq!(responder.target("web", A, 80).as_deref(), Some("draining"));
            // It is registered anew, though it is still draining: a target that is left so would drop out.
            restore(&walk, A, &found).await.unwrap();
        } else {
            let error = drained.unwrap_err();
            assert!(error.detail().contains("it was still draining after 150ms"), "{error}");
            assert_eq!(error.member.as_deref(), Some("web/i-0a"));
            assert!(matches!(responder.target("web", A, 80).as_deref(), Some("initial" | "healthy")));
        }
    }
}

#[tokio::test]
async fn requests_are_given_time_to_stop_however_fast_the_drain_is() {
    let mut group = Group::of(80, &[A, B]);
    group.drains_for = Some(Duration::ZERO);
    let responder = Responder::start(state(vec![("web", group)])).await;
    let keys = Aws { min_drain: Some(Duration::from_millis(300)), ..keys() };
    let walk = walking(elb(&responder, &["web"], &[A, B], &keys), &[A, B], |_| {});
    let found = found(&walk, A).await;
    let drained = drain(&walk, A, &found).await.unwrap();
    assert!(drained.left == Some(0) && drained.waited >= Duration::from_millis(300), "{drained:?}");
}

#[tokio::test]
async fn what_draining_is_expected_to_take_is_the_groups_own_delay() {
    for (protocol, min_drain, delay, out_takes, back_takes, lag) in [
        ("HTTP", None, 300, 300, 60, 20),
        ("HTTPS", None, 0, 20, 60, 20),
        ("TCP", None, 30, 120, 210, 120),
        ("TLS", Some(Duration::from_secs(5)), 30, 30, 210, 5),
    ] {
        let mut group = Group::of(80, &[A, B]);
        (group.protocol, group.delay) = (protocol.into(), delay);
        let responder = Responder::start(state(vec![("web", group)])).await;
        let keys = Aws { min_drain, ..keys() };
        let walk = walking(elb(&responder, &["web"], &[A, B], &keys), &[A, B], |_| {});
        let member = found(&walk, A).await.members.remove(0);
        assert_eq!((member.out_takes, member.back_takes), (out_takes, back_takes), "{protocol}");
        let adapter = elb(&responder, &["web"], &[A, B], &keys);
        adapter.look(&[A.to_owned()]).await;
        let pace = adapter.pace();
        assert_eq!((pace.lag, pace.drains_within), (Duration::from_secs(lag), Some(Duration::from_secs(delay))));
    }
}

#[tokio::test]
async fn a_server_that_gets_no_healthier_is_taken_out_again() {
    let mut group = Group::of(80, &[A, B]);
    group.sick = vec![A.to_owned()];
    let responder = Responder::start(state(vec![("web", group)])).await;
    let walk = walking(elb(&responder, &["web"], &[A, B], &keys()), &[A, B], |config| {
        config.restore_timeout = Duration::from_millis(300);
    });
    let found = found(&walk, A).await;
    drain(&walk, A, &found).await.unwrap();
    let mut said = Vec::new();
    let stop = CancellationToken::new();
    let error = walk.restore(A, &found, &mut |text| said.push(text), &stop).await.unwrap_err();
    assert!(
        error.detail().contains("unhealthy (Target.FailedHealthChecks)") && error.detail().contains("is out again"),
        "{error}"
    );
    assert!(said.iter().any(|s| s.starts_with("web/i-0a: initial")), "{said:?}");
    assert!(matches!(responder.target("web", A, 80).as_deref(), None | Some("draining")));
}

#[tokio::test]
async fn throttling_is_waited_out_and_named_when_it_does_not_end() {
    let responder = Responder::start(state(vec![("web", Group::of(80, &[A, B]))])).await;
    let walk = walk_of(&responder, &["web"], &[A, B]);
    let found = found(&walk, A).await;
    responder.with(|s| s.throttle = 7);
    drain(&walk, A, &found).await.unwrap();
    restore(&walk, A, &found).await.unwrap();
    responder.with(|s| s.throttle = usize::MAX);
    responder.calls();
    let errors = walk.facts(&[A.to_owned()]).await.unwrap_err();
    assert!(errors[0].is_unreachable() && errors[0].hint().contains("asked 8 times"), "{errors:?}");
    assert!(errors[0].to_string().contains("elb, web: DescribeTargetHealth was refused: Rate exceeded (Throttling)"));
    assert_eq!(responder.calls().len(), 8);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    for (action, asks) in [
        ("DescribeTargetGroups", true),
        ("DescribeTargetGroupAttributes", true),
        ("DescribeTargetHealth", true),
        ("DeregisterTargets", false),
        ("RegisterTargets", false),
    ] {
        let responder = Responder::start(state(vec![("web", Group::of(80, &[A, B]))])).await;
        let walk = walk_of(&responder, &["web"], &[A, B]);
        let error = if asks {
            responder.with(|s| s.denied.push(action.into()));
            walk.facts(&[A.to_owned()]).await.unwrap_err().remove(0)
        } else {
            let found = found(&walk, A).await;
            if action == "RegisterTargets" {
                drain(&walk, A, &found).await.unwrap();
            }
            responder.with(|s| s.denied.push(action.into()));
            if action == "RegisterTargets" {
                restore(&walk, A, &found).await.unwrap_err()
            } else {
                drain(&walk, A, &found).await.unwrap_err()
            }
        };
        assert_eq!(
            error.hint(),
            format!("allow elasticloadbalancing:{action} in the policy of the account that deploys")
        );
        assert!(
            !error.is_unreachable() && error.detail().contains("AccessDenied") && error.member.is_some(),
            "{error:?}"
        );
        assert!(error.member.as_deref().unwrap().contains("web"), "{error:?}");
    }
}

#[tokio::test]
async fn addresses_keep_their_zone() {
    let target =
        |zone: Option<&str>| Target { zone: zone.map(Into::into), state: "healthy".into(), since: Instant::now() };
    let mut group = Group { kind: "ip".into(), ..Group::of(80, &[]) };
    group.targets.insert(("10.0.0.4".into(), 8080), target(Some("all")));
    group.targets.insert(("10.0.0.4".into(), 8081), target(None));
    group.targets.insert(("10.0.0.5".into(), 80), target(None));
    let responder = Responder::start(state(vec![("web", group)])).await;
    let names = ["10.0.0.4:8080", "10.0.0.5"];
    let walk = walk_of(&responder, &["web"], &names);
    let one = found(&walk, names[0]).await;
    assert_eq!(one.members.len(), 1, "the file names one port: {one:?}");
    drain(&walk, names[0], &one).await.unwrap();
    restore(&walk, names[0], &one).await.unwrap();
    let calls = ["DeregisterTargets web 10.0.0.4:8080@all", "RegisterTargets web 10.0.0.4:8080@all"];
    assert_eq!(changes(&responder), calls);
    assert_eq!(responder.target("web", "10.0.0.4", 8081).as_deref(), Some("healthy"));
}

#[tokio::test]
async fn a_typo_in_an_id_is_found_before_anything_is_drained() {
    let responder = Responder::start(state(vec![("web", Group::of(80, &[A, B]))])).await;
    let walk = walk_of(&responder, &["web"], &[C, B]);
    let errors = walk.facts(&[C.to_owned(), B.to_owned()]).await.unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].member.as_deref(), Some(C));
    assert!(errors[0].detail().contains("i-0c is in none of the target groups"), "{errors:?}");
    assert!(errors[0].hint().contains("correct `lb`"), "{errors:?}");
    // A name that says nothing, and a server that cannot be asked.
    let walk = walk_of(&responder, &["web"], &["web1"]);
    let errors = walk.facts(&["web1".to_owned()]).await.unwrap_err();
    assert!(errors[0].hint().contains("write `lb = \"i-…\"`"), "{errors:?}");
    assert_eq!(changes(&responder), [""; 0]);
}

#[tokio::test]
async fn one_call_a_group_asks_for_all_lanes() {
    let mut group = Group::of(80, &[A, B, C]);
    group.drains_for = Some(Duration::from_millis(400));
    let responder = Responder::start(state(vec![("web", group)])).await;
    let keys = Aws { poll: Duration::from_millis(100), ..keys() };
    let walk = walking(elb(&responder, &["web"], &[A, B, C], &keys), &[A, B, C], |_| {});
    let (a, b) = (found(&walk, A).await, found(&walk, B).await);
    responder.calls();
    let (a, b) = tokio::join!(drain(&walk, A, &a), drain(&walk, B, &b));
    assert_eq!((a.unwrap().left, b.unwrap().left), (Some(0), Some(0)));
    let calls = responder.calls();
    let looks = calls.iter().filter(|c| *c == "DescribeTargetHealth web").count();
    let proofs: Vec<&String> = calls.iter().filter(|c| c.starts_with("DescribeTargetHealth web i-")).collect();
    // Two gates of two looks, at most six ticks of 400 ms, and the last look of each: far from what two pollers would ask.
    assert!(looks <= 14, "{calls:?}");
    assert!((1..=2).contains(&proofs.len()), "what is proven is not asked about again: {proofs:?}");
}

#[tokio::test]
async fn only_other_servers_that_are_healthy_count() {
    let mut group = Group::of(80, &[A, B, C]);
    group.targets.insert((A.into(), 81), Target { zone: None, state: "healthy".into(), since: Instant::now() });
    for (id, state) in [(B, "unhealthy"), (C, "unhealthy.draining")] {
        group.targets.get_mut(&(id.to_owned(), 80)).unwrap().state = state.into();
    }
    let responder = Responder::start(state(vec![("web", group)])).await;
    let walk = walking(elb(&responder, &["web"], &[A, B, C], &keys()), &[A, B, C], |config| {
        config.capacity_timeout = Duration::from_millis(500);
    });
    let before = found(&walk, A).await;
    assert!(before.members.iter().all(|m| (m.others_in_service, m.size) == (0, 3)), "{before:?}");
    let mut waits = Vec::new();
    let mut on = |heard| {
        if let Draining::Waiting(text) = heard {
            waits.push(text)
        }
    };
    let error = walk.drain(A, &before, &mut on, &CancellationToken::new()).await.unwrap_err();
    assert!(error.detail().contains("min_in_service is 1") && !waits.is_empty(), "{error}");
    assert_eq!(changes(&responder), [""; 0], "nothing was touched");
    let sick = found(&walk, C).await;
    assert!(
        sick.members[0].admin == Admin::Ready && !sick.members[0].in_service,
        "registered, and not in service: {sick:?}"
    );
}

#[tokio::test]
async fn groups_without_checks_serve_and_groups_without_listeners_are_refused() {
    let mut group = Group::of(80, &[A, B]);
    group.then = ("unavailable".into(), "Target.HealthCheckDisabled".into());
    for target in group.targets.values_mut() {
        target.state = "unavailable".into();
    }
    let responder = Responder::start(state(vec![("web", group)])).await;
    let walk = walk_of(&responder, &["web"], &[A, B]);
    let before = found(&walk, A).await;
    assert!(before.members[0].in_service && before.members[0].others_in_service == 1, "{before:?}");
    drain(&walk, A, &before).await.unwrap();
    restore(&walk, A, &before).await.unwrap();
    responder.with(|s| s.groups.get_mut("web").unwrap().targets.values_mut().for_each(|t| t.state = "unused".into()));
    let errors = walk.facts(&[A.to_owned()]).await.unwrap_err();
    assert!(
        errors[0].detail().contains("gets no traffic") && errors[0].detail().contains("Target.NotInUse"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn groups_that_cannot_be_steered_are_refused() {
    let mut group = Group::of(80, &[]);
    group.kind = "lambda".into();
    let responder = Responder::start(state(vec![("fun", group), ("web", Group::of(80, &[A, B]))])).await;
    let walk = walk_of(&responder, &["fun"], &[A]);
    let errors = walk.facts(&[A.to_owned()]).await.unwrap_err();
    assert!(errors[0].detail().contains("of the type lambda"), "{errors:?}");
    let walk = walk_of(&responder, &["web", "typo", "slip"], &[A]);
    let errors = walk.facts(&[A.to_owned()]).await.unwrap_err();
    let text = errors[0].to_string();
    assert!(text.contains("targetgroup/typo/") && text.contains("targetgroup/slip/"), "{text}");
    assert!(errors[0].hint().contains("aws elbv2 describe-target-groups"), "{errors:?}");
    let groups = [arn("web"), arn("web").replace("us-east-1", "eu-west-1")];
    let two = Elb::new(&groups, &keys(), Access::Responder(responder.endpoint.clone()), &around(&[A]));
    let reading = two.look(&[A.to_owned()]).await;
    assert!(reading.errors[0].1.detail().contains("is in eu-west-1"), "{reading:?}");
    // A plain name will do as well.
    let named = Elb::new(&["web".into()], &keys(), Access::Responder(responder.endpoint.clone()), &around(&[A]));
    assert_eq!(named.look(&[A.to_owned()]).await.members.len(), 1);
}

#[tokio::test]
async fn a_target_that_an_operator_registers_anew_is_taken_out_again() {
    let mut group = Group::of(80, &[A, B]);
    group.drains_for = Some(Duration::from_millis(200));
    let responder = Responder::start(state(vec![("web", group)])).await;
    let walk = walk_of(&responder, &["web"], &[A, B]);
    let before = found(&walk, A).await;
    responder.calls();
    let meddle = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let again = Target { zone: None, state: "initial".into(), since: Instant::now() };
        responder.with(|s| s.groups.get_mut("web").unwrap().targets.insert((A.into(), 80), again));
    };
    let (drained, ()) = tokio::join!(drain(&walk, A, &before), meddle);
    assert_eq!(drained.unwrap().left, Some(0));
    assert_eq!(changes(&responder).len(), 2);
    assert_eq!(responder.target("web", A, 80), None);
}

#[tokio::test]
async fn an_instance_that_cannot_be_registered_stays_out_and_says_why() {
    let responder = Responder::start(state(vec![("web", Group::of(80, &[A, B]))])).await;
    let walk = walk_of(&responder, &["web"], &[A, B]);
    let found = found(&walk, A).await;
    // A target that AWS does not know is no target: as far out as can be.
    responder.with(|s| {
        s.refuse.push(("DeregisterTargets".into(), "InvalidTarget".into()));
        s.groups.get_mut("web").unwrap().targets.remove(&(A.to_owned(), 80));
    });
    drain(&walk, A, &found).await.unwrap();
    responder.with(|s| s.refuse.push(("RegisterTargets".into(), "InvalidTarget".into())));
    let error = restore(&walk, A, &found).await.unwrap_err();
    assert!(error.hint().contains("must be running"), "{error:?}");
}

#[test]
fn what_a_state_means() {
    use aws_sdk_elasticloadbalancingv2::types::{
        TargetHealth, TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum,
    };
    let read = |state: &str, reason: &str| {
        let health = TargetHealth::builder().state(TargetHealthStateEnum::from(state));
        let health = if reason.is_empty() { health } else { health.reason(TargetHealthReasonEnum::from(reason)) };
        let stands = Stands::read(&TargetHealthDescription::builder().target_health(health.build()).build());
        (stands.admin, stands.in_service, stands.gone)
    };
    for (state, reason, expected) in [
        ("healthy", "", (Admin::Ready, true, false)),
        ("initial", "Elb.RegistrationInProgress", (Admin::Ready, false, false)),
        ("unhealthy", "Target.Timeout", (Admin::Ready, false, false)),
        ("unhealthy.draining", "Target.FailedHealthChecks", (Admin::Ready, false, false)),
        ("draining", "Target.DeregistrationInProgress", (Admin::Drain, false, false)),
        ("unused", "Target.NotRegistered", (Admin::Maint, false, true)),
        ("unused", "Target.NotInUse", (Admin::Ready, false, false)),
        ("unused", "Target.InvalidState", (Admin::Ready, false, false)),
        ("unused", "", (Admin::Ready, false, false)),
        ("unavailable", "Target.HealthCheckDisabled", (Admin::Ready, true, false)),
        ("unavailable", "Elb.InternalError", (Admin::Ready, false, false)),
        ("something.new", "Target.New", (Admin::Ready, false, false)),
    ] {
        assert_eq!(read(state, reason), expected, "{state} {reason}");
    }
    assert_eq!(Stands::read(&TargetHealthDescription::builder().build()).admin, Admin::Ready);
}
