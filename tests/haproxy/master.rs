//! Through the socket of a master process (`haproxy -W -S …`), which passes commands on to its current worker.

use std::time::Duration;

use pitcrew::balancer::{Draining, Snapshot};
use pitcrew::config::{BalancerAddress, OnDrainTimeout};
use tokio::time::{sleep, timeout};

use crate::apps::{is_here, load};
use crate::haproxy::proxy::{NAMES, Proxy, Shop, addresses, backends, balancer, config, names, open, three};

/// A shop whose haproxy is a master's worker, steered through the master.
async fn shop() -> Shop {
    let mut shop = Shop::open(three, |_| {}).await;
    shop.proxy = Proxy::start_as(shop.dir.path(), "mw", &three(shop.dir.path()), true).await;
    let mut through = config(&[]);
    *addresses(&mut through) = vec![BalancerAddress::Unix(shop.proxy.master_socket())];
    shop.balancer = balancer(&through);
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_masters_socket_leads_to_its_worker() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = shop().await;
    assert!(shop.found.members.iter().all(|m| m.in_service && m.size == 3));
    let (stop, requests) = load(shop.proxy.front());
    for (app, server) in shop.apps.iter().zip(NAMES) {
        assert_eq!(shop.drain(server).await, Ok(0));
        assert_eq!(shop.proxy.bits(server).await, "1", "the worker's own socket says so too");
        app.restart().await;
        shop.restore(server).await.unwrap();
        assert_eq!(shop.proxy.bits(server).await, "0");
    }
    stop.cancel();
    let (made, bad) = requests.await.unwrap();
    assert!(bad.is_empty() && made > 100, "{} of {made} requests failed: {:?}", bad.len(), bad.first());
}

#[tokio::test]
async fn a_new_worker_of_a_master_is_the_one_that_counts() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = shop().await;
    shop.drain("web1").await.unwrap();
    reload(&shop.proxy).await;
    // The new worker knows nothing of the drain.
    let back = async {
        while shop.balancer.still_out("web1").await.unwrap_or(true) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), back).await.unwrap();
    let again = shop.balancer.ensure_out("web1", &shop.found, &mut |_| {}, &shop.stop).await.unwrap();
    assert!(again.is_some() && shop.balancer.still_out("web1").await.unwrap());
    assert_eq!(shop.proxy.bits("web1").await, "1");
    shop.restore("web1").await.unwrap();
    assert_eq!(shop.proxy.bits("web1").await, "0");
}

#[tokio::test]
async fn a_master_says_what_does_not_exist_as_a_worker_does() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = shop().await;
    let errors = shop.balancer.facts(&["wbe1".into()]).await.unwrap_err();
    assert!(errors[0].detail().contains("no server wbe1") && errors[0].hint().contains("web1"), "{errors:?}");
    let mut wrong = config(&[]);
    *addresses(&mut wrong) = vec![BalancerAddress::Unix(shop.proxy.master_socket())];
    *backends(&mut wrong) = vec!["shoop".into()];
    let errors = balancer(&wrong).facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("no backend shoop") && errors[0].hint().contains("shop"), "{errors:?}");
}

#[tokio::test]
async fn connections_of_a_worker_before_a_reload_are_waited_for_and_can_be_ended() {
    if !is_here("haproxy", "-v") {
        return;
    }
    for policy in [OnDrainTimeout::Proceed, OnDrainTimeout::Kill] {
        let mut shop = shop().await;
        let request = shop.slow().await;
        reload(&shop.proxy).await;
        let replaced = async {
            while !shop.proxy.tell_master("show proc").await.contains("# old workers\n") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), replaced).await.unwrap();
        assert!(!shop.proxy.tell("show stat shop 4 -1").await.lines().any(|l| l.starts_with("shop,web1,0,0,1,")));
        let mut through = config(&[]);
        *addresses(&mut through) = vec![BalancerAddress::Unix(shop.proxy.master_socket())];
        through.on_drain_timeout = policy;
        if policy == OnDrainTimeout::Kill {
            through.drain_timeout = Duration::from_millis(300);
        }
        shop.balancer = balancer(&through);
        let (released, mut heard) = (shop.apps[0].release.clone(), Vec::new());
        let mut on = |draining: Draining| {
            heard.push(open(&draining));
            if policy == OnDrainTimeout::Proceed && heard.len() == 3 {
                released.notify_one();
            }
        };
        let drained = shop.balancer.drain("web1", &shop.found, &mut on, &shop.stop).await.unwrap();
        assert_eq!((drained.left, heard[0]), (Some(0), 1), "{policy:?}: {heard:?}");
        assert_eq!(request.await.unwrap() == "HTTP/1.1 200 OK", policy == OnDrainTimeout::Proceed, "{policy:?}");
    }
}

/// Has the master start a new worker.
async fn reload(proxy: &Proxy) {
    proxy.tell_master("reload").await;
}
