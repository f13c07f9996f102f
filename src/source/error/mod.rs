//! Why a source cannot be used: one sum, and a file for each kind of source.

pub mod archive;
pub mod download;
pub mod git;
pub mod malformed;
pub mod refused;
pub mod repository;
pub mod sum;
pub mod unfit;
pub mod unknown_ref;

pub use sum::SourceError;
