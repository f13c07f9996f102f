//! The reporters' thread: folds the events once more and hands them to each reporter.
//!
//! It owns the reporters while a run lasts; a reporter that panics costs itself, never the run or the other reporters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::emitter::{Emitter, WeakEmitter};
use crate::event::{Event, Stamped};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;

/// How often reporters may redraw.
const TICK: Duration = Duration::from_millis(100);

/// The reporters at work.
pub(super) struct Desk {
    emitter: WeakEmitter,
    began: Instant,
    state: State,
    /// `None`: this one panicked.
    reporters: Vec<Option<Box<dyn Reporter + Send>>>,
}

impl Desk {
    pub(super) fn new(emitter: &Emitter, reporters: Vec<Box<dyn Reporter + Send>>) -> Self {
        Self {
            emitter: emitter.downgrade(),
            began: emitter.began(),
            state: State::new(),
            reporters: reporters.into_iter().map(Some).collect(),
        }
    }

    /// Reports events until the run's last emitter is gone, or `finished` was the last event.
    pub(super) fn work(mut self, from: &Receiver<Stamped>) {
        let mut ticked = Instant::now();
        loop {
            match from.recv_timeout(TICK) {
                Ok(stamped) => {
                    if let Some(emitter) = self.emitter.upgrade() {
                        emitter.received(&stamped.event);
                        if matches!(stamped.event, Event::Planned(_)) {
                            // The emitter's own state has them; reporters read this one.
                            self.state.flags = emitter.with_state(|state| state.flags.clone());
                        }
                    }
                    self.state.apply(&stamped);
                    self.each(|reporter, state| reporter.event(&stamped, state));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                let t = self.began.elapsed().as_secs_f64();
                self.each(|reporter, state| reporter.tick(state, t));
            }
        }
        self.each(|reporter, _| reporter.close());
    }

    /// Calls every reporter, and emits their troubles as warnings.
    fn each(&mut self, mut call: impl FnMut(&mut (dyn Reporter + Send), &State)) {
        let mut troubles = Vec::new();
        for slot in &mut self.reporters {
            let Some(reporter) = slot else { continue };
            let called = catch_unwind(AssertUnwindSafe(|| {
                call(reporter.as_mut(), &self.state);
                reporter.trouble()
            }));
            match called {
                Ok(trouble) => troubles.extend(trouble),
                Err(_) => *slot = None,
            }
        }
        if troubles.is_empty() {
            return;
        }
        if let Some(emitter) = self.emitter.upgrade() {
            for warning in troubles {
                emitter.emit(Event::Warning { server: None, warning });
            }
        }
    }
}
