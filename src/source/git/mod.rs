//! Sources that are git work trees: the tracked files of one commit, as `git archive` gives them.
//!
//! Owns every call of git about a repository of this machine. Export-ignore, export-subst and filters are git's own work;
//! what must not depend on the machine, its user or git's version (line endings, umask, replaced objects, the attributes of
//! the directories above) is pinned. Submodules are refused, and pointers of Git LFS.

mod archive;
mod notes;
pub(super) mod program;
pub(super) mod refs;
mod resolve;

pub(super) use archive::pack;
pub(super) use resolve::subject;
pub use resolve::{is_repository, resolve};
