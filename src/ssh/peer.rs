//! Hears what the library reports of the other side: its key, its refusals, its end.
//!
//! Refuses every channel that a server opens, except to the agent that is lent.

use std::sync::Arc;

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::mpsc;

use super::end::End;
use super::forward::{self, Lending};
use super::keys_command;
use super::known_hosts::{KnownHostsError, Shown, ToldKeys, Whom};
use super::lost::Lost;
use super::target::Target;
use super::text::said;

/// The other side of one connection.
pub(super) struct Peer {
    pub(super) target: Target,
    /// Whether the connection goes to a loopback address of this machine.
    pub(super) is_local: bool,
    /// What `KnownHostsCommand` has said of the host.
    pub(super) told: ToldKeys,
    pub(super) end: End,
    /// The agent that is lent, if the configuration asks for it.
    pub(super) lent: Option<Arc<Lending>>,
    /// Takes the description of each refused channel, in order.
    pub(super) refusals: mpsc::UnboundedSender<String>,
}

/// Why a connection broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The library failed.
    Ssh(russh::Error),
    /// The host key was refused.
    HostKey(KnownHostsError),
}

impl From<russh::Error> for Broken {
    fn from(e: russh::Error) -> Self {
        Self::Ssh(e)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The library owns the peer as long as the session's task runs: its end is known now.
        self.end.set(|| Lost::Ended);
    }
}

impl Handler for Peer {
    type Error = Broken;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        if self.is_local && self.target.settings.trusts_localhost {
            return Ok(true);
        }
        let shown = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => Shown::Key(key),
            PublicKeyOrCertificate::Certificate(certificate) => Shown::Certificate(certificate),
        };
        let settings = &self.target.settings;
        self.told.add(keys_command::ask(settings, Some(&shown.key())).await.map_err(Broken::HostKey)?);
        let (host, port) = settings.known_as();
        let whom = Whom { host, port, told: &self.told };
        self.target.known_hosts.check(whom, shown, settings.checking).await.map_err(Broken::HostKey)?;
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
        // The receiver is gone while the session is being dropped.
        let _ = self.refusals.send(said(description));
        Ok(())
    }

    async fn disconnected(&mut self, why: DisconnectReason<Broken>) -> Result<(), Broken> {
        match why {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.end.set(|| Lost::Told(said(&info.message)));
                Ok(())
            }
            DisconnectReason::Error(Broken::Ssh(e)) => {
                self.end.set(|| Lost::from(&e));
                Err(Broken::Ssh(e))
            }
            DisconnectReason::Error(Broken::HostKey(e)) => {
                self.end.set(|| Lost::HostKey(Box::new(e.clone())));
                Err(Broken::HostKey(e))
            }
        }
    }

    // The library accepts these by default.

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
        let Some(lending) = &self.lent else { return refuse(reply).await };
        let Some(place) = lending.place() else { return refuse(reply).await };
        reply.accept().await;
        tokio::spawn(forward::serve(channel, lending.clone(), place, self.end.clone()));
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
