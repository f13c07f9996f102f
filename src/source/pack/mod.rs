//! The one writer behind all sources: checked entries in, a tar with zstd in an unnamed file out.
//!
//! Owns which paths a release may hold, how entries are normalised and the REVISION file. Knows nothing of where
//! entries come from.

pub mod entry;
pub mod packer;
mod path;
mod seen;
mod writer;
