//! Who took a server out of its balancer, as far as the server itself knows.

use crate::facts::{DRAINED, ServerFacts};
use crate::lease;
use crate::plan::journal::Journal;
use crate::report::{clean::clean, held, text};

/// Says who took a server out: the run that holds its lock, somebody by hand, or a run that left it so.
pub fn who(found: &ServerFacts) -> Option<String> {
    if let Some(lock) = &found.lock {
        let drained = Journal::read(&found.journal).drained;
        // What it found out already is somebody else's doing.
        if drained.is_some_and(|found| found.is_none_or(|found| found.was_in())) {
            return Some(held::locked(&lease::held(lock)));
        }
    }
    if let Some(taken) = &found.taken_out {
        return Some(text::taken_by(&taken.by));
    }
    let behind = found.behind.as_deref()?;
    behind.strip_suffix(DRAINED).map(|run| format!("run {}, which left it so", clean(run)))
}
