//! What the library tells of the other side: its key, its refusals, its end.
//!
//! Refuses every channel that a server opens but the one thing that may be asked for: the lent agent.

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::{mpsc, watch};

use super::known_hosts::Shown;
use super::{ConnectError, Target, forward};

/// Longest text of a server that goes into a message.
const SAID_LIMIT: usize = 200;

/// The other side of one connection.
pub(super) struct Peer {
    pub(super) target: Target,
    pub(super) end: End,
    /// The agent that is lent, if it was asked for.
    pub(super) lent: forward::Lent,
    /// Descriptions of refused channels, one each, in order.
    pub(super) refusals: mpsc::UnboundedSender<String>,
}

/// Why the connection ended; the first reason stays.
#[derive(Clone)]
pub(super) struct End(watch::Sender<Option<String>>);

impl End {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn set(&self, reason: impl FnOnce() -> String) {
        self.0.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(reason());
            }
            first
        });
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(super) async fn wait(&self) -> String {
        let mut end = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let reason = end.wait_for(Option::is_some).await;
        reason.ok().and_then(|r| r.clone()).unwrap_or_default()
    }
}

/// An error of the connection, or of what was found on it.
#[derive(Debug)]
pub(super) enum Broken {
    Ssh(russh::Error),
    HostKey(ConnectError),
}

impl From<russh::Error> for Broken {
    fn from(e: russh::Error) -> Self {
        Self::Ssh(e)
    }
}

/// Says why a connection ended, as a fragment.
pub(super) fn reason(e: &russh::Error) -> String {
    use std::io::ErrorKind::{BrokenPipe, UnexpectedEof};
    match e {
        russh::Error::KeepaliveTimeout => "the server stopped answering".into(),
        russh::Error::InactivityTimeout => "nothing could be sent or received any more".into(),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::RecvError | russh::Error::SendError => {
            "the server closed the connection".into()
        }
        russh::Error::IO(e) if matches!(e.kind(), UnexpectedEof | BrokenPipe) => {
            "the server closed the connection".into()
        }
        russh::Error::IO(e) => e.to_string(),
        russh::Error::Version => "it does not speak SSH 2".into(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let kind = format!("{kind:?}").to_lowercase();
            format!("no common {kind} algorithm; the server offers {}", said(&theirs.join(", ")))
        }
        e => said(&e.to_string()),
    }
}

/// Makes a server's text fit for a message: one line, no control characters, not long.
pub(super) fn said(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_LIMIT).collect();
    clean.trim().to_owned()
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The library owns the peer as long as the session's task runs: whatever ended it, it is known now.
        self.end.set(|| "the connection ended".into());
    }
}

impl Handler for Peer {
    type Error = Broken;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        let shown = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => Shown::Key(key),
            PublicKeyOrCertificate::Certificate(certificate) => Shown::Certificate(certificate),
        };
        let (at, checking) = (self.target.settings.known_as(), self.target.settings.checking);
        self.target.known_hosts.check(at, shown, checking).await.map_err(Broken::HostKey)?;
        Ok(true)
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        _: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Broken> {
        // Nobody listens any more when the session is being dropped.
        let _ = self.refusals.send(said(description));
        Ok(())
    }

    async fn disconnected(&mut self, why: DisconnectReason<Broken>) -> Result<(), Broken> {
        match why {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.end.set(|| format!("the server ended the connection: {}", said(&info.message)));
                Ok(())
            }
            DisconnectReason::Error(Broken::Ssh(e)) => {
                self.end.set(|| reason(&e));
                Err(Broken::Ssh(e))
            }
            DisconnectReason::Error(Broken::HostKey(e)) => {
                self.end.set(|| e.detail.clone());
                Err(Broken::HostKey(e))
            }
        }
    }

    // The library accepts these unless told otherwise.

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        let Some((agent, place)) = self.lent.place() else { return refuse(reply).await };
        reply.accept().await;
        tokio::spawn(forward::serve(channel, agent, place, self.end.clone()));
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        refuse(reply).await
    }

    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        false
    }
}

async fn refuse(reply: ChannelOpenHandle) -> Result<(), Broken> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}
