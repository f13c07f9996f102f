//! Steady traffic, counted: every request that does not end in a complete answer 200 has failed.

use std::collections::BTreeMap;
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
    outcome: Result<(u16, String), String>,
}

/// How a client uses connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    OneEach,
    Kept,
}

/// What came of the traffic.
pub struct Tally(Vec<Answer>);

impl Load {
    /// Begins to send: as many requests with a connection each as over a few that are kept.
    pub fn start(authority: &str) -> Self {
        let (authority, stop) = (authority.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(send(authority, stopped))
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

async fn send(authority: String, stop: Arc<AtomicBool>) -> Vec<Answer> {
    let (start, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    let mut kept = tokio::task::JoinSet::new();
    for _ in 0..KEPT {
        kept.spawn(send_over_one(authority.clone(), Arc::clone(&stop), start));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / RATE));
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let authority = authority.clone();
        tasks.spawn(async move {
            timed(Kind::OneEach, start, async { ask(&mut connect(&authority).await?, &authority, "/").await }).await
        });
    }
    let mut answers = tasks.join_all().await;
    answers.extend(kept.join_all().await.into_iter().flatten());
    answers
}

async fn send_over_one(authority: String, stop: Arc<AtomicBool>, start: Instant) -> Vec<Answer> {
    let (mut answers, mut connection) = (Vec::new(), None);
    let mut tick = tokio::time::interval(Duration::from_millis(1000 * KEPT / RATE));
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let answer = timed(Kind::Kept, start, async {
            // A balancer may close a connection between two requests; that is no failed request.
            let open = match connection.take() {
                Some(open) if SendRequest::<Empty<Bytes>>::is_closed(&open) => connect(&authority).await?,
                Some(open) => open,
                None => connect(&authority).await?,
            };
            ask(connection.insert(open), &authority, "/").await
        });
        let answer = answer.await;
        if answer.outcome.is_err() {
            connection = None;
        }
        answers.push(answer);
    }
    answers
}

async fn timed(
    kind: Kind,
    start: Instant,
    asking: impl Future<Output = Result<(u16, String), String>> + Send,
) -> Answer {
    let at = start.elapsed().as_secs_f64();
    let outcome = tokio::time::timeout(LIMIT, asking).await.unwrap_or_else(|_| Err("no answer in time".into()));
    Answer { at, took: start.elapsed().as_secs_f64() - at, kind, outcome }
}

async fn connect(authority: &str) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(authority).await.map_err(|e| format!("connect: {e}"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("handshake: {e}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, authority: &str, path: &str) -> Result<(u16, String), String> {
    sender.ready().await.map_err(|e| format!("connection: {e}"))?;
    let request = Request::get(path).header("host", authority).body(Empty::new()).map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| format!("request: {e}"))?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|e| format!("body: {e}"))?.to_bytes();
    let release = serde_json::from_slice::<serde_json::Value>(&body).ok();
    Ok((status, release.and_then(|v| Some(v["release"].as_str()?.to_owned())).unwrap_or_default()))
}

/// Asks once, from outside any runtime; the release that answered, or what went wrong.
pub fn release_of(authority: &str, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let answer = runtime.block_on(timed(Kind::OneEach, Instant::now(), async {
        ask(&mut connect(authority).await?, authority, path).await
    }));
    match answer.outcome? {
        (200, release) => Ok(release),
        (status, release) => Err(format!("{status} from {release}")),
    }
}

impl Answer {
    fn failure(&self) -> Option<String> {
        match &self.outcome {
            Ok((200, _)) => None,
            Ok((status, release)) => Some(format!("status {status} from {release:?}")),
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
        for (status, release) in self.0.iter().filter_map(|a| a.outcome.as_ref().ok()) {
            if *status == 200 {
                *by.entry(release.as_str()).or_insert(0) += 1;
            }
        }
        by
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
