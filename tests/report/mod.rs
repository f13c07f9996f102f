//! Reporters, seen from outside: events come in, outcomes, text, files and screens go out.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod emitting;
mod endings;
mod logging;
mod outcomes;
mod printed;
mod screen;
mod story;
