//! The end of one connection: when it comes, and its first reason.

use tokio::sync::watch;

use super::lost::Lost;

/// The end of a connection, shared by all that use it. The first reason stays.
#[derive(Clone)]
pub(super) struct End(watch::Sender<Option<Lost>>);

impl End {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Notes the end, unless an earlier reason is noted.
    pub(super) fn set(&self, reason: impl FnOnce() -> Lost) {
        self.0.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(reason());
            }
            first
        });
    }

    /// Returns the reason, once the connection has ended.
    pub(super) fn get(&self) -> Option<Lost> {
        self.0.borrow().clone()
    }

    /// Returns the reason, or [`Lost::Ended`] where none is known yet.
    pub(super) fn reason(&self) -> Lost {
        self.get().unwrap_or(Lost::Ended)
    }

    /// Waits for the end.
    pub(super) async fn wait(&self) -> Lost {
        let mut end = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let reason = end.wait_for(Option::is_some).await;
        reason.ok().and_then(|r| r.clone()).unwrap_or(Lost::Ended)
    }
}
