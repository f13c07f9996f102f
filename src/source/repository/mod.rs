//! Sources that every server fetches for itself from a git repository, by a SHA resolved here once.
//!
//! Owns what git is asked about a repository elsewhere, and the login for it. Submodules and LFS are refused as early as this
//! machine can see them; servers look again.

mod ask;
mod look;
mod remote;
mod resolve;

pub use remote::{GitLogin, Remote};
pub use resolve::resolve;
