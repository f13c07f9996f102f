//! From the program to its reporters: stamps, masks and folds events, and reports them on a thread.
//!
//! It owns all of the fold's room that meets a clock or a thread; the rest of `outcome` is pure.

mod desk;
mod emitter;
mod meter;
mod reporting;

pub use emitter::Emitter;
pub use reporting::Reporting;
