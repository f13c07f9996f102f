//! What a run's locks say of their holder.

use std::time::Duration;

use crate::name::RunId;
use crate::process::machine::{self, local_user};
use crate::script::Owner;

/// Makes a run's id, and what its locks say of it.
pub fn owner(command: String, lease: Duration) -> Owner {
    let now = jiff::Timestamp::now();
    let random: u32 = rand::random();
    let run = RunId(format!("{}-{random:08x}", now.strftime("%Y%m%dT%H%M%SZ")));
    Owner {
        run,
        who: local_user(),
        host: machine::host(),
        pid: std::process::id(),
        command,
        since: format!("{now:.0}"),
        process: machine::this_process(),
        lease: lease.as_secs(),
    }
}

/// Returns the command line as a person would type it.
pub fn command_line() -> String {
    let mut words = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or("pitcrew").to_owned();
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
