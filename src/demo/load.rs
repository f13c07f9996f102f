//! Steady traffic, and an honest account of what became of every request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::held::held;

/// What makes the traffic.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where it goes.
    pub target: SocketAddr,
    /// What is asked for.
    pub path: String,
    /// Clients.
    pub workers: usize,
    /// Requests a second, of all clients together; a client that waits for an answer misses its turns.
    pub rate: u32,
    /// How clients connect.
    pub connections: Connections,
    /// One request.
    pub timeout: Duration,
}

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Anew for each request.
    PerRequest,
    /// They keep a connection as long as the server does.
    KeepAlive,
}

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Answered with this status, not a 2xx.
    Status(u16),
    /// The connection was refused.
    Refused,
    /// The connection broke.
    Reset,
    /// No answer in time.
    Timeout,
}

/// What became of all requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests that have an outcome: `ok` and all `failed`.
    pub sent: u64,
    /// Answered with a 2xx.
    pub ok: u64,
    /// The others, by kind.
    pub failed: BTreeMap<Failure, u64>,
    /// Good answers by the release that gave them (`REVISION`).
    pub by_release: BTreeMap<String, u64>,
    /// Good answers by the version that gave them (`VERSION`).
    pub by_version: BTreeMap<String, u64>,
    /// Half of the good answers took no longer.
    pub p50: Duration,
    /// 99 of 100 good answers took no longer.
    pub p99: Duration,
    /// The slowest good answer.
    pub max: Duration,
}

impl LoadReport {
    /// Returns how many failed, of all kinds.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("connection broken"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} failed", self.sent, self.failures())?;
        for (failure, count) in &self.failed {
            write!(f, ", {count} × {failure}")?;
        }
        write!(f, "; p50 {:.1?}, p99 {:.1?}, max {:.1?}", self.p50, self.p99, self.max)
    }
}

/// Running traffic; dropping it ends it without a report.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    workers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Tally {
    report: LoadReport,
    /// Microseconds.
    latencies: Vec<u64>,
}

/// Starts traffic.
pub fn start(options: LoadOptions) -> Load {
    let (tally, stop) = (Arc::<Mutex<Tally>>::default(), CancellationToken::new());
    let mut workers = JoinSet::new();
    let began = Instant::now();
    for number in 0..options.workers.max(1) {
        let worker = Worker { options: options.clone(), tally: Arc::clone(&tally), stop: stop.clone() };
        workers.spawn(worker.run(number, began));
    }
    Load { tally, stop, workers }
}

impl Load {
    /// Returns what became of the requests so far.
    pub fn so_far(&self) -> LoadReport {
        held(&self.tally).report()
    }

    /// Waits until this many more requests have an outcome; false after `limit`.
    pub async fn wait_for(&self, more: u64, limit: Duration) -> bool {
        let sent = || held(&self.tally).report.sent;
        let target = sent() + more;
        let wait = async {
            while sent() < target {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    /// Lets the requests in flight finish, starts no more, and reports.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        held(&self.tally).report()
    }
}

impl Tally {
    fn add(&mut self, outcome: Result<Answer, Failure>, took: Duration) {
        self.report.sent += 1;
        match outcome {
            Ok(answer) => {
                self.report.ok += 1;
                *self.report.by_release.entry(answer.release).or_default() += 1;
                *self.report.by_version.entry(answer.version).or_default() += 1;
                self.latencies.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Err(failure) => *self.report.failed.entry(failure).or_default() += 1,
        }
    }

    fn report(&self) -> LoadReport {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            Duration::from_micros(sorted.get(index).copied().unwrap_or_default())
        };
        LoadReport { p50: at(50), p99: at(99), max: at(100), ..self.report.clone() }
    }
}

struct Answer {
    release: String,
    version: String,
}

type Sender = SendRequest<Empty<Bytes>>;

/// One of those that send requests in turn.
struct Worker {
    options: LoadOptions,
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
}

impl Worker {
    async fn run(self, number: usize, began: Instant) {
        let Self { options, tally, stop } = self;
        let workers = u32::try_from(options.workers.max(1)).unwrap_or(u32::MAX);
        let every = Duration::from_secs(1) * workers / options.rate.max(1);
        let first = began + every * u32::try_from(number).unwrap_or_default() / workers;
        let mut turns = tokio::time::interval_at(first, every.max(Duration::from_micros(10)));
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut kept = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            let start = Instant::now();
            let outcome = tokio::time::timeout(options.timeout, once(&options, &mut kept)).await;
            let outcome = outcome.unwrap_or_else(|_| {
                kept = None;
                Err(Failure::Timeout)
            });
            held(&tally).add(outcome, start.elapsed());
        }
    }
}

async fn once(options: &LoadOptions, kept: &mut Option<Sender>) -> Result<Answer, Failure> {
    let mut usable = kept.take();
    if let Some(sender) = &mut usable {
        // Between requests the server may close what it keeps; that is no failure as long as nothing was sent.
        if sender.ready().await.is_err() {
            usable = None;
        }
    }
    let mut sender = match usable {
        Some(sender) => sender,
        None => connect(options.target).await?,
    };
    let keep = options.connections == Connections::KeepAlive;
    let (status, body) = exchange(&mut sender, options.target, &options.path, keep).await?;
    if keep {
        *kept = Some(sender);
    }
    if !(200..300).contains(&status) {
        return Err(Failure::Status(status));
    }
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    Ok(Answer { release: text("release"), version: text("version") })
}

/// Asks once over a connection of its own, and returns status and body.
///
/// # Errors
///
/// Fails when the connection is refused or breaks. It sets no limit on the time.
pub async fn get(target: SocketAddr, path: &str) -> Result<(u16, String), Failure> {
    let mut sender = connect(target).await?;
    let (status, body) = exchange(&mut sender, target, path, false).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn connect(target: SocketAddr) -> Result<Sender, Failure> {
    let tcp = TcpStream::connect(target).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::Refused,
        std::io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Reset,
    })?;
    let _ = tcp.set_nodelay(true);
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(|_| Failure::Reset)?;
    // Ends when its sender is dropped.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(sender: &mut Sender, target: SocketAddr, path: &str, keep: bool) -> Result<(u16, Bytes), Failure> {
    let request = Request::get(path)
        .header(HOST, target.to_string())
        .header(CONNECTION, if keep { "keep-alive" } else { "close" })
        .body(Empty::new())
        .map_err(|_| Failure::Reset)?;
    let response = sender.send_request(request).await.map_err(|_| Failure::Reset)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|_| Failure::Reset)?;
    Ok((status, body.to_bytes()))
}
