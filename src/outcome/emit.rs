//! From the engine to the reporters: stamps events, folds them, and hands them to the reporters' thread.
//!
//! It owns that nothing here ever blocks the engine, and that `finished` is emitted exactly once and last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::mask::mask;
use super::reporter::Reporter;
use super::state::State;
use crate::event::{Event, Finished, Outcome, ServerEnd, Stamped, Warning};
use crate::name::RunId;
use crate::text::redact::Redactor;

/// More events than this wait for the reporters, and output is left out until fewer do.
const MOST_WAITING: usize = 50_000;

/// The same for the bytes of waiting output: lines may be long.
const MOST_BYTES: usize = 16 << 20;

/// How long the end of a run waits for reporters that cannot write.
const CLOSING: Duration = Duration::from_secs(5);

/// How often reporters may redraw.
const TICK: Duration = Duration::from_millis(100);

/// Reporters at work; ends them, and emits `finished`, when it is finished or dropped.
pub struct Reporting {
    emitter: Emitter,
    /// `None` once it was waited for.
    closed: Option<Receiver<()>>,
}

/// Takes events from anywhere in the program; cheap to clone.
#[derive(Clone)]
pub struct Emitter {
    inner: Arc<Inner>,
}

struct Inner {
    run: RunId,
    began: Instant,
    waiting: AtomicUsize,
    /// Of the waiting output, [`weight`] by weight.
    bytes: AtomicUsize,
    core: Mutex<Core>,
}

struct Core {
    state: State,
    redactor: Redactor,
    /// `None` once `finished` is out.
    to: Option<Sender<Stamped>>,
    /// What came before the plan and waits for it; `None`: nothing is held back.
    early: Option<Vec<Event>>,
    dropped: u64,
}

impl Reporting {
    /// Starts the reporters of a run.
    pub fn start(run: RunId, reporters: Vec<Box<dyn Reporter + Send>>) -> Self {
        let (to, from) = channel();
        let (closing, closed) = channel();
        let core = Core { state: State::new(), redactor: Redactor::default(), to: Some(to), early: None, dropped: 0 };
        let inner = Arc::new(Inner {
            run,
            began: Instant::now(),
            waiting: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            core: Mutex::new(core),
        });
        let desk = Desk {
            // Weak, so that the thread ends with the last emitter even if nobody finishes.
            inner: Arc::downgrade(&inner),
            began: inner.began,
            state: State::new(),
            reporters: reporters.into_iter().map(Some).collect(),
        };
        let work = move || {
            desk.work(&from);
            // Nobody listens any more when the run's end did not wait.
            let _ = closing.send(());
        };
        // Without a thread there are no reports; the run itself and its exit code do not depend on them.
        let _ = std::thread::Builder::new().name("reports".into()).spawn(work);
        Self { emitter: Emitter { inner }, closed: Some(closed) }
    }

    /// Returns what the engine emits to.
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// Ends the run: computes its outcome, emits `finished`, and waits (not for ever) until it is reported.
    pub fn finish(mut self) -> Finished {
        self.end()
    }

    fn end(&mut self) -> Finished {
        let finished = self.emitter.end();
        if let Some(closed) = self.closed.take() {
            // Disconnected means that the thread is gone already; a reader that takes nothing is left behind.
            let _ = closed.recv_timeout(CLOSING);
        }
        finished
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        // Whatever path ends a run, its last event is `finished`; after `finish` there is nothing left to do.
        self.end();
    }
}

impl Emitter {
    /// The exit code that the run would end with if it ended now.
    pub fn exit_code(&self) -> u8 {
        self.core().state.outcome().1
    }

    /// Emits an event. Never blocks; after `finished` it does nothing.
    ///
    /// Secrets and control characters are taken out here, whoever put them in.
    pub fn emit(&self, event: Event) {
        if matches!(event, Event::Finished(_)) {
            // Only the end of the reporting knows how the run ended.
            return;
        }
        let mut core = self.core();
        if matches!(event, Event::Planned(_)) {
            let early = core.early.take();
            self.send(&mut core, event);
            self.release(&mut core, early);
            return;
        }
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
            self.own_up(&mut core);
        }
        if let Some(early) = &mut core.early {
            self.inner.bytes.fetch_add(weight(&event), Ordering::Relaxed);
            early.push(event);
            return;
        }
        self.send(&mut core, event);
    }

    /// Holds back what comes before the plan, which is to be the first of all events.
    pub fn plan_first(&self) {
        self.core().early.get_or_insert_default();
    }

    /// Masks these secrets in every event from now on.
    pub fn redact(&self, redactor: Redactor) {
        self.core().redactor = redactor;
    }

    /// Sets the flags that pick the stack (`-c FILE -p PROFILE`), for the commands that a person should run next.
    pub fn flags(&self, flags: &str) {
        self.core().state.flags = if flags.is_empty() { String::new() } else { format!("{} ", flags.trim()) };
    }

    /// Judges the run as if it ended now.
    pub fn outcome(&self) -> (Outcome, u8, Vec<ServerEnd>, Vec<String>) {
        self.core().state.outcome()
    }

    /// Looks at what is known so far; `look` must be short, since others wait for it.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.core().state)
    }

    fn end(&self) -> Finished {
        let mut core = self.core();
        if let Some(finished) = &core.state.finished {
            return finished.clone();
        }
        // There is no plan any more to wait for.
        let early = core.early.take();
        self.release(&mut core, early);
        self.own_up(&mut core);
        let finished = core.state.finish(self.inner.began.elapsed().as_secs_f64());
        self.send(&mut core, Event::Finished(finished.clone()));
        core.to = None;
        finished
    }

    /// Sends what has waited for the plan.
    fn release(&self, core: &mut Core, early: Option<Vec<Event>>) {
        for event in early.into_iter().flatten() {
            self.inner.bytes.fetch_sub(weight(&event), Ordering::Relaxed);
            self.send(core, event);
        }
    }

    /// Says how much output was left out.
    fn own_up(&self, core: &mut Core) {
        let lines = std::mem::take(&mut core.dropped);
        if lines > 0 {
            self.send(core, Event::Warning { server: None, warning: Warning::OutputDropped { lines } });
        }
    }

    /// Stamps an event without emitting it: for a plan that is only shown.
    pub fn stamp(&self, event: Event) -> Stamped {
        let t = self.inner.began.elapsed().as_secs_f64();
        Stamped { at: Timestamp::now(), t, run: self.inner.run.clone(), event }
    }

    fn send(&self, core: &mut Core, mut event: Event) {
        let Some(to) = &core.to else { return };
        mask(&core.redactor, &mut event);
        // Stamped under the lock: the order of the stamps is the order of the events.
        let stamped = self.stamp(event);
        core.state.apply(&stamped);
        self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        self.inner.bytes.fetch_add(weight(&stamped.event), Ordering::Relaxed);
        // The thread is gone only if it could not be started.
        let _ = to.send(stamped);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic elsewhere while it was held must not silence the rest of the run.
        self.inner.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that an event holds of a server's output.
fn weight(event: &Event) -> usize {
    match event {
        Event::Output { line, .. } => line.len(),
        _ => 0,
    }
}

/// The reporters' thread.
struct Desk {
    inner: Weak<Inner>,
    began: Instant,
    state: State,
    /// `None`: it panicked, and the others go on without it.
    reporters: Vec<Option<Box<dyn Reporter + Send>>>,
}

impl Desk {
    fn work(mut self, from: &Receiver<Stamped>) {
        let mut ticked = Instant::now();
        loop {
            match from.recv_timeout(TICK) {
                Ok(stamped) => {
                    if let Some(inner) = self.inner.upgrade() {
                        inner.waiting.fetch_sub(1, Ordering::Relaxed);
                        inner.bytes.fetch_sub(weight(&stamped.event), Ordering::Relaxed);
                    }
                    self.state.apply(&stamped);
                    self.tell(|reporter, state| reporter.event(&stamped, state));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                let t = self.began.elapsed().as_secs_f64();
                self.tell(|reporter, state| reporter.tick(state, t));
            }
        }
        self.tell(|reporter, _| reporter.close());
    }

    /// Does something with every reporter, and passes on their troubles.
    fn tell(&mut self, mut call: impl FnMut(&mut (dyn Reporter + Send), &State)) {
        let mut troubles = Vec::new();
        for slot in &mut self.reporters {
            let Some(reporter) = slot else { continue };
            let told = catch_unwind(AssertUnwindSafe(|| {
                call(reporter.as_mut(), &self.state);
                reporter.trouble()
            }));
            match told {
                Ok(trouble) => troubles.extend(trouble),
                // One reporter's bug costs that reporter, not the run's log.
                Err(_) => *slot = None,
            }
        }
        if troubles.is_empty() {
            return;
        }
        if let Some(inner) = self.inner.upgrade() {
            let emitter = Emitter { inner };
            for warning in troubles {
                emitter.emit(Event::Warning { server: None, warning });
            }
        }
    }
}
