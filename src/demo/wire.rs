//! The wire before a server: carries bytes both ways, late if wanted, until it is cut.
//!
//! Knows nothing of what it carries.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How much one end may send before the other reads it.
const BUFFER: usize = 256 * 1024;
/// Chunks on their way when the wire is slow: with 32 KiB each enough for 2 MiB in flight.
const IN_FLIGHT: usize = 64;
/// How long the client's close is awaited after ours: a reset would lose our last bytes.
const LINGER: Duration = Duration::from_secs(2);

/// Puts a wire with this one-way delay on a connection and returns its near end.
///
/// Cancelling `cut` cuts it.
pub(super) fn lay(tcp: TcpStream, delay: Duration, cut: CancellationToken) -> DuplexStream {
    let (near, far) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let (from_client, to_client) = tcp.into_split();
        let (from_server, to_server) = tokio::io::split(far);
        let inward = carry(from_client, to_server, delay);
        let outward = carry(from_server, to_client, delay);
        let both = async {
            tokio::pin!(inward, outward);
            tokio::select! {
                () = &mut inward => outward.await,
                () = &mut outward => {
                    let _ = tokio::time::timeout(LINGER, inward).await;
                }
            }
        };
        tokio::select! {
            () = cut.cancelled() => {}
            () = both => {}
        }
    });
    near
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    if delay.is_zero() {
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
        return;
    }
    let (tx, mut rx) = mpsc::channel::<(Instant, Bytes)>(IN_FLIGHT);
    let take = async move {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let chunk = Bytes::copy_from_slice(&buffer[..count]);
            if tx.send((Instant::now() + delay, chunk)).await.is_err() {
                break;
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = rx.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
}
