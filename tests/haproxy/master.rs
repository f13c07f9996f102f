//! Through the socket of a master process (`haproxy -W -S …`), which passes commands on to its current worker.

use std::time::Duration;

use pitcrew::balancer::Snapshot;
use pitcrew::config::BalancerAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::apps::{is_here, load};
use crate::proxy::{NAMES, Proxy, Shop, addresses, backends, balancer, config, names, three};

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
    assert!(errors[0].detail.contains("no server wbe1") && errors[0].hint.contains("web1"), "{errors:?}");
    let mut wrong = config(&[]);
    *addresses(&mut wrong) = vec![BalancerAddress::Unix(shop.proxy.master_socket())];
    *backends(&mut wrong) = vec!["shoop".into()];
    let errors = balancer(&wrong).facts(&names()).await.unwrap_err();
    assert!(errors[0].detail.contains("no backend shoop") && errors[0].hint.contains("shop"), "{errors:?}");
}

/// Has the master start a new worker.
async fn reload(proxy: &Proxy) {
    let mut wire = UnixStream::connect(proxy.master_socket()).await.unwrap();
    wire.write_all(b"reload;quit\n").await.unwrap();
    let _ = wire.read_to_end(&mut Vec::new()).await;
}
