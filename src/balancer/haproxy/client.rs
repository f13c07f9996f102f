//! Carries commands to one HAProxy and answers back, each call with a deadline and a size limit.
//!
//! One connection per call, which ends with it. Knows when to try again, and that a master passes commands on to its
//! worker; not what is said ([`super::protocol`]), nor how text gets there ([`super::route`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::protocol::{self, Listener};
use super::route::{Failed, Route};
use super::{CALL_LIMIT, Patience, RETRY_FOR, RETRY_PAUSE};
use crate::balancer::BalancerError;
use crate::config::{BalancerAddress, Via};
use crate::ssh;

/// Longest line that is sent. HAProxy reads a line into one buffer, 16 KiB by default (`tune.bufsize`).
const LINE_LIMIT: usize = 4000;

/// A way to one HAProxy's Runtime API.
pub struct Client {
    at: String,
    route: Route,
    limit: Duration,
    /// Its socket turned out to be a master's.
    master: AtomicBool,
}

impl Client {
    /// Makes a client; connects to nothing. An `ssh://` address needs a `link`.
    pub fn new(at: &BalancerAddress, via: Via, link: Option<Arc<ssh::Link>>) -> Self {
        Self { at: at.to_string(), route: Route::new(at, via, link), limit: CALL_LIMIT, master: AtomicBool::new(false) }
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

    /// The workers that a master has replaced and that still have connections; none where no master listens.
    pub async fn old_workers(&self, patience: Patience) -> Result<Vec<u32>, BalancerError> {
        if !self.master.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let question = [protocol::SHOW_PROC.to_owned()];
        let asked = self.until(patience, || self.call(&question, Listener::Worker)).await?;
        Ok(asked.first().map(|a| protocol::old_workers(a)).unwrap_or_default())
    }

    /// Runs commands in such a worker; `None`: it has ended.
    pub async fn ask_old(&self, worker: u32, commands: &[String]) -> Result<Option<Vec<String>>, BalancerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for line in lines(commands) {
            match self.until(Patience::Retry, || self.call_old(worker, line)).await? {
                Some(more) => answers.extend(more),
                None => return Ok(None),
            }
        }
        Ok(Some(answers))
    }

    async fn call_old(&self, worker: u32, commands: &[String]) -> Result<Option<Vec<String>>, Failed> {
        let answer = self.route.call(&protocol::line(commands, Listener::Old(worker)), self.limit).await?;
        if protocol::worker_is_gone(&answer) {
            return Ok(None);
        }
        let sections = protocol::sections(&answer, commands.len()).map_err(|e| Failed::new(e, ""))?;
        Ok(Some(sections.into_iter().map(str::to_owned).collect()))
    }

    async fn ask_line(&self, commands: &[String], patience: Patience) -> Result<Vec<String>, BalancerError> {
        self.until(patience, || self.say(commands)).await
    }

    /// Tries once, or for a while.
    async fn until<T, F>(&self, patience: Patience, mut say: impl FnMut() -> F) -> Result<T, BalancerError>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let began = Instant::now();
        loop {
            let failed = match say().await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if patience == Patience::Once || failed.lasts || began.elapsed() >= RETRY_FOR {
                return Err(BalancerError { unreachable: true, ..self.error(None, failed.detail, &failed.hint) });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Says a line once; a master is found out by what it does not know.
    async fn say(&self, commands: &[String]) -> Result<Vec<String>, Failed> {
        let listener = if self.master.load(Ordering::Relaxed) { Listener::Master } else { Listener::Worker };
        let answers = self.call(commands, listener).await?;
        if listener == Listener::Master || !answers.iter().any(|a| protocol::is_unknown(a)) {
            return Ok(answers);
        }
        let asked = self.call(&[protocol::SHOW_PROC.to_owned()], Listener::Worker).await?;
        if !asked.first().is_some_and(|a| protocol::is_master(a)) {
            return Ok(answers);
        }
        self.master.store(true, Ordering::Relaxed);
        // What a master knows too, it may have done itself: all commands may be sent twice.
        self.call(commands, Listener::Master).await
    }

    async fn call(&self, commands: &[String], listener: Listener) -> Result<Vec<String>, Failed> {
        let line = protocol::line(commands, listener);
        let answer = self.route.call(&line, self.limit).await?;
        let sections = protocol::sections(&answer, commands.len()).map_err(|e| Failed::new(e, ""))?;
        Ok(sections.into_iter().map(str::to_owned).collect())
    }

    /// Makes an error about this balancer.
    pub fn error(&self, member: Option<String>, detail: String, hint: &str) -> BalancerError {
        BalancerError::new(&self.at, member, detail, hint)
    }
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UnixListener};

    use super::super::ANSWER_LIMIT;
    use super::*;

    fn tcp(port: u16) -> Client {
        Client::new(&BalancerAddress::Tcp { host: "127.0.0.1".into(), port }, Via::Auto, None)
    }

    async fn scripted(answers: Vec<Option<Vec<u8>>>) -> Client {
        listening(answers, tokio::sync::mpsc::unbounded_channel().0).await
    }

    /// Answers each connection with the next of these bytes, after reading a line; `None`: says nothing and stays.
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
        let answers = client.ask(&["a".into(), "b".into()], Patience::Once).await.unwrap();
        assert_eq!(answers, ["one\n", ""]);
    }

    #[tokio::test]
    async fn a_missing_socket_is_unreachable_and_named() {
        let client = Client::new(&BalancerAddress::Unix("/nonexistent/haproxy.sock".into()), Via::Auto, None);
        let error = client.ask(&["a".into()], Patience::Once).await.unwrap_err();
        assert!(error.unreachable && error.detail.contains("/nonexistent/haproxy.sock"), "{error}");
        assert!(error.hint.contains("stats socket"));
    }

    #[tokio::test]
    async fn an_address_without_its_connection_is_an_error() {
        let at = BalancerAddress::Ssh { user: None, host: "lb".into(), port: None, path: "/s".into() };
        let error = Client::new(&at, Via::Auto, None).ask(&["a".into()], Patience::Once).await.unwrap_err();
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
        let asked = client.ask(&["show cli level".into(), "show backend".into()], Patience::Once).await.unwrap();
        assert_eq!(asked, ["admin\n", "rows\n"]);
        assert_eq!(client.ask(&["show backend".into()], Patience::Once).await.unwrap(), ["rows\n"]);
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
        let client =
            listening(vec![Some(unknown.clone()), Some(unknown.clone()), Some(b"x\n\n".to_vec())], heard).await;
        assert_eq!(client.ask(&["show cli level".into()], Patience::Once).await.unwrap(), ["Unknown command.\n"]);
        assert_eq!(client.ask(&["show backend".into()], Patience::Once).await.unwrap(), ["x\n"]);
        assert_eq!(all(lines), ["show cli level;quit\n", "show proc;quit\n", "show backend;quit\n"]);
    }

    /// Everything that was heard so far.
    fn all(mut lines: tokio::sync::mpsc::UnboundedReceiver<String>) -> Vec<String> {
        std::iter::from_fn(|| lines.try_recv().ok()).collect()
    }
}
