//! Waits that end when the caller asks for the end of all waiting.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::BalancerError;
use super::fault::DrainFault;

/// Waits for something, or for the end of all waiting.
///
/// # Errors
/// When `stop` ends the wait.
pub async fn unless<T>(stop: &CancellationToken, what: impl Future<Output = T>) -> Result<T, BalancerError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(BalancerError::new("", None, DrainFault::Stopped)),
        done = what => Ok(done),
    }
}

/// Sleeps; ends early with an error when asked to stop.
///
/// # Errors
/// When `stop` ends the sleep.
pub async fn pause(stop: &CancellationToken, time: Duration) -> Result<(), BalancerError> {
    unless(stop, tokio::time::sleep(time)).await
}
