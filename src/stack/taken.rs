//! Who took a server out of its balancer, and its places before, as far as the server itself knows.

use crate::balancer::MemberFacts;
use crate::facts::{DRAINED, ServerFacts, TakenOut};
use crate::lease;
use crate::plan::journal::Journal;
use crate::text::clean::clean;
use crate::wording::lock as held;
use crate::wording::warning;

/// Says who took a server out: the run that holds its lock, a person, or a run that left it out.
pub fn who(found: &ServerFacts) -> Option<String> {
    if let Some(lock) = &found.lock {
        let drained = Journal::read(&found.journal).drained;
        // A server that the run found out already was taken out before it.
        if drained.is_some_and(|found| found.is_none_or(|found| found.was_in())) {
            return Some(held::locked(&lease::held(lock)));
        }
    }
    if let Some(taken) = &found.taken_out {
        return Some(warning::taken_by(&taken.by));
    }
    let behind = found.behind.as_deref()?;
    behind.strip_suffix(DRAINED).map(|run| format!("run {}, which left it so", clean(run)))
}

/// Returns the places that a server had before a person or an unfinished run took it out.
pub fn places(found: &ServerFacts) -> Vec<MemberFacts> {
    let by_hand = || Some(found.taken_out.as_ref()?.found.clone());
    let by_run = || Some(Journal::read(&found.journal).drained??.members);
    by_hand().or_else(by_run).unwrap_or_default()
}

/// Returns the same facts, with those places as what is to be put back.
pub fn with_places(found: &ServerFacts) -> ServerFacts {
    let noted = TakenOut { found: places(found), ..TakenOut::default() };
    let taken_out = found.taken_out.clone().or_else(|| (!noted.found.is_empty()).then_some(noted));
    ServerFacts { taken_out, ..found.clone() }
}
