//! Sources: from a git ref, a directory or a tarball to one compressed stream for all servers.
//!
//! Owns what goes into a release and what is refused; it sends nothing. `git`, `directory` and `archive` each know one kind
//! of source, and all write through `pack`. Blocking code (git, files, compression): callers run it on a blocking thread.

pub mod archive;
pub mod deliver;
pub mod delta;
pub mod directory;
pub mod download;
pub mod error;
pub mod git;
mod gzip;
pub mod manifest;
pub mod members;
pub mod pack;
pub mod package;
mod quote;
mod repack;
pub mod repository;
pub mod resolved;
pub mod s3;
mod secrets;
pub mod store;
pub mod tree;

pub use deliver::{Delivery, SourceWanted, deliver, hidden, is_tracked, pack, resolve};
pub use error::SourceError;
pub use package::Package;
pub use resolved::{Resolved, SourceOrigin};
