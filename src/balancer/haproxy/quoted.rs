//! Text from outside, made fit for a message.

use crate::text::one_line;

/// Cuts text from outside to a length fit for a message, without control characters.
pub fn cut(text: &str) -> String {
    one_line(text, 120)
}

/// Shows the first line of an answer in a message.
pub fn quote(text: &str) -> String {
    format!("`{}`", cut(text.trim().lines().next().unwrap_or_default()))
}
