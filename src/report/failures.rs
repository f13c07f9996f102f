//! The failures of a run, printed at its end.
//!
//! It owns which failures appear together; the words for a cause are `wording`'s.

use super::lines::undo;
use super::paint::Paint;
use crate::event::Cause;
use crate::lease::Held;
use crate::out::with_flags;
use crate::outcome::state::{FailedStep, State};
use crate::policy::HERE;
use crate::text::clean::clean;
use crate::text::units::names;
use crate::wording::cause;

/// Lists every failure with its evidence; the same failure on several servers appears once.
pub fn failures(state: &State, paint: Paint) -> Vec<String> {
    let mut groups: Vec<(&FailedStep, Vec<&str>)> = Vec::new();
    for failed in state.failures.iter().filter(|f| !f.is_consequence()) {
        let same = |g: &&mut (&FailedStep, Vec<&str>)| {
            let (one, other) = (&g.0.failure, &failed.failure);
            let is_one = cause::is_one((&g.0.server, one), (&failed.server, other));
            g.0.step == failed.step
                && g.0.place.is_some() == failed.place.is_some()
                && (is_one || same_holder(&one.cause, &other.cause))
        };
        match groups.iter_mut().find(same) {
            Some((_, servers)) => servers.push(failed.server.as_str()),
            None => groups.push((failed, vec![failed.server.as_str()])),
        }
    }
    let mut lines = Vec::new();
    for (failed, mut servers) in groups {
        servers.dedup();
        let servers: Vec<String> = servers.into_iter().map(clean).collect();
        let of_source = matches!(failed.failure.cause, Cause::Source { .. } | Cause::Connect { .. });
        let what = match &failed.place {
            _ if of_source && failed.server.as_str() == HERE => "the source cannot be used".to_owned(),
            Some(place) => format!("{} failed ({})", failed.step, place.stage),
            None => format!("could not {}", undo(state, &failed.server, failed.step)),
        };
        lines.push(paint.bad(&format!("{}: {what}", names(&servers, 12))));
        let said = cause::lines(&failed.failure).into_iter();
        // What a command printed is shown as it was.
        let shown = |line: String| if line.starts_with("  |") { line } else { with_flags(&line, &state.flags) };
        lines.extend(said.map(|line| format!("  {}", shown(line))));
        if servers.len() > 1
            && matches!(&failed.failure.cause, Cause::Connect { hint, .. } if hint.contains("ssh-keyscan"))
        {
            lines.push("  that is the line for one of them; the others need theirs".to_owned());
        }
        lines.push(String::new());
    }
    lines.extend(abandoned(state));
    lines
}

/// Tells whether two failures are about the same run's lock; its age differs from server to server.
fn same_holder(one: &Cause, other: &Cause) -> bool {
    let (Cause::Locked(one), Cause::Locked(other)) = (one, other) else { return false };
    let kind = |held: &Held| held.standing.as_ref().map(std::mem::discriminant);
    one.owner.contains_key("run") && one.owner.get("run") == other.owner.get("run") && kind(one) == kind(other)
}

/// Names, in one line, the servers that gave up because another one failed.
fn abandoned(state: &State) -> Vec<String> {
    let servers: Vec<String> =
        state.failures.iter().filter(|f| f.is_consequence()).map(|f| clean(f.server.as_str())).collect();
    if servers.is_empty() {
        return Vec::new();
    }
    vec![format!("given up because another server failed: {}", names(&servers, 12)), String::new()]
}
