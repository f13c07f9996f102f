//! What every entry of a release has, and the names that are pitcrew's own.

/// The file that names a release's revision, as Capistrano writes it.
pub const REVISION: &[u8] = b"REVISION";
/// The directory that pitcrew keeps for itself, wherever it occurs at the top of a source.
pub const RESERVED: &[u8] = b".pitcrew";

/// What every entry has.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Permission bits; setuid, setgid and sticky are dropped.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
}
