//! From the program to the reporters' thread: stamps events, masks them, folds them, and sends them on.
//!
//! It owns two promises: emitting never blocks the engine, and no event follows `finished`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use jiff::Timestamp;

use super::meter::Meters;
use crate::event::{Event, Finished, Outcome, ServerEnd, Stamped, Warning};
use crate::name::RunId;
use crate::outcome::mask::mask;
use crate::outcome::state::State;
use crate::text::redact::Redactor;

/// While more events than this wait for the reporters, output is left out.
const MOST_WAITING: usize = 50_000;

/// While waiting output holds more bytes than this, output is left out: single lines may be long.
const MOST_BYTES: usize = 16 << 20;

/// Takes events from anywhere in the program; cheap to clone.
#[derive(Clone)]
pub struct Emitter {
    inner: Arc<Inner>,
}

/// An [`Emitter`] that keeps no run alive: the reporters' thread ends with the last real one.
pub(super) struct WeakEmitter {
    inner: Weak<Inner>,
}

struct Inner {
    run: RunId,
    began: Instant,
    /// Events that wait for the reporters.
    waiting: AtomicUsize,
    /// Bytes of output that wait for the reporters, as [`weight`] counts them.
    bytes: AtomicUsize,
    core: Mutex<Core>,
}

struct Core {
    state: State,
    redactor: Redactor,
    /// `None` once `finished` is sent.
    to: Option<Sender<Stamped>>,
    /// Events from before the plan, which wait for it; `None`: events are sent at once.
    early: Option<Vec<Event>>,
    /// Output that is kept for the end of its step.
    meters: Meters,
    /// Lines of output left out since the last event that said so.
    dropped: u64,
}

impl Emitter {
    /// Makes the emitter of a run, and the end at which its events come out.
    pub(super) fn new(run: RunId) -> (Self, Receiver<Stamped>) {
        let (to, from) = channel();
        let core = Core {
            state: State::new(),
            redactor: Redactor::default(),
            to: Some(to),
            early: None,
            meters: Meters::default(),
            dropped: 0,
        };
        let inner = Inner {
            run,
            began: Instant::now(),
            waiting: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            core: Mutex::new(core),
        };
        (Self { inner: Arc::new(inner) }, from)
    }

    /// Returns the exit code that the run would end with if it ended now.
    pub fn exit_code(&self) -> u8 {
        self.core().state.outcome().1
    }

    /// Emits an event, with secrets and control characters taken out.
    ///
    /// It never blocks. After `finished` it does nothing.
    pub fn emit(&self, event: Event) {
        let mut core = self.core();
        if core.to.is_none() {
            return;
        }
        match event {
            // Emitted by `end` alone, which judges the run.
            Event::Finished(_) => return,
            Event::Planned(_) => {
                let early = core.early.take();
                self.send(&mut core, event);
                self.release(&mut core, early);
                return;
            }
            _ => {}
        }
        for held in core.meters.before(&event) {
            self.pass(&mut core, held);
        }
        if let Some(event) = core.meters.admit(event) {
            self.pass(&mut core, event);
        }
    }

    /// Sends an event, or has it wait for the plan; leaves output out while the reporters cannot keep up.
    fn pass(&self, core: &mut Core, event: Event) {
        let waiting = self.inner.waiting.load(Ordering::Relaxed) + core.early.as_ref().map_or(0, Vec::len);
        let bytes = self.inner.bytes.load(Ordering::Relaxed);
        if waiting > MOST_WAITING || bytes > MOST_BYTES {
            match event {
                Event::Output { .. } => {
                    core.dropped = core.dropped.saturating_add(1);
                    return;
                }
                Event::Progress { .. } => return,
                _ => {}
            }
        } else if waiting < MOST_WAITING / 2 && bytes < MOST_BYTES / 2 {
            self.warn_of_dropped(core);
        }
        if let Some(early) = &mut core.early {
            self.inner.bytes.fetch_add(weight(&event), Ordering::Relaxed);
            early.push(event);
            return;
        }
        self.send(core, event);
    }

    /// Holds events back until the plan, which must be the first of all events.
    pub fn plan_first(&self) {
        self.core().early.get_or_insert_default();
    }

    /// Masks these secrets in every event from now on.
    pub fn redact(&self, redactor: Redactor) {
        self.core().redactor = redactor;
    }

    /// Sets the flags that pick the stack (`-c FILE -p PROFILE`), for the commands to run next.
    pub fn flags(&self, flags: &str) {
        self.core().state.flags = if flags.is_empty() { String::new() } else { format!("{} ", flags.trim()) };
    }

    /// Judges the run as if it ended now, as [`State::outcome`] does.
    pub fn outcome(&self) -> (Outcome, u8, Vec<ServerEnd>, Vec<String>) {
        self.core().state.outcome()
    }

    /// Looks at the state so far; every other emitter of the run waits until `look` returns.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.core().state)
    }

    /// Stamps an event without emitting it: for a plan that is only shown.
    pub fn stamp(&self, event: Event) -> Stamped {
        Stamped { at: Timestamp::now(), t: self.t(), run: self.inner.run.clone(), event }
    }

    /// Ends the run: judges it and emits `finished`. A second call returns the first one's judgement.
    pub(super) fn end(&self) -> Finished {
        let mut core = self.core();
        if let Some(finished) = &core.state.finished {
            return finished.clone();
        }
        // No plan will come any more.
        let early = core.early.take();
        self.release(&mut core, early);
        for held in core.meters.all() {
            self.pass(&mut core, held);
        }
        self.warn_of_dropped(&mut core);
        let finished = core.state.finish(self.t());
        self.send(&mut core, Event::Finished(finished.clone()));
        core.to = None;
        finished
    }

    /// Counts an event as received by the reporters.
    pub(super) fn received(&self, event: &Event) {
        self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
        self.inner.bytes.fetch_sub(weight(event), Ordering::Relaxed);
    }

    pub(super) fn downgrade(&self) -> WeakEmitter {
        WeakEmitter { inner: Arc::downgrade(&self.inner) }
    }

    pub(super) fn began(&self) -> Instant {
        self.inner.began
    }

    /// Sends the events that waited for the plan.
    fn release(&self, core: &mut Core, early: Option<Vec<Event>>) {
        for event in early.into_iter().flatten() {
            self.inner.bytes.fetch_sub(weight(&event), Ordering::Relaxed);
            self.send(core, event);
        }
    }

    fn warn_of_dropped(&self, core: &mut Core) {
        let lines = std::mem::take(&mut core.dropped);
        if lines > 0 {
            self.send(core, Event::Warning { server: None, warning: Warning::OutputDropped { lines } });
        }
    }

    fn send(&self, core: &mut Core, mut event: Event) {
        let Some(to) = &core.to else { return };
        mask(&core.redactor, &mut event);
        // Stamped under the lock: the order of the stamps is the order of the events.
        let stamped = self.stamp(event);
        core.state.apply(&stamped);
        self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        self.inner.bytes.fetch_add(weight(&stamped.event), Ordering::Relaxed);
        // Fails only where the thread could not be started.
        let _ = to.send(stamped);
    }

    /// Seconds since the run began.
    fn t(&self) -> f64 {
        self.inner.began.elapsed().as_secs_f64()
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic in another thread that held the lock must not silence the rest of the run.
        self.inner.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakEmitter {
    /// Returns the emitter, unless the last one is gone.
    pub(super) fn upgrade(&self) -> Option<Emitter> {
        Some(Emitter { inner: self.inner.upgrade()? })
    }
}

/// Returns the bytes of output that an event holds.
fn weight(event: &Event) -> usize {
    match event {
        Event::Output { line, .. } => line.len(),
        _ => 0,
    }
}
