//! Text for people: safe on a terminal, free of secrets, with figures and lists spelled out.
//!
//! Pure: it knows strings and numbers, and no other room.

pub mod clean;
pub mod redact;
pub mod units;

pub use clean::one_line;
