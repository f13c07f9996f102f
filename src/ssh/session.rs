//! One live connection: its channels, its tunnels, and its end.
//!
//! `connect` makes a connection, `exec` runs commands on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use russh::client::{Handle, Msg};
use russh::{Channel, Disconnect};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::end::End;
use super::forward::Lending;
use super::leaving::{Leaving, Left};
use super::lost::Lost;
use super::opening::Opener;
use super::peer::Peer;
use super::refused::{ChannelRefusal, NotOpen, Refused};
use super::stream::ByteStream;
use super::tunnel::Tunnel;

/// Connects a command's input and output to a port of the server.
const REACH: &str = include_str!("../../templates/remote/reach.sh");
/// Limit on saying goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Limit on telling abandoned commands to end.
const LAST_WORDS: Duration = Duration::from_millis(1000);
/// Pause between two looks whether they are told.
const LOOK: Duration = Duration::from_millis(5);

/// One live connection.
pub struct Session {
    pub(super) opener: Opener,
    pub(super) end: End,
    /// The number of commands that run.
    pub(super) running: AtomicUsize,
    /// Abandoned commands that were not told to end yet.
    pub(super) leaving: Leaving,
    /// The agent, for commands that need it.
    pub(super) lent: Option<Arc<Lending>>,
    /// The round trip when the connection was made; `None` behind other hosts and commands.
    pub(super) round_trip: Option<Duration>,
    /// Whether the connection has had a command.
    pub(super) commanded: AtomicBool,
    cut: CancellationToken,
    /// Severs the connection when the session is dropped.
    ///
    /// Tunnels hold parts of the connection that would keep it alive.
    _cut_on_drop: DropGuard,
}

/// The parts of a new connection beside its handle.
pub(super) struct Made {
    pub(super) end: End,
    pub(super) refusals: mpsc::UnboundedReceiver<String>,
    pub(super) cut: CancellationToken,
    pub(super) lent: Option<Arc<Lending>>,
    pub(super) round_trip: Option<Duration>,
}

/// The command that connects its input and output to a port of the server's loopback.
fn reach(port: u16) -> String {
    let lines = REACH.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    format!("sh -c '{}' pitcrew-reach {port}", lines.collect::<Vec<_>>().join(" "))
}

impl Session {
    pub(super) fn new(handle: Handle<Peer>, made: Made, channel_timeout: Duration) -> Self {
        let Made { end, refusals, cut, lent, round_trip } = made;
        Self {
            opener: Opener::new(handle, end.clone(), refusals, channel_timeout),
            end,
            running: AtomicUsize::default(),
            leaving: Leaving::default(),
            lent,
            round_trip,
            commanded: AtomicBool::default(),
            _cut_on_drop: cut.clone().drop_guard(),
            cut,
        }
    }

    /// Opens a TCP connection from the server to `host:port`.
    ///
    /// # Errors
    /// When the server refuses it, or the connection ends.
    pub async fn direct_tcpip(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>, NotOpen> {
        let (handle, host) = (self.opener.handle.clone(), host.to_owned());
        let open = async move { handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await };
        self.tunnel(open).await
    }

    /// Opens a unix socket on the server.
    ///
    /// # Errors
    /// When the server refuses it, or the connection ends.
    pub async fn direct_streamlocal(&self, path: &str) -> Result<Box<dyn ByteStream>, NotOpen> {
        let (handle, path) = (self.opener.handle.clone(), path.to_owned());
        self.tunnel(async move { handle.channel_open_direct_streamlocal(path).await }).await
    }

    /// Reaches a port of the server's own loopback, also where the server forwards no connection.
    ///
    /// There a program of the server's does it.
    ///
    /// # Errors
    /// When the server refuses both, or the connection ends.
    pub async fn loopback(&self, host: &'static str, port: u16) -> Result<Box<dyn ByteStream>, NotOpen> {
        let forbidden = |why: &ChannelRefusal| matches!(why, ChannelRefusal::Forbidden | ChannelRefusal::UnknownType);
        match self.direct_tcpip(host, port).await {
            Err(NotOpen::Refused(Refused::Channel { why, .. })) if forbidden(&why) => self.by_program(port).await,
            other => other,
        }
    }

    /// Has a program of the server's connect to a port of its own loopback.
    ///
    /// # Errors
    /// When the server refuses it, or the connection ends.
    pub(super) async fn by_program(&self, port: u16) -> Result<Box<dyn ByteStream>, NotOpen> {
        let handle = self.opener.handle.clone();
        self.tunnel(async move {
            let channel = handle.channel_open_session().await?;
            channel.exec(true, reach(port)).await?;
            Ok(channel)
        })
        .await
    }

    async fn tunnel<F>(&self, open: F) -> Result<Box<dyn ByteStream>, NotOpen>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        let channel = self.opener.open(open).await?;
        Ok(Box::new(Tunnel::new(channel, self.end.clone())))
    }

    /// Returns why the connection ended, once it has ended.
    pub fn ended(&self) -> Option<Lost> {
        self.end.get()
    }

    /// Cuts the connection without a goodbye: the next caller connects again.
    pub(super) fn sever(&self, why: Lost) {
        self.end.set(|| why);
        self.cut.cancel();
    }

    /// Counts something that should end before the connection does: closing waits a moment for it.
    pub fn leave(&self) -> Left {
        self.leaving.one()
    }

    /// Ends the connection with a goodbye, and cuts it when that takes too long.
    pub(super) async fn close(&self) {
        let told = async {
            while !self.leaving.is_done() && self.ended().is_none() {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(LAST_WORDS, told).await;
        let goodbye = async {
            self.opener.handle.disconnect(Disconnect::ByApplication, "", "").await.ok();
            // The packet leaves only while the session's task still runs.
            self.end.wait().await
        };
        if timeout(CLOSE_LIMIT, goodbye).await.is_err() {
            self.end.set(|| Lost::Closed);
        }
        self.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_port_is_one_short_quoted_line() {
        let command = reach(65_535);
        assert!(command.len() <= 1000 && !command.contains('\n') && command.matches('\'').count() == 2, "{command}");
    }
}
