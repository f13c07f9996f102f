//! Standard output and standard error, for what is no event. A reader that has gone away is no error.

use std::io::{IsTerminal, Write};

use crate::cli::{Color, Global};

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

/// Tells whether standard error is a terminal that shows live lines.
pub fn live() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
    std::io::stderr().is_terminal() && !dumb
}

/// Tells whether to use colour on standard error.
pub fn colour(global: &Global) -> bool {
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => live() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}
