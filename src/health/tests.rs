//! Health checks against servers in memory; time is paused where it matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn probe() -> HttpProbe {
    HttpProbe {
        paths: vec!["/up?full=1".into()],
        port: 8080,
        host: "shop.example.com".into(),
        scheme: Scheme::Http,
        accept: vec![(200, 200), (300, 399)],
        release: None,
    }
}

fn health(successes: u32) -> Health {
    Health {
        probe: Probe::Http(probe()),
        timeout: Duration::from_secs(5),
        within: Duration::from_secs(60),
        interval: Duration::from_secs(1),
        successes,
    }
}

/// Reads a request's head.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that answers one request with these bytes and closes; `hold` keeps the connection open.
fn server(answer: &[u8], hold: bool) -> DuplexStream {
    let (ours, mut theirs) = duplex(64);
    let answer = answer.to_vec();
    tokio::spawn(async move {
        read_head(&mut theirs).await;
        let _ = theirs.write_all(&answer).await;
        if hold {
            std::future::pending::<()>().await;
        }
    });
    ours
}

async fn ask(answer: &[u8]) -> HttpAnswer {
    http(server(answer, false), &probe(), "/up?full=1", Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_request_is_what_curl_would_send() {
    let (ours, mut theirs) = duplex(1024);
    let server = tokio::spawn(async move {
        let head = read_head(&mut theirs).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        head
    });
    let answer = http(ours, &probe(), "/up?full=1", Duration::from_secs(5)).await;
    assert_eq!(answer, HttpAnswer { status: Some(200), body: "ok".into(), ..HttpAnswer::default() });
    let head = server.await.unwrap().to_lowercase();
    assert!(head.starts_with("get /up?full=1 http/1.1\r\n"), "{head}");
    for line in ["\r\nhost: shop.example.com\r\n", "\r\nconnection: close\r\n", "\r\nuser-agent: pitcrew/"] {
        assert!(head.contains(line), "{head}");
    }
}

#[tokio::test]
async fn status_location_and_body_are_read() {
    let answer = ask(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!((answer.status, answer.location.as_deref()), (Some(302), Some("/login")));
    let answer = ask(b"HTTP/1.0 500 Oops\r\n\r\nwhat\x1b[31m \xff\tnow\r\nmore\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (Some(500), "what[31m \u{fffd} now\nmore"));
    assert_eq!(answer.error, None);
}

#[tokio::test]
async fn a_large_body_is_cut_and_an_endless_one_is_no_failure() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.extend(std::iter::repeat_n(b'x', 5000));
    let answer = http(server(&endless, true), &probe(), "/up?full=1", Duration::from_secs(5)).await;
    assert_eq!((answer.status, answer.body.len(), answer.error), (Some(200), 2048, None));
}

#[tokio::test]
async fn broken_answers_are_errors() {
    for (bytes, what) in [
        (&b""[..], "closed the connection before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP"),
        (b"\0\0\0\0\0\0", ""),
    ] {
        let answer = ask(bytes).await;
        let error = answer.error.clone().unwrap_or_default();
        assert!(answer.error.is_some() && error.contains(what), "{bytes:?}: {answer:?}");
        assert!(!judge(&probe().into(), answer).ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_runs_into_the_limit() {
    let answer = http(server(b"", true), &probe(), "/up?full=1", Duration::from_millis(1500)).await;
    assert_eq!(answer.error.as_deref(), Some("no whole answer within 1.5s"));
    let answer = http(
        server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true),
        &probe(),
        "/up?full=1",
        Duration::from_secs(2),
    )
    .await;
    assert_eq!(answer.status, Some(200));
    assert!(answer.error.is_some() && !judge(&probe().into(), answer).ok, "half an answer is not a good one");
}

#[tokio::test]
async fn a_path_that_cannot_be_asked_for_is_an_error() {
    let bad = probe();
    let answer = http(duplex(64).0, &bad, "/a b\r\nX: y", Duration::from_secs(5)).await;
    assert!(answer.error.unwrap().contains("cannot ask for"));
    let bad = HttpProbe { host: "a\r\nX: y".into(), ..probe() };
    assert!(
        http(duplex(64).0, &bad, "/up?full=1", Duration::from_secs(5)).await.error.unwrap().contains("cannot ask for")
    );
}

/// A self-signed certificate for `health-test`, and its key: good for nothing but this test.
const CERTIFICATE: &str = "MIIBgjCCASmgAwIBAgIUTMHjzAdvN07YIwKHGAWpv0ZeHJswCgYIKoZIzj0EAwIwFjEUMBIGA1UEAwwLaGVhbHRoLXRlc3QwIBcNMjYxMTIzMD\
    k0MTI4WhgPMjEyNjEwMzAwOTQxMjhaMBYxFDASBgNVBAMMC2hlYWx0aC10ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyM3aIXMbmg9x\
    mFrdmhWBDd7Em2ARUzvtgMbj0tr3tP8EXgFMu7fKGJ1WCBwItE8Q0NmVO0/gofvV/jdj/ZIkPaNTMFEwHQYDVR0OBBYEFASchddisOWCZtk3Io\
    uLBRxWkGUrMB8GA1UdIwQYMBaAFASchddisOWCZtk3IouLBRxWkGUrMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgYOUr0mtf\
    xEtIEnIOBIISRRPshk+NYENHKVBbpsw6ip4CIFCKprANzuYmnRJXLzr8s4I4gC7MQkSgqjVpsveN0A0G";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgG+LphoF+fF2EM8b4AkmHFgGcS0yCABpDSmkoshM+3YKhRANCAATIzdohcxuaD3\
    GYWt2aFYEN3sSbYBFTO+2AxuPS2ve0/wReAUy7t8oYnVYIHAi0TxDQ2ZU7T+Ch+9X+N2P9kiQ9";

#[tokio::test]
async fn tls_is_spoken_with_any_certificate() {
    use base64::Engine as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};

    let der = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(der(CERTIFICATE))], PrivatePkcs8KeyDer::from(der(KEY)).into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    for (host, sni) in [("shop.example.com:443", Some("shop.example.com")), ("::1", None)] {
        let (ours, theirs) = duplex(4096);
        let acceptor = acceptor.clone();
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(theirs).await.unwrap();
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let head = read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            (name, head)
        });
        let tls = HttpProbe { scheme: Scheme::Https, host: host.into(), ..probe() };
        let answer = http(ours, &tls, "/up?full=1", Duration::from_secs(5)).await;
        assert_eq!((answer.status, answer.error), (Some(200), None), "{host}");
        let (name, head) = server.await.unwrap();
        assert_eq!(name.as_deref(), sni);
        assert!(
            head.contains(if sni.is_some() { "host: shop.example.com:443\r\n" } else { "host: [::1]\r\n" }),
            "{head}"
        );
    }
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_is_an_error() {
    let tls = HttpProbe { scheme: Scheme::Https, ..probe() };
    let answer =
        http(server(b"HTTP/1.1 400 Bad Request\r\n\r\n", false), &tls, "/up?full=1", Duration::from_millis(500)).await;
    assert!(answer.error.is_some() && answer.status.is_none(), "{answer:?}");
}

#[test]
fn a_url_is_shown_as_typed() {
    assert_eq!(url(&probe(), "/up?full=1"), "http://shop.example.com:8080/up?full=1");
    let with = |host: &str| url(&HttpProbe { host: host.into(), scheme: Scheme::Https, ..probe() }, "/");
    assert_eq!(with("localhost:3000"), "https://localhost:3000/");
    assert_eq!(with("::1"), "https://[::1]:8080/");
    assert_eq!(with("[::1]:3000"), "https://[::1]:3000/");
}

#[test]
fn statuses_are_judged_by_ranges() {
    let ok = |status| judge(&probe().into(), HttpAnswer { status: Some(status), ..HttpAnswer::default() }).ok;
    assert!(ok(200) && ok(300) && ok(399));
    assert!(!ok(201) && !ok(400) && !ok(503));
    assert!(!judge(&probe().into(), HttpAnswer::default()).ok);
}

#[tokio::test]
async fn loopback_is_tried_in_both_families() {
    let answer = &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..];
    let six = |host| async move {
        if host == "::1" { Ok(server(answer, false)) } else { Err("connection refused".to_owned()) }
    };
    assert!(ask_loopback(six, &probe().into(), "/up", Duration::from_secs(5)).await.ok);
    let none = |host| async move { Err::<DuplexStream, _>(format!("{host} refused")) };
    let attempt = ask_loopback(none, &probe().into(), "/up", Duration::from_secs(5)).await;
    assert_eq!(attempt.error.as_deref(), Some("cannot connect to port 8080: 127.0.0.1 refused"));
}

/// Runs a check whose attempts follow `script`: `+` good, `-` bad, `.` hangs; the last one repeats.
async fn run(health: &Health, script: &str) -> (Result<(), CheckFailed>, u32, Vec<Progress>) {
    let asked = AtomicU32::new(0);
    let mut heard = Vec::new();
    let ask = || {
        let n = asked.fetch_add(1, Ordering::SeqCst) as usize;
        let what = script.as_bytes()[n.min(script.len() - 1)];
        async move {
            match what {
                b'+' => Attempt { ok: true, status: Some(200), ..Attempt::default() },
                b'-' => Attempt { status: Some(503), body: "booting".into(), ..Attempt::default() },
                _ => std::future::pending().await,
            }
        }
    };
    let result = check(health, ask, &mut |p| heard.push(p), &CancellationToken::new()).await;
    (result, asked.load(Ordering::SeqCst), heard)
}

#[tokio::test(start_paused = true)]
async fn good_answers_must_come_in_a_row() {
    let (result, asked, heard) = run(&health(2), "-+-++").await;
    assert_eq!((result, asked), (Ok(()), 5));
    let good: Vec<u32> = heard
        .iter()
        .map(|p| if let Progress::Attempts { good, needed: 2, .. } = p { *good } else { panic!("{p:?}") })
        .collect();
    assert_eq!(good, [0, 1, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_reported_when_time_is_up() {
    let began = Instant::now();
    let (result, asked, _) = run(&health(2), "-").await;
    let Err(CheckFailed::Unhealthy(last)) = result else { panic!("{result:?}") };
    assert_eq!((last.status, last.body.as_str(), last.attempts), (Some(503), "booting", asked));
    assert_eq!(last.asked, "http://shop.example.com:8080/up?full=1");
    assert_eq!(asked, 60);
    assert!(began.elapsed() <= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_end_cuts_short_hides_no_answer() {
    let (result, asked, _) = run(&Health { within: Duration::from_millis(2500), ..health(1) }, "--.").await;
    let Err(CheckFailed::Unhealthy(unhealthy)) = result else { panic!("{result:?}") };
    assert_eq!((unhealthy.attempts, unhealthy.status, asked), (2, Some(503), 3));
}

#[tokio::test(start_paused = true)]
async fn too_few_good_answers_are_said_to_be_too_few() {
    let (result, ..) = run(&Health { within: Duration::from_secs(3), ..health(3) }, "-++").await;
    let Err(CheckFailed::Unhealthy(last)) = result else { panic!("{result:?}") };
    assert_eq!(last.error.as_deref(), Some("2 of the 3 good answers needed in a row came within 3s"));
}

#[tokio::test(start_paused = true)]
async fn attempts_that_hang_end_at_their_limit_and_the_whole_at_its_own() {
    let began = Instant::now();
    let (result, asked, _) = run(&Health { within: Duration::from_secs(14), ..health(1) }, ".").await;
    let Err(CheckFailed::Unhealthy(last)) = result else { panic!("{result:?}") };
    // 5 s, pause, 5 s, pause, and the 2 s that are left.
    assert_eq!((asked, last.error.as_deref()), (3, Some("no answer within 2s")));
    assert_eq!(began.elapsed().as_secs(), 14);
    let (result, asked, _) = run(&Health { within: Duration::ZERO, ..health(1) }, "+").await;
    assert_eq!((result, asked), (Ok(()), 1), "one attempt is always made");
}

#[tokio::test(start_paused = true)]
async fn stop_ends_attempt_and_pause() {
    for (script, at) in [(".", 2500u64), ("-", 2500)] {
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(at)).await;
            stopper.cancel();
        });
        let began = Instant::now();
        let ask = || async move { if script == "." { std::future::pending().await } else { Attempt::default() } };
        let result = check(&health(1), ask, &mut |_| {}, &stop).await;
        assert_eq!(result, Err(CheckFailed::Stopped));
        assert_eq!(began.elapsed().as_millis(), u128::from(at));
    }
}

/// The futures travel between threads.
#[test]
fn futures_are_send() {
    fn sendable<T: Send>(_: T) {}
    let (health, stop) = (health(1), CancellationToken::new());
    let mut on = |_| {};
    sendable(check(&health, || async { Attempt::default() }, &mut on, &stop));
    let probe = probe();
    sendable(http(duplex(64).0, &probe, "/up", Duration::from_secs(1)));
    fn asks(link: &ssh::Link, question: &HealthQuestion) -> impl Send {
        through(link, question, Duration::from_secs(1))
    }
    let _ = asks;
}

fn expected() -> Expected {
    let release = ReleaseId::parse("20261129120000").unwrap();
    Expected { release, revision: Some(Revision("4f5e6d7c8b9a0f1e2d3c4b5a69788796a5b4c3d2".into())) }
}

#[test]
fn an_answer_names_its_release_by_id_or_revision() {
    for (named, said, ok) in [
        ("header", "20261129120000", true),
        ("header", "4f5e6d7", true),
        ("header", "W/\"4F5E6D7C8B9A\"", true),
        ("header", "release 20261129120000 of shop", true),
        ("header", "4f5e6d", false),
        ("header", "20261129115959", false),
        ("header", "4f5e6d7c8b9a0f1e2d3c4b5a69788796a5b4c3d2ff", false),
        ("header", "", false),
        ("body", "<p>shop-4f5e6d7c</p>", true),
        ("body", "<p>all is well</p>", false),
    ] {
        let release = if named == "body" { Named::Body } else { Named::Header("x-release".into()) };
        let question = HealthQuestion {
            probe: HttpProbe { release: Some(release), ..probe() },
            expected: Some(expected()),
            proven: true,
        };
        let mut answer = HttpAnswer { status: Some(200), ..HttpAnswer::default() };
        match named {
            "body" => answer.body = said.into(),
            _ => answer.release = Some(said.into()),
        }
        let attempt = judge(&question, answer);
        assert_eq!(attempt.ok, ok, "{named} {said:?}: {attempt:?}");
        // Another release may be on its way out: waiting may help.
        assert!(!attempt.definite);
        assert_eq!(attempt.error.is_none(), ok);
    }
    let question = HealthQuestion {
        probe: HttpProbe { release: Some(Named::Header("x-release".into())), ..probe() },
        expected: Some(expected()),
        proven: true,
    };
    let error = judge(&question, HttpAnswer { status: Some(200), ..HttpAnswer::default() }).error.unwrap();
    let said = "the answer must name release 20261129120000 or revision 4f5e6d7, and the header x-release is missing";
    assert_eq!(error, said);
}

/// How long a check takes whose attempts are answered by these statuses, the last one for ever.
async fn lasts(statuses: &[u16], proven: bool) -> (Duration, u32) {
    let asked = AtomicU32::new(0);
    let question = HealthQuestion { proven, ..probe().into() };
    let ask = || {
        let at = usize::try_from(asked.fetch_add(1, Ordering::Relaxed)).unwrap();
        let status = statuses.get(at).or(statuses.last()).copied();
        let answer = match status {
            Some(0) => HttpAnswer { error: Some("connection refused".into()), ..HttpAnswer::default() },
            status => HttpAnswer { status, ..HttpAnswer::default() },
        };
        let attempt = judge(&question, answer);
        async move { attempt }
    };
    let began = Instant::now();
    let failed = check(&health(2), ask, &mut |_| {}, &CancellationToken::new()).await;
    assert!(failed.is_err());
    (began.elapsed(), asked.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn the_same_error_of_proven_processes_ends_a_check_early() {
    assert_eq!(lasts(&[500], true).await, (Duration::from_secs(4), 5));
    assert_eq!(lasts(&[0, 0, 503, 500, 404, 500], true).await, (Duration::from_secs(9), 10));
    // Waiting may help: the application is starting, refuses connections, or is not proven.
    for (statuses, proven) in [(&[503][..], true), (&[0], true), (&[500], false), (&[500, 502], false)] {
        assert!(lasts(statuses, proven).await.0 >= Duration::from_secs(59), "{statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_releases_that_answer_by_turns_are_not_healthy() {
    let mut health = health(2);
    let Probe::Http(http) = &mut health.probe else { unreachable!() };
    http.release = Some(Named::Body);
    let (result, asked, _) = run(&health, &"++-".repeat(600)).await;
    assert!(matches!(result, Err(CheckFailed::Unhealthy(_))), "{result:?} {asked}");
    let (result, asked, _) = run(&health, "-++").await;
    assert_eq!((result, asked), (Ok(()), 3 + 12));
}
