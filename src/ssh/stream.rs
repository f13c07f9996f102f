//! The byte streams that a connection offers and runs on.

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream through a connection (`direct-tcpip`, `direct-streamlocal`). It ends with its session.
///
/// A slow reader never blocks the connection: up to 8 MiB are kept for it, and beyond that reading fails.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}
