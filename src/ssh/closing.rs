//! The end of a command's channel, and the count of the commands that run.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelWriteHalf, Sig};
use tokio::time::timeout;

use super::command::Ended;
use super::leaving::Leaving;

/// Limit on requests that have no answer.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Counts a command of a session until it is dropped.
pub(super) struct Counted<'a> {
    count: &'a AtomicUsize,
    /// How much this command counts: 1, or 0 for a command that waits for more input.
    pub(super) by: usize,
}

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicUsize, by: usize) -> Self {
        count.fetch_add(by, SeqCst);
        Self { count, by }
    }

    /// Tells whether no other command runs.
    pub(super) fn is_alone(&self) -> bool {
        self.count.load(SeqCst) == self.by
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.by, SeqCst);
    }
}

/// Closes the channel of a command when it is dropped.
///
/// An abandoned command, whose caller no longer waits, is told to end first: closing alone would leave it running.
pub(super) struct Closing {
    /// `None`: the channel is closed already.
    pub(super) write: Option<Arc<ChannelWriteHalf<Msg>>>,
    /// The command ended, or was given up in order.
    pub(super) is_over: bool,
    pub(super) leaving: Leaving,
}

impl Closing {
    /// Notes that the command ended.
    pub(super) fn over(&mut self, ended: Ended) -> Ended {
        self.is_over = true;
        ended
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(write) = self.write.take() else { return };
        let (is_over, left) = (self.is_over, self.leaving.one());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let bye = async {
                    if !is_over {
                        write.signal(Sig::TERM).await.ok();
                    }
                    write.close().await
                };
                let _ = timeout(REQUEST_LIMIT, bye).await;
                drop(left);
            });
        }
    }
}
