//! The limit on authentication, which does not run while a person is asked.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ssh::end::End;
use crate::ssh::sync::lock;

/// Time that a person has to touch, to confirm, or to type. sshd itself waits 120 s (`LoginGraceTime`).
pub(super) const PERSON: Duration = Duration::from_secs(60);

/// The limit on authentication.
pub(super) struct Patience {
    limit: Duration,
    until: Mutex<Instant>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: Mutex::new(Instant::now() + limit) }
    }

    fn set(&self, left: Duration) {
        *lock(&self.until) = Instant::now() + left;
    }

    fn until(&self) -> Instant {
        *lock(&self.until)
    }

    /// Waits until it has run out.
    pub(super) async fn over(&self) {
        loop {
            let until = self.until();
            sleep_until(until).await;
            if self.until() <= Instant::now() {
                return;
            }
        }
    }

    /// Waits for a person, who has a limit of their own; then the limit begins anew.
    ///
    /// `None`: there was no answer.
    pub(super) async fn person<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        self.set(PERSON + self.limit);
        let answer = timeout(PERSON, answer).await.ok();
        self.set(self.limit);
        answer
    }

    /// Waits for the turn at the person, as long as the server waits.
    pub(super) async fn turn<'a>(&self, person: &'a tokio::sync::Mutex<()>, end: &End) -> Option<MutexGuard<'a, ()>> {
        self.set(2 * PERSON + self.limit);
        let turn = tokio::select! {
            turn = timeout(2 * PERSON, person.lock()) => turn.ok(),
            _ = end.wait() => None,
        };
        self.set(self.limit);
        turn
    }
}
