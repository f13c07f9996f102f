//! The reporters of a run, its log among them, and the flags that its hints repeat.

use std::path::PathBuf;

use super::prepare::Stack;
use crate::cli::Global;
use crate::event::Warning;
use crate::name::RunId;
use crate::outcome::reporter::Reporter;
use crate::process::machine::home;
use crate::report::lines::Verbosity;
use crate::report::log::{self, RunLog};
use crate::report::{ReportFlags, reporters};

/// The reporters of a run.
pub struct Reporters {
    /// All of them.
    pub all: Vec<Box<dyn Reporter + Send>>,
    /// Why the run has no log, where it has none.
    pub trouble: Option<Warning>,
}

/// Makes the reporters of a run, and its log.
pub fn of_run(global: &Global, stack: &Stack, run: &RunId) -> Reporters {
    let state_home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let directory = log::directory(state_home.as_deref(), home().ok().as_deref(), &stack.config.app.name);
    let (log, trouble) = match directory.map(|d| (RunLog::create(&d, run), d)) {
        Some((Ok(log), _)) => (Some(log), None),
        Some((Err(e), d)) => {
            (None, Some(Warning::NoLog { detail: format!("cannot write below {}: {e}", d.display()) }))
        }
        None => (None, Some(Warning::NoLog { detail: "set HOME or XDG_STATE_HOME".into() })),
    };
    let no_color = std::env::var_os("NO_COLOR");
    let wanted = ReportFlags {
        json: global.json,
        verbosity: match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        },
        color: global.color,
        no_color: no_color.as_deref(),
    };
    Reporters { all: reporters(wanted, log), trouble }
}

/// Returns the flags that pick this stack again, for the commands that a person should run next.
pub fn flags(global: &Global) -> String {
    let mut flags = Vec::new();
    if global.config != *"pitcrew.toml" {
        flags.push(format!("-c {}", global.config.display()));
    }
    flags.extend(global.profile.as_ref().map(|p| format!("-p {p}")));
    flags.join(" ")
}
