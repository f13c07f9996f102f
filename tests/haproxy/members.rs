//! Members as HAProxy reports them over its own socket: what it forgets, and that no request is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pitcrew::balancer::{Admin, BalancerError, Draining, MemberFacts, Snapshot};
use pitcrew::config::{BalancerAddress, Least, LoadBalancer, OnDrainTimeout};
use pitcrew::facts::{ServerFacts, TakenOut, before};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::apps::{Mode, is_here, load};
use crate::haproxy::proxy::{
    NAMES, Proxy, Shop, addresses, backends as listed, balancer, config, names, open, servers, slow_to_change, three,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_request() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    assert!(shop.found.members.iter().all(|m| m.in_service && m.others_in_service == 2 && m.size == 3));
    let (stop, requests) = load(shop.proxy.front());
    for (app, server) in shop.apps.iter().zip(NAMES) {
        assert_eq!(shop.drain(server).await, Ok(0));
        assert!(shop.balancer.still_out(server).await.unwrap());
        assert_eq!(shop.proxy.bits(server).await, "1");
        app.restart().await;
        let mut heard = Vec::new();
        shop.balancer.restore(server, &shop.found, &mut |s| heard.push(s), &shop.stop).await.unwrap();
        assert!(heard.iter().any(|s| s.starts_with(&format!("shop/{server}: UP"))), "{heard:?}");
        let back = shop.look(server).await;
        assert!(back.in_service && back.status == "UP", "{back:?}");
    }
    stop.cancel();
    let (made, bad) = requests.await.unwrap();
    assert!(bad.is_empty(), "{} of {made} requests failed: {:?}", bad.len(), bad.first());
    assert!(made > 100, "only {made} requests were made");
}

#[tokio::test]
async fn what_does_not_exist_is_named_with_what_does() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    let errors = shop.balancer.facts(&["wbe1".into(), "web2".into(), "a;b".into()]).await.unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].detail().contains("the backend shop has no server wbe1"), "{:?}", errors[0]);
    assert!(errors[0].hint().contains("web1"), "{:?}", errors[0]);

    let mut wrong = config(&[&shop.proxy]);
    *listed(&mut wrong) = vec!["shop".into(), "shoop".into()];
    let errors = balancer(&wrong).facts(&names()).await.unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].detail().contains("no backend shoop") && errors[0].hint().contains("shop"), "{:?}", errors[0]);

    *listed(&mut wrong) = vec!["shop; show info".into()];
    assert!(balancer(&wrong).facts(&names()).await.unwrap_err()[0].detail().contains("';'"));

    *listed(&mut wrong) = vec!["shop".into()];
    *addresses(&mut wrong) = vec![BalancerAddress::Unix(shop.dir.path().join("lb.user.sock"))];
    let errors = balancer(&wrong).facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("level user") && errors[0].hint().contains("level admin"), "{errors:?}");
    let (members, errors) = balancer(&wrong).survey(&names()).await;
    assert_eq!((members.len(), errors.len()), (3, 1), "what may not be changed is shown: {members:?} {errors:?}");
    let error = balancer(&wrong).set("web1", Admin::Drain).await.unwrap_err();
    assert!(error.detail().contains("Permission denied") && error.hint().contains("level admin"), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0");
}

#[tokio::test]
async fn the_last_member_in_service_is_not_drained() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    // Side by side, and slow to take effect: each would find the others still in service if nothing kept them apart.
    let slow = slow_to_change(&shop.proxy);
    let mut through = config(&[&shop.proxy]);
    *addresses(&mut through) = vec![BalancerAddress::Unix(slow)];
    shop.balancer = balancer(&through);
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    let results = futures::future::join_all(NAMES.map(|n| shop.drain(n))).await;
    let refused: Vec<&BalancerError> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(refused.len(), 1, "{results:?}");
    assert!(refused[0].detail().contains("min_in_service is 1"), "{:?}", refused[0]);
    let kept = NAMES[results.iter().position(Result::is_err).unwrap()];
    assert_eq!(shop.proxy.bits(kept).await, "0", "nothing was changed there");
    // One that is out already needs no guard, and stays out.
    let out = NAMES[results.iter().position(Result::is_ok).unwrap()];
    assert_eq!(shop.drain(out).await, Ok(0));
}

#[tokio::test]
async fn backup_servers_do_not_count() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let backends = |dir: &Path| {
        let at = dir.display();
        format!(
            "backend shop\n  server web1 unix@{at}/web1 check\n  server web2 unix@{at}/web2 check backup\n\
             \x20 server web3 unix@{at}/web3 check backup\n"
        )
    };
    let shop = Shop::open(backends, |_| {}).await;
    assert!(shop.drain("web1").await.unwrap_err().detail().contains("leave 0 other members"));
    assert_eq!(shop.drain("web2").await, Ok(0));
}

#[tokio::test]
async fn what_was_out_stays_as_it_was() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    shop.proxy.tell("set server shop/web1 state maint;set server shop/web2 state drain").await;
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert_eq!(shop.found.members[0].admin, Admin::Maint);
    // Only web3 serves: neither needs the guard.
    assert_eq!(shop.drain("web1").await, Ok(0));
    assert_eq!(shop.drain("web2").await, Ok(0));
    assert_eq!((shop.proxy.bits("web1").await, shop.proxy.bits("web2").await), ("1".into(), "1".into()));
    for _ in 0..2 {
        shop.restore("web1").await.unwrap();
        shop.restore("web2").await.unwrap();
        assert_eq!((shop.proxy.bits("web1").await, shop.proxy.bits("web2").await), ("1".into(), "8".into()));
    }
}

#[tokio::test]
async fn a_tracking_server_is_left_to_the_one_it_tracks() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let backends = |dir: &Path| {
        let at = dir.display();
        format!(
            "backend shop\n  server web1 unix@{at}/web1 track other/o1\n  server web2 unix@{at}/web2 check\n\
             \x20 server web3 unix@{at}/web3 check\nbackend other\n  server o1 unix@{at}/web1 check\n"
        )
    };
    let mut shop = Shop::open(backends, |_| {}).await;
    shop.proxy.tell("set server other/o1 state maint").await;
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert_eq!(shop.drain("web1").await, Ok(0));
    shop.restore("web1").await.unwrap();
    assert_eq!(shop.proxy.bits("web1").await, "2", "neither drain nor restore set anything");
    // Taken out while it was ready, it goes its own way out and back.
    shop.proxy.tell("set server other/o1 state ready").await;
    shop.proxy.status("web1", "UP").await;
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert_eq!(shop.drain("web1").await, Ok(0));
    assert_eq!(shop.proxy.bits("web1").await, "1");
    shop.restore("web1").await.unwrap();
    assert_eq!(shop.proxy.bits("web1").await, "0");
}

#[tokio::test]
async fn members_that_track_one_another_come_back_together() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // As for web sockets: one backend has the checks, the other goes by them.
    let backends = |dir: &Path| {
        let ws = |n| format!("  server web{n} unix@{}/web{n} track shop/web{n}\n", dir.display());
        format!("{}backend ws\n{}{}{}", three(dir), ws(1), ws(2), ws(3))
    };
    for order in [["shop", "ws"], ["ws", "shop"]] {
        let shop = Shop::open(backends, |c| *listed(c) = order.map(str::to_owned).into()).await;
        assert_eq!(shop.found.members.iter().filter(|m| m.in_service).count(), 6);
        for _ in 0..2 {
            assert_eq!(shop.drain("web1").await, Ok(0));
            let out = shop.balancer.facts(&["web1".into()]).await.unwrap();
            assert!(out.iter().all(|m| m.admin == Admin::Maint), "{out:?}");
            shop.restore("web1").await.unwrap();
            let back = shop.balancer.facts(&["web1".into()]).await.unwrap();
            assert!(back.len() == 2 && back.iter().all(|m| m.in_service && m.bits == 0), "{back:?}");
        }
    }
}

#[tokio::test]
async fn a_reload_that_puts_it_back_is_noticed() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    shop.drain("web1").await.unwrap();
    assert!(shop.balancer.still_out("web1").await.unwrap());
    let again = shop.balancer.ensure_out("web1", &shop.found, &mut |_| {}, &shop.stop).await.unwrap();
    assert_eq!(again, None);
    shop.proxy.lose_state().await;
    assert!(!shop.balancer.still_out("web1").await.unwrap());
    let again = shop.balancer.ensure_out("web1", &shop.found, &mut |_| {}, &shop.stop).await.unwrap();
    assert_eq!(again.map(|d| d.left), Some(Some(0)));
    assert_eq!(shop.proxy.bits("web1").await, "1");
    shop.restore("web1").await.unwrap();
    // A reload did the work of restore: only the proof is left to do.
    shop.drain("web2").await.unwrap();
    shop.proxy.lose_state().await;
    shop.restore("web2").await.unwrap();
    assert!(shop.look("web2").await.in_service);
}

#[tokio::test]
async fn a_reload_during_the_wait_is_made_good() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    let request = shop.slow().await;
    // Far longer than the test may take: the wait must end since the server is out, not since its time is up.
    let patient = LoadBalancer { drain_timeout: Duration::from_secs(600), ..config(&[&shop.proxy]) };
    let (balancer, found, stop) = (balancer(&patient), shop.found.clone(), shop.stop.clone());
    let (sender, mut heard) = watch::channel(0);
    let drain = tokio::spawn(async move {
        balancer.drain("web1", &found, &mut |heard| sender.send(open(&heard)).unwrap(), &stop).await
    });
    timeout(Duration::from_secs(20), heard.wait_for(|open| *open == 1)).await.unwrap().unwrap();
    shop.proxy.lose_state().await;
    let drained = timeout(Duration::from_secs(60), drain).await.unwrap().unwrap();
    assert_eq!(drained.map(|d| d.left), Ok(Some(0)));
    assert_eq!(shop.proxy.bits("web1").await, "1");
    drop(request);
}

#[tokio::test]
async fn connections_that_do_not_end_are_left_killed_or_fail_the_drain() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let short = |policy| {
        move |c: &mut LoadBalancer| {
            c.drain_timeout = Duration::from_millis(700);
            c.on_drain_timeout = policy;
        }
    };
    let mut shop = Shop::open(three, short(OnDrainTimeout::Proceed)).await;
    let request = shop.slow().await;

    shop.with(short(OnDrainTimeout::Fail));
    let error = shop.drain("web1").await.unwrap_err();
    assert!(error.detail().starts_with("1 connections were still open after 700ms"), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0", "put back");

    shop.with(short(OnDrainTimeout::Proceed));
    let mut heard = Vec::new();
    let drained = shop.balancer.drain("web1", &shop.found, &mut |n| heard.push(n), &shop.stop).await.unwrap();
    assert_eq!(drained.left, Some(1));
    assert!(drained.waited >= Duration::from_millis(700) && heard.iter().all(|h| open(h) == 1) && heard.len() > 3);
    assert_eq!(shop.proxy.bits("web1").await, "1");

    // It was not harmed by any of this.
    shop.apps[0].release.notify_one();
    assert_eq!(request.await.unwrap(), "HTTP/1.1 200 OK");
    shop.restore("web1").await.unwrap();

    shop.apps[0].slow.store(0, Ordering::SeqCst);
    let request = shop.slow().await;
    shop.with(short(OnDrainTimeout::Kill));
    assert_eq!(shop.drain("web1").await, Ok(0));
    assert_ne!(request.await.unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(shop.proxy.bits("web1").await, "1");
}

#[tokio::test]
async fn a_pair_is_drained_and_restored_together() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    let mut other = Proxy::start(shop.dir.path(), "other", &three(shop.dir.path())).await;
    let mut pair = config(&[&shop.proxy, &other]);
    pair.restore_timeout = Duration::from_secs(10);
    shop.balancer = balancer(&pair);
    let alone = shop.found.clone();
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert_eq!(shop.found.members.len(), 6);

    let (stop, requests) = load(other.front());
    shop.drain("web1").await.unwrap();
    assert_eq!((shop.proxy.bits("web1").await, other.bits("web1").await), ("1".into(), "1".into()));
    shop.apps[0].restart().await;
    shop.restore("web1").await.unwrap();
    assert_eq!((shop.proxy.bits("web1").await, other.bits("web1").await), ("0".into(), "0".into()));
    stop.cancel();
    assert_eq!(requests.await.unwrap().1, Vec::<String>::new());

    // What only one refuses is left alone on both.
    other.tell("set server shop/web2 state maint;set server shop/web3 state maint").await;
    let error = shop.drain("web1").await.unwrap_err();
    assert!(error.at.ends_with("other.sock"), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0");
    other.tell("set server shop/web2 state ready;set server shop/web3 state ready").await;

    // What was not asked about before is not touched.
    let error = shop.balancer.drain("web1", &alone, &mut |_| {}, &shop.stop).await.unwrap_err();
    assert!(error.detail().contains("not known"), "{error:?}");

    // One that is gone does not keep the other from being restored.
    shop.drain("web1").await.unwrap();
    other.kill();
    let error = shop.restore("web1").await.unwrap_err();
    assert!(error.is_unreachable() && error.at.ends_with("other.sock"), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0");
    // And nothing is drained on one alone.
    let error = shop.drain("web2").await.unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    assert_eq!(shop.proxy.bits("web2").await, "0");
}

/// Makes a socket that passes everything on to another but changes of state, which it refuses.
fn refusing(dir: &Path, to: std::path::PathBuf) -> std::path::PathBuf {
    let path = dir.join("refusing.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                line.push(tokio::io::AsyncReadExt::read_u8(&mut from).await.unwrap());
            }
            if line.starts_with(b"set server") {
                from.write_all(b"Permission denied\n\n").await.unwrap();
                continue;
            }
            let mut to = tokio::net::UnixStream::connect(&to).await.unwrap();
            to.write_all(&line).await.unwrap();
            tokio::io::copy(&mut to, &mut from).await.unwrap();
        }
    });
    path
}

#[tokio::test]
async fn what_the_second_of_a_pair_refuses_is_undone_on_the_first() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    let other = Proxy::start(shop.dir.path(), "other", &three(shop.dir.path())).await;
    let mut pair = config(&[&shop.proxy, &other]);
    addresses(&mut pair)[1] = BalancerAddress::Unix(refusing(shop.dir.path(), other.socket()));
    shop.balancer = balancer(&pair);
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    let (stop, requests) = load(shop.proxy.front());
    let error = shop.drain("web1").await.unwrap_err();
    assert!(error.at.contains("refusing.sock") && error.detail().contains("Permission denied"), "{error:?}");
    assert_eq!((shop.proxy.bits("web1").await, other.bits("web1").await), ("0".into(), "0".into()));
    shop.proxy.status("web1", "UP").await;
    stop.cancel();
    assert_eq!(requests.await.unwrap().1, Vec::<String>::new());
}

#[tokio::test]
async fn what_lags_is_waited_for() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let wait = Duration::from_millis(600);
    let change = |c: &mut LoadBalancer| {
        c.restore_timeout = Duration::from_secs(15);
        (c.wait_after_drain, c.wait_after_restore) = (wait, wait);
    };
    let shop = Shop::open(|dir| servers(dir, "check weight 100"), change).await;
    let began = tokio::time::Instant::now();
    shop.drain("web1").await.unwrap();
    assert!(began.elapsed() >= wait);
    let began = tokio::time::Instant::now();
    shop.restore("web1").await.unwrap();
    assert!(began.elapsed() >= wait);
}

/// What HAProxy shows for the percent of its share that a server takes while it starts; empty when it has started.
async fn throttle(shop: &Shop, server: &str) -> String {
    let stat = shop.proxy.tell("show stat shop 4 -1").await;
    let row = stat.lines().find(|l| l.starts_with(&format!("shop,{server},"))).unwrap();
    row.split(',').nth(29).unwrap().to_owned()
}

#[tokio::test]
async fn back_is_back_at_full_strength() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let change = |c: &mut LoadBalancer| c.restore_timeout = Duration::from_secs(60);
    let shop = Shop::open(|dir| servers(dir, "check slowstart 3s weight 100"), change).await;
    shop.drain("web1").await.unwrap();
    let mut said = Vec::new();
    let mut hear = |progress| said.push(format!("{progress:?}"));
    shop.balancer.restore("web1", &shop.found, &mut hear, &shop.stop).await.unwrap();
    assert_eq!(throttle(&shop, "web1").await, "", "it takes its whole share: {said:?}");
    assert!(said.iter().any(|s| s.contains("slowstart")), "{said:?}");
}

#[tokio::test]
async fn servers_without_checks_are_restored_without_waiting_for_any() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = Shop::open(|dir| servers(dir, ""), |c| c.restore_timeout = Duration::from_secs(5)).await;
    shop.drain("web1").await.unwrap();
    assert_eq!(shop.proxy.bits("web1").await, "1");
    shop.restore("web1").await.unwrap();
    let back = shop.look("web1").await;
    assert_eq!((back.admin, back.status.as_str(), back.in_service), (Admin::Ready, "no check", true));
}

#[tokio::test]
async fn what_fails_its_checks_stays_out() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // With `fall 1` a server that leaves maint has full health before any check: that must not pass for proof.
    for options in ["check", "check fall 1", "check rise 1 fall 1"] {
        let shop = Shop::open(|dir| servers(dir, options), |c| c.restore_timeout = Duration::from_secs(4)).await;
        shop.drain("web1").await.unwrap();
        shop.apps[0].set(Mode::Unavailable);
        let (stop, requests) = load(shop.proxy.front());
        let error = shop.restore("web1").await.unwrap_err();
        assert!(error.detail().contains("did not pass") && error.detail().contains("503"), "{options}: {error:?}");
        assert!(error.detail().contains("stays in maint"), "{options}: {error:?}");
        assert_eq!(shop.proxy.bits("web1").await, "1", "{options}");
        shop.apps[0].set(Mode::Up);
        shop.restore("web1").await.unwrap();
        assert!(shop.look("web1").await.in_service, "{options}");
        stop.cancel();
        assert_eq!(requests.await.unwrap().1, Vec::<String>::new(), "{options}: it never got a request in between");
    }
}

#[tokio::test]
async fn a_server_taken_out_on_its_way_back_stays_out_and_ends_the_wait() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // One whose proof takes long, and one that is ready already and has to stay up; what the socket is told, and shows.
    for (options, at_work, state, shown) in
        [("check inter 30s", "8", "maint", "1"), ("check", "0", "maint", "1"), ("check", "0", "drain", "8")]
    {
        let shop = Shop::open(|dir| servers(dir, options), |c| c.min_healthy_time = Duration::from_secs(1000)).await;
        shop.drain("web1").await.unwrap();
        let meddling = async {
            while shop.proxy.bits("web1").await != at_work {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            shop.proxy.tell(&format!("set server shop/web1 state {state}")).await;
        };
        let restoring = tokio::time::timeout(Duration::from_secs(60), shop.restore("web1"));
        let (restored, ()) = tokio::join!(restoring, meddling);
        restored.expect("it waits for what will never be").unwrap();
        assert_eq!(shop.proxy.bits("web1").await, shown, "{options}, {state}");
    }
}

#[tokio::test]
async fn a_server_of_weight_0_is_restored_to_that() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |c| c.restore_timeout = Duration::from_secs(10)).await;
    shop.proxy.tell("set server shop/web1 weight 0").await;
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert!(!shop.found.members[0].in_service && shop.found.members[1].others_in_service == 1);
    shop.drain("web1").await.unwrap();
    shop.restore("web1").await.unwrap();
    let back = shop.look("web1").await;
    assert_eq!((back.admin, back.in_service), (Admin::Ready, false), "{back:?}");
}

#[tokio::test]
async fn an_interrupted_drain_puts_back_and_an_interrupted_restore_stays_out() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    let _request = shop.slow().await;
    let stop = CancellationToken::new();
    let mut hear = |heard| {
        if open(&heard) > 0 {
            stop.cancel();
        }
    };
    let error = shop.balancer.drain("web1", &shop.found, &mut hear, &stop).await.unwrap_err();
    assert!(error.is_stopped(), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0");
    assert!(shop.look("web1").await.in_service);

    shop.apps[0].release.notify_one();
    shop.drain("web1").await.unwrap();
    shop.apps[0].set(Mode::Unavailable);
    let stop = CancellationToken::new();
    let mut hear = |how: String| {
        if how.contains("DOWN") {
            stop.cancel();
        }
    };
    let error = shop.balancer.restore("web1", &shop.found, &mut hear, &stop).await.unwrap_err();
    assert!(error.is_stopped(), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "1");
}

#[tokio::test]
async fn a_server_that_was_down_is_not_put_back_as_up() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let fail = |c: &mut LoadBalancer| {
        c.drain_timeout = Duration::from_millis(300);
        c.on_drain_timeout = OnDrainTimeout::Fail;
    };
    let quick = |c: &mut LoadBalancer| c.restore_timeout = Duration::from_secs(2);
    let shop = Shop::open(three, fail).await;
    let _request = shop.slow().await;
    shop.apps[0].set(Mode::Unavailable);
    shop.proxy.status("web1", "DOWN").await;
    let (stop, requests) = load(shop.proxy.front());
    let error = shop.drain("web1").await.unwrap_err();
    assert!(error.detail().contains("still open"), "{error:?}");
    let now = shop.look("web1").await;
    assert_eq!((now.admin, now.in_service), (Admin::Ready, false), "{now:?}");

    // On the way back of a run that failed it is as it was; a new release would have to be up.
    let found = Snapshot { members: vec![now] };
    for (shop, is_old) in [(Shop::open(three, quick).await, true), (Shop::open(three, quick).await, false)] {
        shop.apps[0].set(Mode::Unavailable);
        shop.proxy.status("web1", "DOWN").await;
        let found =
            Snapshot { members: vec![MemberFacts { at: shop.look("web1").await.at, ..found.members[0].clone() }] };
        shop.balancer.drain("web1", &found, &mut |_| {}, &shop.stop).await.unwrap();
        let found = if is_old { found.as_before() } else { found };
        let back = shop.balancer.restore("web1", &found, &mut |_| {}, &shop.stop).await;
        assert_eq!(back.is_ok(), is_old, "{back:?}");
        let now = shop.look("web1").await;
        assert_eq!((now.admin == Admin::Ready, now.in_service), (is_old, false), "{now:?}");
        // Once its checks pass it serves.
        shop.apps[0].set(Mode::Up);
        if is_old {
            shop.proxy.status("web1", "UP").await;
        }
    }
    stop.cancel();
    assert_eq!(requests.await.unwrap().1, Vec::<String>::new(), "it never got a request");
}

#[tokio::test]
async fn an_agent_does_not_end_a_drain() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Notify::new());
    let heard = asked.clone();
    let agent = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"ready\n").await;
            heard.notify_waiters();
        }
    });
    let options = format!("check agent-check agent-addr 127.0.0.1 agent-port {port} agent-inter 100ms");
    let shop = Shop::open(|dir| servers(dir, &options), |_| {}).await;
    assert!(shop.found.members.iter().all(|m| m.agent));
    let enabled = async |server: &str| {
        let state = shop.proxy.tell("show servers state shop").await;
        let row = state.lines().find(|l| l.split(' ').nth(3) == Some(server)).unwrap().to_owned();
        row.split(' ').nth(14).unwrap().parse::<u32>().unwrap() & 4 == 4
    };
    shop.drain("web1").await.unwrap();
    assert!(!enabled("web1").await && enabled("web2").await);
    for _ in 0..20 {
        // The agents of the others go on saying `ready`.
        timeout(Duration::from_secs(20), asked.notified()).await.unwrap();
    }
    assert!(shop.balancer.still_out("web1").await.unwrap());
    shop.restore("web1").await.unwrap();
    assert!(enabled("web1").await && shop.look("web1").await.in_service);

    // By hand: what put it out has ended, and left a note of how it was found.
    shop.drain("web1").await.unwrap();
    let found = shop.found.members.iter().filter(|m| m.member == "web1").cloned().collect();
    let taken_out = Some(TakenOut { found, ..TakenOut::default() });
    let own = ServerFacts { taken_out, ..ServerFacts::default() };
    let found = Snapshot { members: before(Some(&own), &[shop.look("web1").await]) };
    shop.balancer.restore("web1", &found, &mut |_| {}, &shop.stop).await.unwrap();
    assert!(enabled("web1").await, "it has its say again");
    // A run that left it out has a note in no place but one that says so.
    shop.drain("web1").await.unwrap();
    let own = ServerFacts { behind: Some("run-1 drained".into()), ..ServerFacts::default() };
    let found = Snapshot { members: before(Some(&own), &[shop.look("web1").await]) };
    shop.balancer.restore("web1", &found, &mut |_| {}, &shop.stop).await.unwrap();
    assert!(enabled("web1").await);
    agent.abort();
}

#[tokio::test]
async fn a_drain_waits_for_others_to_be_up_and_a_restore_for_health_that_lasts() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let change = |c: &mut LoadBalancer| {
        c.capacity_timeout = Duration::from_secs(20);
        c.min_in_service = Least::Percent(50);
        c.min_healthy_time = Duration::from_secs(2);
    };
    let shop = Shop::open(three, change).await;
    shop.apps[2].set(Mode::Refusing);
    shop.proxy.status("web3", "DOWN").await;
    let mut heard = Vec::new();
    // Half of three is two, and one is down: it has to come up first.
    let mut on = |d: Draining| {
        if heard.is_empty() {
            shop.apps[2].set(Mode::Up);
        }
        heard.push(d);
    };
    shop.balancer.drain("web1", &shop.found, &mut on, &shop.stop).await.unwrap();
    let Some(Draining::Waiting(why)) = heard.first() else { panic!("{heard:?}") };
    assert!(why.starts_with("shop/web1: ") && why.contains("1 other") && why.contains("50% (2 here)"), "{why}");
    let began = tokio::time::Instant::now();
    shop.restore("web1").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
    // It flaps: what was up for a moment is not back.
    shop.drain("web1").await.unwrap();
    let mut flapped = false;
    let mut on = |text: String| {
        if text.contains(": UP") && !flapped {
            flapped = true;
            shop.apps[0].set(Mode::Refusing);
        } else if text.contains(": DOWN") && flapped {
            shop.apps[0].set(Mode::Up);
        }
    };
    shop.balancer.restore("web1", &shop.found, &mut on, &shop.stop).await.unwrap();
    assert!(flapped && shop.look("web1").await.status == "UP");
}

#[tokio::test]
async fn a_start_that_is_slower_than_the_limit_is_said_and_counts() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let change = |c: &mut LoadBalancer| c.restore_timeout = Duration::from_secs(3);
    let shop = Shop::open(|dir| servers(dir, "check slowstart 10m"), change).await;
    shop.drain("web1").await.unwrap();
    shop.apps[0].restart().await;
    // Far sooner than its full share of the traffic comes back.
    let mut said = Vec::new();
    let mut hear = |progress| said.push(format!("{progress:?}"));
    shop.balancer.restore("web1", &shop.found, &mut hear, &shop.stop).await.unwrap();
    assert!(said.iter().any(|s| s.contains("the run goes on")), "{said:?}");
    assert_ne!(throttle(&shop, "web1").await, "");
    let state = shop.proxy.tell("show servers state shop").await;
    let row = state.lines().find(|l| l.split(' ').nth(3) == Some("web1")).unwrap();
    assert_eq!(row.split(' ').nth(5), Some("1"), "it starts slowly: {row}");
    assert!(shop.look("web1").await.in_service);
    assert_eq!(shop.look("web2").await.others_in_service, 2, "and counts for others");
    assert_eq!(shop.drain("web2").await, Ok(0));
}

#[tokio::test]
async fn empty_slots_of_a_template_are_no_capacity() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let slots = |dir: &Path| format!("{}  server-template spare 6 nowhere.invalid:80 init-addr none\n", three(dir));
    let shop = Shop::open(slots, |c| c.min_in_service = Least::Percent(50)).await;
    assert_eq!(shop.look("web1").await.size, 3, "{}", shop.proxy.tell("show servers state shop").await);
    assert_eq!(shop.drain("web1").await, Ok(0));
    shop.restore("web1").await.unwrap();
}

/// What was found names a backend that has another name by now, in the balancer and in the file.
#[tokio::test]
async fn a_server_comes_back_to_a_backend_that_was_renamed() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    shop.drain("web1").await.unwrap();
    assert_eq!(shop.look("web1").await.admin, Admin::Maint);
    shop.found.members.iter_mut().for_each(|m| m.backend = "before".to_owned());
    shop.restore("web1").await.unwrap();
    let back = shop.look("web1").await;
    assert!(back.admin == Admin::Ready && back.in_service, "{back:?}");

    // Where today's backends do not have it, the record is not dropped: what is out is named.
    shop.found.members.iter_mut().for_each(|m| m.backend = "shop".to_owned());
    shop.drain("web2").await.unwrap();
    shop.found.members.iter_mut().for_each(|m| m.backend = "before".to_owned());
    shop.with(|c| *listed(c) = vec!["renamed".into()]);
    let error = shop.restore("web2").await.unwrap_err().to_string();
    assert!(error.contains("before/web2") || error.contains("renamed"), "{error}");
}

/// Cookies that bind clients to a server, whatever its state.
#[tokio::test]
async fn a_server_that_is_out_and_gets_requests_all_the_same_is_not_restarted() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let ask = async |shop: &Shop, cookie: &str| {
        let mut stream = tokio::net::UnixStream::connect(shop.proxy.front()).await.unwrap();
        let request = format!("GET / HTTP/1.0\r\nHost: shop\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await;
    };
    for persist in ["option persist", "force-persist if TRUE", ""] {
        let config = |dir: &Path| {
            let line = |n| format!("  server web{n} unix@{}/web{n} check cookie web{n}\n", dir.display());
            format!(
                "backend shop\n  cookie SRV insert indirect nocache\n  {persist}\n{}{}{}",
                line(1),
                line(2),
                line(3)
            )
        };
        let shop = Shop::open(config, |_| {}).await;
        shop.drain("web1").await.unwrap();
        let out = async || shop.balancer.ensure_out("web1", &shop.found, &mut |_| {}, &shop.stop).await;
        assert_eq!(out().await.unwrap(), None, "{persist}: nothing was asked yet");
        ask(&shop, "SRV=web1").await;
        ask(&shop, "SRV=web1").await;
        if persist.is_empty() {
            assert_eq!(out().await.unwrap(), None);
            continue;
        }
        let error = out().await.unwrap_err();
        assert!(
            error.detail().contains("was sent 2 more requests") && error.hint().contains("force-persist"),
            "{error:?}"
        );
        shop.restore("web1").await.unwrap();
        assert!(shop.look("web1").await.in_service);
    }
}
