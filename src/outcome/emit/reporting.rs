//! The reporting of one run, from its start to its `finished`.
//!
//! It owns that `finished` is emitted exactly once and last, however the run ends.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::desk::Desk;
use super::emitter::Emitter;
use crate::event::Finished;
use crate::name::RunId;
use crate::outcome::reporter::Reporter;

/// How long the end of a run waits for reporters that cannot write.
const CLOSING: Duration = Duration::from_secs(5);

/// The reporters of a run at work. Finishing or dropping it emits `finished` and ends them.
pub struct Reporting {
    emitter: Emitter,
    /// Disconnects when the reporters' thread ends; `None` once the run's end has waited for it.
    closed: Option<Receiver<()>>,
}

impl Reporting {
    /// Starts the reporters of a run.
    pub fn start(run: RunId, reporters: Vec<Box<dyn Reporter + Send>>) -> Self {
        let (emitter, from) = Emitter::new(run);
        let (closing, closed) = channel();
        let desk = Desk::new(&emitter, reporters);
        let work = move || {
            desk.work(&from);
            // Fails where the run's end has stopped waiting.
            let _ = closing.send(());
        };
        // Without a thread there are no reports; the run itself and its exit code do not depend on them.
        let _ = std::thread::Builder::new().name("reports".into()).spawn(work);
        Self { emitter, closed: Some(closed) }
    }

    /// Returns an emitter for this run's events.
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// Ends the run: computes its outcome, emits `finished`, and waits a limited time until it is reported.
    pub fn finish(mut self) -> Finished {
        self.end()
    }

    fn end(&mut self) -> Finished {
        let finished = self.emitter.end();
        if let Some(closed) = self.closed.take() {
            // An error means that the thread has ended already, or that a reporter cannot write: it is left behind.
            let _ = closed.recv_timeout(CLOSING);
        }
        finished
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        // After `finish` this does nothing.
        self.end();
    }
}
