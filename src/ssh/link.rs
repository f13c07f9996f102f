//! A destination that is connected when it is first needed, and again after its connection was lost.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::commons::Commons;
use super::connect;
use super::error::{ConnectError, ConnectErrorKind};
use super::session::Session;
use super::stream::ByteStream;
use super::target::Target;

/// Limit on waiting for an attempt to connect when the link is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Pauses between attempts to connect again.
const REGAIN: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_millis(700), Duration::from_secs(2), Duration::from_secs(3)];

/// A destination that is connected when it is first needed, and again after its connection was lost.
pub struct Link {
    target: Target,
    commons: Arc<Commons>,
    state: Mutex<State>,
    /// The number of finished attempts: a caller sees whether one finished while it waited.
    attempts: AtomicU64,
    /// It was connected before, so that a lost connection is worth another attempt.
    ///
    /// sshd may restart, and the network may return.
    hopeful: AtomicBool,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    failure: Option<ConnectError>,
}

impl Link {
    /// Makes a link without connecting it.
    pub fn new(target: Target, commons: Arc<Commons>) -> Self {
        Self {
            target,
            commons,
            state: Mutex::default(),
            attempts: AtomicU64::default(),
            hopeful: AtomicBool::default(),
        }
    }

    /// Makes a link to the same destination, with a connection of its own.
    pub fn beside(&self) -> Self {
        Self::new(self.target.clone(), self.commons.clone())
    }

    /// Returns the destination.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reaches a port of the server's own loopback, as [`Session::loopback`] does.
    ///
    /// Some servers end a connection on which that is asked for (tinysshd). Where two end so in a row, a program of the
    /// server's does it; one may have been lost on the way.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub async fn loopback(&self, host: &'static str, port: u16) -> Result<Box<dyn ByteStream>, String> {
        let mut failed = String::new();
        for _ in 0..2 {
            let session = self.session().await.map_err(|e| e.to_string())?;
            match session.loopback(host, port).await {
                Err(e) if session.ended().is_some() => failed = e.to_string(),
                other => return other.map_err(|e| e.to_string()),
            }
        }
        let session = self.session().await.map_err(|_| failed.clone())?;
        session.by_program(port).await.map_err(|_| failed)
    }

    /// Returns the live session. Connects where there is none; concurrent callers share one attempt.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        let seen = self.attempts.load(SeqCst);
        let mut state = self.state.lock().await;
        if let Some(live) = state.session.as_ref().filter(|s| s.ended().is_none()) {
            return Ok(live.clone());
        }
        // An attempt that failed while this caller waited for it is the answer to this caller too.
        if self.attempts.load(SeqCst) != seen
            && let Some(failure) = &state.failure
        {
            return Err(failure.clone());
        }
        *state = State::default();
        let made = connect::connect(&self.target, &self.commons).boxed().await;
        match &made {
            Ok(session) => {
                state.session = Some(session.clone());
                self.hopeful.store(true, SeqCst);
            }
            Err(failure) => state.failure = Some(failure.clone()),
        }
        self.attempts.fetch_add(1, SeqCst);
        made
    }

    /// Returns the session, if it is live and no attempt to connect is under way.
    pub(super) fn live(&self) -> Option<Arc<Session>> {
        self.state.try_lock().ok()?.session.as_ref().filter(|s| s.ended().is_none()).cloned()
    }

    /// Returns the live session. After a loss it tries to connect for some seconds, once.
    ///
    /// # Errors
    /// As [`Self::session`], after the last attempt.
    pub async fn regain(&self) -> Result<Arc<Session>, ConnectError> {
        for pause in REGAIN {
            match self.session().await {
                Err(e) if e.kind() == ConnectErrorKind::Unreachable && self.hopeful.load(SeqCst) => sleep(pause).await,
                other => return other,
            }
        }
        // The next caller need not wait as long for nothing.
        self.hopeful.store(false, SeqCst);
        self.session().await
    }

    /// Ends the connection with a goodbye, within a limit.
    pub async fn close(&self) {
        // An attempt to connect holds the state; its connection is severed later, when everything is dropped.
        let Ok(mut state) = timeout(CLOSE_LIMIT, self.state.lock()).await else { return };
        if let Some(session) = state.session.take() {
            session.close().await;
        }
    }
}
