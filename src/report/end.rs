//! What the plain and the terminal reporter print when a run has ended.
//!
//! It owns their order, and what `-q` leaves out; `failures` and `summary` own the texts.

use super::lines::Verbosity;
use super::sink::Sinks;
use super::{failures, summary};
use crate::out::with_flags;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::wording::warning;

/// Prints the end of a run; with `-q` only when a person must read it.
pub fn end(state: &State, verbosity: Verbosity, to: &mut Sinks) {
    let Sinks { progress, results } = to;
    let warnings = state.warnings.iter().filter(|w| warning::needs_reading(&w.warning));
    let failed = state.finished.as_ref().is_some_and(|f| f.exit_code != 0) || !state.failures.is_empty();
    if verbosity == Verbosity::Quiet {
        // The person who freezes deploys knows that scheduled deploys do not run meanwhile.
        if (!failed || state.is_frozen()) && warnings.clone().next().is_none() {
            return;
        }
        for warned in warnings {
            let server = warned.server.as_ref().map(|s| format!("{}: ", clean(s.as_str()))).unwrap_or_default();
            let line = format!("{server}warning: {}", warning::sentence(&warned.warning));
            progress.line(&progress.paint.notice(&with_flags(&line, &state.flags)));
        }
    }
    let failures = failures::failures(state, progress.paint);
    if !failures.is_empty() {
        if verbosity != Verbosity::Quiet {
            progress.line("");
        }
        failures.iter().for_each(|line| progress.line(line));
    }
    progress.flush();
    summary::summary(state, results.paint).iter().for_each(|line| results.line(line));
    results.flush();
}
