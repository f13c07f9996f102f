//! The words for single steps: their undos, their progress, what they sent.

use crate::event::{Progress, Sent, StepName};
use crate::text::units::{bytes, count};

/// Says what the undo of a step does.
pub fn undo(step: StepName) -> &'static str {
    match step {
        StepName::Lock => "unlock",
        StepName::Transfer | StepName::Link | StepName::Build => "remove the prepared release",
        StepName::Drain => "put back into the balancer",
        StepName::Switch => "switch back",
        StepName::Restart => "restart on the old release",
        StepName::Check => "prove the old release",
        StepName::Restore => "take out of the balancer again",
        StepName::Connect | StepName::Migrate | StepName::Prune | StepName::Unlock | StepName::Hook => "take back",
    }
}

/// Says what the undo of a step does on a server that had no release before the run.
pub fn undo_of_first(step: StepName) -> &'static str {
    match step {
        StepName::Switch => "remove `current`",
        StepName::Restart => "stop the web server",
        other => undo(other),
    }
}

/// Says how far a step is.
pub fn progress(progress: Progress) -> String {
    match progress {
        Progress::Bytes { done, total } => format!("{} of {}", bytes(done), bytes(total)),
        Progress::Sessions { open } => format!("{open} connection{} left", if open == 1 { "" } else { "s" }),
        Progress::Attempts { good, needed, asked } => {
            format!("{good} of {needed} good answers in a row, asked {}", count(asked as usize, "time"))
        }
    }
}

/// Says what a transfer sent: `3 files, 4.1 kB of 1.3 MB`.
pub fn sent(sent: Sent) -> String {
    let Sent { bytes: done, whole, files, removed } = sent;
    match (files, removed.unwrap_or(0)) {
        (None, _) => bytes(done),
        (Some(_), _) if done == 0 => format!("nothing of {}", bytes(whole)),
        (Some(files), 0) => format!("{}, {} of {}", count(files as usize, "file"), bytes(done), bytes(whole)),
        (Some(files), removed) => {
            format!("{}, {removed} removed, {} of {}", count(files as usize, "file"), bytes(done), bytes(whole))
        }
    }
}
