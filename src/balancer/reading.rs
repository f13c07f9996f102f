//! Readings of one balancer that several lanes share.
//!
//! A lane takes a reading that is young enough, or makes its own. Owns when a reading is too old: after its age, and after any change made since it began. What is read is the caller's.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last reading of something that the lanes themselves change.
pub struct SharedReading<T> {
    /// How many changes were made; a reading that began before the last one is stale.
    changes: AtomicU64,
    last: Mutex<Option<Last<T>>>,
}

struct Last<T> {
    began: Instant,
    changes: u64,
    value: Arc<T>,
}

impl<T> Default for SharedReading<T> {
    fn default() -> Self {
        Self { changes: AtomicU64::new(0), last: Mutex::new(None) }
    }
}

impl<T> SharedReading<T> {
    /// Makes all readings that have begun until now stale: a change was made, or may have been.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the last reading if it began at most `age` ago and after the last change, or else reads.
    ///
    /// # Errors
    /// As `read`; a failed reading is not kept.
    pub async fn get<E>(&self, age: Duration, read: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let asked = Instant::now();
        // A lane that waits here asked before the next reading begins, and may use it.
        let mut last = self.last.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if let Some(last) = last.as_ref()
            && last.changes == changes
            && last.began + age >= asked
        {
            return Ok(last.value.clone());
        }
        let began = Instant::now();
        let value = Arc::new(read.await?);
        *last = Some(Last { began, changes, value: value.clone() });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_reading_is_used_while_it_is_young_and_nothing_has_changed() {
        let shared = SharedReading::default();
        let get = async |age, value: u8| *shared.get(age, async { Ok::<_, Infallible>(value) }).await.unwrap();
        assert_eq!(get(SECOND, 1).await, 1);
        assert_eq!(get(SECOND, 2).await, 1);
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(get(SECOND, 3).await, 3);
        shared.changed();
        assert_eq!(get(SECOND, 4).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_that_ask_at_once_read_once() {
        let shared = SharedReading::default();
        let read = |value: u8| async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Infallible>(value)
        };
        let (a, b) = tokio::join!(shared.get(Duration::ZERO, read(1)), shared.get(Duration::ZERO, read(2)));
        assert_eq!((*a.unwrap(), *b.unwrap()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_during_a_reading_makes_it_stale_and_a_failed_one_is_not_kept() {
        let shared = SharedReading::default();
        let during = async {
            shared.changed();
            Ok::<_, &str>(1)
        };
        assert_eq!(*shared.get(SECOND, during).await.unwrap(), 1);
        assert_eq!(shared.get(SECOND, async { Err("no") }).await.unwrap_err(), "no");
        assert_eq!(*shared.get(SECOND, async { Ok::<_, &str>(3) }).await.unwrap(), 3);
    }
}
