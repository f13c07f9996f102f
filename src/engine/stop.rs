//! Interruption: the first signal asks for an orderly end, the second for an immediate one.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::event::{Event, Warning};
use crate::outcome::Emitter;
use crate::process::ignored::is_ignored;

/// What has been asked of a run while it runs.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Cancelled by the first signal: what is in flight is ended and taken back.
    pub soft: CancellationToken,
    /// Cancelled by the second: nothing is waited for any more.
    pub hard: CancellationToken,
    signal: Arc<OnceLock<&'static str>>,
}

impl Stop {
    /// Counts as a signal, whatever its source.
    pub fn ask(&self, name: &'static str) {
        if self.signal.set(name).is_ok() {
            self.soft.cancel();
        } else {
            self.hard.cancel();
        }
    }

    /// The name of the signal that came first.
    pub fn signal(&self) -> Option<&'static str> {
        self.signal.get().copied()
    }

    /// Tells whether a signal has come.
    pub fn asked(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for something, but not beyond the second signal.
    pub async fn unless_hard<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = what => Some(done),
            () = self.hard.cancelled() => None,
        }
    }

    /// Listens for INT, TERM and HUP until the process ends.
    ///
    /// One that was ignored when the process began stays ignored (`nohup`, `&`).
    ///
    /// # Errors
    /// When the process may not install signal handlers.
    pub fn listen(&self, emitter: &Emitter) -> std::io::Result<()> {
        for (kind, name) in
            [(SignalKind::interrupt(), "INT"), (SignalKind::terminate(), "TERM"), (SignalKind::hangup(), "HUP")]
        {
            if is_ignored(kind.as_raw_value()) {
                continue;
            }
            let mut signals = signal(kind)?;
            let (stop, emitter) = (self.clone(), emitter.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    // Each is an event, and there before anything acts on it: the outcome depends on how many there were.
                    let warning = Warning::Interrupted { signal: name.into(), again: stop.asked() };
                    emitter.emit(Event::Warning { server: None, warning });
                    stop.ask(name);
                }
            });
        }
        Ok(())
    }
}
