//! A client's calls, held against answers of a test's own.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::super::limits::ANSWER_LIMIT;
use super::*;

fn tcp(port: u16) -> Client {
    Client::new(&BalancerAddress::Tcp { host: "127.0.0.1".into(), port }, Via::Auto, None)
}

async fn scripted(answers: Vec<Option<Vec<u8>>>) -> Client {
    listening(answers, tokio::sync::mpsc::unbounded_channel().0).await
}

/// Answers each connection with the next of these bytes, after a line; `None`: stays silent.
async fn listening(answers: Vec<Option<Vec<u8>>>, heard: tokio::sync::mpsc::UnboundedSender<String>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for answer in answers {
            let (mut wire, _) = listener.accept().await.unwrap();
            let (mut byte, mut line) = ([0], String::new());
            while !line.ends_with('\n') && wire.read(&mut byte).await.unwrap_or(0) == 1 {
                line.push(char::from(byte[0]));
            }
            let _ = heard.send(line);
            match answer {
                Some(bytes) => drop(wire.write_all(&bytes).await),
                None => held.push(wire),
            }
        }
        std::future::pending::<()>().await;
    });
    tcp(port)
}

#[test]
fn commands_are_packed_into_bounded_lines() {
    let commands: Vec<String> = (0..100).map(|n| format!("{n:0>150}")).collect();
    let packed: Vec<&[String]> = lines(&commands).collect();
    assert!(packed.iter().all(|l| l.join(";").len() < LINE_LIMIT) && packed.len() > 1);
    assert_eq!(packed.concat(), commands);
    assert_eq!(lines(&["x".repeat(9000)]).count(), 1);
    assert_eq!(lines(&[]).count(), 0);
}

#[tokio::test]
async fn a_unix_socket_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut wire, _) = listener.accept().await.unwrap();
        let mut line = [0; 64];
        let n = wire.read(&mut line).await.unwrap();
        assert_eq!(&line[..n], b"a;b;quit\n");
        wire.write_all(b"one\n").await.unwrap();
        wire.write_all(b"\n\n").await.unwrap();
    });
    let client = Client::new(&BalancerAddress::Unix(path), Via::Auto, None);
    let answers = client.ask(&["a".into(), "b".into()], Tries::Once).await.unwrap();
    assert_eq!(answers, ["one\n", ""]);
}

#[tokio::test]
async fn a_missing_socket_is_unreachable_and_named() {
    let client = Client::new(&BalancerAddress::Unix("/nonexistent/haproxy.sock".into()), Via::Auto, None);
    let error = client.ask(&["a".into()], Tries::Once).await.unwrap_err();
    assert!(error.is_unreachable() && error.detail().contains("/nonexistent/haproxy.sock"), "{error}");
    assert!(error.hint().contains("stats socket"));
}

#[tokio::test]
async fn an_address_without_its_connection_is_an_error() {
    let at = BalancerAddress::Ssh { user: None, host: "lb".into(), port: None, path: "/s".into() };
    let error = Client::new(&at, Via::Auto, None).ask(&["a".into()], Tries::Once).await.unwrap_err();
    assert!(error.is_unreachable() && error.at == "ssh://lb/s", "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let client = scripted(vec![Some(b"adm".to_vec()), Some(Vec::new()), Some(b"admin\n\n".to_vec())]).await;
    assert_eq!(client.ask(&["a".into()], Tries::Retry).await.unwrap(), ["admin\n"]);
    let client = scripted(vec![Some(b"adm".to_vec())]).await;
    assert!(client.ask(&["a".into()], Tries::Once).await.unwrap_err().detail().contains("broke off"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let client = scripted(vec![Some(vec![b'x'; ANSWER_LIMIT as usize + 10])]).await;
    let error = client.ask(&["a".into()], Tries::Once).await.unwrap_err();
    assert!(error.detail().contains("larger than 4 MiB"), "{error}");
}

#[tokio::test]
async fn a_silent_balancer_is_given_up() {
    let client = scripted(vec![None]).await;
    tokio::time::pause();
    let error = client.ask(&["a".into()], Tries::Once).await.unwrap_err();
    assert!(error.is_unreachable() && error.detail().contains("within 10s"), "{error}");
}

#[tokio::test]
async fn a_master_is_found_out_and_spoken_to_as_one() {
    let unknown = b"Unknown command, but maybe one of the following ones is a better match:\n  show proc\n\n";
    let (heard, lines) = tokio::sync::mpsc::unbounded_channel();
    let answers = vec![
        [&b"admin\n\n"[..], unknown].concat(),
        b"#<PID> <type>\n7 master\n# workers\n8 worker\n\n".to_vec(),
        b"admin\n\nrows\n\n".to_vec(),
        b"rows\n\n".to_vec(),
    ];
    let client = listening(answers.into_iter().map(Some).collect(), heard).await;
    let asked = client.ask(&["show cli level".into(), "show backend".into()], Tries::Once).await.unwrap();
    assert_eq!(asked, ["admin\n", "rows\n"]);
    assert_eq!(client.ask(&["show backend".into()], Tries::Once).await.unwrap(), ["rows\n"]);
    assert_eq!(
        all(lines),
        [
            "show cli level;show backend;quit\n",
            "show proc;quit\n",
            "@1 show cli level;@1 show backend;quit\n",
            "@1 show backend;quit\n"
        ]
    );
}

#[tokio::test]
async fn a_command_that_an_old_haproxy_does_not_know_makes_no_master_of_it() {
    let unknown = b"Unknown command.\n\n".to_vec();
    let (heard, lines) = tokio::sync::mpsc::unbounded_channel();
    let client = listening(vec![Some(unknown.clone()), Some(unknown.clone()), Some(b"x\n\n".to_vec())], heard).await;
    assert_eq!(client.ask(&["show cli level".into()], Tries::Once).await.unwrap(), ["Unknown command.\n"]);
    assert_eq!(client.ask(&["show backend".into()], Tries::Once).await.unwrap(), ["x\n"]);
    assert_eq!(all(lines), ["show cli level;quit\n", "show proc;quit\n", "show backend;quit\n"]);
}

/// Everything that was heard so far.
fn all(mut lines: tokio::sync::mpsc::UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| lines.try_recv().ok()).collect()
}
