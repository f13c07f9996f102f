//! Ends every process that a fleet started, however it was started.
//!
//! Processes are known by the `PITCREW_FLEET` in their environment, which children inherit even when they leave their
//! group and session. Linux only: it reads /proc.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The variable that marks a fleet's processes.
pub(super) const MARK: &str = "PITCREW_FLEET";

/// Lists the live processes of a fleet.
pub(super) fn of_fleet(fleet: &str) -> Vec<i32> {
    let mark = format!("{MARK}={fleet}");
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            // A zombie's environment reads as empty: it is over.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
        })
        .filter_map(|pid| i32::try_from(pid).ok())
        .collect()
}

/// Kills a fleet's processes; returns those that are left after a few seconds.
pub(super) fn end(fleet: &str) -> Vec<i32> {
    let limit = Instant::now() + Duration::from_secs(5);
    let mut empty = 0;
    loop {
        let left = of_fleet(fleet);
        // Twice, since a process can slip through one reading of /proc while it forks.
        empty = if left.is_empty() { empty + 1 } else { 0 };
        if empty == 2 || Instant::now() > limit {
            return left;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

/// Reads the command line of a process, for messages.
pub(super) fn command_of(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Lists the live processes that run in or below a directory: cheaper than asking for a mark.
pub(super) fn below(directory: &Path) -> Vec<(i32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A zombie runs nowhere.
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            cwd.starts_with(directory).then_some((pid, cwd))
        })
        .collect()
}
