//! Lends the agent to a server, if the configuration asks for it.
//!
//! Each channel of the server speaks with the agent's socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::end::End;
use super::tunnel::Tunnel;

/// Conversations at once on one connection.
const AT_ONCE: usize = 8;
/// Limit on one conversation: a person may have to confirm it.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The agent that is lent on one connection.
pub(super) struct Lent(Option<(PathBuf, Arc<Semaphore>)>);

impl Lent {
    pub(super) fn new(agent: Option<&PathBuf>) -> Self {
        Self(agent.map(|path| (path.clone(), Arc::new(Semaphore::new(AT_ONCE)))))
    }

    /// Returns the agent and a place for one more conversation.
    pub(super) fn place(&self) -> Option<(PathBuf, OwnedSemaphorePermit)> {
        let (path, places) = self.0.as_ref()?;
        Some((path.clone(), places.clone().try_acquire_owned().ok()?))
    }
}

/// Serves one conversation to its end.
pub(super) async fn serve(channel: Channel<Msg>, agent: PathBuf, _place: OwnedSemaphorePermit, end: End) {
    let mut channel = Tunnel::new(channel, end);
    let conversation = async {
        let mut agent = UnixStream::connect(agent).await?;
        tokio::io::copy_bidirectional(&mut channel, &mut agent).await
    };
    // Whatever goes wrong, the command on the server sees the end of its agent, and reports it.
    let _ = timeout(LIMIT, conversation).await;
}
