//! Carries commands to one HAProxy and answers back, each call with a deadline and a size limit.
//!
//! One connection per call: HAProxy closes it after the commands of one line, and keeps idle ones only for seconds.
//! Knows the ways to a socket and why they fail; not what is said there ([`super::protocol`]).

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::protocol;
use crate::balancer::{BalancerError, address};
use crate::config::BalancerAddress;
use crate::ssh;

/// Limit on one call, connecting through an open SSH connection included.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read: some ten thousand servers.
const ANSWER_LIMIT: u64 = 4 << 20;
/// Longest line that is sent. HAProxy reads a line into one buffer, 16 KiB by default (`tune.bufsize`).
const LINE_LIMIT: usize = 4000;
/// For how long a call is tried again when the balancer cannot be reached: a reload closes its socket for a moment.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// A way to one HAProxy's Runtime API.
pub struct Client {
    at: String,
    route: Route,
    limit: Duration,
}

enum Route {
    Ssh { link: Option<Arc<ssh::Link>>, path: String },
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Whether a balancer that cannot be reached is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// No: the answer is wanted now.
    Once,
    /// For a few seconds. Every command may be sent twice, since all are idempotent.
    Retry,
}

/// A byte stream to the socket.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Client {
    /// Makes a client; connects to nothing. An `ssh://` address needs a `link`.
    pub fn new(at: &BalancerAddress, link: Option<Arc<ssh::Link>>) -> Self {
        let route = match at {
            BalancerAddress::Ssh { path, .. } => Route::Ssh { link, path: path.clone() },
            BalancerAddress::Unix(path) => Route::Unix(path.clone()),
            BalancerAddress::Tcp { host, port } => Route::Tcp { host: host.clone(), port: *port },
        };
        Self { at: address(at), route, limit: CALL_LIMIT }
    }

    /// Shortens the limit on one call.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: limit.min(CALL_LIMIT), ..self }
    }

    /// The balancer's address as configured.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Runs commands in order and returns what each answered.
    pub async fn ask(&self, commands: &[String], patience: Patience) -> Result<Vec<String>, BalancerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for line in lines(commands) {
            answers.extend(self.ask_line(line, patience).await?);
        }
        Ok(answers)
    }

    async fn ask_line(&self, commands: &[String], patience: Patience) -> Result<Vec<String>, BalancerError> {
        let line = format!("{}\n", commands.join(";"));
        let began = Instant::now();
        loop {
            let error = match self.call(&line).await {
                Ok(answer) => match protocol::sections(&answer, commands.len()) {
                    Ok(sections) => return Ok(sections.into_iter().map(str::to_owned).collect()),
                    Err(detail) => self.unreachable(detail, ""),
                },
                Err(error) => error,
            };
            if patience == Patience::Once || began.elapsed() >= RETRY_FOR {
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn call(&self, line: &str) -> Result<String, BalancerError> {
        // The connection to the host has limits of its own.
        let session = match &self.route {
            Route::Ssh { link: Some(link), .. } => {
                Some(link.session().await.map_err(|e| self.unreachable(e.detail, &e.hint))?)
            }
            Route::Ssh { link: None, .. } => {
                return Err(self.unreachable("no SSH connection was set up for it".to_owned(), ""));
            }
            _ => None,
        };
        let call = async {
            let wire = self.open(session.as_deref()).await?;
            exchange(wire, line).await.map_err(|e| self.unreachable(e, ""))
        };
        match timeout(self.limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(format!("it did not answer within {:?}", self.limit), STUCK_HINT)),
        }
    }

    async fn open(&self, session: Option<&ssh::Session>) -> Result<Box<dyn Wire>, BalancerError> {
        match (&self.route, session) {
            (Route::Ssh { link: Some(link), path }, Some(session)) => match session.direct_streamlocal(path).await {
                Ok(wire) => Ok(Box::new(wire)),
                Err(why) => Err(match session.ended() {
                    Some(ended) => self.unreachable(format!("the connection was lost: {ended}"), ""),
                    None => {
                        let target = link.target();
                        let detail = format!("{} cannot open {path} on {}: {why}", target.user, target.host);
                        self.unreachable(detail, &socket_hint(path, &target.user))
                    }
                }),
            },
            (Route::Ssh { .. }, _) => Err(self.unreachable("no SSH connection was set up for it".to_owned(), "")),
            (Route::Unix(path), _) => match UnixStream::connect(path).await {
                Ok(wire) => Ok(Box::new(wire)),
                Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                    let detail = format!("cannot open {}: {e}", path.display());
                    Err(self.unreachable(detail, &socket_hint(&path.display().to_string(), &local_user())))
                }
                Err(e) => Err(self.unreachable(
                    format!("cannot open {}: {e}", path.display()),
                    "is haproxy running, and is this the path of its `stats socket`?",
                )),
            },
            (Route::Tcp { host, port }, _) => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(wire) => Ok(Box::new(wire)),
                Err(e) => Err(self.unreachable(
                    format!("cannot connect to {host} port {port}: {e}"),
                    "is haproxy running, and is this the address of its `stats socket`?",
                )),
            },
        }
    }

    /// Makes an error about this balancer.
    pub fn error(&self, member: Option<String>, detail: String, hint: &str) -> BalancerError {
        BalancerError { at: self.at.clone(), member, detail, hint: hint.to_owned(), ..BalancerError::default() }
    }

    fn unreachable(&self, detail: String, hint: &str) -> BalancerError {
        BalancerError { unreachable: true, ..self.error(None, detail, hint) }
    }
}

const STUCK_HINT: &str =
    "haproxy serves 10 connections to its socket at a time (`stats maxconn`); are others holding them?";

/// Says what lets `user` use the socket.
fn socket_hint(path: &str, user: &str) -> String {
    format!(
        "in haproxy.cfg: `stats socket {path} user {user} mode 660 level admin`, then restart haproxy; \
         for ssh:// sshd there must also allow it (AllowStreamLocalForwarding)"
    )
}

fn local_user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |u| u.name)
}

/// Sends a line and reads to the end.
async fn exchange(mut wire: Box<dyn Wire>, line: &str) -> Result<String, String> {
    // Only a whole line is answered, and the sending side stays open: some relays end both ways when one ends.
    wire.write_all(line.as_bytes()).await.map_err(|e| format!("cannot send to it: {e}"))?;
    wire.flush().await.map_err(|e| format!("cannot send to it: {e}"))?;
    let mut answer = Vec::new();
    wire.take(ANSWER_LIMIT + 1).read_to_end(&mut answer).await.map_err(|e| format!("cannot read its answer: {e}"))?;
    if answer.len() as u64 > ANSWER_LIMIT {
        return Err(format!("its answer is larger than {} MiB", ANSWER_LIMIT >> 20));
    }
    Ok(String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// Packs commands into lines of bounded length.
fn lines(commands: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = commands;
    std::iter::from_fn(move || {
        let mut length = 0;
        let fit = rest.iter().take_while(|c| {
            length += c.len() + 1;
            length <= LINE_LIMIT
        });
        let (line, after) = rest.split_at_checked(fit.count().max(1))?;
        rest = after;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    fn tcp(port: u16) -> Client {
        Client::new(&BalancerAddress::Tcp { host: "127.0.0.1".into(), port }, None)
    }

    /// Answers each connection with the next of these bytes, after reading a line; `None`: says nothing and stays.
    async fn scripted(answers: Vec<Option<Vec<u8>>>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for answer in answers {
                let (mut wire, _) = listener.accept().await.unwrap();
                let mut byte = [0];
                while wire.read(&mut byte).await.unwrap_or(0) == 1 && byte != *b"\n" {}
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
            assert_eq!(&line[..n], b"a;b\n");
            wire.write_all(b"one\n").await.unwrap();
            wire.write_all(b"\n\n").await.unwrap();
        });
        let client = Client::new(&BalancerAddress::Unix(path), None);
        let answers = client.ask(&["a".into(), "b".into()], Patience::Once).await.unwrap();
        assert_eq!(answers, ["one\n", ""]);
    }

    #[tokio::test]
    async fn a_missing_socket_is_unreachable_and_named() {
        let client = Client::new(&BalancerAddress::Unix("/nonexistent/haproxy.sock".into()), None);
        let error = client.ask(&["a".into()], Patience::Once).await.unwrap_err();
        assert!(error.unreachable && error.detail.contains("/nonexistent/haproxy.sock"), "{error}");
        assert!(error.hint.contains("stats socket"));
    }

    #[tokio::test]
    async fn an_address_without_its_connection_is_an_error() {
        let at = BalancerAddress::Ssh { user: None, host: "lb".into(), port: None, path: "/s".into() };
        let error = Client::new(&at, None).ask(&["a".into()], Patience::Once).await.unwrap_err();
        assert!(error.unreachable && error.at == "ssh://lb/s", "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_asked_for_again() {
        let client = scripted(vec![Some(b"adm".to_vec()), Some(Vec::new()), Some(b"admin\n\n".to_vec())]).await;
        assert_eq!(client.ask(&["a".into()], Patience::Retry).await.unwrap(), ["admin\n"]);
        let client = scripted(vec![Some(b"adm".to_vec())]).await;
        assert!(client.ask(&["a".into()], Patience::Once).await.unwrap_err().detail.contains("broke off"));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let client = scripted(vec![Some(vec![b'x'; ANSWER_LIMIT as usize + 10])]).await;
        let error = client.ask(&["a".into()], Patience::Once).await.unwrap_err();
        assert!(error.detail.contains("larger than 4 MiB"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_balancer_is_given_up() {
        let client = scripted(vec![None]).await;
        tokio::time::pause();
        let error = client.ask(&["a".into()], Patience::Once).await.unwrap_err();
        assert!(error.unreachable && error.detail.contains("within 10s"), "{error}");
    }

    #[test]
    fn the_hint_names_user_and_socket() {
        let hint = socket_hint("/run/haproxy/admin.sock", "deploy");
        assert!(hint.contains("stats socket /run/haproxy/admin.sock user deploy mode 660 level admin"), "{hint}");
    }
}
