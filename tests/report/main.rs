//! Reporters, seen from outside: events come in, outcomes, text, files and screens go out.

mod emitting;
mod logging;
mod outcomes;
mod printed;
mod screen;
mod story;
