//! Limits how much input is under way at once, before the server has taken any of it.
//!
//! sshd keeps the input that its command has not read in one buffer, and copies that buffer for each packet that arrives.
//! With the 2 MiB that it lets a client send ahead, a busy server spends more on copying than on unpacking. So pitcrew sends
//! ahead only what keeps the way full. Windows and limits stay as they are.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::sync::lock;

/// Bytes that may always be under way; sshd reports what was taken every 96 KiB.
const LEAST: u64 = 256 * 1024;
/// Bytes a second that a long way must carry.
const RATE: u64 = 20 * 1024 * 1024;
/// Time to wait for a report of what was taken, beyond the round trip.
///
/// A server that reports only after half of its window is used gets more.
const PATIENCE: Duration = Duration::from_millis(250);

/// The room for the input of one command.
pub(super) struct Pace {
    /// The round trip; `None`: it is not known, and nothing is held back.
    round_trip: Option<Duration>,
    state: Mutex<State>,
    news: Notify,
}

struct State {
    /// Bytes that may be under way.
    limit: u64,
    /// Bytes that may be sent now.
    room: u64,
    /// The largest window that the server has shown: the window has this size when everything is taken.
    widest: u32,
}

impl Pace {
    /// Begins for one command, which has a window of its own.
    pub(super) fn new(round_trip: Option<Duration>) -> Self {
        let limit = round_trip.map_or(u64::MAX, |time| {
            let ahead = u128::from(RATE) * time.as_micros() / 1_000_000;
            u64::try_from(ahead).unwrap_or(u64::MAX).max(LEAST)
        });
        Self { round_trip, state: Mutex::new(State { limit, room: limit, widest: 0 }), news: Notify::new() }
    }

    /// Notes the current size of the window.
    pub(super) fn window(&self, size: u32) {
        let mut state = lock(&self.state);
        state.widest = state.widest.max(size);
        let under_way = u64::from(state.widest - size);
        state.room = state.limit.saturating_sub(under_way);
        drop(state);
        self.news.notify_one();
    }

    /// Waits until these bytes may be sent, or until the server has had its time to report.
    pub(super) async fn room(&self, bytes: usize) {
        let bytes = bytes as u64;
        while !self.take(bytes) {
            let patience = PATIENCE + self.round_trip.unwrap_or_default() * 2;
            if timeout(patience, self.news.notified()).await.is_err() {
                let mut state = lock(&self.state);
                state.room = state.room.saturating_add(state.limit);
                state.limit = state.limit.saturating_mul(2);
            }
        }
    }

    /// Takes the room for bytes. More than the limit goes at once only while nothing else is under way.
    fn take(&self, bytes: u64) -> bool {
        let mut state = lock(&self.state);
        let fits = state.room >= bytes.min(state.limit);
        if fits {
            state.room = state.room.saturating_sub(bytes);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: usize = 64 * 1024;

    /// Sends until it has to wait, and tells how much that was.
    async fn sent(pace: &Pace) -> usize {
        let mut slices = 0;
        while slices < 1000 && timeout(Duration::ZERO, pace.room(SLICE)).await.is_ok() {
            slices += 1;
        }
        slices * SLICE
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_makes_room() {
        let pace = Pace::new(Some(Duration::from_millis(1)));
        assert_eq!(sent(&pace).await, 256 * 1024);
        // A window of 2 MiB, of which 160 KiB are under way.
        pace.window((2 << 20) - (160 << 10));
        assert_eq!(sent(&pace).await, 256 * 1024, "the first news says nothing of what is under way");
        pace.window((2 << 20) - (320 << 10));
        assert_eq!(sent(&pace).await, 64 * 1024);
        pace.window(2 << 20);
        assert_eq!(sent(&pace).await, 256 * 1024);
        pace.window((2 << 20) - (256 << 10));
        assert_eq!(sent(&pace).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_way_is_kept_full() {
        assert_eq!(sent(&Pace::new(Some(Duration::from_millis(50)))).await, 1024 * 1024);
        assert_eq!(sent(&Pace::new(None)).await, 1000 * SLICE, "an unknown way is not held back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_tells_late_gets_more() {
        let pace = Pace::new(Some(Duration::ZERO));
        for _ in 0..64 {
            pace.room(SLICE).await;
        }
        assert!(sent(&pace).await < 4 << 20);
        // One slice larger than the limit is not waited for beyond its turn.
        let pace = Pace::new(Some(Duration::ZERO));
        pace.room(1 << 20).await;
        assert_eq!(sent(&pace).await, 0);
    }
}
