//! Against OpenSSH's own sshd, ssh-keygen and ssh-agent.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use pitcrew::config::HostKeyChecking;
use pitcrew::ssh::{ConnectErrorKind, Ended, Exec, Heard, Pipe};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::ssh::daemon::{self, SSHD, Sshd, nap};
use crate::ssh::support::{Answers, Client, command, payload, run, run_until};

/// Starts sshd; `None` where it is not installed, which is said loudly, or is a failure if the daemons are demanded.
pub fn sshd(extra: &str) -> Option<Sshd> {
    if !Path::new(SSHD).exists() {
        assert!(std::env::var_os("PITCREW_REQUIRE_REAL").is_none_or(|v| v != "1"), "{SSHD} is not installed");
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("\n*** SKIPPED: {SSHD} is not installed; nothing was tested against OpenSSH ***\n");
        }
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    keygen(&dir.path().join("host_ed25519"), "ed25519", "");
    keygen(&dir.path().join("host_ecdsa"), "ecdsa", "");
    std::fs::write(dir.path().join("authorized_keys"), "").unwrap();
    Some(daemon::start(dir, &["host_ed25519", "host_ecdsa"], "authorized_keys", extra))
}

pub fn keygen(path: &Path, kind: &str, passphrase: &str) {
    keygen_with(path, &["-t", kind, "-N", passphrase]);
}

pub fn keygen_with(path: &Path, arguments: &[&str]) {
    let out =
        Command::new("ssh-keygen").args(["-q", "-C", "a comment", "-f"]).arg(path).args(arguments).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

pub fn public(path: &Path) -> String {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    std::fs::read_to_string(PathBuf::from(name)).unwrap()
}

impl Sshd {
    pub fn authorize(&self, key: &Path) {
        let file = self.dir.path().join("authorized_keys");
        let text = std::fs::read_to_string(&file).unwrap() + &public(key);
        std::fs::write(file, text).unwrap();
    }

    /// A client with one ed25519 key that the server accepts.
    pub fn client(&self) -> Client {
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen(&key, "ed25519", "");
        self.authorize(&key);
        client.ssh.identity_files = vec![key];
        client
    }

    pub fn host_key(&self, kind: &str) -> String {
        public(&self.dir.path().join(format!("host_{kind}"))).trim().to_owned()
    }

    pub fn name(&self) -> String {
        format!("[127.0.0.1]:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

#[tokio::test]
async fn commands_give_output_and_status() {
    let Some(sshd) = sshd("") else { return };
    let client = sshd.client();
    let link = client.link(sshd.port);
    let session = link.session().await.unwrap();
    let (ended, heard) = run(&session, command("echo out; echo err >&2; printf 'no newline'; exit 7")).await;
    assert_eq!(ended, Ended::Exit(7));
    assert_eq!(heard.out, ["out", "no newline"]);
    assert_eq!(heard.err, ["err"]);
    let (ended, _) = run(&session, command("kill -9 $$")).await;
    assert_eq!(ended, Ended::Signal("KILL".into()));
    let head = Exec { head: Bytes::from_static(b"echo from $0 input\n"), ..command("sh -s") };
    let (ended, heard) = run(&session, head).await;
    assert_eq!((ended, heard.out), (Ended::Exit(0), vec!["from sh input".to_owned()]));
    link.close().await;
    assert!(session.ended().is_some());
    assert!(matches!(run(&session, command("true")).await.0, Ended::Lost(_) | Ended::Unsent(_)));
}

#[tokio::test]
async fn many_commands_at_once_share_the_connection() {
    let Some(sshd) = sshd("") else { return };
    let client = sshd.client();
    let link = client.link(sshd.port);
    // In a task of its own, as all work on servers is.
    let session = tokio::spawn(async move { link.session().await }).await.unwrap().unwrap();
    let tasks = (0..8).map(|i| {
        let session = session.clone();
        tokio::spawn(async move { run(&session, command(&format!("seq 1 20000; exit {i}"))).await })
    });
    for (i, done) in futures::future::join_all(tasks).await.into_iter().enumerate() {
        let (ended, heard) = done.unwrap();
        assert_eq!(ended, Ended::Exit(i as u32));
        assert_eq!(heard.out.len(), 20_000);
        assert_eq!(heard.out[19_999], "20000");
    }
}

#[tokio::test]
async fn an_upload_arrives_whole_after_the_head() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let (file, sum) = payload(20_000_000);
    let exec = Exec {
        head: Bytes::from_static(b"first line\n"),
        payload: Some(file),
        ..command("read -r line; echo \"$line\"; sha256sum | cut -d' ' -f1")
    };
    let (ended, heard) = run(&session, exec).await;
    assert_eq!(ended, Ended::Exit(0), "{heard:?}");
    assert_eq!(heard.out, ["first line".to_owned(), sum]);
    assert_eq!(heard.sent.last(), Some(&20_000_000));
    assert!(heard.sent.is_sorted());
}

#[tokio::test]
async fn a_command_that_ignores_its_input_reports_its_own_failure() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let (file, _) = payload(20_000_000);
    let exec = Exec { payload: Some(file), ..command("echo no room >&2; exit 3") };
    let (ended, heard) = run(&session, exec).await;
    assert_eq!((ended, heard.err), (Ended::Exit(3), vec!["no room".to_owned()]));
    assert_eq!(run(&session, command("echo still")).await.1.out, ["still"]);
}

#[tokio::test]
async fn input_that_nobody_reads_is_not_waited_for_for_ever() {
    let Some(sshd) = sshd("") else { return };
    let client = sshd.client();
    let mut network = client.network();
    std::sync::Arc::get_mut(&mut network.commons).unwrap().channel_timeout = Duration::from_secs(3);
    let link = client.link_with(sshd.port, &network);
    let (file, _) = payload(20_000_000);
    let exec = Exec { payload: Some(file), ..command("echo $$; exec sleep 1000") };
    let (ended, heard) = run(&link.session().await.unwrap(), exec).await;
    assert_eq!(ended, Ended::TimedOut(Duration::from_secs(6)));
    assert_gone(&link, &heard.out[0]).await;
}

#[tokio::test]
async fn a_file_that_shrank_ends_the_command_without_end_of_file() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let (mut file, _) = payload(1_000_000);
    file.len += 1;
    let exec = Exec { payload: Some(file), ..command("cat >/dev/null; echo complete") };
    let (ended, heard) = run(&session, exec).await;
    assert!(matches!(&ended, Ended::Lost(why) if why.to_string().contains("shorter")), "{ended:?}");
    assert!(heard.out.is_empty());
}

#[tokio::test]
async fn limits_and_stops_end_the_remote_processes() {
    let Some(sshd) = sshd("") else { return };
    let client = sshd.client();
    let link = client.link(sshd.port);
    // Asked for each time: a server that is too slow to end a command loses its connection.
    let session = async || link.session().await.unwrap();
    // Long enough for the command to begin on a busy machine.
    let limit = Duration::from_secs(3);
    // The shell and its child get the signal.
    let exec = Exec { limit: Some(limit), ..command("echo $$; sleep 1000; echo not reached") };
    let (ended, heard) = run(&*session().await, exec).await;
    assert_eq!(ended, Ended::TimedOut(limit));
    assert_eq!(heard.out.len(), 1);
    assert_gone(&link, &heard.out[0]).await;

    // One that ignores TERM is killed.
    let exec = Exec { limit: Some(limit), ..command("trap '' TERM; echo $$; while :; do sleep 0.1; done") };
    let (ended, heard) = run(&*session().await, exec).await;
    assert_eq!(ended, Ended::TimedOut(limit));
    assert_gone(&link, &heard.out[0]).await;

    // One that floods its output cannot hold the stop off; what it says at its end is heard.
    // Where the machine has no time for it in seconds, it is killed before: another try.
    let (mut stop, mut last) = (CancellationToken::new(), String::new());
    for _ in 0..5 {
        stop = CancellationToken::new();
        let exec = command("trap 'echo; echo bye; exit 0' TERM; while :; do echo y; done");
        let mut heard = |h: Heard<'_>| {
            if let Heard::Line(Pipe::Out, line) = h {
                line.clone_into(&mut last);
                stop.cancel();
            }
        };
        assert_eq!(session().await.exec(exec, &mut heard, &stop).await, Ended::Stopped);
        if last == "bye" {
            break;
        }
    }
    assert_eq!(last, "bye");
    // One asked to stop before it starts does not start.
    let (ended, heard) = run_until(&*session().await, command("echo started; sleep 5"), &stop).await;
    assert_eq!((ended, heard.out.len()), (Ended::Stopped, 0));
}

/// On a busy machine a process that was killed is there until somebody has the time to reap it.
async fn assert_gone(link: &pitcrew::ssh::Link, pid: &str) {
    let gone =
        format!("n=0; while kill -0 {pid} 2>/dev/null; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done");
    let (ended, _) = run(&link.session().await.unwrap(), command(&gone)).await;
    assert_eq!(ended, Ended::Exit(0), "process {pid} is still there");
}

#[tokio::test]
async fn a_background_child_does_not_hold_the_command_up() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let (ended, heard) = run(&session, command("sleep 1000 & echo $!; exit 4")).await;
    assert_eq!(ended, Ended::Exit(4));
    // It is alive, so the command did end before it.
    let (ended, _) = run(&session, command(&format!("kill -9 {}", heard.out[0]))).await;
    assert_eq!(ended, Ended::Exit(0));
}

#[tokio::test]
async fn a_last_line_that_comes_later_than_the_exit_status_is_waited_for() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let late = "(sleep 3; echo so: done; sleep 1000) & echo $!; exit 0";
    let exec = Exec { last_words: vec!["so: done".into(), "so: fail ".into()], ..command(late) };
    let (ended, heard) = run(&session, exec).await;
    assert_eq!((ended, heard.out[1].as_str()), (Ended::Exit(0), "so: done"));
    let (ended, _) = run(&session, command(&format!("pkill -9 -P {}; kill -9 {0}", heard.out[0]))).await;
    assert_eq!(ended, Ended::Exit(0));
}

#[tokio::test]
async fn silence_is_reported_again_and_again() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let quiet = Duration::from_millis(100);
    let (_, heard) = run(&session, Exec { quiet, ..command("sleep 1; echo x") }).await;
    assert!(heard.quiet.len() >= 2, "{heard:?}");
    assert_eq!(heard.quiet[..2], [quiet, quiet * 2]);
}

#[tokio::test]
async fn a_lost_connection_is_told_and_made_again() {
    let Some(sshd) = sshd("") else { return };
    let client = sshd.client();
    let link = client.link(sshd.port);
    let session = link.session().await.unwrap();
    let (ended, _) = run(&session, command("kill -9 $PPID; sleep 2")).await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    let again = link.session().await.unwrap();
    assert_eq!(run(&again, command("exit 5")).await.0, Ended::Exit(5));
}

#[tokio::test]
async fn tunnels_reach_ports_and_sockets() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let path = sshd.dir.path().join("socket");
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok((stream, _)) = tcp.accept() => { tokio::spawn(shout(stream)); }
                Ok((stream, _)) = unix.accept() => { tokio::spawn(shout(stream)); }
            }
        }
    });
    let big = vec![b'a'; 3_000_000];
    for mut stream in [
        session.direct_tcpip("127.0.0.1", port).await.unwrap(),
        session.direct_streamlocal(path.to_str().unwrap()).await.unwrap(),
    ] {
        stream.write_all(&big).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), big.len());
        assert!(answer.iter().all(|b| *b == b'A'));
    }
    let closed = crate::port::own();
    let why = session.direct_tcpip("127.0.0.1", closed).await.err().unwrap().to_string();
    assert!(why.contains("connection refused"), "{why}");
    let why = session.direct_streamlocal("/nowhere").await.err().unwrap().to_string();
    assert_eq!(why, "the server could not connect to it");
}

async fn shout(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    text.make_ascii_uppercase();
    stream.write_all(&text).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_that_is_not_read_holds_nothing_up() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
        cut.send(()).unwrap();
    });
    let mut unread = session.direct_tcpip("127.0.0.1", port).await.unwrap();
    assert_eq!(run(&session, command("seq 1 100000 | tail -1")).await.1.out, ["100000"]);
    tokio::time::timeout(Duration::from_secs(60), is_cut).await.expect("the tunnel is still there").unwrap();
    let mut buffer = vec![0; 1 << 16];
    let error = loop {
        match unread.read(&mut buffer).await {
            Ok(0) => panic!("a cut stream must not look complete"),
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert!(error.to_string().contains("not read"), "{error}");
}

#[tokio::test]
async fn tunnels_fail_when_the_connection_is_lost() {
    let Some(sshd) = sshd("") else { return };
    let session = sshd.client().link(sshd.port).session().await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    // Accepts and never reads: the writer ends up waiting for the window.
    let mut tunnel = session.direct_tcpip("127.0.0.1", port).await.unwrap();
    let writing = tokio::spawn(async move {
        let chunk = vec![0; 1 << 20];
        loop {
            if let Err(e) = tunnel.write_all(&chunk).await {
                return e.to_string();
            }
        }
    });
    run(&session, command("sleep 1; kill -9 $PPID")).await;
    let error = tokio::time::timeout(Duration::from_secs(30), writing).await.expect("the writer hangs").unwrap();
    assert!(error.contains("lost"), "{error}");
}

#[tokio::test]
async fn every_kind_of_key_logs_in() {
    let Some(sshd) = sshd("") else { return };
    for (kind, bits, format) in [
        ("ed25519", "256", "RFC4716"),
        ("ecdsa", "256", "RFC4716"),
        ("ecdsa", "384", "PKCS8"),
        ("rsa", "2048", "RFC4716"),
        ("rsa", "2048", "PEM"),
    ] {
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen_with(&key, &["-t", kind, "-b", bits, "-m", format, "-N", ""]);
        sshd.authorize(&key);
        client.ssh.identity_files = vec![key];
        let session = client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind} {format}: {e:?}"));
        assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0), "{kind} {format}");
    }
}

/// On a server that takes nothing else, for keys in files and in the agent, with a certificate and without one. (One that takes
/// SHA-256 alone says that it takes both, and OpenSSH's own client fails there as well.)
#[tokio::test]
async fn rsa_keys_sign_with_sha2() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    keygen(&ca, "ed25519", "");
    for (algorithm, certified) in [("rsa-sha2-512", false), ("rsa-sha2-512-cert-v01@openssh.com", true)] {
        // A certificate's authority signs with a name of its own; its key is no RSA key.
        let lines = format!(
            "PubkeyAcceptedAlgorithms {algorithm}\nTrustedUserCAKeys {}.pub\nCASignatureAlgorithms ssh-ed25519",
            ca.display()
        );
        let Some(sshd) = sshd(&lines) else { return };
        let mut client = Client::new();
        let key = client.home.path().join("key");
        keygen_with(&key, &["-t", "rsa", "-b", "2048", "-N", ""]);
        if certified {
            let sign = ["-q", "-I", "id", "-n", &crate::ssh::support::me(), "-s"];
            let out = Command::new("ssh-keygen").args(sign).arg(&ca).arg(format!("{}.pub", key.display())).output();
            assert!(out.unwrap().status.success());
        } else {
            sshd.authorize(&key);
        }
        let held = agent(client.home.path(), &[&key]);
        client.ssh.identity_files = vec![key.clone()];
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{algorithm} in a file: {e:?}"));
        std::fs::remove_file(&key).unwrap();
        client.ssh.identity_files.clear();
        client.agent = Some(held.socket.clone());
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{algorithm} in the agent: {e:?}"));
    }
}

#[tokio::test]
async fn a_passphrase_is_asked_for_once_and_only_for_a_key_that_helps() {
    let Some(sshd) = sshd("") else { return };
    for format in ["RFC4716", "PKCS8"] {
        let mut client = Client::new();
        let (useless, useful) = (client.home.path().join("useless"), client.home.path().join("useful"));
        keygen(&useless, "ed25519", "another");
        keygen_with(&useful, &["-t", "ecdsa", "-m", format, "-N", "secret"]);
        sshd.authorize(&useful);
        client.ssh.identity_files = vec![useless, useful.clone()];
        client.answers = std::sync::Arc::new(Answers { passphrase: Some("secret".into()), ..Answers::default() });
        let network = client.network();
        let target = client.link_with(sshd.port, &network).target().clone();
        let links = [(); 3].map(|()| pitcrew::ssh::Link::new(target.clone(), network.commons.clone()));
        let all = futures::future::join_all(links.iter().map(|l| l.session())).await;
        assert!(
            all.iter().all(Result::is_ok),
            "{format}: {:?}",
            all.iter().map(|r| r.as_ref().err()).collect::<Vec<_>>()
        );
        assert_eq!(*client.answers.asked.lock().unwrap(), [useful], "{format}");
    }
}

#[tokio::test]
async fn a_locked_key_without_an_answer_is_named() {
    let Some(sshd) = sshd("") else { return };
    let mut client = Client::new();
    let key = client.home.path().join("locked");
    keygen(&key, "ed25519", "secret");
    sshd.authorize(&key);
    client.ssh.identity_files = vec![key.clone()];
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    assert!(e.to_string().contains("locked (encrypted, and no passphrase was given)"), "{e}");
    assert!(!e.to_string().contains("secret"));

    let mut client = Client::new();
    client.ssh.identity_files = vec![key];
    client.answers = std::sync::Arc::new(Answers { passphrase: Some("wrong".into()), ..Answers::default() });
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("the passphrase was wrong"), "{e}");
    assert!(!e.to_string().contains("wrong\""));
}

#[tokio::test]
async fn refused_keys_are_named_with_what_to_do() {
    let Some(sshd) = sshd("") else { return };
    let mut client = Client::new();
    let (wrong, open, none) =
        (client.home.path().join("wrong"), client.home.path().join("open"), client.home.path().join("none"));
    keygen(&wrong, "ed25519", "");
    keygen(&open, "ed25519", "");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    client.ssh.identity_files = vec![wrong.clone(), open];
    client.agent = Some(client.home.path().join("no-agent"));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    let out = Command::new("ssh-keygen").arg("-lf").arg(&wrong).output().unwrap();
    let print = String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned();
    for part in [
        &format!("@127.0.0.1:{}", sshd.port),
        &print,
        "wrong (ssh-ed25519 SHA256:",
        "others can read it (mode 0644)",
        "no-agent",
        "accepts publickey",
    ] {
        assert!(e.to_string().contains(part), "{part}: {e}");
    }
    assert!(e.hint().contains("authorized_keys"), "{}", e.hint());

    client.ssh.identity_files = vec![none];
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Local);
    assert!(e.to_string().contains("/none: there is no such file"), "{e}");
}

#[tokio::test]
async fn the_usual_keys_are_found_and_no_more_than_five_are_offered() {
    let Some(sshd) = sshd("") else { return };
    let mut client = Client::new();
    client.know("");
    let usual = client.home.path().join(".ssh/id_ecdsa");
    keygen(&usual, "ecdsa", "");
    sshd.authorize(&usual);
    client.link(sshd.port).session().await.unwrap();

    for i in 0..7 {
        let key = client.home.path().join(format!("k{i}"));
        keygen(&key, "ed25519", "");
        client.ssh.identity_files.push(key);
    }
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    assert!(e.to_string().contains("k4") && e.to_string().contains("servers allow no more than 5"), "{e}");
    assert_eq!(sshd.log().matches("Failed publickey").count(), 5, "{}", sshd.log());
    // Nor when the agent has them, beside a file.
    let paths: Vec<PathBuf> = client.ssh.identity_files.split_off(1);
    let held = agent(client.home.path(), &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    client.agent = Some(held.socket.clone());
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("servers allow no more than 5"), "{e}");
    assert_eq!(sshd.log().matches("Failed publickey").count(), 10, "{}", sshd.log());
}

/// A running ssh-agent; ends with the value.
pub struct Agent {
    child: Child,
    pub socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn agent(dir: &Path, keys: &[&Path]) -> Agent {
    let socket = dir.join("agent");
    let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let agent = Agent { child, socket };
    for _ in 0..3000 {
        if agent.socket.exists() {
            break;
        }
        nap();
    }
    for key in keys {
        let out = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    agent
}

#[tokio::test]
async fn the_agent_serves_its_keys() {
    let Some(sshd) = sshd("") else { return };
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let mut client = Client::new();
        let key = client.home.path().join("in-agent");
        keygen(&key, kind, "");
        sshd.authorize(&key);
        let agent = agent(client.home.path(), &[&key]);
        client.agent = Some(agent.socket.clone());
        client.link(sshd.port).session().await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        // Locked on disk, but the agent holds it: nobody is asked.
        let out = Command::new("ssh-keygen").args(["-q", "-p", "-N", "secret", "-f"]).arg(&key).output().unwrap();
        assert!(out.status.success());
        client.ssh.identity_files = vec![key.clone()];
        client.link(sshd.port).session().await.unwrap();
        // Only the public half is left.
        std::fs::remove_file(&key).unwrap();
        client.link(sshd.port).session().await.unwrap();
        assert!(client.answers.asked.lock().unwrap().is_empty());
        // An agent that lost the key: said, not asked.
        drop(agent);
        let e = client.link(sshd.port).session().await.err().unwrap();
        assert!(e.to_string().contains("only its public half"), "{e}");
    }
}

#[tokio::test]
async fn a_configured_key_goes_before_those_of_the_agent() {
    let Some(sshd) = sshd("MaxAuthTries 2") else { return };
    let mut client = sshd.client();
    let others: Vec<_> = (0..4).map(|i| client.home.path().join(format!("other{i}"))).collect();
    for other in &others {
        keygen(other, "ed25519", "");
    }
    let agent = agent(client.home.path(), &others.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    client.agent = Some(agent.socket.clone());
    client.link(sshd.port).session().await.unwrap();
    // Cut off after two, the message says by whom.
    client.ssh.identity_files.clear();
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    assert!(e.to_string().contains("Too many authentication failures"), "{e}");
}

#[tokio::test]
async fn a_server_that_takes_no_keys_is_told_apart() {
    let Some(sshd) = sshd("PubkeyAuthentication no\nPasswordAuthentication yes") else { return };
    let e = sshd.client().link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Auth);
    assert!(e.to_string().contains("accepts password") && e.hint().contains("PubkeyAuthentication"), "{e:?}");
}

#[tokio::test]
async fn host_keys_are_checked() {
    let Some(sshd) = sshd("") else { return };
    let mut client = sshd.client();
    client.ssh.host_key_checking = Some(HostKeyChecking::Strict);
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::HostKey);
    assert!(e.to_string().contains("not known"), "{e}");
    assert!(e.hint().contains(&format!("ssh-keyscan -p {}", sshd.port)), "{}", e.hint());

    // Known by a key that is not the first choice: that one is asked for.
    client.know(&format!("{} {}\n", sshd.name(), sshd.host_key("ecdsa")));
    client.link(sshd.port).session().await.unwrap();

    client.know(&format!("# 1\n{} {}\n", sshd.name(), public(&client.ssh.identity_files[0])));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::HostKey);
    assert!(e.to_string().contains("known_hosts:2 holds another key"), "{e}");
    // accept-new refuses it as well.
    client.ssh.host_key_checking = Some(HostKeyChecking::AcceptNew);
    assert_eq!(client.link(sshd.port).session().await.err().unwrap().kind(), ConnectErrorKind::HostKey);

    let key = sshd.host_key("ed25519");
    client.know(&format!("{} {key}\n@revoked * {key}\n", sshd.name()));
    let e = client.link(sshd.port).session().await.err().unwrap();
    assert!(e.to_string().contains("revoked by"), "{e}");
}

#[tokio::test]
async fn accept_new_writes_what_ssh_keygen_finds() {
    let Some(sshd) = sshd("") else { return };
    let mut client = sshd.client();
    client.link(sshd.port).session().await.unwrap();
    let out =
        Command::new("ssh-keygen").arg("-F").arg(sshd.name()).arg("-f").arg(client.known_hosts()).output().unwrap();
    let key = sshd.host_key("ed25519");
    let key = key.split(' ').nth(1).unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(key));
    // And what ssh-keygen hashes is found again.
    let out = Command::new("ssh-keygen").arg("-H").arg("-f").arg(client.known_hosts()).output().unwrap();
    assert!(out.status.success());
    assert!(std::fs::read_to_string(client.known_hosts()).unwrap().starts_with("|1|"));
    client.ssh.host_key_checking = Some(HostKeyChecking::Strict);
    client.link(sshd.port).session().await.unwrap();
}

#[tokio::test]
async fn a_host_certificate_is_trusted_by_its_authority() {
    for (principal, good) in [("127.0.0.1", true), ("web9", false)] {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        keygen(&ca, "ed25519", "");
        let certify = |host: &Path| {
            let sign = ["-q", "-h", "-I", "id", "-n", principal, "-s"];
            let out = Command::new("ssh-keygen").args(sign).arg(&ca).arg(host).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            host.with_file_name("host_ed25519-cert.pub")
        };
        let Some(sshd) = sshd_with_certificate(certify) else { return };
        let mut client = sshd.client();
        client.ssh.host_key_checking = Some(HostKeyChecking::Strict);
        client.know(&format!("@cert-authority [127.0.0.1]:* {}", public(&ca)));
        match client.link(sshd.port).session().await {
            Ok(_) => assert!(good),
            Err(e) => assert!(!good && e.to_string().contains("made out to [web9]"), "{e:?}"),
        }
    }
}

/// Starts sshd with a certificate that `make` creates from its public host key.
fn sshd_with_certificate(make: impl FnOnce(&Path) -> PathBuf) -> Option<Sshd> {
    let mut server = sshd("")?;
    let certificate = make(&server.dir.path().join("host_ed25519.pub"));
    let _ = server.child.kill();
    let _ = server.child.wait();
    let file = server.dir.path().join("sshd_config");
    let text = std::fs::read_to_string(&file).unwrap() + &format!("HostCertificate {}\n", certificate.display());
    std::fs::write(&file, text).unwrap();
    let log = std::fs::File::create(server.dir.path().join("log")).unwrap();
    server.child =
        Command::new(SSHD).args(["-D", "-e", "-f"]).arg(&file).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    for _ in 0..3000 {
        if server.log().contains("Server listening on") {
            return Some(server);
        }
        nap();
    }
    panic!("sshd does not start: {}", server.log());
}
