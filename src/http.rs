//! What requests over a connection of their own have in common.

use std::future::Future;
use std::pin::pin;

use crate::text::one_line;

/// Drives a connection until its answer is there.
pub async fn driven<T>(asking: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            done = &mut asking => return done,
            // Its errors reach the request as well.
            _ = &mut connection, if open => open = false,
        }
    }
}

/// Says why a request failed, without control characters.
///
/// It adds the causes that hyper's own text leaves out.
pub fn failure(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the other end closed the connection before its answer was complete".to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    one_line(&text, 500)
}
