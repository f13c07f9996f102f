//! The requests through a balancer: one member each, by turns, over a connection of their own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::shared::Shared;
use crate::demo::held::held;

/// As `timeout connect`.
const CONNECT: Duration = Duration::from_secs(2);
/// As `timeout server`.
const ANSWER: Duration = Duration::from_secs(60);

type Answer = Response<Either<Carried, Full<Bytes>>>;

/// Serves clients for ever.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = tcp.set_nodelay(true);
        let client = Arc::clone(&shared);
        shared.until_over(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&client);
                async move { Ok::<_, Infallible>(route(shared, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

/// A request's place at a member; it is given back when this is dropped.
struct Stream {
    shared: Arc<Shared>,
    index: usize,
    number: u64,
}

impl Drop for Stream {
    fn drop(&mut self) {
        held(&self.shared.members).end(self.index, self.number);
    }
}

async fn route(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let Some((index, at, number, end)) = held(&shared.members).begin() else {
        return own(StatusCode::SERVICE_UNAVAILABLE, "no server is available");
    };
    let stream = Stream { shared: Arc::clone(&shared), index, number };
    let broken = |status, text| {
        held(&shared.members).fail(index);
        own(status, text)
    };
    let tcp = match tokio::time::timeout(CONNECT, TcpStream::connect(at)).await {
        Ok(Ok(tcp)) => tcp,
        _ => return broken(StatusCode::SERVICE_UNAVAILABLE, "the server cannot be reached"),
    };
    let _ = tcp.set_nodelay(true);
    let answer = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
        shared.until_over(async move {
            let _ = connection.await;
        });
        sender.send_request(outward(request, at)).await
    };
    let response = tokio::select! {
        () = end.cancelled() => return broken(StatusCode::BAD_GATEWAY, "the session was shut down"),
        response = tokio::time::timeout(ANSWER, answer) => response,
    };
    match response {
        Ok(Ok(response)) => {
            let (mut head, body) = response.into_parts();
            // Of the member's connection, not of the client's.
            head.headers.remove(CONNECTION);
            Response::from_parts(head, Either::Left(Carried::new(body, end, stream)))
        }
        Ok(Err(_)) => broken(StatusCode::BAD_GATEWAY, "the server broke the connection"),
        Err(_) => broken(StatusCode::GATEWAY_TIMEOUT, "the server did not answer"),
    }
}

fn outward(request: Request<Incoming>, at: std::net::SocketAddr) -> Request<Incoming> {
    let (mut head, body) = request.into_parts();
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&at.to_string())
    {
        head.headers.insert(HOST, host);
    }
    Request::from_parts(head, body)
}

fn own(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}

/// A member's answer on its way to the client; it counts as a session until it is through.
struct Carried {
    body: Incoming,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    _stream: Stream,
}

impl Carried {
    fn new(body: Incoming, end: CancellationToken, stream: Stream) -> Self {
        Self { body, end: Box::pin(end.cancelled_owned()), _stream: stream }
    }
}

impl Body for Carried {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("the session was shut down".into())));
        }
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(cx)).map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
