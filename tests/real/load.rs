//! Steady traffic, counted: every request that does not end in a complete answer 200 has failed; and a tunnel that stays.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::transcript;

/// Requests a second, of each kind.
const RATE: u64 = 40;
/// Connections that are kept.
const KEPT: u64 = 4;
/// Clients that keep a connection and the balancer's cookie.
pub const STICKY: u64 = 6;
/// One request may take so long.
const LIMIT: Duration = Duration::from_secs(10);

/// Traffic under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Answer>>,
}

/// How one request ended.
struct Answer {
    at: f64,
    took: f64,
    kind: Kind,
    /// The member that the balancer's cookie asked for.
    wanted: Option<String>,
    outcome: Result<Reply, String>,
}

/// A complete answer.
#[derive(Default)]
struct Reply {
    status: u16,
    release: String,
    /// The server that answered.
    host: String,
    /// The member that the client is to stay with from now on.
    cookie: Option<String>,
}

/// How a client uses connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    OneEach,
    Kept,
    Sticky,
}

/// What came of the traffic.
pub struct Tally(Vec<Answer>);

impl Load {
    /// Begins to send: as many requests with a connection each as over a few that are kept.
    pub fn start(authority: &str) -> Self {
        Self::with(authority, 0)
    }

    /// The same, and [`STICKY`] clients that stay with the member that served them first.
    pub fn sticky(authority: &str) -> Self {
        Self::with(authority, STICKY)
    }

    fn with(authority: &str, sticky: u64) -> Self {
        let (authority, stop) = (authority.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(send(authority, sticky, stopped))
        });
        Self { stop, thread }
    }

    /// Ends it when the last request has been answered.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let tally = Tally(self.thread.join().expect("the load does not panic"));
        transcript::note(format!("--- load\n{tally}"));
        tally
    }
}

async fn send(authority: String, sticky: u64, stop: Arc<AtomicBool>) -> Vec<Answer> {
    let (start, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    let mut kept = tokio::task::JoinSet::new();
    for client in 0..KEPT + sticky {
        let kind = if client < KEPT { Kind::Kept } else { Kind::Sticky };
        kept.spawn(send_over_one(kind, authority.clone(), Arc::clone(&stop), start));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / RATE));
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let authority = authority.clone();
        tasks.spawn(async move {
            timed((Kind::OneEach, None), start, async {
                ask(&mut connect(&authority).await?, &authority, "/", None).await
            })
            .await
        });
    }
    let mut answers = tasks.join_all().await;
    answers.extend(kept.join_all().await.into_iter().flatten());
    answers
}

async fn send_over_one(kind: Kind, authority: String, stop: Arc<AtomicBool>, start: Instant) -> Vec<Answer> {
    let (mut answers, mut connection) = (Vec::new(), None);
    let mut member: Option<String> = None;
    let mut tick = tokio::time::interval(Duration::from_millis(1000 * KEPT / RATE));
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let wanted = member.clone();
        let answer = timed((kind, wanted.clone()), start, async {
            // A balancer may close a connection between two requests; that is no failed request.
            let open = match connection.take() {
                Some(open) if SendRequest::<Empty<Bytes>>::is_closed(&open) => connect(&authority).await?,
                Some(open) => open,
                None => connect(&authority).await?,
            };
            ask(connection.insert(open), &authority, "/", wanted.as_deref()).await
        });
        let answer = answer.await;
        match &answer.outcome {
            Err(_) => connection = None,
            Ok(Reply { cookie: Some(told), .. }) if kind == Kind::Sticky => member = Some(told.clone()),
            Ok(_) => {}
        }
        answers.push(answer);
    }
    answers
}

async fn timed(
    (kind, wanted): (Kind, Option<String>),
    start: Instant,
    asking: impl Future<Output = Result<Reply, String>> + Send,
) -> Answer {
    let at = start.elapsed().as_secs_f64();
    let outcome = tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| Err("no answer in time".into()));
    Answer { at, took: start.elapsed().as_secs_f64() - at, kind, wanted, outcome }
}

async fn connect(authority: &str) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(authority).await.map_err(|e| format!("connect: {e}"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("handshake: {e}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    authority: &str,
    path: &str,
    member: Option<&str>,
) -> Result<Reply, String> {
    sender.ready().await.map_err(|e| format!("connection: {e}"))?;
    let mut request = Request::get(path).header("host", authority);
    if let Some(member) = member {
        request = request.header("cookie", format!("SRV={member}"));
    }
    let request = request.body(Empty::new()).map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| format!("request: {e}"))?;
    let status = answer.status().as_u16();
    let set = answer.headers().get("set-cookie").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let cookie = set.strip_prefix("SRV=").and_then(|rest| rest.split(';').next()).map(str::to_owned);
    let body = answer.into_body().collect().await.map_err(|e| format!("body: {e}"))?.to_bytes();
    let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    Ok(Reply { status, release: text("release"), host: text("host"), cookie })
}

/// Asks once, from outside any runtime; the release that answered, or what went wrong.
pub fn release_of(authority: &str, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let answer = runtime.block_on(timed((Kind::OneEach, None), Instant::now(), async {
        ask(&mut connect(authority).await?, authority, path, None).await
    }));
    let reply = answer.outcome?;
    if reply.status == 200 { Ok(reply.release) } else { Err(format!("{} from {}", reply.status, reply.release)) }
}

/// A connection that was upgraded and then stays open; each line that goes through it comes back.
pub struct Tunnel {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize, String>>,
}

impl Tunnel {
    /// Opens one to a member of the balancer's.
    pub fn open(authority: &str, member: &str) -> Self {
        let stream = std::net::TcpStream::connect(authority).expect("the balancer listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout can be set");
        let (mut to, mut from) = (stream.try_clone().expect("a stream"), BufReader::new(stream));
        let head = format!(
            "GET /tunnel HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: echo\r\nCookie: SRV={member}\r\n\r\n"
        );
        to.write_all(head.as_bytes()).expect("the balancer reads");
        let mut line = String::new();
        from.read_line(&mut line).expect("the balancer answers");
        assert!(line.starts_with("HTTP/1.1 101 "), "the upgrade was refused: {line}");
        while line != "\r\n" {
            line.clear();
            assert_ne!(from.read_line(&mut line).expect("the balancer answers"), 0, "the answer broke off");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut echoed = 0;
            while !stopped.load(Ordering::Relaxed) {
                let (sent, mut back) = (format!("{echoed}\n"), String::new());
                to.write_all(sent.as_bytes()).map_err(|e| e.to_string())?;
                from.read_line(&mut back).map_err(|e| e.to_string())?;
                if back != sent {
                    return Err(format!("cut after {echoed} lines"));
                }
                echoed += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(echoed)
        });
        Self { stop, thread }
    }

    /// Whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.thread.is_finished()
    }

    /// Closes it; how many lines came back, or how it was cut.
    pub fn close(self) -> Result<usize, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the tunnel does not panic")
    }
}

impl Answer {
    fn failure(&self) -> Option<String> {
        match &self.outcome {
            Ok(Reply { status: 200, .. }) => None,
            Ok(Reply { status, release, .. }) => Some(format!("status {status} from {release:?}")),
            Err(e) => Some(e.clone()),
        }
    }
}

impl Tally {
    /// All requests.
    pub fn total(&self) -> usize {
        self.0.len()
    }

    /// What failed and how often.
    pub fn failed(&self) -> BTreeMap<String, usize> {
        let mut failed = BTreeMap::new();
        for failure in self.0.iter().filter_map(Answer::failure) {
            *failed.entry(failure).or_insert(0) += 1;
        }
        failed
    }

    /// Good answers of each release.
    pub fn by_release(&self) -> BTreeMap<&str, usize> {
        let mut by = BTreeMap::new();
        for reply in self.0.iter().filter_map(|a| a.outcome.as_ref().ok()) {
            if reply.status == 200 {
                *by.entry(reply.release.as_str()).or_insert(0) += 1;
            }
        }
        by
    }

    /// How many requests came with the balancer's cookie, and how many of them another member answered.
    pub fn pinned(&self) -> (usize, usize) {
        let pinned: Vec<&Answer> = self.0.iter().filter(|a| a.wanted.is_some()).collect();
        let astray = |a: &&&Answer| a.outcome.as_ref().is_ok_and(|r| Some(&r.host) != a.wanted.as_ref());
        (pinned.len(), pinned.iter().filter(astray).count())
    }

    /// Fails the case unless there was traffic and all of it was answered.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(self.total() > 20, "too little traffic to tell: {} requests", self.total());
        assert_eq!(self.failed(), BTreeMap::new(), "failed requests of {}", self.total());
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slowest = self.0.iter().map(|a| a.took).fold(0.0, f64::max);
        writeln!(f, "{} requests, slowest {slowest:.2} s, by release {:?}", self.total(), self.by_release())?;
        for a in self.0.iter().filter(|a| a.failure().is_some()).take(10) {
            writeln!(f, "{:8.2} {:?} after {:.2} s: {}", a.at, a.kind, a.took, a.failure().unwrap_or_default())?;
        }
        Ok(())
    }
}
