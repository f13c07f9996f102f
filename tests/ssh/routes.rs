//! Ways that lead through other hosts and through commands, against OpenSSH.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pitcrew::ssh::{ConnectErrorKind, Ended, Link};

use crate::ssh::daemon::{Sshd, nap};
use crate::ssh::real::{keygen, sshd};
use crate::ssh::support::{Client, ask, command, run};

/// A key that this server alone accepts, in the client's home.
fn own_key(client: &Client, sshd: &Sshd, name: &str) -> String {
    let key = client.home.path().join(name);
    keygen(&key, "ed25519", "");
    sshd.authorize(&key);
    key.display().to_string()
}

fn host(name: &str, sshd: &Sshd, key: &str, more: &str) -> String {
    format!("Host {name}\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {key}\n  {more}\n", sshd.port)
}

/// The usual end of these configurations.
fn end(client: &Client) -> String {
    let known = client.known_hosts();
    format!("Host *\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n", known.display())
}

fn known(all: &[&Sshd]) -> String {
    all.iter().map(|s| format!("{} {}\n", s.name(), s.host_key("ed25519"))).collect()
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

#[tokio::test]
async fn one_and_two_hosts_on_the_way_each_with_its_own_key() {
    let (Some(outer), Some(inner), Some(web)) = (sshd(""), sshd(""), sshd("")) else { return };
    let client = Client::configured("");
    let keys = [own_key(&client, &outer, "a"), own_key(&client, &inner, "b"), own_key(&client, &web, "c")];
    client.know(&known(&[&outer, &inner, &web]));
    let hosts = host("outer", &outer, &keys[0], "")
        + &host("inner", &inner, &keys[1], "")
        + &host("behind", &inner, &keys[1], "ProxyJump outer")
        + &host("one", &web, &keys[2], "ProxyJump outer")
        + &host("two", &web, &keys[2], "ProxyJump outer,inner")
        + &host("nested", &web, &keys[2], "ProxyJump behind")
        + &end(&client);
    client.configure(&hosts);
    let network = client.network();
    for (name, hops) in [("one", 1), ("two", 2), ("nested", 2)] {
        let link = network.link(name, &ask(name)).unwrap();
        assert_eq!(link.target().way.len(), hops + 1, "{name}: {:?}", link.target().way);
        let session = link.session().await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let (ended, heard) = run(&session, command("echo through; seq 1 50000 | tail -1; exit 3")).await;
        assert_eq!((ended, heard.out), (Ended::Exit(3), vec!["through".into(), "50000".to_owned()]), "{name}");
    }
    // Each way of two is one, however it is written; the outer host is one connection for all three.
    assert_eq!((logins(&outer), logins(&inner), logins(&web)), (1, 1, 2));
    network.close().await;

    // The same jump for all, from pitcrew.toml.
    let mut client = client;
    client.ssh.jump = Some("outer".into());
    let link = client.network().link("web", &ask(&format!("127.0.0.1:{}", web.port))).unwrap();
    let e = link.session().await.err().unwrap();
    // No key was named for this spelling: the hop itself was reached.
    assert_eq!(e.kind(), ConnectErrorKind::Auth, "{e:?}");
    assert_eq!(logins(&outer), 2);
}

#[tokio::test]
async fn the_key_of_each_host_on_the_way_is_checked() {
    let (Some(jump), Some(web)) = (sshd(""), sshd("")) else { return };
    let client = Client::configured("");
    let keys = [own_key(&client, &jump, "a"), own_key(&client, &web, "b")];
    client.configure(
        &(host("jump", &jump, &keys[0], "") + &host("web", &web, &keys[1], "ProxyJump jump") + &end(&client)),
    );
    let error = async |lines: &str| {
        client.know(lines);
        client.network().link("web", &ask("web")).unwrap().session().await.err().unwrap()
    };
    let e = error(&known(&[&web])).await;
    assert_eq!(e.kind(), ConnectErrorKind::HostKey);
    assert!(e.to_string().contains("through jump") && e.to_string().contains(&jump.name()), "{e}");
    assert_eq!(logins(&jump), 0);
    let e = error(&known(&[&jump])).await;
    assert_eq!(e.kind(), ConnectErrorKind::HostKey);
    assert!(e.to_string().contains(&web.name()), "{e}");
    let e = error(&format!("{} {}\n{}", jump.name(), web.host_key("ed25519"), known(&[&web]))).await;
    assert!(e.to_string().contains("holds another key"), "{e}");
    assert_eq!((logins(&jump), logins(&web)), (1, 0));
}

#[tokio::test]
async fn what_stops_on_the_way_says_where() {
    let (Some(jump), Some(web)) = (sshd(""), sshd("")) else { return };
    let Some(closed) = sshd("AllowTcpForwarding no") else { return };
    let client = Client::configured("");
    let keys = [own_key(&client, &jump, "a"), own_key(&client, &web, "b"), own_key(&client, &closed, "c")];
    client.know(&known(&[&jump, &web, &closed]));
    let nobody = crate::port::own();
    client.configure(
        &(host("jump", &jump, &keys[0], "")
            + &host("closed", &closed, &keys[2], "")
            + &host("wrong-key", &jump, &keys[1], "")
            + &format!("Host nobody gone\n  HostName 127.0.0.1\n  Port {nobody}\n")
            + "Host nobody\n  ProxyJump jump\n"
            + &host("unlocked", &web, &keys[1], "ProxyJump wrong-key")
            + &host("forbidden", &web, &keys[1], "ProxyJump closed")
            + &host("behind-gone", &web, &keys[1], "ProxyJump gone")
            + "Host round\n  ProxyJump about\nHost about\n  ProxyJump round\n"
            + &end(&client)),
    );
    let network = client.network();
    let error = async |name: &str| network.link(name, &ask(name)).unwrap().session().await.err().unwrap();
    let e = error("nobody").await;
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains("jump cannot reach it: connection refused"), "{e}");
    let e = error("unlocked").await;
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    assert!(e.to_string().contains("through wrong-key: cannot log in as"), "{e}");
    let e = error("forbidden").await;
    assert!(e.to_string().contains("closed cannot reach it") && e.hint().contains("AllowTcpForwarding"), "{e:?}");
    let e = error("behind-gone").await;
    assert!(e.to_string().contains("through gone: cannot connect to"), "{e}");
    let e = network.link("round", &ask("round")).err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Local);
    assert!(e.to_string().contains("again and again"), "{e}");
}

#[tokio::test]
async fn a_lost_jump_host_is_told_and_reached_again() {
    let (Some(jump), Some(web)) = (sshd(""), sshd("")) else { return };
    let client = Client::configured("");
    let keys = [own_key(&client, &jump, "a"), own_key(&client, &web, "b")];
    client.know(&known(&[&jump, &web]));
    client.configure(
        &(host("jump", &jump, &keys[0], "") + &host("web", &web, &keys[1], "ProxyJump jump") + &end(&client)),
    );
    let network = client.network();
    let (link, jump_link) = (network.link("web", &ask("web")).unwrap(), network.link("jump", &ask("jump")).unwrap());
    let session = link.session().await.unwrap();
    // The session's own parent is the process that carries the stream.
    let pids = jump.log();
    assert!(pids.contains("Accepted publickey"));
    let killer = jump_link.session().await.unwrap();
    let kill = format!("for p in $(pgrep -P {}); do [ $p = $PPID ] || kill -9 $p; done; exit 0", jump.pid());
    let (lost, _) = tokio::join!(run(&session, command("sleep 100")), run(&killer, command(&kill)));
    assert!(matches!(lost.0, Ended::Lost(_) | Ended::Unsent(_)), "{lost:?}");
    let again = link.session().await.unwrap();
    assert_eq!(run(&again, command("exit 5")).await.0, Ended::Exit(5));
}

#[tokio::test]
async fn a_busy_jump_host_carries_fifty_servers() {
    // Beyond three that have not logged in, every other connection is dropped; beyond five, all are.
    let Some(jump) = sshd("MaxStartups 3:50:5\nMaxSessions 2") else { return };
    // One sshd listens on no more than 16 ports.
    let (mut servers, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let listeners: Vec<TcpListener> = (0..13).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let more: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        drop(listeners);
        let lines: String = more.iter().map(|p| format!("ListenAddress 127.0.0.1:{p}\n")).collect();
        let Some(server) = sshd(&format!("{lines}MaxStartups 500")) else { return };
        while server.log().matches("Server listening on").count() < 14 {
            nap();
        }
        servers.push(server);
        ports.extend(more);
    }
    ports.truncate(50);
    let client = Client::configured("");
    let keys = [own_key(&client, &jump, "a"), own_key(&client, &servers[0], "b")];
    servers[1..].iter().for_each(|s| s.authorize(Path::new(&keys[1])));
    let hosts: String = ports
        .iter()
        .map(|port| {
            format!(
                "Host web{port}\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  ProxyJump jump\n",
                keys[1]
            )
        })
        .collect();
    client.configure(&(host("jump", &jump, &keys[0], "") + &hosts + &end(&client)));
    let key = |i: usize| servers[i / 13].host_key("ed25519");
    let lines: String = ports.iter().enumerate().map(|(i, p)| format!("[127.0.0.1]:{p} {}\n", key(i))).collect();
    client.know(&(known(&[&jump]) + &lines));
    let network = client.network();
    let links: Vec<Arc<Link>> =
        ports.iter().map(|p| network.link(&format!("web{p}"), &ask(&format!("web{p}"))).unwrap()).collect();
    // Strangers take all but one of the places.
    let strangers: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(("127.0.0.1", jump.port)).unwrap()).collect();
    let all = futures::future::join_all(links.iter().map(|link| async {
        let session = link.session().await?;
        Ok::<_, pitcrew::ssh::ConnectError>(run(&session, command("echo $$; exit 4")).await.0)
    }))
    .await;
    for (port, one) in ports.iter().zip(&all) {
        assert_eq!(one, &Ok(Ended::Exit(4)), "{port}");
    }
    drop(strangers);
    assert_eq!(servers.iter().map(logins).sum::<usize>(), 50);
    // 32 streams each.
    assert_eq!((network.bastions()[0].connections(), logins(&jump)), (2, 2));
    network.close().await;
    for _ in 0..3000 {
        if jump.log().matches("Disconnected from user").count() == 2 {
            return;
        }
        nap();
    }
    panic!("the jump host was not told: {}", jump.log());
}

/// A small program that carries bytes, as `nc` does.
fn carrier() -> Option<&'static str> {
    ["/usr/bin/socat"].into_iter().find(|p| Path::new(p).exists())
}

#[tokio::test]
async fn a_command_can_be_the_way() {
    let (Some(web), Some(socat)) = (sshd(""), carrier()) else { return };
    let client = Client::configured("");
    let key = own_key(&client, &web, "a");
    client.know(&known(&[&web]));
    let pid = client.home.path().join("pid");
    let way = format!("ProxyCommand sh -c 'echo $$ >{}; exec {socat} - TCP:%h:%p'", pid.display());
    client.configure(&(host("web", &web, &key, &way) + &end(&client)));
    let network = client.network();
    let link = network.link("web", &ask("web")).unwrap();
    let session = link.session().await.unwrap();
    let (ended, heard) = run(&session, command("seq 1 100000 | tail -1; exit 2")).await;
    assert_eq!((ended, heard.out), (Ended::Exit(2), vec!["100000".to_owned()]));
    link.close().await;
    drop(session);
    // The process goes with the connection.
    let proc = format!("/proc/{}", std::fs::read_to_string(&pid).unwrap().trim());
    for _ in 0..3000 {
        if !Path::new(&proc).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the command is still there");
}

#[tokio::test]
async fn a_command_that_fails_is_quoted() {
    let mut client = Client::configured(
        "Host failing\n  ProxyCommand echo 'no route today' >&2; exit 3\n\
         Host silent\n  ProxyCommand sleep 1000\n\
         Host missing\n  ProxyCommand /nowhere/command %h\n",
    );
    client.ssh.connect_timeout = Some(Duration::from_millis(1500));
    let network = client.network();
    let error = async |name: &str| network.link(name, &ask(name)).unwrap().session().await.err().unwrap();
    let e = error("failing").await;
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains("said: no route today") && e.hint().contains("by hand"), "{e:?}");
    let e = error("missing").await;
    assert!(e.to_string().contains("/nowhere/command"), "{e:?}");
    let e = error("silent").await;
    assert!(e.to_string().contains("no SSH handshake"), "{e:?}");
}

#[tokio::test]
async fn host_keys_go_by_alias_wildcard_and_revocation() {
    let Some(web) = sshd("") else { return };
    let client = Client::configured("");
    let key = own_key(&client, &web, "a");
    let set = |more: &str| client.configure(&(host("web", &web, &key, more) + &end(&client)));
    let connect = async || client.network().link("web", &ask("web")).unwrap().session().await.map(|_| ());
    set("HostKeyAlias the-web");
    client.know(&known(&[&web]));
    assert!(connect().await.unwrap_err().to_string().contains("cannot trust the-web: its key is not known"));
    client.know(&format!("the-web {}\n", web.host_key("ed25519")));
    connect().await.unwrap();
    set("");
    client.know(&format!("[127.0.0.*]:{} {}\n", web.port, web.host_key("ecdsa")));
    connect().await.unwrap();
    client.know(&known(&[&web]));
    set(&format!("RevokedHostKeys {}", web.dir.path().join("host_ed25519.pub").display()));
    let e = connect().await.unwrap_err();
    assert!(e.kind() == ConnectErrorKind::HostKey && e.to_string().contains("is revoked by"), "{e:?}");
    set(&format!("RevokedHostKeys {}", web.dir.path().join("host_ecdsa.pub").display()));
    connect().await.unwrap();
    // The usual way not to care, as machines that are made anew have it: nothing is recorded.
    set("UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no");
    connect().await.unwrap();
}
