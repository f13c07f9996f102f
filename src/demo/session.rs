//! One SSH connection: who may enter, and what each request starts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio_util::sync::CancellationToken;

use super::exec::{self, Group, Job};
use super::faults::PointKind;
use super::held::held;
use super::log::{Kind, step_of};
use super::shared::Shared;
use super::{standing, stream};

/// One connection's state.
pub(super) struct Connection {
    server: Arc<Shared>,
    id: u64,
    peer: Option<SocketAddr>,
    cut: CancellationToken,
    channels: HashMap<ChannelId, Slot>,
}

/// A session channel.
struct Slot {
    /// Until a command takes it.
    channel: Option<Channel<Msg>>,
    env: Vec<(String, String)>,
    group: Group,
    exec: u64,
}

impl Connection {
    pub(super) fn new(server: Arc<Shared>, id: u64, peer: Option<SocketAddr>, cut: CancellationToken) -> Self {
        Self { server, id, peer, cut, channels: HashMap::new() }
    }

    /// What sshd says of the connection in every command's environment.
    fn named(&self) -> (String, String) {
        let at = self.server.options.at;
        let from = self.peer.map(|peer| format!("{} {}", peer.ip(), peer.port())).unwrap_or_default();
        ("SSH_CONNECTION".to_owned(), format!("{from} {} {}", at.ip(), at.port()))
    }

    fn knows(&self, user: &str, key: &russh::keys::PublicKey) -> Auth {
        let options = &self.server.options;
        if user == options.user && key.key_data() == options.key.key_data() { Auth::Accept } else { Auth::reject() }
    }
}

impl russh::server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.knows(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.knows(user, key.public_key))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        self.server.add(Kind::Connected { connection: self.id });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // The side that closes first hears no reply: a channel that has ended is counted out here.
        self.channels.retain(|_, slot| *held(&slot.group) != exec::Life::Over);
        if self.channels.len() >= self.server.options.max_sessions {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        let id = channel.id();
        let group = Arc::new(Mutex::new(exec::Life::NotStarted));
        self.channels.insert(id, Slot { channel: Some(channel), env: Vec::new(), group, exec: 0 });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let to = stream::Destination::tcp(&self.server, host, port);
        let (server, cut) = (Arc::clone(&self.server), self.cut.clone());
        tokio::spawn(stream::Forward { server, to, channel, reply, cut }.run());
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let to = stream::Destination::unix(&self.server, path);
        let (server, cut) = (Arc::clone(&self.server), self.cut.clone());
        tokio::spawn(stream::Forward { server, to, channel, reply, cut }.run());
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // As sshd's usual AcceptEnv.
        let accepted = name == "LANG" || name.starts_with("LC_");
        match self.channels.get_mut(&channel) {
            Some(slot) if accepted => {
                slot.env.push((name.to_owned(), value.to_owned()));
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let named = self.named();
        let Some((slot, taken)) = self.channels.get_mut(&channel).and_then(|slot| {
            let taken = slot.channel.take()?;
            Some((slot, taken))
        }) else {
            return session.channel_failure(channel);
        };
        slot.exec = self.server.next_exec();
        let text = String::from_utf8_lossy(command).into_owned();
        let step = step_of(&text).map(str::to_owned);
        let stands = step.as_deref() == Some(standing::NAME);
        let mut fault = None;
        if !stands {
            self.server.add(Kind::Exec { exec: slot.exec, command: text, step: step.clone() });
            let label = step.clone().unwrap_or_else(|| "exec".to_owned());
            fault = self.server.options.faults.pass(&self.server.options.name, PointKind::Exec, &label);
            if let Some(fault) = &fault {
                self.server.add(Kind::Fault { label, fault: fault.clone() });
            }
        }
        session.channel_success(channel)?;
        let job = Job {
            server: Arc::clone(&self.server),
            exec: slot.exec,
            step,
            command: command.to_vec(),
            env: std::mem::take(&mut slot.env).into_iter().chain([named]).collect(),
            channel: taken,
            handle: session.handle(),
            group: Arc::clone(&slot.group),
            cut: self.cut.clone(),
            fault,
        };
        if stands {
            tokio::spawn(standing::run(job));
        } else {
            tokio::spawn(exec::run(job));
        }
        Ok(())
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(slot) = self.channels.get(&channel) {
            let name = exec::name_of(&signal);
            self.server.add(Kind::Signal { exec: slot.exec, signal: name.clone() });
            held(&slot.group).signal(&name);
        }
        Ok(())
    }
}
