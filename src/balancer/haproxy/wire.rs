//! One exchange with HAProxy's socket, and the streams to it that this machine opens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::failed::CallFailed;
use super::limits::ANSWER_LIMIT;

/// Opens a socket on this machine.
pub async fn unix(path: &Path) -> Result<UnixStream, CallFailed> {
    UnixStream::connect(path).await.map_err(|e| CallFailed::Open {
        path: path.to_owned(),
        user: local_user(),
        source: Arc::new(e),
    })
}

/// Connects to a port.
pub async fn tcp(host: &str, port: u16) -> Result<TcpStream, CallFailed> {
    TcpStream::connect((host, port)).await.map_err(|e| CallFailed::Connect {
        host: host.to_owned(),
        port,
        source: Arc::new(e),
    })
}

fn local_user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |u| u.name)
}

/// Sends a line and reads the answer to its end.
pub async fn exchange(mut wire: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> Result<String, CallFailed> {
    let cannot = |what, e: io::Error| CallFailed::Broken { what, source: Arc::new(e) };
    // HAProxy answers whole lines only. The sending side stays open: some relays end both ways when one ends.
    wire.write_all(line.as_bytes()).await.map_err(|e| cannot("send to it", e))?;
    wire.flush().await.map_err(|e| cannot("send to it", e))?;
    let mut answer = Vec::new();
    wire.take(ANSWER_LIMIT + 1).read_to_end(&mut answer).await.map_err(|e| cannot("read its answer", e))?;
    if answer.len() as u64 > ANSWER_LIMIT {
        return Err(CallFailed::TooLarge);
    }
    Ok(String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}
