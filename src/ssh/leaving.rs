//! Counts what must be told to end before its connection may end.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

/// The number of things that a connection waits for before it ends.
#[derive(Clone, Default)]
pub struct Leaving(Arc<AtomicUsize>);

/// Counts as one of them until it is dropped.
pub struct Left(Arc<AtomicUsize>);

impl Leaving {
    /// Counts one more.
    pub fn one(&self) -> Left {
        self.0.fetch_add(1, SeqCst);
        Left(self.0.clone())
    }

    /// Tells whether the number is zero.
    pub(super) fn is_done(&self) -> bool {
        self.0.load(SeqCst) == 0
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
