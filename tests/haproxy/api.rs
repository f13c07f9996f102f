//! Through a Data Plane API: the same sequence, proven the same way; what it cannot do is refused, and its faults are told.

use std::path::Path;
use std::time::Duration;

use pitcrew::balancer::{Admin, Around, Balancer, BalancerError, Snapshot};
use pitcrew::config::{
    ApiLogin, ApiUrl, ApiVersion, BalancerAddress, BalancerKind, LoadBalancer, OnDrainTimeout, Scheme,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::apps::{Mode, is_here, load};
use crate::haproxy::dataplane::{Api, Fault, PASSWORD, Release, SOON, USER, certify};
use crate::haproxy::proxy::{NAMES, Proxy, Shop, addresses, backends as backends_of, config, names, servers, three};

const SECRET: &str = "LB_PASSWORD";

fn url(api: &Api, version: Option<ApiVersion>) -> ApiUrl {
    ApiUrl { scheme: Scheme::Http, host: "localhost".into(), port: Some(api.port), base: String::new(), version }
}

/// The settings for a stack behind these APIs.
pub fn behind(urls: &[ApiUrl]) -> LoadBalancer {
    let mut config = config(&[]);
    *addresses(&mut config) = urls.iter().cloned().map(BalancerAddress::Api).collect();
    access(&mut config).login = Some(ApiLogin { user: USER.into(), secret: SECRET.into() });
    config
}

pub fn access(config: &mut LoadBalancer) -> &mut pitcrew::config::HaproxyAccess {
    let BalancerKind::Haproxy { access, .. } = &mut config.kind else { panic!("not HAProxy") };
    access
}

pub fn made(config: &LoadBalancer, password: &str) -> Result<Balancer, String> {
    let env = vec![(SECRET.to_owned(), password.to_owned())];
    Balancer::new(config, Around { env, ..Around::default() })
}

/// A shop whose balancer is steered through an API of this release; the version is found out.
async fn shop(release: Release, backends: impl Fn(&Path) -> String, change: impl Fn(&mut LoadBalancer)) -> (Shop, Api) {
    let mut shop = Shop::open(backends, |_| {}).await;
    let api = Api::start(shop.proxy.socket(), release, None).await;
    let mut config = behind(&[url(&api, None)]);
    change(&mut config);
    shop.balancer = made(&config, PASSWORD).unwrap();
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    (shop, api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_through_either_version_loses_no_request() {
    if !is_here("haproxy", "-v") {
        return;
    }
    for (release, version) in [(Release::V2_9, "v2"), (Release::V3_0, "v3"), (Release::V3_4, "v3")] {
        let (shop, api) = shop(release, three, |_| {}).await;
        assert!(shop.found.members.iter().all(|m| m.in_service && m.others_in_service == 2));
        let (stop, requests) = load(shop.proxy.front());
        for (app, server) in shop.apps.iter().zip(NAMES) {
            assert_eq!(shop.drain(server).await, Ok(0), "{release:?}");
            assert!(shop.balancer.still_out(server).await.unwrap());
            assert_eq!(shop.proxy.bits(server).await, "1", "{release:?}");
            app.restart().await;
            shop.restore(server).await.unwrap();
            assert_eq!(shop.proxy.bits(server).await, "0", "{release:?}");
            let back = shop.look(server).await;
            assert!(back.in_service && back.status == "UP", "{back:?}");
        }
        stop.cancel();
        let (made, bad) = requests.await.unwrap();
        assert!(
            bad.is_empty() && made > 100,
            "{release:?}: {} of {made} requests failed: {:?}",
            bad.len(),
            bad.first()
        );
        // The version was asked for once, and what it is not was asked no more.
        let heard = api.heard();
        assert!(heard.iter().filter(|h| h.ends_with("/info")).count() <= 2, "{heard:?}");
        assert!(heard.iter().skip(2).all(|h| h.contains(&format!(" /{version}/"))), "{heard:?}");
        assert!(heard.iter().any(|h| h.starts_with("PUT") && h.ends_with(r#"{"admin_state":"drain"}"#)), "{heard:?}");
    }
}

#[tokio::test]
async fn a_version_in_the_address_is_not_asked_for() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let (shop, api) = shop(Release::V2_9, three, |_| {}).await;
    api.heard();
    let given = made(&behind(&[url(&api, Some(ApiVersion::V2))]), PASSWORD).unwrap();
    given.facts(&names()).await.unwrap();
    assert!(api.heard().iter().all(|h| !h.ends_with("/info")));
    let wrong = made(&behind(&[url(&api, Some(ApiVersion::V3))]), PASSWORD).unwrap();
    let errors = wrong.facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("404") && errors[0].detail().contains("was not found"), "{errors:?}");
    let elsewhere = ApiUrl { base: "/elsewhere".into(), ..url(&api, None) };
    let errors = made(&behind(&[elsewhere]), PASSWORD).unwrap().facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("neither /v3/info nor /v2/info"), "{errors:?}");
    drop(shop);
}

#[tokio::test]
async fn what_the_api_does_not_know_is_named_with_what_is_there() {
    if !is_here("haproxy", "-v") {
        return;
    }
    for release in [Release::V2_9, Release::V3_0] {
        let (shop, api) = shop(release, three, |_| {}).await;
        let errors = shop.balancer.facts(&["wbe1".into()]).await.unwrap_err();
        assert!(errors[0].detail().contains("no server wbe1") && errors[0].hint().contains("web1"), "{errors:?}");
        let mut wrong = behind(&[url(&api, None)]);
        *backends_of(&mut wrong) = vec!["shop".into(), "shoop".into()];
        let errors = made(&wrong, PASSWORD).unwrap().facts(&names()).await.unwrap_err();
        assert!(errors[0].detail().contains("no backend shoop") && errors[0].hint().contains("shop"), "{errors:?}");
        let error = shop.balancer.set("wbe1", Admin::Drain).await.unwrap_err();
        assert!(error.detail().contains("404") && !error.is_unreachable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_at_once_and_without_it() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let (shop, api) = shop(Release::V3_0, three, |_| {}).await;
    api.heard();
    let errors = made(&behind(&[url(&api, None)]), "hunter2").unwrap().facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("401") && errors[0].hint().contains("`user` and `password`"), "{errors:?}");
    let shown = format!("{errors:?}");
    assert!(!shown.contains("hunter2") && !errors[0].is_unreachable(), "{shown}");
    let error = made(&behind(&[url(&api, None)]), "hunter2").unwrap().set("web1", Admin::Drain).await.unwrap_err();
    assert!(error.detail().contains("401"), "{error:?}");
    let heard = api.heard();
    assert_eq!(heard.len(), 2, "a refusal is not asked for twice: {heard:?}");
    assert_eq!(shop.proxy.bits("web1").await, "0");
    let Err(why) = Balancer::new(&behind(&[url(&api, None)]), Around::default()) else { panic!("without a secret") };
    assert_eq!(why, "there is no secret LB_PASSWORD");
}

#[tokio::test]
async fn faults_of_the_api_are_outlived_or_told() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let (shop, api) = shop(Release::V3_0, three, |_| {}).await;
    let given = url(&api, Some(ApiVersion::V3));
    let found = shop.found_at(&given.to_string());
    for (fault, detail) in [
        (Fault::NoHaproxy, "500: dial unix"),
        (Fault::Silent, "did not answer within 700ms"),
        (Fault::Garbage, "makes no sense"),
        (Fault::Endless, "larger than 32 MiB"),
        (Fault::Redirect, "sends elsewhere: 302 https://sso.example.com/"),
        (Fault::CutOff, "closed the connection"),
    ] {
        api.fail(fault, usize::MAX);
        let asked = made(&behind(std::slice::from_ref(&given)), PASSWORD).unwrap().within(SOON);
        let errors = asked.facts(&names()).await.unwrap_err();
        assert!(errors[0].detail().contains(detail), "{fault:?}: {errors:?}");
        assert!(!errors[0].detail().contains('\x1b'), "{errors:?}");
        let error = asked.drain("web1", &found, &mut |_| {}, &shop.stop).await.unwrap_err();
        assert!(error.detail().contains(detail), "{fault:?}: {error:?}");
        api.mend();
        assert_eq!(shop.proxy.bits("web1").await, "0", "{fault:?}: nothing was changed");
    }
    // What passes is outlived: a reload takes HAProxy's socket away for a moment.
    for fault in [Fault::NoHaproxy, Fault::CutOff, Fault::Silent, Fault::Closes] {
        let asked = made(&behind(std::slice::from_ref(&given)), PASSWORD).unwrap().within(SOON);
        api.fail(fault, 2);
        asked.drain("web1", &found, &mut |_| {}, &shop.stop).await.unwrap();
        assert_eq!(shop.proxy.bits("web1").await, "1", "{fault:?}");
        api.fail(fault, 2);
        asked.restore("web1", &found, &mut |_| {}, &shop.stop).await.unwrap();
        assert_eq!(shop.proxy.bits("web1").await, "0", "{fault:?}");
    }
    // A proxy in between that ends every connection after one answer.
    api.fail(Fault::Closes, usize::MAX);
    assert_eq!(shop.balancer.facts(&names()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_api_whose_haproxy_is_away_for_a_moment_is_waited_for() {
    if !is_here("haproxy", "-v") {
        return;
    }
    for release in [Release::V2_9, Release::V3_0] {
        let (shop, _api) = shop(release, three, |_| {}).await;
        let Shop { mut proxy, balancer, apps, found, stop, dir } = shop;
        proxy.kill();
        let asked = tokio::spawn(async move {
            let out = balancer.still_out("web1").await;
            (out, balancer)
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.lose_state().await;
        let (out, balancer) = asked.await.unwrap();
        assert_eq!(out, Ok(false), "{release:?}");
        proxy.kill();
        let error = balancer.still_out("web1").await.unwrap_err();
        assert!(error.is_unreachable() && error.detail().contains("dial unix"), "{release:?}: {error:?}");
        let error = balancer.drain("web1", &found, &mut |_| {}, &stop).await.unwrap_err();
        assert!(error.is_unreachable(), "{release:?}: {error:?}");
        drop((apps, dir));
    }
}

#[tokio::test]
async fn members_out_of_the_ordinary_are_restored_as_they_were() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let backends = |dir: &Path| {
        let at = dir.display();
        format!(
            "backend shop\n  server web1 unix@{at}/web1 track other/o1\n  server web2 unix@{at}/web2\n\
             \x20 server web3 unix@{at}/web3 check fall 1\nbackend other\n  server o1 unix@{at}/web1 check\n"
        )
    };
    for release in [Release::V2_9, Release::V3_4] {
        let (mut shop, api) = shop(release, backends, |c| c.restore_timeout = Duration::from_secs(10)).await;
        for server in NAMES {
            shop.drain(server).await.unwrap();
            assert_eq!(shop.proxy.bits(server).await, "1", "{release:?} {server}");
            shop.restore(server).await.unwrap();
            assert_eq!(shop.proxy.bits(server).await, "0", "{release:?} {server}");
        }
        // Out since another is, or since an operator wanted it: neither drain nor restore may end that.
        shop.proxy
            .tell("set server other/o1 state drain;set server shop/web2 state maint;set server shop/web3 state drain")
            .await;
        shop.proxy.status("web1", "DRAIN").await;
        shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
        let admin: Vec<Admin> = shop.found.members.iter().map(|m| m.admin).collect();
        assert_eq!(admin, [Admin::Drain, Admin::Maint, Admin::Drain], "{release:?}");
        for server in NAMES {
            shop.drain(server).await.unwrap();
            shop.restore(server).await.unwrap();
        }
        let mut bits = Vec::new();
        for server in NAMES {
            bits.push(shop.proxy.bits(server).await);
        }
        assert_eq!(bits, ["16", "1", "8"], "{release:?}");
        // With `fall 1` only a health that was set down tells a fresh check from none.
        assert!(api.heard().iter().any(|h| h.contains("web3") && h.ends_with(r#"{"operational_state":"down"}"#)));
    }
}

#[tokio::test]
async fn what_fails_its_checks_stays_out_through_the_api_too() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let (shop, _api) = shop(Release::V3_0, three, |c| c.restore_timeout = Duration::from_secs(2)).await;
    shop.drain("web1").await.unwrap();
    shop.apps[0].set(Mode::Unavailable);
    let error = shop.restore("web1").await.unwrap_err();
    assert!(error.detail().contains("did not pass") && error.detail().contains("503"), "{error:?}");
    assert_eq!(shop.proxy.bits("web1").await, "1");
}

#[tokio::test]
async fn what_the_api_has_no_words_for_is_refused_and_not_left_out() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // An agent: nothing could keep it from ending the drain.
    let port = crate::port::own();
    let agents = move |dir: &Path| {
        let options = format!("check agent-check agent-addr 127.0.0.1 agent-port {port} agent-inter 100ms");
        servers(dir, "check").replacen(" check\n", &format!(" {options}\n"), 1)
    };
    for release in [Release::V2_9, Release::V3_4] {
        let plain = Shop::open(agents, |_| {}).await;
        let api = Api::start(plain.proxy.socket(), release, None).await;
        let asked = made(&behind(&[url(&api, None)]), PASSWORD).unwrap();
        let errors = asked.facts(&names()).await.unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].detail().contains("cannot silence it") && errors[0].hint().contains("socket"), "{errors:?}");
        // One that came by its agent after that: nothing is changed, and nothing else is claimed.
        let found = plain.found_at(&url(&api, None).to_string());
        let error = asked.drain("web1", &found, &mut |_| {}, &plain.stop).await.unwrap_err();
        assert!(error.detail().ends_with("the Data Plane API cannot silence it"), "{error:?}");
        assert_eq!(plain.proxy.bits("web1").await, "0");
        assert!(api.heard().iter().all(|h| !h.contains("drain")));
        asked.facts(&names()[1..]).await.unwrap();
    }

    // Connections that are to be killed.
    let kill = |c: &mut LoadBalancer| {
        c.drain_timeout = Duration::from_millis(300);
        c.on_drain_timeout = OnDrainTimeout::Kill;
    };
    let (shop, _api) = shop(Release::V3_0, three, kill).await;
    let request = shop.slow().await;
    let error: BalancerError = shop.drain("web1").await.unwrap_err();
    assert!(
        error.detail().contains("the Data Plane API cannot end them") && error.hint().contains("socket"),
        "{error:?}"
    );
    assert_eq!(shop.proxy.bits("web1").await, "0", "put back");
    shop.apps[0].release.notify_one();
    assert_eq!(request.await.unwrap(), "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_maint_that_the_api_only_believes_in_is_found_out() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // `disabled` in the file, enabled since: drained, its bits are 12, which the API takes for maint.
    let backends = |dir: &Path| servers(dir, "check").replacen(" check\n", " check disabled\n", 1);
    let mut plain = Shop::open(backends, |_| {}).await;
    plain.proxy.tell("set server shop/web1 state ready").await;
    plain.proxy.status("web1", "UP").await;
    let api = Api::start(plain.proxy.socket(), Release::V3_0, None).await;
    plain.balancer = made(&behind(&[url(&api, None)]), PASSWORD).unwrap();
    plain.found = Snapshot { members: plain.balancer.facts(&names()).await.unwrap() };
    let error = plain.drain("web1").await.unwrap_err();
    assert!(
        error.detail().contains("took `maint` and set nothing") && error.hint().contains("`disabled`"),
        "{error:?}"
    );
    assert_eq!(plain.proxy.bits("web1").await, "4", "put back");
    assert!(plain.look("web1").await.in_service);
}

#[tokio::test]
async fn a_check_whose_text_has_a_comma_is_misread_and_refused() {
    if !is_here("haproxy", "-v") {
        return;
    }
    // The text of a failed check, in the statistics, is what the application said.
    let backends = |dir: &Path| three(dir).replacen("/web1 ", "/comma ", 1);
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join("comma")).unwrap();
    let app = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 512]).await;
            let _ = stream.write_all(b"HTTP/1.0 503 Not now, later\r\n\r\n").await;
        }
    });
    let proxy = Proxy::start(dir.path(), "lb", &backends(dir.path())).await;
    let said = async {
        while !proxy.tell("show stat shop 4 -1").await.contains("\"Not now, later\"") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), said).await.unwrap();
    let api = Api::start(proxy.socket(), Release::V3_0, None).await;
    let errors = made(&behind(&[url(&api, None)]), PASSWORD).unwrap().facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("Not now") && errors[0].detail().contains("misreads"), "{errors:?}");
    assert_eq!(errors.len(), 1, "the others can still be told");
    app.abort();
}

#[tokio::test]
async fn a_certificate_is_believed_from_its_authority_alone() {
    if !is_here("haproxy", "-v") || !is_here("openssl", "version") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    certify(shop.dir.path());
    let api = Api::start(shop.proxy.socket(), Release::V3_0, Some(shop.dir.path())).await;
    let https = ApiUrl { scheme: Scheme::Https, ..url(&api, None) };
    let mut config = behind(std::slice::from_ref(&https));
    let errors = made(&config, PASSWORD).unwrap().facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("cannot speak TLS") && errors[0].hint().contains("`ca_file`"), "{errors:?}");
    assert_eq!(api.heard(), Vec::<String>::new(), "the login was not sent");

    access(&mut config).ca_file = Some(shop.dir.path().join("ca.pem"));
    let trusted = made(&config, PASSWORD).unwrap();
    assert_eq!(trusted.facts(&names()).await.unwrap().len(), 3);
    trusted.drain("web1", &shop.found_at(&https.to_string()), &mut |_| {}, &shop.stop).await.unwrap();
    assert_eq!(shop.proxy.bits("web1").await, "1");

    // Another name than the certificate's.
    let mut elsewhere = behind(&[ApiUrl { host: "127.0.0.1".into(), ..https }]);
    access(&mut elsewhere).ca_file = Some(shop.dir.path().join("ca.pem"));
    let errors = made(&elsewhere, PASSWORD).unwrap().facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("cannot speak TLS"), "{errors:?}");
    for (file, why) in [("key.pem", "holds no certificates"), ("nothing", "cannot read the `ca_file`")] {
        access(&mut config).ca_file = Some(shop.dir.path().join(file));
        let Err(error) = made(&config, PASSWORD) else { panic!("{file}") };
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_pair_may_be_reached_in_different_ways() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    let other = Proxy::start(shop.dir.path(), "other", &three(shop.dir.path())).await;
    let api = Api::start(other.socket(), Release::V2_9, None).await;
    let mut pair = behind(&[url(&api, None)]);
    addresses(&mut pair).insert(0, BalancerAddress::Unix(shop.proxy.socket()));
    shop.balancer = made(&pair, PASSWORD).unwrap();
    shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
    assert_eq!(shop.found.members.len(), 6);
    shop.drain("web1").await.unwrap();
    assert_eq!((shop.proxy.bits("web1").await, other.bits("web1").await), ("1".into(), "1".into()));
    shop.restore("web1").await.unwrap();
    assert_eq!((shop.proxy.bits("web1").await, other.bits("web1").await), ("0".into(), "0".into()));
}

#[tokio::test]
async fn the_file_names_the_secret_and_nothing_shows_it() {
    if !is_here("haproxy", "-v") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    let api = Api::start(shop.proxy.socket(), Release::V3_0, None).await;
    let dir = shop.dir.path();
    let file = format!(
        "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"static\"\n[ssh]\nconfig_file = false\n\
         [[servers]]\nhost = \"web[1-3].invalid\"\n\
         [load_balancer]\nkind = \"haproxy\"\nat = \"http://localhost:{}\"\nbackends = \"shop\"\nuser = \"{USER}\"\n\
         password = \"LB_PASSWORD\"\n[secrets]\nLB_PASSWORD = {{ env = \"SECRET\" }}\n",
        api.port
    );
    std::fs::write(dir.join("pitcrew.toml"), file).unwrap();
    let run = |secret: &'static str| {
        let mut pitcrew = tokio::process::Command::new(env!("CARGO_BIN_EXE_pitcrew"));
        pitcrew.args(["lb", "status", "-v"]).current_dir(dir).env_clear().env("HOME", dir).env("SECRET", secret);
        pitcrew.env("PATH", std::env::var("PATH").unwrap_or_default()).stdin(std::process::Stdio::null());
        pitcrew
    };
    let out = run(PASSWORD).output().await.unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(printed.contains("web1") && printed.contains("UP"), "{printed}");
    assert!(!printed.contains(PASSWORD), "{printed}");
    let out = run("hunter2").output().await.unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(printed.contains("it refuses the login: 401") && !printed.contains("hunter2"), "{printed}");
}
