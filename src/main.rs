//! Turns a result into an exit code; nothing else.

fn main() {}
