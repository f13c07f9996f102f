//! To be written: the connection itself.
#![expect(clippy::todo, reason = "signatures first")]
#![expect(missing_docs, reason = "signatures first")]

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{ConnectError, Ended, Exec, Heard, Shared, Target};

/// A destination that is connected when first needed, and again when its connection was lost.
pub struct Link {}

/// One live connection.
pub struct Session {}

/// A byte stream through the connection (`direct-tcpip`, `direct-streamlocal`).
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}

impl Link {
    pub fn new(_target: Target, _shared: Arc<Shared>) -> Self {
        todo!()
    }
    pub fn target(&self) -> &Target {
        todo!()
    }
    /// The live session; connects, or connects again when the one before was lost. Concurrent callers share one attempt.
    pub async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        todo!()
    }
    /// Ends the connection cleanly, within a limit.
    pub async fn close(&self) {
        todo!()
    }
}

impl Session {
    /// Runs a command to its end. Never hangs: limits, the session's end and `stop` are all watched. Errors are values of [`Ended`].
    pub async fn exec(
        &self,
        _exec: Exec,
        _heard: &mut (dyn FnMut(Heard<'_>) + Send),
        _stop: &CancellationToken,
    ) -> Ended {
        todo!()
    }
    /// Opens a TCP connection from the server to `host:port`; the error is a fragment: "connection refused".
    pub async fn direct_tcpip(&self, _host: &str, _port: u16) -> Result<Box<dyn Stream>, String> {
        todo!()
    }
    /// Opens a unix socket on the server.
    pub async fn direct_streamlocal(&self, _path: &str) -> Result<Box<dyn Stream>, String> {
        todo!()
    }
    /// Tells whether the connection has ended, and why.
    pub fn ended(&self) -> Option<String> {
        todo!()
    }
}
