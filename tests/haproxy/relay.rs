//! Through SSH to the socket's host: by a channel, or where sshd opens none, by a program there. What needs another user,
//! and sudo, is tested on separate servers (`tests/real/cases/ways.rs`).

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use pitcrew::balancer::{Around, Balancer, Snapshot};
use pitcrew::config::{BalancerAddress, LoadBalancer, Via};

use crate::apps::{binary, is_here, load};
use crate::haproxy::proxy::{Shop, addresses, config, names, three};
use crate::haproxy::sshd::me;
use crate::ssh::daemon::Sshd;

/// The adapter for a socket behind an sshd.
fn behind(sshd: &Sshd, socket: &Path) -> Balancer {
    made(sshd, &settings(sshd, socket))
}

fn settings(sshd: &Sshd, socket: &Path) -> LoadBalancer {
    let mut config = config(&[]);
    let host = sshd.host();
    let path = socket.to_str().unwrap().to_owned();
    *addresses(&mut config) = vec![BalancerAddress::Ssh { user: host.user, host: host.host, port: host.port, path }];
    config
}

fn made(sshd: &Sshd, config: &LoadBalancer) -> Balancer {
    let hosts = [(sshd.host(), sshd.link())].into();
    Balancer::new(config, Around { hosts, ..Around::default() }).unwrap()
}

/// A directory of programs for a login that has nothing else.
fn programs(dir: &Path, names: &[&str]) -> String {
    let path = dir.join(format!("programs-{}", names.join("-")));
    std::fs::create_dir(&path).unwrap();
    for name in ["sh", "id", "ls", "tr", "cut", "grep"].iter().chain(names) {
        symlink(binary(name), path.join(name)).unwrap();
    }
    format!("SetEnv PATH={}", path.display())
}

/// Of the several programs of that name only some do.
fn nc_opens_sockets() -> bool {
    let Ok(out) = std::process::Command::new(binary("nc")).arg("-h").output() else { return is_here("nc", "-h") };
    let help = [out.stdout, out.stderr].concat();
    String::from_utf8_lossy(&help)
        .split_whitespace()
        .any(|word| word.trim_start_matches('[').starts_with('-') && word.contains('U'))
}

const REFUSED: &str = "refused streamlocal port forward";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_sshd_opens_no_socket_a_program_there_does() {
    if !is_here("haproxy", "-v") || !is_here("socat", "-V") || !is_here("/usr/sbin/sshd", "-V") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    for (extra, program) in [
        (String::new(), None),
        ("AllowStreamLocalForwarding no".to_owned(), Some("socat")),
        (format!("AllowStreamLocalForwarding no\n{}", programs(shop.dir.path(), &["nc"])), Some("nc")),
    ] {
        if program == Some("nc") && !nc_opens_sockets() {
            continue;
        }
        let sshd = Sshd::start(&extra);
        shop.balancer = behind(&sshd, &shop.proxy.socket());
        shop.found = Snapshot { members: shop.balancer.facts(&names()).await.unwrap() };
        let (stop, requests) = load(shop.proxy.front());
        assert_eq!(shop.drain("web1").await, Ok(0), "{program:?}");
        assert_eq!(shop.proxy.bits("web1").await, "1", "{program:?}");
        shop.apps[0].restart().await;
        shop.restore("web1").await.unwrap();
        assert_eq!(shop.proxy.bits("web1").await, "0", "{program:?}");
        // Lanes side by side, more than a connection has sessions for.
        let asked =
            futures::future::join_all((0..16).map(|_| shop.balancer.set("web2", pitcrew::balancer::Admin::Ready)));
        assert!(asked.await.iter().all(Result::is_ok), "{program:?}");
        stop.cancel();
        assert_eq!(requests.await.unwrap().1, Vec::<String>::new(), "{program:?}");
        // What sshd refuses is not asked for again and again.
        assert_eq!(sshd.said(REFUSED), usize::from(program.is_some()), "{program:?}");
    }
}

/// sshd sends what it has at once only where a connection has had a command.
#[tokio::test]
async fn a_connection_to_a_socket_has_one_command_that_hurries_it() {
    if !is_here("haproxy", "-v") || !is_here("socat", "-V") || !is_here("/usr/sbin/sshd", "-V") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    let relayed = "LogLevel VERBOSE\nAllowStreamLocalForwarding no";
    for (extra, commands) in [("LogLevel VERBOSE", 1), ("LogLevel VERBOSE\nMaxSessions 0", 0), (relayed, 4)] {
        let sshd = Sshd::start(extra);
        let balancer = behind(&sshd, &shop.proxy.socket());
        balancer.facts(&names()).await.unwrap();
        let ran = || sshd.said("Starting session: command");
        for _ in 0..3000 {
            if ran() == commands.min(1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..3 {
            balancer.facts(&names()).await.unwrap();
        }
        assert_eq!(ran(), commands, "{extra}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_socket_elsewhere_is_told_apart() {
    if !is_here("haproxy", "-v") || !is_here("socat", "-V") || !is_here("/usr/sbin/sshd", "-V") {
        return;
    }
    let mut shop = Shop::open(three, |_| {}).await;
    let (open, closed) = (Sshd::start(""), Sshd::start("AllowStreamLocalForwarding no"));
    std::fs::write(shop.dir.path().join("file"), "").unwrap();
    for sshd in [&open, &closed] {
        for (path, detail) in [("nothing", "there is no /"), ("file", "is no socket"), ("dead", "Connection refused")] {
            let path = shop.dir.path().join(path);
            if path.ends_with("dead") && !path.exists() {
                drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            }
            let errors = behind(sshd, &path).facts(&names()).await.unwrap_err();
            assert!(errors[0].is_unreachable() && errors[0].detail().contains(detail), "{errors:?}");
            assert!(errors[0].detail().contains(path.to_str().unwrap()) && !errors[0].hint().is_empty(), "{errors:?}");
        }
    }
    let bare = Sshd::start(&format!("AllowStreamLocalForwarding no\n{}", programs(shop.dir.path(), &[])));
    let errors = behind(&bare, &shop.proxy.socket()).facts(&names()).await.unwrap_err();
    assert!(errors[0].detail().contains("neither socat nor nc"), "{errors:?}");
    assert!(errors[0].hint().contains("AllowStreamLocalForwarding"), "{errors:?}");
    let none = Sshd::start("AllowStreamLocalForwarding no\nForceCommand /bin/false");
    let errors = behind(&none, &shop.proxy.socket()).facts(&names()).await.unwrap_err();
    assert!(
        errors[0].detail().contains("exit status 1") && errors[0].hint().contains("AllowStreamLocalForwarding"),
        "{errors:?}"
    );

    // A haproxy that is away for a moment, as for a reload, is waited for on either way.
    for sshd in [&open, &closed] {
        let balancer = behind(sshd, &shop.proxy.socket());
        balancer.facts(&names()).await.unwrap();
        shop.proxy.kill();
        let asked = tokio::spawn(async move { balancer.still_out("web1").await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        shop.proxy.lose_state().await;
        assert_eq!(asked.await.unwrap(), Ok(false));
    }
}

#[tokio::test]
async fn a_relay_that_hears_nothing_is_given_up() {
    if !is_here("socat", "-V") || !is_here("/usr/sbin/sshd", "-V") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent");
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let sshd = Sshd::start("AllowStreamLocalForwarding no");
    let balancer = behind(&sshd, &path).within(Duration::from_millis(500));
    let errors = balancer.facts(&names()).await.unwrap_err();
    assert!(errors[0].is_unreachable() && errors[0].detail().contains("did not answer within 500ms"), "{errors:?}");
}

#[tokio::test]
async fn root_needs_no_sudo_and_others_are_told_when_there_is_none() {
    if !is_here("haproxy", "-v") || !is_here("socat", "-V") || !is_here("/usr/sbin/sshd", "-V") {
        return;
    }
    let shop = Shop::open(three, |_| {}).await;
    let sshd = Sshd::start(&programs(shop.dir.path(), &["socat"]));
    let mut config = settings(&sshd, &shop.proxy.socket());
    crate::haproxy::api::access(&mut config).via = Via::Sudo;
    let facts = made(&sshd, &config).facts(&names()).await;
    if me() == "root" {
        assert_eq!(facts.unwrap().len(), 3);
        assert_eq!(sshd.said(REFUSED), 0);
    } else {
        let errors = facts.unwrap_err();
        assert!(errors[0].detail().contains("has no sudo"), "{errors:?}");
    }
}
