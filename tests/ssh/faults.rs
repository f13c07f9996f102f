//! Against servers that are silent, busy, hostile or cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use pitcrew::ssh::{ConnectErrorKind, Ended, Exec};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Sig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::ssh::support::{Client, ask, command, payload, run, run_until};

/// A server whose commands are faults.
struct Faulty {
    /// Held, so that they are neither accepted nor refused.
    unanswered: Vec<ChannelOpenHandle>,
    /// Ends at a signal.
    minds: Option<ChannelId>,
    /// Comes round to nothing that is to end commands, yet.
    is_slow: bool,
}

impl Handler for Faulty {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        Ok(if user == "nobody" { Auth::reject() } else { Auth::Accept })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        host: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if host == "silent" {
            self.unanswered.push(reply);
        }
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, s: &mut Session) -> Result<(), russh::Error> {
        if self.minds == Some(id) {
            s.data(id, format!("told {signal:?}\n"))?;
            s.exit_status_request(id, 0)?;
            s.close(id)?;
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, text: &[u8], s: &mut Session) -> Result<(), russh::Error> {
        let text = String::from_utf8_lossy(text).into_owned();
        if text == "refuse" || (text == "exec sh -s" && !self.is_slow) {
            return s.channel_failure(id);
        }
        self.is_slow |= text == "hang slowly";
        if text == "no answer" {
            return Ok(());
        }
        s.channel_success(id)?;
        let status = |s: &mut Session, status| {
            s.exit_status_request(id, status)?;
            s.eof(id)?;
            s.close(id)
        };
        match text.as_str() {
            "true" => status(s, 0),
            "no status" => {
                s.data(id, "last words")?;
                s.close(id)
            }
            "signal" => {
                s.exit_signal_request(id, Sig::Custom("SEGV\u{1b}[2J".into()), false, "", "")?;
                s.close(id)
            }
            "huge" => {
                let handle = s.handle();
                tokio::spawn(async move {
                    for _ in 0..200 {
                        handle.data(id, vec![b'x'; 32_000]).await.unwrap();
                    }
                    handle.data(id, "\nnext\n").await.unwrap();
                    handle.exit_status_request(id, 0).await.unwrap();
                    handle.close(id).await.unwrap();
                });
                Ok(())
            }
            // The exit status comes, the channel stays open.
            "linger" => {
                s.data(id, "done\n")?;
                s.exit_status_request(id, 9)
            }
            "early" => {
                s.extended_data(id, 1, "no room\n")?;
                status(s, 3)
            }
            "open" => {
                let handle = s.handle();
                tokio::spawn(async move {
                    let opened = [
                        handle.channel_open_agent().await.is_ok(),
                        handle.channel_open_session().await.is_ok(),
                        handle.channel_open_x11("127.0.0.1", 1).await.is_ok(),
                        handle.channel_open_direct_tcpip("127.0.0.1", 1, "127.0.0.1", 1).await.is_ok(),
                        handle.channel_open_direct_streamlocal("/x").await.is_ok(),
                        handle.channel_open_forwarded_tcpip("127.0.0.1", 1, "127.0.0.1", 1).await.is_ok(),
                        handle.channel_open_forwarded_streamlocal("/x").await.is_ok(),
                    ];
                    handle.data(id, format!("{opened:?}\n")).await.unwrap();
                    handle.exit_status_request(id, 0).await.unwrap();
                    handle.close(id).await.unwrap();
                });
                Ok(())
            }
            "mind signals" => {
                self.minds = Some(id);
                Ok(())
            }
            "hang" | "hang slowly" | "exec sh -s" => Ok(()),
            other => panic!("no such fault: {other}"),
        }
    }
}

/// Serves faults on a port of its own; counts connections.
async fn faulty() -> (SocketAddr, Arc<AtomicUsize>) {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let config = Arc::new(Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            let config = config.clone();
            tokio::spawn(async move {
                // Ends with the connection; how does not matter here.
                if let Ok(session) = russh::server::run_stream(
                    config,
                    stream,
                    Faulty { unanswered: Vec::new(), minds: None, is_slow: false },
                )
                .await
                {
                    let _ = session.await;
                }
            });
        }
    });
    (address, count)
}

fn client() -> Client {
    let mut client = Client::new();
    let key = client.home.path().join("key");
    let secret = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    secret.write_openssh_file(&key, russh::keys::ssh_key::LineEnding::LF).unwrap();
    client.ssh.identity_files = vec![key];
    client
}

async fn faulty_session() -> Arc<pitcrew::ssh::Session> {
    let (address, _) = faulty().await;
    client().link(address.port()).session().await.unwrap()
}

/// Accepts connections and does `with` each.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    with: impl Fn(usize, TcpStream) -> F + Send + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(with(counted.fetch_add(1, SeqCst), stream));
        }
    });
    (port, count)
}

async fn hold(stream: TcpStream) {
    std::future::pending::<()>().await;
    drop(stream);
}

#[tokio::test]
async fn a_silent_server_runs_into_the_limit_once_for_all_who_wait() {
    let (port, count) = listen(|_, stream| hold(stream)).await;
    let mut client = client();
    client.ssh.connect_timeout = Some(Duration::from_millis(300));
    let link = client.link(port);
    let all = futures::future::join_all((0..5).map(|_| link.session())).await;
    for made in all {
        let e = made.err().unwrap();
        assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
        assert!(e.to_string().contains("no SSH handshake was made within 0.3 s"), "{e}");
        assert!(!e.hint().is_empty());
    }
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn a_handshake_given_up_lets_go_of_the_connection() {
    // The banner is sent, the key exchange never is: the library's task would wait on.
    let (gone, mut told) = tokio::sync::mpsc::channel(1);
    let (port, _) = listen(move |_, mut stream| {
        let gone = gone.clone();
        async move {
            stream.write_all(b"SSH-2.0-stuck\r\n").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let mut client = client();
    client.ssh.connect_timeout = Some(Duration::from_millis(300));
    let e = client.link(port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    tokio::time::timeout(Duration::from_secs(20), told.recv()).await.expect("the connection is still open").unwrap();
}

#[tokio::test]
async fn a_busy_server_is_tried_again() {
    let (server, _) = faulty().await;
    let (port, count) = listen(move |n, mut stream| async move {
        match n {
            0 => drop(stream),
            1 => stream.write_all(b"Exceeded MaxStartups\r\n").await.unwrap(),
            _ => {
                let mut to = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
            }
        }
    })
    .await;
    let session = client().link(port).session().await.unwrap();
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
    assert_eq!(count.load(SeqCst), 3);
}

#[tokio::test]
async fn text_before_the_banner_is_passed_over_as_ssh_does() {
    let (server, _) = faulty().await;
    for lines in [60, 1000] {
        let (port, _) = listen(move |_, mut stream| async move {
            let mut to = TcpStream::connect(server).await.unwrap();
            stream.write_all("no such service here\r\n".repeat(lines).as_bytes()).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
        })
        .await;
        let session = client().link(port).session().await.unwrap();
        assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0), "{lines}");
    }
}

#[tokio::test]
async fn an_address_that_sshd_holds_back_does_not_knock_again() {
    let (port, count) = listen(|_, mut stream| async move {
        stream.write_all(b"Not allowed at this time\r\n").await.unwrap();
    })
    .await;
    let e = client().link(port).session().await.err().unwrap();
    assert!(e.to_string().contains("Not allowed at this time"), "{e}");
    assert!(e.hint().contains("PerSourcePenalties"), "{}", e.hint());
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn servers_that_say_nothing_keep_no_other_waiting() {
    let (server, _) = faulty().await;
    let (port, count) = listen(|_, stream| hold(stream)).await;
    let client = client();
    let network = client.network();
    let silent: Vec<_> = (0..100)
        .map(|i| {
            let question = ask(&format!("user{i}@127.0.0.1:{port}"));
            let link = network.link(&format!("web{i}"), &question).unwrap();
            tokio::spawn(async move { link.session().await.map(drop) })
        })
        .collect();
    while count.load(SeqCst) < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let session = client.link_with(server.port(), &network).session().await.unwrap();
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
    assert!(silent.iter().all(|task| !task.is_finished()), "their limit had passed");
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_proxy_command_that_does_not_come_to_speak_ssh_is_run_once() {
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let text = format!("Host *\n  ProxyCommand sh -c 'echo x >>{}; echo no >&2; exit 1'\n", ran.display());
    let e = Client::configured(&text).link(22).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains("its ProxyCommand said: no"), "{e}");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "x\n");
}

#[tokio::test]
async fn a_server_that_always_hangs_up_is_tried_a_few_times() {
    let (port, count) = listen(|_, stream| async move { drop(stream) }).await;
    let e = client().link(port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains("closed the connection") || e.to_string().contains("reset"), "{e}");
    assert_eq!(count.load(SeqCst), 6);
}

/// A name server may be as busy as a server is.
#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_resolved_is_tried_again() {
    // Nobody is asked about a label that is too long for any name server.
    let question = pitcrew::ssh::config::Question { host: "x".repeat(70), ..Default::default() };
    let link = client().network().link("web1", &question).unwrap();
    // The clock stands still while anybody is at work: what passes is what is waited between the attempts.
    let began = tokio::time::Instant::now();
    let e = link.session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains("its name cannot be resolved"), "{e}");
    assert!(began.elapsed() >= Duration::from_millis(150 * (1 + 2 + 3 + 4 + 5)), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_ssh_server_is_not_tried_again() {
    let (port, count) = listen(|_, mut stream| async move {
        let _ = stream.write_all(&b"HTTP/1.1 400 Bad Request\r\n".repeat(2000)).await;
        hold(stream).await;
    })
    .await;
    let e = client().link(port).session().await.err().unwrap();
    assert!(e.to_string().contains("does not speak SSH"), "{e}");
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn a_closed_port_is_said_at_once() {
    let port = crate::port::own();
    let e = client().link(port).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::Unreachable);
    assert!(e.to_string().contains(&format!("@127.0.0.1:{port}: Connection refused")), "{e}");
}

#[tokio::test]
async fn refused_keys_are_not_tried_again() {
    let (address, count) = faulty().await;
    let client = client();
    let mut target = client.link(address.port()).target().clone();
    target.user = "nobody".into();
    let link = pitcrew::ssh::Link::new(target, client.network().commons.clone());
    assert_eq!(link.session().await.err().unwrap().kind(), ConnectErrorKind::Auth);
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn one_connection_serves_all_callers() {
    let (address, count) = faulty().await;
    let client = client();
    let link = client.link(address.port());
    let all = futures::future::join_all((0..5).map(|_| link.session())).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(count.load(SeqCst), 1);
    link.close().await;
    assert!(all.into_iter().all(|s| s.unwrap().ended().is_some()));
    link.session().await.unwrap();
    assert_eq!(count.load(SeqCst), 2);
}

#[tokio::test]
async fn a_command_without_status_is_not_good() {
    let session = faulty_session().await;
    let (ended, heard) = run(&session, command("no status")).await;
    assert_eq!((ended, heard.out), (Ended::NoStatus, vec!["last words".to_owned()]));
}

#[tokio::test]
async fn a_signal_is_named_without_control_characters() {
    let session = faulty_session().await;
    assert_eq!(run(&session, command("signal")).await.0, Ended::Signal("SEGV [2J".into()));
}

#[tokio::test]
async fn a_megabyte_without_newline_is_one_cut_line() {
    let session = faulty_session().await;
    let (ended, heard) = run(&session, command("huge")).await;
    assert_eq!(ended, Ended::Exit(0));
    assert_eq!(heard.out.iter().map(String::len).collect::<Vec<_>>(), [8192, 4]);
}

#[tokio::test]
async fn an_open_channel_after_the_status_is_left() {
    let session = faulty_session().await;
    let (ended, heard) = run(&session, command("linger")).await;
    assert_eq!((ended, heard.out), (Ended::Exit(9), vec!["done".to_owned()]));
}

#[tokio::test]
async fn a_command_that_ends_while_input_is_sent_tells_why() {
    let session = faulty_session().await;
    for _ in 0..5 {
        let (file, _) = payload(5_000_000);
        let (ended, heard) = run(&session, Exec { payload: Some(file), ..command("early") }).await;
        assert_eq!((ended, heard.err), (Ended::Exit(3), vec!["no room".to_owned()]));
    }
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
}

#[tokio::test]
async fn refused_commands_are_told_apart() {
    let session = faulty_session().await;
    assert!(matches!(run(&session, command("refuse")).await.0, Ended::Refused(_)));
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
}

#[tokio::test]
async fn a_command_that_is_never_confirmed_runs_into_the_limit() {
    let (address, _) = faulty().await;
    let client = client();
    let mut network = client.network();
    Arc::get_mut(&mut network.commons).unwrap().channel_timeout = Duration::from_millis(300);
    let session = client.link_with(address.port(), &network).session().await.unwrap();
    assert!(matches!(run(&session, command("no answer")).await.0, Ended::Refused(_)));
    // Neither is a channel that is never opened.
    let why = session.direct_tcpip("silent", 80).await.err().unwrap().to_string();
    assert!(why.contains("did not open a channel within"), "{why}");
    let why = session.direct_tcpip("refused", 80).await.err().unwrap().to_string();
    assert_eq!(why, "administratively prohibited");
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
}

#[tokio::test]
async fn a_hanging_command_ends_at_its_limit_and_at_a_stop() {
    let session = faulty_session().await;
    let limit = Duration::from_millis(100);
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::time::sleep(limit).await;
        stop.cancel();
    };
    // The server knows no signals: both are given up after the last grace.
    let timed = run(&session, Exec { limit: Some(limit), ..command("hang") });
    let stopped = run_until(&session, command("hang"), &stop);
    let (timed, stopped, ()) = tokio::join!(timed, stopped, stopping);
    assert_eq!(timed.0, Ended::TimedOut(limit));
    assert_eq!(stopped.0, Ended::Stopped);
    assert_eq!(run(&session, command("true")).await.0, Ended::Exit(0));
}

/// What was to end a command would end the next one there, when the server comes round to it.
#[tokio::test]
async fn a_connection_on_which_something_may_still_end_commands_is_not_used_again() {
    let session = faulty_session().await;
    let limit = Duration::from_millis(100);
    let timed = run(&session, Exec { limit: Some(limit), ..command("hang slowly") }).await;
    assert_eq!(timed.0, Ended::TimedOut(limit));
    assert_eq!(session.ended(), Some(pitcrew::ssh::Lost::TooSlow));
    assert!(matches!(run(&session, command("true")).await.0, Ended::Lost(_) | Ended::Unsent(_)));
}

#[tokio::test]
async fn a_command_that_minds_signals_is_heard_out() {
    let session = faulty_session().await;
    let limit = Duration::from_millis(100);
    let (ended, heard) = run(&session, Exec { limit: Some(limit), ..command("mind signals") }).await;
    // It ended well, but only because it was told to.
    assert_eq!((ended, heard.out), (Ended::TimedOut(limit), vec!["told TERM".to_owned()]));
}

#[tokio::test]
async fn a_server_can_open_nothing() {
    let session = faulty_session().await;
    let (ended, heard) = run(&session, command("open")).await;
    assert_eq!((ended, heard.out), (Ended::Exit(0), vec![format!("{:?}", [false; 7])]));
}

#[tokio::test]
async fn a_connection_cut_while_sending_is_lost_not_hung() {
    let (server, _) = faulty().await;
    // Passes a few megabytes on, then cuts.
    let (port, _) = listen(move |_, stream| async move {
        let to = TcpStream::connect(server).await.unwrap();
        let ((mut from_read, mut from_write), (mut to_read, mut to_write)) = (stream.into_split(), to.into_split());
        let back = tokio::spawn(async move { tokio::io::copy(&mut to_read, &mut from_write).await });
        let mut buffer = vec![0; 1 << 16];
        let mut passed = 0;
        while passed < 3_000_000 {
            let Ok(n @ 1..) = from_read.read(&mut buffer).await else { break };
            if to_write.write_all(&buffer[..n]).await.is_err() {
                break;
            }
            passed += n;
        }
        back.abort();
    })
    .await;
    let client = client();
    let link = client.link(port);
    let session = link.session().await.unwrap();
    let (file, _) = payload(20_000_000);
    let (ended, heard) = run(&session, Exec { payload: Some(file), ..command("hang") }).await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended:?}");
    assert!(heard.sent.last().is_some_and(|n| *n < 20_000_000));
    assert!(session.ended().is_some());
    assert!(matches!(run(&session, command("true")).await.0, Ended::Lost(_) | Ended::Unsent(_)));
    // The link makes a new one.
    assert_eq!(run(&link.session().await.unwrap(), command("true")).await.0, Ended::Exit(0));
}

#[tokio::test]
async fn a_changed_key_is_refused_before_anything_is_sent() {
    let client = client();
    let (first, _) = faulty().await;
    client.link(first.port()).session().await.unwrap();
    // Another server, with another key, where the first one was.
    let (second, count) = faulty().await;
    let text = std::fs::read_to_string(client.known_hosts()).unwrap();
    client.know(&text.replace(&first.port().to_string(), &second.port().to_string()));
    let e = client.link(second.port()).session().await.err().unwrap();
    assert_eq!(e.kind(), ConnectErrorKind::HostKey);
    assert!(e.to_string().contains("another key of that type"), "{e}");
    assert_eq!(count.load(SeqCst), 1, "not tried again");
}
