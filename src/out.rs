//! Standard output and standard error, for text that is no event.
//!
//! A reader that has gone away is no error.

use std::io::Write;

/// Prints a result.
pub fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints what is no result.
pub fn notice(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}
