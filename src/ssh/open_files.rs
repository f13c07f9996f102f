//! The limit on open files of this process.

/// Raises the soft limit on open files to the hard limit: every connection takes one.
///
/// Best effort: if the system refuses, a connection without a free file reports it.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// macOS refuses more (`OPEN_MAX`), though it reports an unlimited hard limit.
    const MOST: u64 = if cfg!(target_os = "macos") { 10_240 } else { 65_536 };
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(MOST);
        if soft < wanted {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
        }
    }
}
