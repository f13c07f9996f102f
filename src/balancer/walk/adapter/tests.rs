//! The walk, held against a balancer of the test's own.

use std::collections::BTreeMap;
use std::sync::Mutex as Plain;

use tokio::time::Instant;

use super::super::steer::{Reading, SteerPace};
use super::*;
use crate::balancer::facts::Draining;
use crate::balancer::fault::AskFault;
use crate::balancer::testing::config;
use crate::config::{BalancerKind, Least, OnDrainTimeout};

/// A balancer of a test's own: each server in two backends.
#[derive(Default)]
struct Toy {
    state: Plain<BTreeMap<(String, String), MemberFacts>>,
    calls: Plain<Vec<String>>,
    pace: SteerPace,
    /// Looks after which connections have ended; `None`: never.
    ends_after: Option<usize>,
    /// Looks after which a server that was put back is in service; `None`: never.
    up_after: Option<usize>,
    fails: Plain<Vec<String>>,
    /// What fails has come to pass all the same.
    arrives: bool,
    waited: Plain<BTreeMap<(String, String), usize>>,
}

impl Toy {
    fn new(names: &[&str]) -> Self {
        let toy = Self { ends_after: Some(2), up_after: Some(2), ..Self::default() };
        for name in names {
            for backend in ["a", "b"] {
                let facts = MemberFacts {
                    at: "toy".into(),
                    backend: backend.into(),
                    member: (*name).into(),
                    in_service: true,
                    status: "there".into(),
                    size: names.len(),
                    sessions: Some(3),
                    ..MemberFacts::default()
                };
                toy.state.lock().unwrap().insert((backend.into(), (*name).into()), facts);
            }
        }
        toy
    }

    fn said(&self, call: &str, m: &MemberFacts) -> Result<(), BalancerError> {
        let line = format!("{call} {}/{}", m.backend, m.member);
        let failed = self.fails.lock().unwrap().contains(&line);
        self.calls.lock().unwrap().push(line);
        let error = || BalancerError::new("toy", None, AskFault::Silent("refused".into()));
        if failed { Err(error()) } else { Ok(()) }
    }

    fn set(&self, backend: &str, name: &str, change: impl Fn(&mut MemberFacts)) {
        change(self.state.lock().unwrap().get_mut(&(backend.into(), name.into())).unwrap());
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Steer for Toy {
    fn at(&self) -> String {
        "toy".into()
    }

    fn pace(&self) -> SteerPace {
        self.pace
    }

    async fn look(&self, lb_names: &[String]) -> Reading {
        self.calls.lock().unwrap().push("look".into());
        tokio::task::yield_now().await;
        let (mut state, mut waited) = (self.state.lock().unwrap(), self.waited.lock().unwrap());
        for (key, facts) in state.iter_mut() {
            let Some(count) = waited.get_mut(key) else { continue };
            *count += 1;
            match facts.admin {
                Admin::Ready if self.up_after.is_some_and(|n| *count >= n) => facts.in_service = true,
                Admin::Drain if self.ends_after.is_some_and(|n| *count >= n) => {
                    (facts.sessions, facts.admin) = (Some(0), Admin::Maint);
                }
                _ => {}
            }
        }
        let up = |backend: &str, not: &str| {
            state.values().filter(|o| o.backend == backend && o.member != not && o.in_service).count()
        };
        let members = state.values().filter(|m| lb_names.contains(&m.member));
        let members =
            members.map(|m| MemberFacts { others_in_service: up(&m.backend, &m.member), ..m.clone() }).collect();
        Reading { members, errors: Vec::new() }
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        self.said("out", now)?;
        self.set(&now.backend, &now.member, |m| (m.admin, m.in_service) = (Admin::Drain, false));
        self.waited.lock().unwrap().insert((now.backend.clone(), now.member.clone()), 0);
        Ok(())
    }

    async fn force(&self, now: &MemberFacts) -> Result<bool, BalancerError> {
        self.said("force", now)?;
        self.set(&now.backend, &now.member, |m| (m.admin, m.sessions) = (Admin::Maint, Some(0)));
        Ok(true)
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        let told = self.said("back", found);
        if told.is_ok() || self.arrives {
            self.set(&found.backend, &found.member, |m| m.admin = Admin::Ready);
            self.waited.lock().unwrap().insert((found.backend.clone(), found.member.clone()), 0);
        }
        told
    }
}

fn walk(toy: Toy, change: impl Fn(&mut LoadBalancer)) -> Walked<Toy> {
    let mut config = config(BalancerKind::Haproxy { at: Vec::new(), backends: Vec::new(), access: Default::default() });
    change(&mut config);
    let mut names: Vec<String> = toy.state.lock().unwrap().keys().map(|(_, name)| name.clone()).collect();
    names.dedup();
    Walked::new(toy, &config, names)
}

async fn found(walk: &Walked<Toy>, name: &str) -> Snapshot {
    Snapshot { members: walk.facts(&[name.to_owned()]).await.unwrap() }
}

/// Changes something behind the walk's back, as time passes by.
fn behind(walk: &Walked<Toy>, backend: &str, name: &str, change: impl Fn(&mut MemberFacts)) {
    walk.all.steer.set(backend, name, change);
    walk.all.looks.changed();
}

fn without_looks(calls: Vec<String>) -> Vec<String> {
    calls.into_iter().filter(|c| c != "look").collect()
}

#[tokio::test(start_paused = true)]
async fn a_server_goes_out_of_all_its_places_and_comes_back() {
    let walk = walk(Toy::new(&["w1", "w2"]), |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    let mut heard = Vec::new();
    let drained = walk.drain("w1", &found, &mut |d| heard.push(d), &stop).await.unwrap();
    assert_eq!(drained.left, Some(0));
    assert!(heard.starts_with(&[Draining::Open(6)]) && heard.ends_with(&[Draining::Open(0)]), "{heard:?}");
    assert!(walk.still_out("w1").await.unwrap());
    assert_eq!(walk.ensure_out("w1", &found, &mut |_| {}, &stop).await.unwrap(), None);
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    let mut heard = Vec::new();
    walk.restore("w1", &found, &mut |s| heard.push(s), &stop).await.unwrap();
    walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1", "out b/w1", "back a/w1", "back b/w1"]);
    assert!(!walk.still_out("w1").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn lanes_that_wait_share_their_looks() {
    let toy = Toy { ends_after: Some(20), ..Toy::new(&["w1", "w2", "w3", "w4"]) };
    let walk = walk(toy, |_| {});
    let stop = CancellationToken::new();
    let found = Snapshot { members: walk.facts(&["w1".into(), "w2".into(), "w3".into()]).await.unwrap() };
    walk.all.steer.calls();
    let mut ons = [|_: Draining| {}, |_: Draining| {}, |_: Draining| {}];
    let [a, b, c] = &mut ons;
    let (a, b, c) = tokio::join!(
        walk.drain("w1", &found, a, &stop),
        walk.drain("w2", &found, b, &stop),
        walk.drain("w3", &found, c, &stop)
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let looks = walk.all.steer.calls().iter().filter(|c| *c == "look").count();
    assert!((20..=45).contains(&looks), "{looks} looks for 20 ticks of three lanes");
}

#[tokio::test(start_paused = true)]
async fn no_server_is_taken_out_when_too_few_would_be_left() {
    let walk = walk(Toy::new(&["w1", "w2"]), |_| {});
    let stop = CancellationToken::new();
    let found = Snapshot { members: walk.facts(&["w1".into(), "w2".into()]).await.unwrap() };
    behind(&walk, "b", "w2", |m| m.in_service = false);
    let mut heard = Vec::new();
    let began = Instant::now();
    let error = walk.drain("w1", &found, &mut |d| heard.push(d), &stop).await.unwrap_err();
    assert!(error.detail().contains("0 other members") && error.member.as_deref() == Some("b/w1"), "{error}");
    assert!(matches!(heard.first(), Some(Draining::Waiting(text)) if text.starts_with("b/w1: ")), "{heard:?}");
    assert!(began.elapsed() >= Duration::from_secs(15) && began.elapsed() < Duration::from_secs(30));
    assert!(without_looks(walk.all.steer.calls()).is_empty());
    // Two that count on each other: one gets through, the other is refused.
    behind(&walk, "b", "w2", |m| m.in_service = true);
    let (mut on1, mut on2) = (|_: Draining| {}, |_: Draining| {});
    let (a, b) = tokio::join!(walk.drain("w1", &found, &mut on1, &stop), walk.drain("w2", &found, &mut on2, &stop));
    assert!(a.is_ok() && b.is_err());
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1", "out b/w1"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_others_to_be_up() {
    let walk = walk(Toy::new(&["w1", "w2", "w3"]), |c| c.min_in_service = Least::Percent(67));
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    behind(&walk, "b", "w2", |m| m.in_service = false);
    let waits = |d: Draining| {
        if matches!(d, Draining::Waiting(_)) {
            behind(&walk, "b", "w2", |m| m.in_service = true);
        }
    };
    // 67 % of three are three: others are two at most.
    let mut waits = waits;
    let error = walk.drain("w1", &found, &mut waits, &stop).await.unwrap_err();
    assert!(error.detail().contains("min_in_service is 67% (3 here)"), "{error}");
    let mut walk = walk;
    walk.all.config.min_in_service = Least::Percent(66);
    behind(&walk, "b", "w2", |m| m.in_service = false);
    let mut waits = |d: Draining| {
        if matches!(d, Draining::Waiting(_)) {
            behind(&walk, "b", "w2", |m| m.in_service = true);
        }
    };
    walk.drain("w1", &found, &mut waits, &stop).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_fails_half_way_is_undone() {
    let toy = Toy::new(&["w1", "w2"]);
    toy.fails.lock().unwrap().push("out b/w1".into());
    let walk = walk(toy, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    let error = walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap_err();
    assert_eq!(error.detail(), "it says nothing of refused");
    let calls = without_looks(walk.all.steer.calls());
    assert_eq!(calls, ["out a/w1", "out b/w1", "back a/w1", "back b/w1"]);
    // In the middle of a deploy it stays as far out as it got.
    assert!(walk.ensure_out("w1", &found, &mut |_| {}, &stop).await.is_err());
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1", "out b/w1"]);
}

#[tokio::test(start_paused = true)]
async fn connections_that_stay_are_let_be_ended_or_a_failure() {
    for (policy, expected) in [
        (OnDrainTimeout::Proceed, Ok(Some(6))),
        (OnDrainTimeout::Kill, Ok(Some(0))),
        (OnDrainTimeout::Fail, Err("6 connections were still open after 20s of draining")),
    ] {
        let toy = Toy { ends_after: None, ..Toy::new(&["w1", "w2"]) };
        let walk = walk(toy, |c| c.on_drain_timeout = policy);
        let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
        let drained = walk.drain("w1", &found, &mut |_| {}, &stop).await;
        assert_eq!(drained.as_ref().map(|d| d.left).map_err(BalancerError::detail), expected.map_err(str::to_owned));
        assert_eq!(walk.still_out("w1").await.unwrap(), expected.is_ok());
    }
    // Nothing tells how many: the drain ends all the same, and does not say that none were left.
    let toy = Toy { ends_after: None, ..Toy::new(&["w1", "w2"]) };
    toy.set("a", "w1", |m| m.sessions = None);
    let walk = walk(toy, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    assert_eq!(walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap().left, None);
}

#[tokio::test(start_paused = true)]
async fn traffic_that_goes_on_after_a_drain_is_waited_for() {
    for (ends_after, least) in [(Some(1), 40), (None, 40)] {
        let pace = SteerPace { lag: Duration::from_secs(40), ..SteerPace::default() };
        let walk = walk(Toy { ends_after, pace, ..Toy::new(&["w1", "w2"]) }, |_| {});
        let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
        let began = Instant::now();
        walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(least) && began.elapsed() < Duration::from_secs(50));
    }
    // No longer than the balancer itself lets a drain take.
    let pace = SteerPace { drains_within: Some(Duration::from_secs(10)), ..SteerPace::default() };
    let walk = walk(Toy { ends_after: None, pace, ..Toy::new(&["w1", "w2"]) }, |c| {
        c.drain_timeout = Duration::from_secs(3600);
    });
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    let began = Instant::now();
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_put_back_during_a_drain_is_taken_out_again() {
    let toy = Toy { ends_after: Some(6), ..Toy::new(&["w1", "w2"]) };
    let walk = walk(toy, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    let mut reload = Some(());
    let mut on = |_| {
        if reload.take().is_some() {
            behind(&walk, "a", "w1", |m| (m.admin, m.in_service) = (Admin::Ready, true));
        }
    };
    walk.drain("w1", &found, &mut on, &stop).await.unwrap();
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1", "out b/w1", "out a/w1"]);
    behind(&walk, "a", "w1", |m| m.admin = Admin::Ready);
    assert!(walk.ensure_out("w1", &found, &mut |_| {}, &stop).await.unwrap().is_some());
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_out_stays_out() {
    let toy = Toy::new(&["w1", "w2"]);
    toy.set("a", "w1", |m| (m.admin, m.in_service) = (Admin::Maint, false));
    let walk = walk(toy, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert_eq!(without_looks(walk.all.steer.calls()), ["out b/w1", "back b/w1"]);
    // An operator put it back meanwhile: it was found out.
    behind(&walk, "a", "w1", |m| m.admin = Admin::Ready);
    walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert_eq!(without_looks(walk.all.steer.calls()), ["out a/w1"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_taken_out_on_its_way_back_stays_out_and_ends_the_wait() {
    let toy = Toy { up_after: None, ..Toy::new(&["w1", "w2"]) };
    let walk = walk(toy, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    walk.all.steer.calls();
    let (began, mut said) = (Instant::now(), Vec::new());
    let mut on = |text: String| {
        for backend in ["a", "b"] {
            behind(&walk, backend, "w1", |m| m.admin = Admin::Maint);
        }
        said.push(text);
    };
    walk.restore("w1", &found, &mut on, &stop).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "the wait is over");
    assert_eq!(without_looks(walk.all.steer.calls()), ["back a/w1", "back b/w1"]);
    assert!(said.iter().any(|s| s.starts_with("a/w1: an operator has taken it out")), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_come_up_is_taken_out_again() {
    for interrupted in [false, true] {
        let toy = Toy { up_after: None, ..Toy::new(&["w1", "w2"]) };
        let walk = walk(toy, |_| {});
        let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
        walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
        walk.all.steer.calls();
        let mut on = |_| {
            if interrupted {
                stop.cancel();
            }
        };
        let error = walk.restore("w1", &found, &mut on, &stop).await.unwrap_err();
        assert_eq!(error.is_stopped(), interrupted, "{error}");
        assert!(interrupted || error.detail().contains("is out again"), "{error}");
        assert_eq!(
            without_looks(walk.all.steer.calls()),
            ["back a/w1", "back b/w1", "out a/w1", "out b/w1"],
            "{interrupted}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_and_arrives_leaves_no_server_in_unproven() {
    let walk = walk(Toy { arrives: true, ..Toy::new(&["w1", "w2"]) }, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    walk.all.steer.calls();
    walk.all.steer.fails.lock().unwrap().push("back a/w1".into());
    let error = walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap_err();
    assert!(error.detail().contains("refused"), "{error}");
    assert_eq!(without_looks(walk.all.steer.calls()), ["back a/w1", "out a/w1", "back b/w1"]);
    let now = walk.facts(&["w1".to_owned()]).await.unwrap();
    assert!(now[0].admin != Admin::Ready && now[1].admin == Admin::Ready, "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_way_back_leaves_in_what_was_in() {
    let walk = walk(Toy { up_after: None, ..Toy::new(&["w1", "w2"]) }, |_| {});
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    behind(&walk, "b", "w1", |m| (m.admin, m.in_service) = (Admin::Maint, false));
    let error = walk.restore("w1", &found, &mut |_| stop.cancel(), &stop).await.unwrap_err();
    assert!(error.is_stopped(), "{error}");
    assert_eq!(without_looks(walk.all.steer.calls()), ["back b/w1", "out b/w1"]);
}

#[tokio::test(start_paused = true)]
async fn what_lags_is_waited_for_on_the_way_out_and_on_the_way_back() {
    let walk = walk(Toy::new(&["w1", "w2"]), |c| {
        (c.wait_after_drain, c.wait_after_restore) = (Duration::from_secs(30), Duration::from_secs(50));
    });
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    let began = Instant::now();
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(30) && began.elapsed() < Duration::from_secs(50));
    let began = Instant::now();
    walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(50));
}

#[tokio::test(start_paused = true)]
async fn health_has_to_last() {
    let walk = walk(Toy::new(&["w1", "w2"]), |c| c.min_healthy_time = Duration::from_secs(10));
    let (found, stop) = (found(&walk, "w1").await, CancellationToken::new());
    walk.drain("w1", &found, &mut |_| {}, &stop).await.unwrap();
    let began = Instant::now();
    walk.restore("w1", &found, &mut |_| {}, &stop).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_given_up() {
    struct Hangs;
    impl Steer for Hangs {
        fn at(&self) -> String {
            "hangs".into()
        }
        fn pace(&self) -> SteerPace {
            SteerPace::default()
        }
        async fn look(&self, _: &[String]) -> Reading {
            std::future::pending().await
        }
        async fn take_out(&self, _: &MemberFacts) -> Result<(), BalancerError> {
            std::future::pending().await
        }
        async fn force(&self, _: &MemberFacts) -> Result<bool, BalancerError> {
            Ok(false)
        }
        async fn put_back(&self, _: &MemberFacts) -> Result<(), BalancerError> {
            Ok(())
        }
    }
    let config = config(BalancerKind::Haproxy { at: Vec::new(), backends: Vec::new(), access: Default::default() });
    let mut walk = Walked::new(Hangs, &config, vec!["w1".into()]);
    walk.limit(Duration::from_secs(7));
    let errors = walk.facts(&["w1".into()]).await.unwrap_err();
    assert!(errors[0].is_unreachable() && errors[0].detail().contains("within 7s"), "{errors:?}");
    assert!(walk.still_out("w1").await.unwrap_err().is_unreachable());
}
