//! Text for people: made fit for a terminal, kept free of secrets, with its figures spelled.
//!
//! Pure: it knows strings and numbers, and no other room.

pub mod clean;
pub mod redact;
pub mod units;

pub use clean::one_line;
