//! The summary of a run: how it ended, the table of its servers, the commands to run next.
//!
//! It owns the layout; `sentence` and `table` own the parts.

use super::paint::Paint;
use super::sentence::sentence;
use super::table::table;
use crate::event::Outcome;
use crate::outcome::state::State;
use crate::text::clean::clean;

/// Returns the summary as lines: one sentence, the table, and the commands to run next.
pub fn summary(state: &State, paint: Paint) -> Vec<String> {
    let Some(finished) = &state.finished else { return Vec::new() };
    let sentence = sentence(state);
    let mut lines = vec![match finished.outcome {
        Outcome::Deployed | Outcome::Unchanged => paint.good(&sentence),
        Outcome::Reverted | Outcome::Interrupted | Outcome::Locked | Outcome::Unreachable => paint.notice(&sentence),
        Outcome::Mixed | Outcome::Stuck => paint.bad(&sentence),
    }];
    let without_table = matches!(finished.outcome, Outcome::Unchanged | Outcome::Locked | Outcome::Unreachable);
    if !(without_table || finished.servers.is_empty()) {
        lines.push(String::new());
        lines.extend(table(state, &finished.servers, paint));
    }
    if !finished.next.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold("Run next:"));
        lines.extend(finished.next.iter().map(|command| format!("  {}", clean(command))));
    }
    lines
}
