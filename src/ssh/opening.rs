//! Opens channels on a connection, each within a limit, and one ahead for the next command.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use russh::client::{Handle, Msg};
use russh::{Channel, ChannelMsg};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::end::End;
use super::lost::Lost;
use super::peer::Peer;
use super::refused::{NotOpen, Refused};
use super::sync::lock;

/// Limit on a channel after the caller gave up on it: pitcrew then only closes it.
const ABANDONED_LIMIT: Duration = Duration::from_secs(300);
/// Limit on closing a channel that is no longer wanted.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Limit on the description of a refusal, which follows the refusal at once.
const DESCRIPTION_LIMIT: Duration = Duration::from_millis(200);

/// The descriptions of refused channels, in order.
type Refusals = tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>;

/// Opens the channels of one connection.
pub(super) struct Opener {
    pub(super) handle: Arc<Handle<Peer>>,
    /// Limit on opening a channel.
    pub(super) limit: Duration,
    end: End,
    refusals: Arc<Refusals>,
    /// The channel for the next command, opened while a command runs: that saves a round trip.
    ahead: Mutex<Ahead>,
}

/// The state of the channel for the next command.
#[derive(Default)]
enum Ahead {
    #[default]
    None,
    /// It is being opened, or open.
    Asked(oneshot::Receiver<Channel<Msg>>),
    /// The server refused one. pitcrew does not ask again.
    Never,
}

impl Opener {
    pub(super) fn new(
        handle: Handle<Peer>,
        end: End,
        refusals: mpsc::UnboundedReceiver<String>,
        limit: Duration,
    ) -> Self {
        let refusals = Arc::new(tokio::sync::Mutex::new(refusals));
        Self { handle: Arc::new(handle), limit, end, refusals, ahead: Mutex::default() }
    }

    /// Opens a channel within the limit. A channel that opens later is closed at once.
    pub(super) async fn open<F>(&self, open: F) -> Result<Channel<Msg>, NotOpen>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        let (opened, answer) = oneshot::channel();
        let (refusals, end) = (self.refusals.clone(), self.end.clone());
        tokio::spawn(async move {
            let result = match timeout(ABANDONED_LIMIT, open).await {
                Ok(Ok(channel)) => Ok(channel),
                Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                    let words = timeout(DESCRIPTION_LIMIT, latest(&refusals)).await;
                    Err(NotOpen::Refused(Refused::channel(&why, words.ok().flatten())))
                }
                Ok(Err(e)) => Err(NotOpen::Lost(end.get().unwrap_or_else(|| Lost::from(&e)))),
                Err(_) => return,
            };
            // The caller gave up: an open channel would count against the server's limit for ever.
            if let Err(Ok(late)) = opened.send(result) {
                let _ = timeout(CLOSE_LIMIT, late.close()).await;
            }
        });
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| Err(NotOpen::Lost(self.end.reason()))),
            why = self.end.wait() => Err(NotOpen::Lost(why)),
            () = sleep(self.limit) => Err(NotOpen::Refused(Refused::NoChannel(self.limit))),
        }
    }

    /// Opens the channel for the next command, unless that was done.
    pub(super) fn open_ahead(&self) {
        let mut ahead = lock(&self.ahead);
        if matches!(*ahead, Ahead::None) {
            let (opened, asked) = oneshot::channel();
            *ahead = Ahead::Asked(asked);
            let (handle, refusals) = (self.handle.clone(), self.refusals.clone());
            // Only the next command waits for a refusal, and then opens a channel of its own.
            tokio::spawn(async move {
                match timeout(ABANDONED_LIMIT, handle.channel_open_session()).await {
                    Ok(Ok(channel)) => {
                        if let Err(late) = opened.send(channel) {
                            let _ = timeout(CLOSE_LIMIT, late.close()).await;
                        }
                    }
                    // Its description must not be taken for that of another channel.
                    Ok(Err(_)) => drop(timeout(DESCRIPTION_LIMIT, latest(&refusals)).await),
                    Err(_) => {}
                }
            });
        }
    }

    /// Takes the channel that was opened ahead, if there is one and the server has not closed it since.
    pub(super) async fn take_ahead(&self) -> Option<Channel<Msg>> {
        let asked = {
            let mut ahead = lock(&self.ahead);
            match std::mem::take(&mut *ahead) {
                Ahead::Asked(asked) => asked,
                other => {
                    *ahead = other;
                    return None;
                }
            }
        };
        let answer = tokio::select! {
            answer = timeout(self.limit, asked) => answer,
            _ = self.end.wait() => return None,
        };
        match answer {
            Ok(Ok(mut channel)) => loop {
                match channel.wait().now_or_never() {
                    None => return Some(channel),
                    Some(None | Some(ChannelMsg::Close | ChannelMsg::Eof)) => return None,
                    Some(Some(_)) => {}
                }
            },
            Ok(Err(_)) => {
                *lock(&self.ahead) = Ahead::Never;
                None
            }
            Err(_) => None,
        }
    }
}

/// Returns the newest description.
///
/// The library does not say which channel it belongs to: an older one belongs to a channel that did not wait for it.
async fn latest(refusals: &Refusals) -> Option<String> {
    let mut refusals = refusals.lock().await;
    let mut text = refusals.recv().await?;
    while let Ok(newer) = refusals.try_recv() {
        text = newer;
    }
    Some(text)
}
