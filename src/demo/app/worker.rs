//! The demo application's worker: answers requests from the release in its directory.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::options::READY;
use super::ready::announce;

/// How long a fresh connection may take to send its first request when the worker leaves.
const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// How long a worker lives that crashes.
const CRASHES_AFTER: Duration = Duration::from_millis(100);
/// The longest that `/slow` sleeps.
const SLOWEST: Duration = Duration::from_secs(600);

/// What a worker serves, read once, as an application loads its code.
struct Release {
    body: Bytes,
    /// What `X-Release` says.
    named: HeaderValue,
    status: StatusCode,
    leaving: CancellationToken,
}

/// Serves until TERM, or until its master is gone; then finishes what it has accepted.
pub(super) async fn run() -> Result<(), String> {
    let listener = super::master::given()?;
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .map_err(|error| format!("cannot use the socket: {error}"))?;
    let mut term = signal(SignalKind::terminate()).map_err(|error| format!("cannot catch signals: {error}"))?;
    let release = Arc::new(Release::load()?);
    announce(READY);
    if Path::new("CRASHING").exists() {
        tokio::time::sleep(CRASHES_AFTER).await;
        return Err("the release crashes (CRASHING)".to_owned());
    }
    let connections = TaskTracker::new();
    let master = nix::unistd::getppid();
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            biased;
            _ = term.recv() => break,
            _ = look.tick() => {
                // Killed without a word: a worker without a master would hold the port for ever.
                if nix::unistd::getppid() != master {
                    break;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve(tcp, Arc::clone(&release)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    release.leaving.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

impl Release {
    fn load() -> Result<Self, String> {
        let here = std::env::current_dir().map_err(|error| format!("cannot find the release: {error}"))?;
        let directory = here.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let revision = match std::fs::read_to_string(here.join("REVISION")) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => return Err(format!("cannot read REVISION in {}: {error}", here.display())),
        };
        let broken = here.join("BROKEN").exists();
        let version = std::fs::read_to_string(here.join("VERSION")).unwrap_or_default();
        let named = if here.join("LYING").exists() { "another" } else { &revision };
        let named = HeaderValue::from_str(named).map_err(|error| format!("cannot name {revision}: {error}"))?;
        let body = serde_json::json!({
            "release": revision,
            "version": version.trim(),
            "directory": directory,
            "pid": std::process::id(),
        });
        Ok(Self {
            body: Bytes::from(body.to_string()),
            named,
            status: if broken { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK },
            leaving: CancellationToken::new(),
        })
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/slow" {
            let asked = request.uri().query().and_then(|query| query.parse().ok()).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(asked).min(SLOWEST)).await;
        }
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-release", self.named.clone());
        if self.leaving.is_cancelled() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

async fn serve(tcp: TcpStream, release: Arc<Release>) {
    let _ = tcp.set_nodelay(true);
    let started = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request| {
        started.fetch_add(1, Ordering::Relaxed);
        let release = Arc::clone(&release);
        async move { Ok::<_, Infallible>(release.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = release.leaving.cancelled() => {}
    }
    // hyper would close a connection that has not asked anything yet: its request may be on its way, and would be lost.
    // Once it is answered the connection closes by itself, since the answer says so.
    if started.load(Ordering::Relaxed) == 0 {
        tokio::select! {
            _ = &mut connection => return,
            () = tokio::time::sleep(FIRST_REQUEST) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
