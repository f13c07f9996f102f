//! Who is who in a real haproxy: addresses, what else sends a server traffic, servers in some of the backends.

use std::path::Path;

use pitcrew::balancer::{Admin, Around, Balancer, MemberFacts, Snapshot};
use pitcrew::config::{ApiUrl, Least, LoadBalancer, Scheme, Server};
use pitcrew::name::ServerName;
use tokio_util::sync::CancellationToken;

use crate::apps::is_here;
use crate::haproxy::api::{behind, made};
use crate::haproxy::dataplane::{Api, PASSWORD, Release};
use crate::haproxy::proxy::{Proxy, backends, balancer, config};

/// A frontend of the backend's name; a host that is there twice; backends that the stack does not drain.
fn crowded(dir: &Path) -> String {
    format!(
        "frontend shop\n  bind unix@{}/second.front\n  default_backend shop\n\
         backend shop\n  server web1 127.0.0.11:8080\n  server web2 127.0.0.12:8080\n  server extra 127.0.0.11:8081\n\
         backend api\n  server web1 127.0.0.11:8080\n  server web3 127.0.0.13:8080\n\
         backend admin\n  server w1 127.0.0.11:8080\n\
         backend cron\n  server web1 127.0.0.11:9999\n\
         backend gone\n  server w1 127.0.0.11:8080 disabled\n",
        dir.display()
    )
}

/// The ways to one haproxy, each with a double of a Data Plane API where it needs one.
async fn ways(proxy: &Proxy, change: impl Fn(&mut LoadBalancer)) -> Vec<(String, Balancer, Option<Api>)> {
    let mut socket = config(&[proxy]);
    change(&mut socket);
    let mut ways = vec![("socket".to_owned(), balancer(&socket), None)];
    for release in [Release::V2_9, Release::V3_0, Release::V3_4] {
        let api = Api::start(proxy.socket(), release, None).await;
        let host = "localhost".to_owned();
        let url = ApiUrl { scheme: Scheme::Http, host, port: Some(api.port), base: String::new(), version: None };
        let mut through = behind(&[url]);
        change(&mut through);
        ways.push((format!("{release:?}"), made(&through, PASSWORD).unwrap(), Some(api)));
    }
    ways
}

async fn ask(balancer: &Balancer, names: &[&str]) -> Vec<MemberFacts> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    balancer.facts(&names).await.unwrap()
}

#[tokio::test]
async fn a_member_tells_its_address_and_what_else_sends_its_host_traffic() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(dir.path(), "lb", &crowded(dir.path())).await;
    for (way, balancer, _api) in ways(&proxy, |_| ()).await {
        let members = ask(&balancer, &["web1", "web2"]).await;
        let told: Vec<(&str, Option<u16>)> = members.iter().map(|m| (m.address.as_str(), m.port)).collect();
        assert_eq!(told, [("127.0.0.11", Some(8080)), ("127.0.0.12", Some(8080))], "{way}");
        // Another port under another name is another application; what is out is sent nothing.
        assert_eq!(members[0].also, ["shop/extra", "api/web1", "admin/w1", "cron/web1"], "{way}");
        assert_eq!(members[1].also, Vec::<String>::new(), "{way}");
    }
    // A backend that the stack drains is none of the others.
    for (way, balancer, _api) in ways(&proxy, |config| *backends(config) = vec!["shop".into(), "api".into()]).await {
        let members = ask(&balancer, &["web1"]).await;
        assert_eq!(members.len(), 2, "{way}");
        assert_eq!(
            members[0].also,
            ["shop/extra", "api/web1", "admin/w1", "cron/web1"],
            "{way}: not known as the stack's\n{members:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_in_some_of_the_backends_is_drained_there() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(dir.path(), "lb", &crowded(dir.path())).await;
    let both = |config: &mut LoadBalancer| *backends(config) = vec!["shop".into(), "api".into()];
    let stop = CancellationToken::new();
    for (way, balancer, _api) in ways(&proxy, both).await {
        for (server, places) in [("web1", &["shop", "api"][..]), ("web2", &["shop"]), ("web3", &["api"])] {
            let found = Snapshot { members: ask(&balancer, &[server]).await };
            let listed: Vec<&str> = found.members.iter().map(|m| m.backend.as_str()).collect();
            assert_eq!(listed, places, "{way} {server}");
            balancer.drain(server, &found, &mut |_| {}, &stop).await.unwrap();
            assert!(balancer.still_out(server).await.unwrap(), "{way} {server}");
            let out = ask(&balancer, &[server]).await;
            assert!(out.iter().all(|m| m.admin == Admin::Maint) && out.len() == places.len(), "{way} {out:?}");
            balancer.restore(server, &found, &mut |_| {}, &stop).await.unwrap();
            assert!(ask(&balancer, &[server]).await.iter().all(|m| m.in_service), "{way} {server}");
            balancer.set(server, Admin::Maint).await.unwrap();
            assert!(balancer.still_out(server).await.unwrap(), "{way} {server}");
            balancer.set(server, Admin::Ready).await.unwrap();
        }
        // One that is in none of them is said of each.
        let errors = balancer.facts(&["web9".to_owned()]).await.unwrap_err();
        assert_eq!(errors.len(), 2, "{way} {errors:?}");
        // A place that was not asked about could not be restored.
        let mut half = Snapshot { members: ask(&balancer, &["web1"]).await };
        half.members.pop();
        let refused = balancer.drain("web1", &half, &mut |_| {}, &stop).await.unwrap_err();
        assert!(refused.detail().contains("is not known"), "{way} {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_a_backend_has_twice_is_drained_by_both_names_or_by_none() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(dir.path(), "lb", &crowded(dir.path())).await;
    let both = ["web1".to_owned(), "extra".to_owned()];
    let named = |name: &str, lb: &[String]| Server {
        name: ServerName(name.into()),
        host: name.into(),
        user: None,
        port: None,
        roles: vec!["web".into()],
        lb: lb.to_vec(),
        line: 1,
    };
    let servers = vec![named("web1", &both), named("web2", &["web2".to_owned()])];
    let stop = CancellationToken::new();
    for (least, works) in [(1, true), (2, false)] {
        let settings = LoadBalancer { min_in_service: Least::Count(least), ..config(&[&proxy]) };
        let around = Around { servers: servers.clone(), ..Around::default() };
        let balancer = Balancer::new(&settings, around).unwrap();
        let found = Snapshot { members: balancer.facts(&both).await.unwrap() };
        // What the stack drains itself is not named as what it does not drain.
        assert_eq!(found.members[0].also, ["api/web1", "admin/w1", "cron/web1"]);
        let drained = balancer.drain(&both[..], &found, &mut |_| {}, &stop).await;
        assert_eq!(drained.is_ok(), works, "{drained:?}");
        // The second would have left too few: the first is back.
        let out: Vec<bool> = balancer.facts(&both).await.unwrap().iter().map(|m| !m.in_service).collect();
        assert_eq!(out, [works, works]);
        assert_eq!(balancer.still_out(&both[..]).await.unwrap(), works);
        assert_eq!(balancer.ensure_out(&both[..1], &found, &mut |_| {}, &stop).await.unwrap().is_none(), works);
        balancer.restore(&both[..], &found, &mut |_| {}, &stop).await.unwrap();
        assert!(balancer.facts(&both).await.unwrap().iter().all(|m| m.in_service));
    }
}
