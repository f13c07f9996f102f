//! How a process of this machine ended, or why it did not end by itself.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

/// How a program ended by itself.
#[derive(Debug)]
pub struct Exited {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// The first 16 KiB of its standard error, trimmed.
    pub stderr: String,
}

/// Why a process did not end by itself.
#[derive(Debug)]
pub enum Unended {
    /// It cannot be started or waited for.
    Failed(io::Error),
    /// It wrote nothing for this long and was ended.
    Silent(Duration),
    /// It ran into this limit and was ended.
    TimedOut(Duration),
    /// The caller asked for its end.
    Stopped,
}

/// Names a signal without SIG; one without a name is its number.
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned())
}
