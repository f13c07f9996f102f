//! Lends the agent to a server, if the configuration asks for it and a command needs it.
//!
//! Each channel of the server speaks with the agent's socket, on a connection that is bound to the server first.

use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use russh::keys::agent::AgentSessionBinding;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::end::End;
use super::tunnel::Tunnel;

/// Conversations at once on one connection.
const AT_ONCE: usize = 8;
/// Limit on one conversation: a person may have to confirm it.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Messages of the agent's protocol (draft-miller-ssh-agent).
const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const EXTENSION: u8 = 27;
/// The extension that ties a connection to the agent to a server (OpenSSH, PROTOCOL.agent).
const BIND: &[u8] = b"session-bind@openssh.com";
/// The longest answer to it that is read.
const ANSWER: u32 = 4096;

/// The agent that is lent on one connection, to the commands there that need it.
pub(super) struct Lending {
    agent: PathBuf,
    places: Arc<Semaphore>,
    /// What ties the agent to the server, once the keys are exchanged.
    binding: OnceLock<AgentSessionBinding>,
    /// How many commands need the agent now.
    needed: watch::Sender<usize>,
}

/// A command that needs the agent, for as long as it runs.
pub(super) struct Needed(Arc<Lending>);

impl Drop for Needed {
    fn drop(&mut self) {
        self.0.needed.send_modify(|count| *count -= 1);
    }
}

impl Lending {
    pub(super) fn new(agent: PathBuf) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Arc::new(Self { agent, places, binding: OnceLock::new(), needed: watch::Sender::new(0) })
    }

    /// Takes what ties the agent to the server: without it nothing is lent.
    pub(super) fn bind(&self, binding: Option<&AgentSessionBinding>) {
        if let Some(binding) = binding {
            let _ = self.binding.set(binding.clone());
        }
    }

    /// Lends the agent until the command is over.
    pub(super) fn need(self: &Arc<Self>) -> Needed {
        self.needed.send_modify(|count| *count += 1);
        Needed(self.clone())
    }

    /// Returns a place for one more conversation, while a command needs the agent.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        (*self.needed.borrow() > 0).then(|| self.places.clone().try_acquire_owned().ok())?
    }

    /// Connects to the agent, and tells it which server asks from now on.
    async fn bound(&self) -> Result<UnixStream> {
        let binding = self.binding.get().ok_or_else(|| Error::other("nothing ties the agent to the server"))?;
        let mut agent = UnixStream::connect(&self.agent).await?;
        let mut message = vec![EXTENSION];
        for part in [BIND, binding.host_key(), binding.session_id(), binding.signature()] {
            message.extend(u32::try_from(part.len()).map_err(Error::other)?.to_be_bytes());
            message.extend(part);
        }
        // The connection is forwarded.
        message.push(1);
        agent.write_u32(u32::try_from(message.len()).map_err(Error::other)?).await?;
        agent.write_all(&message).await?;
        let len = agent.read_u32().await?;
        if !(1..=ANSWER).contains(&len) {
            return Err(Error::other("no answer of an agent"));
        }
        let mut answer = vec![0; usize::try_from(len).map_err(Error::other)?];
        agent.read_exact(&mut answer).await?;
        match answer.first() {
            // As `ssh -A`: an agent that does not know the extension holds no key that is bound, and one that does refuses
            // those keys itself after a binding that failed.
            Some(&SUCCESS | &FAILURE) => Ok(agent),
            _ => Err(Error::other("the agent refuses to be bound to the server")),
        }
    }
}

/// Serves one conversation to its end, or to that of the commands that need the agent.
pub(super) async fn serve(channel: Channel<Msg>, lending: Arc<Lending>, _place: OwnedSemaphorePermit, end: End) {
    let mut channel = Tunnel::new(channel, end);
    let mut needed = lending.needed.subscribe();
    let conversation = async {
        let mut agent = lending.bound().await?;
        copy_bidirectional(&mut channel, &mut agent).await
    };
    // Whatever goes wrong, the command on the server sees the end of its agent, and reports it.
    tokio::select! {
        _ = timeout(LIMIT, conversation) => {}
        _ = needed.wait_for(|count| *count == 0) => {}
    }
}
