//! How long AWS takes, and how long and how often it is asked.

use std::time::Duration;

/// How often a call is made before it fails.
///
/// All users of an account share its allowance, so AWS's usual 3 attempts are soon used up.
pub const ATTEMPTS: u32 = 8;
/// The longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The limit on a connection.
pub const CONNECT: Duration = Duration::from_secs(5);
/// The limit on one attempt.
pub const ATTEMPT: Duration = Duration::from_secs(15);
/// The limit on a call with all its attempts.
pub const CALL: Duration = Duration::from_secs(60);

/// How long requests may arrive after a target was taken out.
///
/// Measured on an application balancer: 17 s.
pub const LAG: Duration = Duration::from_secs(20);
/// Seconds that a registered target waits for its first check.
pub const BACK: u64 = 30;

/// Returns the seconds that a health checker takes at least to find a member healthy.
pub fn checks(interval: i32, threshold: i32) -> u64 {
    u64::try_from(interval).unwrap_or_default().saturating_mul(u64::try_from(threshold).unwrap_or_default())
}
