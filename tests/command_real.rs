//! Balancers steered by the commands that the README shows, against the real daemons: no request is lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::apps::{App, Mode, binary, get, is_here, load};
use pitcrew::balancer::{Around, Balancer, Draining, Snapshot};
use pitcrew::config::{BalancerKind, Least, LoadBalancer, OnDrainTimeout, Server, SteeringCommands};
use pitcrew::name::ServerName;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 3] = ["web1", "web2", "web3"];

/// A daemon in the foreground; asked to end, then killed, when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // nginx's workers end with a master that is asked, and outlive one that is killed.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nginx(dir: &Path) -> Daemon {
    std::fs::create_dir(dir.join("shop.d")).unwrap();
    for name in NAMES {
        let line = format!("server unix:{}/{name} max_fails=0;\n", dir.display());
        std::fs::write(dir.join(format!("shop.d/{name}.conf")), line).unwrap();
    }
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    // Nothing is tried twice: a request to a server that is out is a failed one.
    let conf = format!(
        "{user}daemon off;\nworker_processes 2;\npid {0}/nginx.pid;\nerror_log {0}/error.log;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_body_temp_path {0}/t1;\n  proxy_temp_path {0}/t2;\n  fastcgi_temp_path {0}/t3;\n\
         \x20 uwsgi_temp_path {0}/t4;\n  scgi_temp_path {0}/t5;\n\
         \x20 upstream shop {{\n    include {0}/shop.d/*.conf;\n  }}\n\
         \x20 server {{\n    listen unix:{0}/front;\n    location / {{\n      proxy_pass http://shop;\n      proxy_next_upstream off;\n    }}\n  }}\n}}\n",
        dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), conf).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(binary("nginx"));
    command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir).stdin(Stdio::null());
    Daemon(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

fn caddy(dir: &Path) -> Daemon {
    let at = dir.display();
    let upstreams = NAMES.map(|n| format!("{{\"dial\": \"unix/{at}/{n}\"}}")).join(", ");
    let conf = format!(
        "{{\"admin\": {{\"listen\": \"unix/{at}/admin\", \"origins\": [\"localhost:2019\"]}}, \"apps\": {{\"http\": {{\"grace_period\": \"30s\", \"servers\": {{\"shop\": {{\
         \"listen\": [\"unix/{at}/front\"], \"automatic_https\": {{\"disable\": true}}, \"routes\": [{{\"handle\": [{{\
         \"@id\": \"shop\", \"handler\": \"reverse_proxy\", \"upstreams\": [{upstreams}]}}]}}]}}}}}}}}}}"
    );
    std::fs::write(dir.join("caddy.json"), conf).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(binary("caddy"));
    command.args(["run", "--config"]).arg(dir.join("caddy.json")).env("HOME", dir).env_remove("XDG_CONFIG_HOME");
    command.env_remove("XDG_DATA_HOME").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Daemon(command.spawn().unwrap())
}

/// Waits until a daemon answers at its front.
async fn answers(front: &Path) {
    let up = async {
        while UnixStream::connect(front).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_loses_no_request_when_servers_restart_one_by_one() {
    if !is_here("caddy", "version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let apps: Vec<App> = NAMES.iter().map(|n| App::start(at.join(n), Mode::Up)).collect();
    let _caddy = caddy(at);
    answers(&at.join("front")).await;
    let balancer = balancer(
        at,
        "caddy-lb",
        &format!("unix/{}/", at.display()),
        &[("CADDY_LB_SOCKET", at.join("admin").display().to_string())],
    );
    let found = Snapshot { members: balancer.facts(&NAMES.map(str::to_owned)).await.unwrap() };
    assert!(found.members.iter().all(|m| m.in_service && m.others_in_service == 2));
    let stop = CancellationToken::new();
    let (end, requests) = load(at.join("front"));
    for (app, name) in apps.iter().zip(NAMES) {
        assert_eq!(balancer.drain(name, &found, &mut |_| {}, &stop).await.unwrap().left, Some(0));
        app.restart().await;
        balancer.restore(name, &found, &mut |_| {}, &stop).await.unwrap();
    }
    end.cancel();
    let (made, bad) = requests.await.unwrap();
    assert!(bad.is_empty(), "{} of {made} requests failed: {:?}", bad.len(), bad.first());
    assert!(made > 100, "only {made} requests were made");
}

fn balancer(dir: &Path, program: &str, prefix: &str, env: &[(&str, String)]) -> Balancer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lb").join(program);
    let command = |action: &str| format!("{} {action} \"{prefix}$PITCREW_LB\"", script.display());
    let commands = SteeringCommands {
        drain: command("drain"),
        status: command("status"),
        restore: command("restore"),
        run_on: None,
    };
    let config = LoadBalancer {
        kind: BalancerKind::Command(commands),
        drain_timeout: Duration::from_secs(20),
        on_drain_timeout: OnDrainTimeout::Fail,
        wait_after_drain: Duration::from_secs(1),
        wait_after_restore: Duration::ZERO,
        restore_timeout: Duration::from_secs(20),
        min_healthy_time: Duration::ZERO,
        min_in_service: Least::Percent(50),
        capacity_timeout: Duration::ZERO,
    };
    let server = |name: &str| Server {
        name: ServerName(name.into()),
        host: name.into(),
        user: None,
        port: None,
        roles: vec!["web".into()],
        lb: vec![name.into()],
        line: 1,
    };
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).chain([("PATH".to_owned(), path)]).collect();
    let around = Around { base: dir.into(), servers: NAMES.map(server).into(), env, ..Around::default() };
    Balancer::new(&config, around).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_loses_no_request_when_servers_restart_one_by_one() {
    if !is_here("nginx", "-v") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let apps: Vec<App> = NAMES.iter().map(|n| App::start(at.join(n), Mode::Up)).collect();
    let _nginx = nginx(at);
    let front = at.join("front");
    answers(&front).await;
    let file = |name: &str| at.join(name).display().to_string();
    let env =
        [("NGINX_LB_DIR", file("shop.d")), ("NGINX_LB_PID", file("nginx.pid")), ("NGINX_LB_CONF", file("nginx.conf"))];
    let balancer = balancer(at, "nginx-lb", "", &env);
    let found = Snapshot { members: balancer.facts(&NAMES.map(str::to_owned)).await.unwrap() };
    assert!(found.members.iter().all(|m| m.in_service && m.others_in_service == 2));
    let stop = CancellationToken::new();
    let (end, requests) = load(front.clone());
    // One that is slow: the drain waits for the worker that has it.
    let slow = tokio::spawn(get(front.clone(), "/slow"));
    let has_it = async {
        loop {
            if let Some(app) = apps.iter().find(|a| a.slow.load(std::sync::atomic::Ordering::SeqCst) > 0) {
                return app;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let slow_app = timeout(Duration::from_secs(20), has_it).await.unwrap();
    for (at, (app, name)) in apps.iter().zip(NAMES).enumerate() {
        let mut heard = |d: Draining| assert!(matches!(d, Draining::Open(_)), "{d:?}");
        let drain = balancer.drain(name, &found, &mut heard, &stop);
        if at == 0 {
            tokio::pin!(drain);
            assert!(timeout(Duration::from_secs(3), &mut drain).await.is_err(), "it did not wait for the slow request");
            slow_app.release.notify_one();
            assert_eq!(drain.await.unwrap().left, Some(0));
        } else {
            assert_eq!(drain.await.unwrap().left, Some(0));
        }
        app.restart().await;
        balancer.restore(name, &found, &mut |_| {}, &stop).await.unwrap();
    }
    assert_eq!(slow.await.unwrap(), "HTTP/1.1 200 OK");
    end.cancel();
    let (made, bad) = requests.await.unwrap();
    assert!(bad.is_empty(), "{} of {made} requests failed: {:?}", bad.len(), bad.first());
    assert!(made > 100, "only {made} requests were made");
}
