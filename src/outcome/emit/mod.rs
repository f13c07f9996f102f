//! From the program to its reporters: events are stamped, masked, folded, and reported on a thread of their own.
//!
//! It owns all of the fold's room that meets a clock or a thread; the rest of `outcome` is pure.

mod desk;
mod emitter;
mod reporting;

pub use emitter::Emitter;
pub use reporting::Reporting;
