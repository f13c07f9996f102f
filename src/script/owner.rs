//! The holder of a lock, as it is written into the lock.

use crate::lease::Process;
use crate::name::RunId;

/// Who takes a lock; written into it as `key=value` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The token.
    pub run: RunId,
    /// Local user's name.
    pub who: String,
    /// Local host's name.
    pub host: String,
    /// Local process.
    pub pid: u32,
    /// Command line as people would type it.
    pub command: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// Which process of which boot of which machine, beyond doubt; `None` where the system cannot tell.
    pub process: Option<Process>,
    /// Seconds without a sign of life after which others may take the run for dead.
    pub lease: u64,
}

impl Owner {
    /// The `key=value` lines that a lock holds; line breaks within values become spaces.
    pub fn lines(&self) -> String {
        let mut lines = vec![
            ("run", self.run.0.clone()),
            ("who", self.who.clone()),
            ("host", self.host.clone()),
            ("pid", self.pid.to_string()),
            ("command", self.command.clone()),
            ("since", self.since.clone()),
            ("lease", self.lease.to_string()),
        ];
        lines.extend(self.process.as_ref().map(|p| ("process", p.to_string())));
        let lines = lines.into_iter();
        lines.map(|(key, value)| format!("{key}={}", one_line(&value))).collect::<Vec<_>>().join("\n")
    }
}

/// A value of a `key=value` line.
pub(super) fn one_line(value: &str) -> String {
    value.replace(['\n', '\r', '\0'], " ")
}
