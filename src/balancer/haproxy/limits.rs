//! How often, how long and how much HAProxy is asked.

use std::time::Duration;

/// Pause between two looks of one wait.
pub const TICK: Duration = Duration::from_millis(300);
/// How old a reading may be that a wait goes by: lanes that wait side by side share their readings.
pub const AGE: Duration = Duration::from_millis(200);

/// Limit on one call, connecting through an open SSH connection included.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer that is read from a socket: some ten thousand servers.
pub const ANSWER_LIMIT: u64 = 4 << 20;
/// How long a call is tried again; a reload closes HAProxy's socket for a moment.
pub const RETRY_FOR: Duration = Duration::from_secs(3);
/// Pause between two tries.
pub const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Whether a balancer that cannot be reached is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// No: the answer is wanted now.
    Once,
    /// For a few seconds. Everything may be said twice, since all changes are idempotent.
    Retry,
}
