//! The sentence that says how a run ended.
//!
//! It owns the words for outcomes; `outcome` judges them.

use crate::event::{Cause, Finished, Outcome, Planned, RunVerb, ServerEnd, Stuck};
use crate::outcome::server::{Effect, ServerState};
use crate::outcome::state::{FailedStep, State};
use crate::policy::HERE;
use crate::text::clean::clean;
use crate::text::units::{count, names, seconds};

/// Says how a run ended, in one sentence.
pub fn sentence(state: &State) -> String {
    let Some(finished) = &state.finished else { return "the run has not ended".into() };
    let app = state.planned.as_ref().map_or("pitcrew", |p| p.app.as_str());
    let text = if state.recovers() { recovered(state, finished) } else { None };
    format!("{}: {}{}", clean(app), text.unwrap_or_else(|| ended(state, finished)), migrations(state))
}

/// Says, as the end of a sentence, that migrations stay although their release does not.
fn migrations(state: &State) -> String {
    let mut servers = state.rolled_out().peekable();
    if servers.peek().is_some() && servers.all(ServerState::is_new) {
        return String::new();
    }
    let became = |effect: Effect| state.servers().iter().find(|s| s.migrate == effect);
    if became(Effect::Made).is_some() {
        return "; migrations have run, and are not taken back".into();
    }
    if became(Effect::Begun).is_some() {
        return "; migrations had begun, and are not taken back".into();
    }
    // A dead run leaves where its migrations run, and not how far they got.
    let dead = state.planned.as_ref().filter(|p| p.verb == RunVerb::Recover).and_then(|p| p.migrate_on.as_ref());
    dead.map(|on| format!("; migrations may have run on {}, and are not taken back", clean(on.as_str())))
        .unwrap_or_default()
}

/// Says how the recovery of a dead run ended, where that differs from other runs.
fn recovered(state: &State, finished: &Finished) -> Option<String> {
    let took = seconds(finished.seconds);
    // The recovery knows the servers whose locks it found, which may not be all of the stack.
    let reached: Vec<&str> = state.rolled_out().filter(|s| !s.lost).map(|s| s.name.as_str()).collect();
    let who = names(&reached, 8);
    let (serve, are) = match reached.len() {
        1 => ("serves", "is on its old release"),
        _ => ("serve", "are on their old releases"),
    };
    let missed: Vec<&str> =
        finished.servers.iter().filter(|e| e.stuck == Some(Stuck::Unreachable)).map(|e| e.server.as_str()).collect();
    let end = match finished.outcome {
        Outcome::Deployed => format!("{who} {serve} the new release"),
        Outcome::Reverted if finished.exit_code == 0 => format!("{who} {are}"),
        Outcome::Mixed if missed.is_empty() => {
            "what was in flight was taken back, and servers are on different releases".into()
        }
        Outcome::Mixed => {
            let missed = names(&missed, 8);
            return Some(format!(
                "recovered what could be reached in {took}; {missed} could not, and is as it was left"
            ));
        }
        Outcome::Unchanged => "nothing had been switched".into(),
        _ => return None,
    };
    Some(format!("recovered in {took}; {end}"))
}

fn ended(state: &State, finished: &Finished) -> String {
    let took = seconds(finished.seconds);
    let touched = state.rolled_out().any(ServerState::touched);
    match finished.outcome {
        Outcome::Deployed => {
            state.planned.as_ref().map_or_else(|| format!("deployed in {took}"), |planned| deployed(planned, finished))
        }
        Outcome::Unchanged => "nothing to do".into(),
        Outcome::Reverted if touched => format!("failed after {took}; {}", taken_back(state)),
        Outcome::Reverted => format!("failed after {took}; nothing was switched"),
        Outcome::Mixed => format!("servers are on different releases, after {took}"),
        Outcome::Stuck => stuck(finished),
        Outcome::Locked if state.is_frozen() => "deploys are frozen; nothing was changed".into(),
        Outcome::Locked => "locked by another run; nothing was changed".into(),
        Outcome::Unreachable => {
            let mut missed: Vec<String> =
                state.failures.iter().filter(|f| !f.is_consequence()).map(unreached).collect();
            missed.dedup();
            format!("could not reach {}; nothing was changed", names(&missed, 8))
        }
        Outcome::Interrupted => {
            let kept = state.rolled_out().filter(|s| s.is_new()).count();
            let end = match kept {
                0 if touched => "everything was taken back".to_owned(),
                _ if touched => format!(
                    "what was in flight was taken back, and {kept} of {} keep the new release",
                    count(state.rolled_out().count(), "server")
                ),
                _ if state.rolled_out().all(|s| s.busy == 0.0) => "nothing was changed".to_owned(),
                _ => "nothing was switched".to_owned(),
            };
            format!("interrupted after {took}; {end}")
        }
    }
}

/// Says where the servers are that a run has taken back.
fn taken_back(state: &State) -> String {
    let touched = || state.rolled_out().filter(|s| s.touched());
    let bare: Vec<&str> = touched().filter(|s| s.is_bare()).map(|s| s.name.as_str()).collect();
    match (bare.len(), touched().count()) {
        (0, _) => "every server is back on its old release".to_owned(),
        (bare, touched) if bare == touched => "there was no release before: nothing serves".to_owned(),
        _ => format!(
            "every server is back on its old release, but {}, which had none: nothing serves there",
            clean(&names(&bare, 8))
        ),
    }
}

fn deployed(planned: &Planned, finished: &Finished) -> String {
    let done = if planned.verb == RunVerb::Rollback { "rolled back to" } else { "deployed" };
    let on = count(finished.servers.len(), "server");
    format!("{done} {} ({}) on {on} in {}", planned.release, planned.revision.short(), seconds(finished.seconds))
}

fn stuck(finished: &Finished) -> String {
    let took = seconds(finished.seconds);
    let of = |locked: bool| {
        let wanted = move |s: &&ServerEnd| s.stuck.as_ref().is_some_and(|w| (*w == Stuck::LockKept) == locked);
        finished.servers.iter().filter(wanted).map(|s| s.server.as_str()).collect::<Vec<_>>()
    };
    // A lock that is kept because of another server is no trouble of its own.
    let stuck = if of(false).is_empty() { of(true) } else { of(false) };
    match stuck.as_slice() {
        [] => format!("the release stands, but a step after it failed; {took}"),
        [one] => format!("{one} needs a person, after {took}"),
        many => format!("{} servers need a person, after {took}: {}", many.len(), names(many, 8)),
    }
}

/// Names what could not be reached: a balancer, the source, or a server.
fn unreached(failed: &FailedStep) -> String {
    match &failed.failure.cause {
        Cause::Balancer { at, .. } => format!("the balancer {}", clean(at)),
        _ if failed.server.as_str() == HERE => "the source".to_owned(),
        _ => failed.server.0.clone(),
    }
}
