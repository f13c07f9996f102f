//! The embedded fleet against itself: everything that other tests take for granted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pitcrew::demo::Admin;
use pitcrew::demo::balancer::{Balancer, BalancerOptions, CheckPlan, Level};
use pitcrew::demo::load::{self, Connections, Failure, LoadOptions};
use pitcrew::demo::log::{End, Kind};
use pitcrew::demo::{Fault, Faults, Flaw, Fleet, FleetOptions, Log, Sample, WebKind};
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Sig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No wait in these tests is meant to run out.
const LIMIT: Duration = Duration::from_secs(30);

fn options() -> FleetOptions {
    FleetOptions { servers: 2, ..FleetOptions::new(env!("CARGO_BIN_EXE_pitcrew")) }
}

async fn fleet(options: FleetOptions) -> Fleet {
    Fleet::start(options).await.unwrap()
}

struct Client {
    key: russh::keys::PublicKey,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.key.key_data()))
    }
}

async fn connect(fleet: &Fleet, index: usize) -> Handle<Client> {
    connect_as(fleet, index, "deploy").await.unwrap()
}

async fn connect_as(fleet: &Fleet, index: usize, user: &str) -> Result<Handle<Client>, String> {
    let server = &fleet.servers()[index];
    let config = Arc::new(client::Config { nodelay: true, ..Default::default() });
    let handler = Client { key: server.host_key().clone() };
    let connecting = client::connect(config, server.at(), handler);
    let mut handle = tokio::time::timeout(LIMIT, connecting).await.unwrap().map_err(|error| error.to_string())?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(fleet.key_file(), None).unwrap()), None);
    match handle.authenticate_publickey(user, key).await.map_err(|error| error.to_string())? {
        client::AuthResult::Success => Ok(handle),
        client::AuthResult::Failure { .. } => Err("refused".to_owned()),
    }
}

/// What came of a command, in the order of the channel's messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: String,
    status: Option<u32>,
    signal: Option<String>,
    order: Vec<&'static str>,
}

async fn gather(channel: &mut russh::Channel<client::Msg>) -> Outcome {
    let mut outcome = Outcome::default();
    let reading = async {
        while let Some(message) = channel.wait().await {
            let word = match message {
                ChannelMsg::Data { data } => {
                    outcome.stdout.extend_from_slice(&data);
                    "data"
                }
                ChannelMsg::ExtendedData { data, .. } => {
                    outcome.stderr.push_str(&String::from_utf8_lossy(&data));
                    "stderr"
                }
                ChannelMsg::ExitStatus { exit_status } => {
                    outcome.status = Some(exit_status);
                    "status"
                }
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    outcome.signal = Some(format!("{signal_name:?}"));
                    "signal"
                }
                ChannelMsg::Eof => "eof",
                ChannelMsg::Close => "close",
                ChannelMsg::Success => "success",
                ChannelMsg::Failure => "failure",
                _ => continue,
            };
            if outcome.order.last() != Some(&word) {
                outcome.order.push(word);
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the command ends");
    outcome
}

async fn exec(handle: &Handle<Client>, command: &str) -> Outcome {
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    gather(&mut channel).await
}

/// The system's ssh, set up for one server of the fleet.
fn ssh(fleet: &Fleet, index: usize, user: &str) -> Option<tokio::process::Command> {
    let program = ["/usr/bin/ssh", "/bin/ssh", "/usr/local/bin/ssh"].into_iter().find(|p| PathBuf::from(p).exists());
    let Some(program) = program else {
        assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "ssh is required and not here");
        eprintln!("SKIPPED: no ssh on this machine");
        return None;
    };
    let at = fleet.servers()[index].at();
    let mut command = tokio::process::Command::new(program);
    command
        .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "KexAlgorithms=curve25519-sha256"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", fleet.known_hosts_file().display()))
        .arg("-i")
        .arg(fleet.key_file())
        .args(["-p", &at.port().to_string()])
        .arg(format!("{user}@{}", at.ip()))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .kill_on_drop(true);
    Some(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_sees_an_ordinary_server() {
    let fleet = fleet(options()).await;
    let Some(mut command) = ssh(&fleet, 0, "deploy") else { return };
    let output = command.arg("echo out; echo err >&2; pwd; exit 7").output().await.unwrap();
    let home = fleet.servers()[0].home();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("out\n{}\n", home.display()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("err"), "{output:?}");
    assert_eq!(output.status.code(), Some(7));

    // Ten megabytes in and out again, byte for byte.
    let mut child =
        ssh(&fleet, 1, "deploy").unwrap().arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let expected = sent.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&sent).await });
    let mut received = Vec::new();
    tokio::time::timeout(LIMIT, stdout.read_to_end(&mut received)).await.unwrap().unwrap();
    writing.await.unwrap().unwrap();
    assert!(received == expected, "{} bytes came back", received.len());
    assert!(child.wait().await.unwrap().success());

    // Nobody else comes in.
    let refused = ssh(&fleet, 0, "root").unwrap().arg("true").output().await.unwrap();
    assert_eq!(refused.status.code(), Some(255));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_answer_in_openssh_s_order() {
    let fleet = fleet(options()).await;
    let handle = connect(&fleet, 0).await;
    let done = exec(&handle, "echo a; echo b >&2; exit 3").await;
    assert_eq!((done.stdout.as_slice(), done.stderr.as_str(), done.status), (&b"a\n"[..], "b\n", Some(3)));
    assert_eq!(&done.order[done.order.len() - 3..], ["eof", "status", "close"]);
    assert_eq!(done.order.first(), Some(&"success"));

    let killed = exec(&handle, "kill -9 $$").await;
    assert_eq!((killed.status, killed.signal.as_deref()), (None, Some("KILL")));

    // Something in the background holds the output: the status comes at once, the end of file later.
    let held = exec(&handle, "{ sleep 0.5; echo late; } & echo now; exit 4").await;
    assert_eq!((held.stdout.as_slice(), held.status), (&b"now\nlate\n"[..], Some(4)));
    assert_eq!(held.order, ["success", "data", "status", "data", "eof", "close"]);

    // A megabyte of output through a window of two: in order, complete.
    let long =
        exec(&handle, "i=0; while [ $i -lt 20000 ]; do echo \"line number $i of a long output\"; i=$((i+1)); done")
            .await;
    let lines = String::from_utf8(long.stdout).unwrap();
    assert_eq!(lines.lines().count(), 20_000);
    assert!(lines.ends_with("line number 19999 of a long output\n"));

    let environment = exec(&handle, "env").await;
    let text = String::from_utf8(environment.stdout).unwrap();
    assert!(text.contains(&format!("PITCREW_FLEET={}", fleet.id())));
    assert!(text.contains(&format!("PITCREW_DEMO_ADDR={}", fleet.servers()[0].ip())));
    assert!(!text.contains("CARGO"), "this process's environment leaks: {text}");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_arrives_whole() {
    let fleet = fleet(options()).await;
    let handle = connect(&fleet, 0).await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "cat > upload; wc -c < upload; cksum < upload; : pitcrew-transfer").await.unwrap();
    let sent: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(40_503) >> 13) as u8).collect();
    channel.data(&sent[..]).await.unwrap();
    channel.eof().await.unwrap();
    let outcome = gather(&mut channel).await;
    assert_eq!(outcome.status, Some(0));
    assert!(String::from_utf8_lossy(&outcome.stdout).trim_start().starts_with("10000000"));
    assert!(std::fs::read(fleet.servers()[0].home().join("upload")).unwrap() == sent);
    let runs = fleet.log().runs_of("transfer");
    assert_eq!(runs.len(), 1);
    assert!(runs[0].2 > Some(runs[0].1));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reaches_the_whole_group_even_behind_unread_input() {
    let fleet = fleet(options()).await;
    let handle = connect(&fleet, 0).await;
    let mut channel = handle.channel_open_session().await.unwrap();
    // The child in the foreground is what holds the shell up; only a signal to the group ends it.
    channel.exec(true, "echo started; sleep 1000; echo survived").await.unwrap();
    let mut started = false;
    while !started {
        started = matches!(channel.wait().await, Some(ChannelMsg::Data { .. }));
    }
    // More than a pipe holds, for a command that reads nothing.
    channel.data(&vec![0; 1_000_000][..]).await.unwrap();
    channel.signal(Sig::TERM).await.unwrap();
    let outcome = gather(&mut channel).await;
    assert_eq!(outcome.signal.as_deref(), Some("TERM"), "{outcome:?}");
    assert!(outcome.stdout.is_empty());
    let record = fleet.log().records().into_iter().find(|r| matches!(r.kind, Kind::ExecEnd { .. })).unwrap();
    assert!(matches!(record.kind, Kind::ExecEnd { end: End::Signal(ref name), .. } if name == "TERM"));
    assert!(fleet.processes(0).is_empty(), "{:?}", fleet.processes(0));
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_reach_the_server_s_own_loopback_and_its_sockets() {
    let fleet = fleet(options()).await;
    // Both servers have something on the same port; each is asked for "localhost".
    for index in 0..2 {
        let listener = tokio::net::TcpListener::bind(fleet.app_at(index).unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut asked = String::new();
                let _ = tcp.read_to_string(&mut asked).await;
                let _ = tcp.write_all(format!("{asked} from s{}", index + 1).as_bytes()).await;
            }
        });
    }
    let port = u32::from(fleet.app_at(0).unwrap().port());
    for (index, expected) in [(0, "hi from s1"), (1, "hi from s2")] {
        let handle = connect(&fleet, index).await;
        let mut stream =
            handle.channel_open_direct_tcpip("localhost", port, "127.0.0.1", 0).await.unwrap().into_stream();
        stream.write_all(b"hi").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, expected);
        assert!(handle.channel_open_direct_tcpip("192.0.2.1", 80, "127.0.0.1", 0).await.is_err());
        assert!(handle.channel_open_direct_tcpip("localhost", 1, "127.0.0.1", 0).await.is_err());
        assert!(handle.channel_open_direct_streamlocal("/run/nothing.sock").await.is_err());
    }

    // The balancer's socket, by the path it has on its host.
    let host = &fleet.balancer_hosts()[0];
    let config = Arc::new(client::Config::default());
    let mut handle = client::connect(config, host.at(), Client { key: host.host_key().clone() }).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(fleet.key_file(), None).unwrap()), None);
    assert!(handle.authenticate_publickey("deploy", key).await.unwrap().success());
    let mut stream = handle.channel_open_direct_streamlocal("/run/haproxy/admin.sock").await.unwrap().into_stream();
    stream.write_all(b"show version\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "2.6.12-pitcrew-demo\n\n");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_surplus_sessions_are_refused() {
    let fleet = fleet(FleetOptions { max_sessions: 2, ..options() }).await;
    assert!(connect_as(&fleet, 0, "root").await.is_err());
    let handle = connect(&fleet, 0).await;
    let one = handle.channel_open_session().await.unwrap();
    let two = handle.channel_open_session().await.unwrap();
    assert!(handle.channel_open_session().await.is_err());
    // A place is free again when its command is over.
    drop((one, two));
    let handle = connect(&fleet, 0).await;
    let waiting = handle.channel_open_session().await.unwrap();
    for _ in 0..5 {
        assert_eq!(exec(&handle, "true").await.status, Some(0));
    }
    drop(waiting);
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_does_what_it_says() {
    let fleet = fleet(options()).await;
    let faults = fleet.faults();
    let done = |name: &str| fleet.servers()[0].home().join(name).exists();
    let cases = [
        ("error", Fault::ErrorBefore { status: 9, stderr: "no space left\n".to_owned() }),
        ("effect", Fault::EffectThenError { status: 8 }),
        ("killed", Fault::Killed { signal: "TERM".to_owned() }),
        ("cutbefore", Fault::CutBefore),
        ("cutafter", Fault::CutAfter),
    ];
    for (name, fault) in &cases {
        faults.at_step("s1", name, 0, fault.clone());
    }
    for (name, fault) in &cases {
        let handle = connect(&fleet, 0).await;
        let outcome = exec(&handle, &format!("touch {name}; echo answer; : pitcrew-{name}")).await;
        assert!(outcome.stdout.is_empty(), "{name}: {outcome:?}");
        let (status, effect) = match fault {
            Fault::ErrorBefore { .. } => (Some(9), false),
            Fault::EffectThenError { .. } => (Some(8), true),
            Fault::CutAfter => (None, true),
            _ => (None, false),
        };
        assert_eq!((outcome.status, done(name)), (status, effect), "{name}");
        assert_eq!(outcome.signal.is_some(), *name == "killed");
        // The same step again goes well, and over a new connection where the old one was cut.
        let again = exec(&connect(&fleet, 0).await, &format!("echo answer; : pitcrew-{name}")).await;
        assert_eq!(again.status, Some(0));
    }

    // Silence until the client gives up.
    faults.at_step("s1", "hang", 0, Fault::Hang);
    let handle = connect(&fleet, 0).await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "touch hang; : pitcrew-hang").await.unwrap();
    let silence = async { while !matches!(channel.wait().await, None | Some(ChannelMsg::ExitStatus { .. })) {} };
    assert!(tokio::time::timeout(Duration::from_millis(200), silence).await.is_err());
    assert!(!done("hang"));
    drop(channel);
    assert_eq!(exec(&handle, "true").await.status, Some(0));

    // Dead is dead until it is revived.
    faults.at_step("s1", "die", 0, Fault::Dead);
    let outcome = exec(&handle, "touch die; : pitcrew-die").await;
    assert_eq!((outcome.status, done("die")), (None, false));
    fleet.servers()[0].kill().await;
    assert!(connect_as(&fleet, 0, "deploy").await.is_err());
    assert_eq!(exec(&connect(&fleet, 1).await, "true").await.status, Some(0));
    fleet.servers()[0].revive().await;
    assert_eq!(exec(&connect(&fleet, 0).await, "true").await.status, Some(0));

    // The listing names every point, and a second run meets the same ones.
    let points = faults.points();
    assert!(points.iter().any(|p| p.to_string() == "s1 Exec cutafter #1"), "{points:?}");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delay_is_added_to_each_direction() {
    let delay = Duration::from_millis(40);
    let fleet = fleet(FleetOptions { delays: vec![delay], ..options() }).await;
    let handle = connect(&fleet, 0).await;
    let began = std::time::Instant::now();
    assert_eq!(exec(&handle, "true").await.status, Some(0));
    // Opening and asking are two round trips at least. A lower bound cannot fail on a slow machine.
    assert!(began.elapsed() >= delay * 4, "{:?}", began.elapsed());
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_a_fleet() {
    for explicitly in [true, false] {
        let fleet = fleet(options()).await;
        let handle = connect(&fleet, 0).await;
        // In the background, in a session of its own, without any of the pipes.
        let outcome = exec(&handle, "setsid sh -c 'sleep 1000; :' </dev/null >/dev/null 2>&1 & echo $!").await;
        assert_eq!(outcome.status, Some(0));
        fleet.install(1, "20260101000000", &Sample::good("v1")).unwrap();
        fleet.start_app(1).await.unwrap();
        assert!(!fleet.processes(1).is_empty());
        let channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, "sleep 1000").await.unwrap();
        let started = |kind: &Kind| matches!(kind, Kind::Exec { command, .. } if command == "sleep 1000");
        assert!(fleet.log().wait_for(LIMIT, |r| started(&r.kind)).await.is_some());
        let (path, mark) = (fleet.path().to_owned(), format!("PITCREW_FLEET={}", fleet.id()));
        if explicitly {
            fleet.stop().await.unwrap();
        } else {
            tokio::task::spawn_blocking(move || drop(fleet)).await.unwrap();
        }
        assert!(!path.exists());
        let left = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
            .filter(|environ| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
            .count();
        assert_eq!(left, 0);
    }
}

fn traffic(target: std::net::SocketAddr, connections: Connections) -> LoadOptions {
    LoadOptions { target, path: "/".to_owned(), workers: 8, rate: 800, connections, timeout: Duration::from_secs(10) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_loses_nothing() {
    let fleet = fleet(FleetOptions { servers: 1, balancers: 0, boot: Duration::from_millis(100), ..options() }).await;
    fleet.install(0, "20260101000001", &Sample::good("v1")).unwrap();
    fleet.start_app(0).await.unwrap();
    let load = load::start(traffic(fleet.app_at(0).unwrap(), Connections::PerRequest));
    let handle = connect(&fleet, 0).await;
    for round in 2..=5 {
        assert!(load.wait_for(300, LIMIT).await, "{}", load.so_far());
        fleet.install(0, &format!("2026010100000{round}"), &Sample::good(format!("v{round}"))).unwrap();
        let before = exec(&handle, "cat app/shared/app.pid").await;
        // Some wait for an answer from the old release while the new one takes over.
        let slow = tokio::spawn(load::get(fleet.app_at(0).unwrap(), "/slow?400"));
        let reload = "pid=$(cat app/shared/app.pid); sleep 0.1; kill -USR2 $pid; while [ -n \"$(tr -d '\\0' </proc/$pid/cmdline)\" ]; do sleep 0.02; done 2>/dev/null; cat app/shared/app.pid";
        let after = exec(&handle, reload).await;
        assert_ne!(before.stdout, after.stdout, "{after:?}");
        assert!(slow.await.unwrap().unwrap().1.contains(&format!("\"v{}\"", round - 1)));
        let (status, body) = load::get(fleet.app_at(0).unwrap(), "/").await.unwrap();
        assert_eq!(status, 200);
        assert!(body.contains(&format!("\"v{round}\"")), "{body}");
        // A proof by the directory that processes run in holds.
        let pid = String::from_utf8(after.stdout).unwrap();
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", pid.trim())).unwrap();
        assert!(cwd.ends_with(format!("releases/2026010100000{round}")), "{}", cwd.display());
    }
    // A release that does not boot: the old one goes on as if nothing had happened.
    fleet.install(0, "20260101000009", &Sample::flawed("v9", Flaw::Stillborn)).unwrap();
    let before = exec(&handle, "cat app/shared/app.pid").await;
    exec(
        &handle,
        "kill -HUP $(cat app/shared/app.pid); until grep -q BROKEN_BOOT app/shared/app.log; do sleep 0.05; done",
    )
    .await;
    assert!(load.wait_for(300, LIMIT).await);
    assert_eq!(exec(&handle, "cat app/shared/app.pid").await.stdout, before.stdout);
    let report = load.stop().await;
    assert_eq!(report.failures(), 0, "{report}");
    assert!(report.sent >= 1500, "{report}");
    assert_eq!(report.by_version.keys().collect::<Vec<_>>(), ["v1", "v2", "v3", "v4", "v5"], "{report}");
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_that_fail_show_it() {
    let fleet = fleet(FleetOptions { servers: 1, balancers: 0, ..options() }).await;
    fleet.install(0, "20260101000001", &Sample::flawed("v1", Flaw::Stillborn)).unwrap();
    let error = fleet.start_app(0).await.unwrap_err().to_string();
    assert!(error.contains("BROKEN_BOOT"), "{error}");
    assert!(fleet.processes(0).is_empty());
    fleet.install(0, "20260101000002", &Sample::flawed("v2", Flaw::Sick)).unwrap();
    fleet.start_app(0).await.unwrap();
    assert_eq!(load::get(fleet.app_at(0).unwrap(), "/up").await.unwrap().0, 500);
    // Twice on one port does not start.
    assert!(fleet.start_app(0).await.is_err());
    assert_eq!(load::get(fleet.app_at(0).unwrap(), "/up").await.unwrap().0, 500);
    fleet.stop().await.unwrap();
}

const STOP: &str = "pid=$(cat app/shared/app.pid); kill -TERM $pid; while [ -n \"$(tr -d '\\0' </proc/$pid/cmdline)\" ]; do sleep 0.02; done 2>/dev/null";

fn start(fleet: &Fleet) -> String {
    let port = fleet.app_at(0).unwrap().port();
    format!(
        "cd app/current && \"$PITCREW_DEMO_APP\" demo-app --port {port} --pid-file ../../shared/app.pid --boot-ms 300 --current \"$HOME/app/current\""
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_restart_loses_requests_unless_it_is_drained() {
    let fleet = fleet(FleetOptions { web: WebKind::Restart, ..options() }).await;
    let balancer = &fleet.balancers()[0];
    for index in 0..2 {
        fleet.install(index, "20260101000001", &Sample::good("v1")).unwrap();
        fleet.start_app(index).await.unwrap();
    }
    assert!(balancer.wait_in_service(None, LIMIT).await);
    let handle = connect(&fleet, 0).await;

    let load = load::start(traffic(balancer.at(), Connections::KeepAlive));
    assert!(load.wait_for(200, LIMIT).await);
    assert_eq!(exec(&handle, STOP).await.status, Some(0));
    // By turns, so half of all: as long as checks have not noticed, and they need a few.
    assert!(load.wait_for(50, LIMIT).await);
    let started = exec(&handle, &start(&fleet)).await;
    assert_eq!(started.status, Some(0), "{started:?}");
    let harsh = load.stop().await;
    assert!(harsh.failed.contains_key(&Failure::Status(503)), "{harsh}");

    assert!(balancer.wait_in_service(None, LIMIT).await);
    let load = load::start(traffic(balancer.at(), Connections::KeepAlive));
    assert!(load.wait_for(200, LIMIT).await);
    let mark = balancer.history().len();
    balancer.set("s1", Admin::Drain);
    while balancer.snapshot()[0].sessions > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(exec(&handle, STOP).await.status, Some(0));
    assert!(load.wait_for(200, LIMIT).await);
    assert_eq!(exec(&handle, &start(&fleet)).await.status, Some(0));
    while balancer.snapshot()[0].status != "DRAIN" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    balancer.set("s1", Admin::Ready);
    assert!(load.wait_for(200, LIMIT).await);
    let gentle = load.stop().await;
    assert_eq!(gentle.failures(), 0, "{gentle}");
    assert_eq!(balancer.most_out(mark), 1);
    // The servers' log and the balancer's share one order: s1 was out when it was stopped.
    let out = |admin: Admin| move |k: &Kind| matches!(k, Kind::Member { member, admin: a, .. } if member == "app/s1" && *a == admin);
    let records = fleet.log().records();
    let seq = |fits: &dyn Fn(&Kind) -> bool| records.iter().rfind(|r| fits(&r.kind)).unwrap().seq;
    let stopped = seq(&|k| matches!(k, Kind::Exec { command, .. } if command == STOP));
    assert!(seq(&|k| matches!(k, Kind::Member { admin: Admin::Ready, .. })) > stopped);
    assert!(records.iter().find(|r| out(Admin::Drain)(&r.kind)).unwrap().seq < stopped);
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_templates_work_in_every_shell() {
    for (web, shell) in [(WebKind::Reload, &["/bin/sh"][..]), (WebKind::Restart, &["busybox", "sh"])] {
        let found = std::process::Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output();
        if found.is_err() {
            assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none(), "{} is required and not here", shell[0]);
            continue;
        }
        let shell = shell.iter().map(|word| (*word).to_owned()).collect();
        let fleet = fleet(FleetOptions { web, shell, servers: 1, balancers: 0, ..options() }).await;
        let template: toml::Table = std::fs::read_to_string(fleet.template_file()).unwrap().parse().unwrap();
        let handle = connect(&fleet, 0).await;
        let port = fleet.app_at(0).unwrap().port();
        let script = |name: &str| {
            format!(
                "root=$HOME/app current=$root/current w_port={port} w_pid_file=$root/shared/app.pid w_boot_ms=50\ncd \"$current\"\n{}",
                template["scripts"][name].as_str().unwrap()
            )
        };
        let run = async |name: &str| exec(&handle, &script(name)).await;
        fleet.install(0, "20260101000001", &Sample::good("v1")).unwrap();
        let none = run("processes").await;
        assert_eq!((none.status, none.stdout.as_slice()), (Some(0), &b""[..]));
        // Stopping what does not run is no failure.
        assert_eq!(run("stop").await.status, Some(0));
        let started = run("start").await;
        // Nothing of it may hold the output: the end of file is there before the status.
        assert_eq!(started.order, ["success", "eof", "status", "close"], "{started:?}");
        assert_eq!(started.status, Some(0));
        let old = run("processes").await.stdout;
        assert!(!old.is_empty());

        fleet.install(0, "20260101000002", &Sample::good("v2")).unwrap();
        assert_eq!(run("restart").await.status, Some(0));
        let pid = String::from_utf8(old).unwrap();
        let gone = async || {
            while fleet.processes(0).iter().any(|process| process.pid.to_string() == pid.trim()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone()).await.unwrap();
        assert!(load::get(fleet.app_at(0).unwrap(), "/").await.unwrap().1.contains("\"v2\""));

        // A start that fails says why, in the log too.
        assert_eq!(run("stop").await.status, Some(0));
        assert_eq!(load::get(fleet.app_at(0).unwrap(), "/").await, Err(Failure::Refused));
        fleet.install(0, "20260101000003", &Sample::flawed("v3", Flaw::Stillborn)).unwrap();
        let failed = run("start").await;
        assert_eq!(failed.status, Some(1));
        assert!(failed.stderr.contains("BROKEN_BOOT"), "{failed:?}");
        assert!(String::from_utf8(run("log").await.stdout).unwrap().contains("BROKEN_BOOT"));
        fleet.stop().await.unwrap();
    }
}

/// A balancer before members that are switched on and off at will.
struct Rig {
    balancer: Balancer,
    members: Vec<Option<tokio::task::JoinHandle<()>>>,
    at: Vec<std::net::SocketAddr>,
    _directory: tempfile::TempDir,
}

impl Rig {
    async fn new(checks: Option<CheckPlan>, level: Level, faults: Faults) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut members, mut at) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            at.push(listener.local_addr().unwrap());
            members.push(Some(tokio::spawn(serve(listener))));
        }
        let balancer = Balancer::start(BalancerOptions {
            name: "lb1".to_owned(),
            backend: "app".to_owned(),
            members: at.iter().enumerate().map(|(n, at)| (format!("s{}", n + 1), *at)).collect(),
            listen: "127.0.0.1:0".parse().unwrap(),
            socket: directory.path().join("admin.sock"),
            tcp: true,
            checks,
            level,
            log: Log::default(),
            faults,
        })
        .await
        .unwrap();
        Self { balancer, members, at, _directory: directory }
    }

    async fn down(&mut self, index: usize) {
        let member = self.members[index].take().unwrap();
        member.abort();
        let _ = member.await;
    }

    async fn up(&mut self, index: usize) {
        let listener = tokio::net::TcpListener::bind(self.at[index]).await.unwrap();
        self.members[index] = Some(tokio::spawn(serve(listener)));
    }

    async fn until(&self, index: usize, status: &str) {
        let wait = async {
            while self.balancer.snapshot()[index].status != status {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = tokio::time::timeout(LIMIT, wait).await;
        assert!(reached.is_ok(), "{status} is never reached: {:?}", self.balancer.snapshot());
    }

    /// One column of `show stat`, by its name.
    fn stat(&self, index: usize, column: &str) -> String {
        let answer = self.balancer.ask("show stat app 4 -1");
        let mut lines = answer.lines();
        let head: Vec<_> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
        let place = head.iter().position(|name| *name == column).unwrap();
        lines.nth(index).unwrap().split(',').nth(place).unwrap().to_owned()
    }

    /// Operational state, administrative state, check result, health and check state of `show servers state`.
    fn state(&self, index: usize) -> [String; 5] {
        let answer = self.balancer.ask("show servers state app");
        assert!(answer.starts_with("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state "));
        let line: Vec<_> = answer.lines().nth(2 + index).unwrap().split(' ').collect();
        assert_eq!(line.len(), 25);
        [5, 6, 11, 12, 13].map(|place| line[place].to_owned())
    }

    async fn socket(&self, line: &str) -> String {
        let mut socket = tokio::net::UnixStream::connect(self.balancer.socket()).await.unwrap();
        socket.write_all(line.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Answers everything, `/slow` after a while.
async fn serve(listener: tokio::net::TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut tcp, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut asked = vec![0; 4096];
            let count = tcp.read(&mut asked).await.unwrap_or_default();
            if asked[..count].starts_with(b"GET /slow") {
                tokio::time::sleep(LIMIT).await;
            }
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        });
    }
}

fn plan(inter: u64) -> Option<CheckPlan> {
    Some(CheckPlan { path: "/up".to_owned(), inter: Duration::from_millis(inter), rise: 2, fall: 3 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_state_as_haproxy_s_do() {
    let mut rig = Rig::new(plan(20), Level::Admin, Faults::default()).await;
    rig.until(0, "UP").await;
    assert_eq!(rig.state(0), ["2", "0", "3", "4", "6"]);
    assert_eq!((rig.stat(0, "check_status"), rig.stat(0, "check_health")), ("L7OK".to_owned(), "4".to_owned()));
    assert_eq!(rig.stat(0, "addr"), rig.at[0].to_string());

    // Drained: up, checked, no traffic; the weight stays.
    assert_eq!(rig.balancer.ask("set server app/s1 state drain"), "\n");
    assert_eq!((rig.stat(0, "status"), rig.stat(0, "weight")), ("DRAIN".to_owned(), "1".to_owned()));
    assert_eq!(rig.state(0), ["2", "8", "3", "4", "6"]);
    for _ in 0..4 {
        assert_eq!(load::get(rig.balancer.at(), "/").await.unwrap().0, 200);
    }
    assert_eq!(rig.balancer.snapshot()[0].requests, 0);

    // Drained and down: the status says DOWN, the administrative state still says drain.
    rig.down(0).await;
    rig.until(0, "DOWN").await;
    assert_eq!(rig.state(0)[..2], ["0", "8"]);
    assert_eq!(rig.stat(0, "check_status"), "L4CON");
    // Ready does not make it up, it just takes part again.
    assert_eq!(rig.balancer.ask("set server app/s1 state ready"), "\n");
    assert_eq!((rig.stat(0, "status").as_str(), rig.state(0)[1].as_str()), ("DOWN", "0"));

    // In maintenance nothing is checked: the columns are empty, the old result stays in the other table.
    assert_eq!(rig.balancer.ask("set server app/s1 state maint"), "\n");
    rig.up(0).await;
    assert_eq!((rig.stat(0, "status"), rig.stat(0, "check_status")), ("MAINT".to_owned(), String::new()));
    assert_eq!(rig.state(0), ["0", "1", "2", "0", "14"]);

    // From maintenance to drain: up at once, before any check; then as the checks say.
    rig.down(0).await;
    rig.balancer.ask("set server app/s1 state drain");
    let at_once = rig.stat(0, "status");
    assert!(["DRAIN 1/3", "DOWN"].contains(&at_once.as_str()), "{at_once}");
    rig.until(0, "DOWN").await;
    rig.up(0).await;
    rig.until(0, "DRAIN").await;
    assert_eq!(rig.stat(0, "check_health"), "4");
    rig.balancer.ask("set server app/s1 state ready");
    assert_eq!(rig.stat(0, "status"), "UP");
    let seen: Vec<_> =
        rig.balancer.history().into_iter().filter(|c| c.member == "s1").map(|c| (c.admin, c.up)).collect();
    let (r, d, m) = (Admin::Ready, Admin::Drain, Admin::Maint);
    assert_eq!(
        seen,
        [(r, true), (d, true), (d, false), (r, false), (m, false), (d, true), (d, false), (d, true), (r, true)]
    );

    // A reload forgets.
    rig.balancer.set("s2", Admin::Maint);
    rig.balancer.reload();
    assert!(rig.balancer.snapshot().iter().all(|member| member.in_service));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_maintenance_is_up_before_any_check() {
    // Checks so rare that only the first happens.
    let rig = Rig::new(plan(3_600_000), Level::Admin, Faults::default()).await;
    rig.until(0, "UP").await;
    rig.balancer.set("s1", Admin::Maint);
    rig.balancer.set("s1", Admin::Ready);
    assert_eq!(rig.stat(0, "status"), "UP 1/3");
    assert_eq!(rig.state(0), ["2", "0", "3", "2", "6"]);
    assert_eq!(rig.stat(0, "check_status"), "L7OK");
    assert!(rig.balancer.snapshot()[0].in_service);
    assert_eq!(rig.balancer.ask("disable health app/s1"), "\n");
    assert_eq!(rig.stat(0, "status"), "no check");
    assert_eq!(rig.state(0)[4], "2");
    assert_eq!(rig.balancer.ask("enable health app/s1"), "\n");
    assert_eq!(rig.stat(0, "status"), "UP 1/3");

    let unchecked = Rig::new(None, Level::Admin, Faults::default()).await;
    assert_eq!(unchecked.stat(0, "status"), "no check");
    assert_eq!(unchecked.state(0), ["2", "0", "0", "0", "0"]);
    unchecked.balancer.set("s1", Admin::Drain);
    assert_eq!(unchecked.stat(0, "status"), "DRAIN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_api_answers_as_haproxy_does() {
    let rig = Rig::new(plan(20), Level::Admin, Faults::default()).await;
    for (line, answer) in [
        ("show version\n", "2.6.12-pitcrew-demo\n\n"),
        ("set server app/s1 state drain\n", "\n"),
        ("set server app/s1 state drain\n", "\n"),
        ("set server app/nope state drain\n", "No such server.\n\n"),
        ("set server nope/s1 state drain\n", "No such backend.\n\n"),
        ("set server s1 state drain\n", "Require 'backend/server'.\n\n"),
        ("set server app/s1 state foo\n", "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"),
        ("shutdown sessions server app/s1\n", "\n"),
        ("shutdown sessions server app/nope\n", "No such server.\n\n"),
        ("get weight app/s1\n", "1 (initial 1)\n\n"),
        ("show stat nope 4 -1\n", "No such proxy.\n\n"),
        ("show servers state nope\n", "Can't find backend.\n\n"),
        ("disable agent app/s1\n", "\n"),
        ("enable agent app/s1\n", "Agent was not configured on this server, cannot enable.\n\n"),
        ("set server app/s1 state ready;show version\n", "\n2.6.12-pitcrew-demo\n\n"),
    ] {
        assert_eq!(rig.socket(line).await, answer, "{line}");
    }
    assert!(rig.socket("nonsense\n").await.starts_with("Unknown command, but maybe"));
    assert!(rig.socket("show info\n").await.starts_with("Name: HAProxy\nVersion: 2.6.12-pitcrew-demo\n"));
    let mut tcp = tokio::net::TcpStream::connect(rig.balancer.tcp_api().unwrap()).await.unwrap();
    tcp.write_all(b"get weight app/s2\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "1 (initial 1)\n\n");
    // Without a line feed, no command: the caller's end of file ends it.
    let mut socket = tokio::net::UnixStream::connect(rig.balancer.socket()).await.unwrap();
    socket.write_all(b"show version").await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");

    let operator = Rig::new(None, Level::Operator, Faults::default()).await;
    assert_eq!(operator.socket("set server app/s1 state drain\n").await, "Permission denied\n\n");
    assert!(operator.socket("show stat\n").await.starts_with("# pxname,svname,"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_api_fails_as_it_is_told() {
    let faults = Faults::default();
    let plan = [
        Fault::ErrorBefore { status: 1, stderr: "No such server.".to_owned() },
        Fault::Garbage,
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Dead,
    ];
    let mut turns = plan.clone().into_iter();
    faults.decide_with(move |point| point.label.starts_with("set ").then(|| turns.next()).flatten());
    let rig = Rig::new(None, Level::Admin, faults.clone()).await;
    let mut answers = Vec::new();
    for _ in &plan {
        let answer = rig.socket("set server app/s1 state drain\n").await;
        answers.push((answer, rig.balancer.snapshot()[0].admin));
    }
    assert_eq!(answers[0], ("No such server.\n\n".to_owned(), Admin::Ready));
    assert!(answers[1].0.contains('\u{fffd}') && answers[1].1 == Admin::Ready);
    assert_eq!(answers[2], (String::new(), Admin::Ready));
    assert_eq!(answers[3], (String::new(), Admin::Drain));
    assert_eq!(answers[4].0, "");
    assert!(tokio::net::UnixStream::connect(rig.balancer.socket()).await.is_err());
    // Traffic goes on: only the runtime API is dead.
    assert_eq!(load::get(rig.balancer.at(), "/").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_by_turns_and_fails_honestly() {
    let mut rig = Rig::new(None, Level::Admin, Faults::default()).await;
    for _ in 0..10 {
        assert_eq!(load::get(rig.balancer.at(), "/").await.unwrap(), (200, "ok".to_owned()));
    }
    assert_eq!(rig.balancer.snapshot().iter().map(|m| m.requests).collect::<Vec<_>>(), [5, 5]);

    // Sessions count while they last, and end when they are shut down.
    rig.balancer.set("s2", Admin::Drain);
    let slow = tokio::spawn(load::get(rig.balancer.at(), "/slow"));
    while rig.stat(0, "scur") != "1" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    rig.balancer.set("s1", Admin::Drain);
    assert_eq!(rig.balancer.ask("shutdown sessions server app/s1"), "\n");
    assert_eq!(rig.stat(0, "scur"), "0");
    assert_eq!(slow.await.unwrap().unwrap().0, 502);

    // Nobody is in service.
    assert_eq!(load::get(rig.balancer.at(), "/").await.unwrap().0, 503);
    // One is, but is not there: no second try elsewhere.
    rig.balancer.set("s1", Admin::Ready);
    rig.down(0).await;
    assert_eq!(load::get(rig.balancer.at(), "/").await.unwrap().0, 503);
    assert_eq!(rig.balancer.snapshot()[0].failed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_describes_the_fleet() {
    let fleet = fleet(options()).await;
    let text = fleet.config_text("app.strategy = \"rolling\"\n[health]\nsuccesses = 1").unwrap();
    let config: toml::Table = text.parse().unwrap();
    assert_eq!(config["app"]["strategy"].as_str(), Some("rolling"));
    assert_eq!(config["app"]["name"].as_str(), Some("demo"));
    assert_eq!(config["health"]["successes"].as_integer(), Some(1));
    assert_eq!(config["health"]["path"].as_str(), Some("/up"));
    assert_eq!(config["servers"].as_array().unwrap().len(), 2);
    assert_eq!(config["servers"][1]["lb"].as_str(), Some("s2"));
    assert!(config["load_balancer"]["at"][0].as_str().unwrap().starts_with("ssh://deploy@127."));
    assert!(PathBuf::from(config["app"]["web_server"].as_str().unwrap()).exists());
    assert!(fleet.config_text("not toml").is_err());
    fleet.next_release(&Sample::good("v2")).unwrap();
    assert!(PathBuf::from(config["source"]["path"].as_str().unwrap()).join("VERSION").exists());
    assert_eq!((fleet.current(0), fleet.lock_present(0), fleet.releases(0)), (None, false, Vec::new()));
    fleet.install(0, "20260101000001", &Sample::good("v1")).unwrap();
    assert_eq!(fleet.current(0).as_deref(), Some("20260101000001"));
    assert_eq!((fleet.version(0).as_deref(), fleet.revision(0).as_deref()), (Some("v1"), Some("v1")));
    assert_eq!(fleet.releases(0), ["20260101000001"]);
    fleet.stop().await.unwrap();
}
