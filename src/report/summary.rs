//! What is printed when a run has ended: what failed, how it ended, where each server stands, what to run next.

use console::measure_text_width;

use super::paint::Paint;
use crate::event::{Cause, Held, Outcome, ServerEnd, Stuck};
use crate::outcome::server::Server;
use crate::outcome::state::{Failed, HERE, State};
use crate::text::clean::clean;
use crate::text::units::{count, names, seconds};
use crate::wording::cause;
use crate::wording::step::undo_failed;
use crate::wording::warning;

/// Most servers that a table lists when all is well; those that need a look are always listed.
const ROWS: usize = 30;

/// Lists every failure with its evidence; the same failure on several servers is told once.
pub fn failures(state: &State, paint: Paint) -> Vec<String> {
    let mut groups: Vec<(&Failed, Vec<&str>)> = Vec::new();
    for failed in state.failures.iter().filter(|f| !f.is_consequence()) {
        let same = |g: &&mut (&Failed, Vec<&str>)| {
            let (one, other) = (&g.0.failure, &failed.failure);
            g.0.step == failed.step
                && g.0.place.is_some() == failed.place.is_some()
                && (one == other || same_holder(&one.cause, &other.cause))
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
            None => undo_failed(failed.step),
        };
        lines.push(paint.bad(&format!("{}: {what}", names(&servers, 12))));
        lines.extend(cause::lines(&failed.failure).into_iter().map(|line| format!("  {line}")));
        lines.push(String::new());
    }
    lines.extend(abandoned(state));
    lines
}

/// One run's lock is told once, although its age is another on every server.
fn same_holder(one: &Cause, other: &Cause) -> bool {
    let (Cause::Locked(one), Cause::Locked(other)) = (one, other) else { return false };
    let kind = |held: &Held| held.standing.as_ref().map(std::mem::discriminant);
    one.owner.contains_key("run") && one.owner.get("run") == other.owner.get("run") && kind(one) == kind(other)
}

/// Names those that gave up for others' sake, in one line.
fn abandoned(state: &State) -> Vec<String> {
    let servers: Vec<String> =
        state.failures.iter().filter(|f| f.is_consequence()).map(|f| clean(f.server.as_str())).collect();
    if servers.is_empty() {
        return Vec::new();
    }
    vec![format!("given up, since another server failed: {}", names(&servers, 12)), String::new()]
}

/// Says how the run ended: one sentence, a table of the servers, and the commands to run next.
pub fn summary(state: &State, paint: Paint) -> Vec<String> {
    let Some(finished) = &state.finished else { return Vec::new() };
    let sentence = sentence(state);
    let mut lines = vec![match finished.outcome {
        Outcome::Deployed | Outcome::Unchanged => paint.good(&sentence),
        Outcome::Reverted | Outcome::Interrupted | Outcome::Locked | Outcome::Unreachable => paint.notice(&sentence),
        Outcome::Mixed | Outcome::Stuck => paint.bad(&sentence),
    }];
    let untold = matches!(finished.outcome, Outcome::Unchanged | Outcome::Locked | Outcome::Unreachable);
    if !(untold || finished.servers.is_empty()) {
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

fn table(state: &State, ends: &[ServerEnd], paint: Paint) -> Vec<String> {
    let failed = |e: &ServerEnd| e.stuck.is_some() || state.server(&e.server).is_some_and(|s| s.failed);
    let room = ROWS.saturating_sub(ends.iter().filter(|e| failed(e)).count());
    let mut calm = 0;
    let mut rows = vec![(["server", "release", "balancer", "seconds", "state"].map(str::to_owned), Mood::Heading)];
    for end in ends {
        if !failed(end) {
            calm += 1;
            if calm > room && ends.len() > ROWS {
                continue;
            }
        }
        rows.push(row(state, end));
    }
    let widths: Vec<usize> = (0..4)
        .map(|column| rows.iter().map(|(cells, _)| measure_text_width(&cells[column])).max().unwrap_or_default())
        .collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(cells, mood)| {
            let mut line = String::from(" ");
            for (cell, width) in cells.iter().zip(&widths) {
                line.push(' ');
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + 1 - measure_text_width(cell)));
            }
            let last = match mood {
                Mood::Heading => return paint.dim(&format!("{line} {}", cells[4])),
                Mood::Good => paint.good(&cells[4]),
                Mood::Calm => cells[4].clone(),
                Mood::Bad => paint.bad(&cells[4]),
            };
            format!("{line} {last}")
        })
        .collect();
    let left = (ends.len() + 1).saturating_sub(rows.len());
    if left > 0 {
        lines.push(format!("  … and {left} more, all well"));
    }
    lines
}

#[derive(Clone, Copy)]
enum Mood {
    Heading,
    Good,
    Calm,
    Bad,
}

fn row(state: &State, end: &ServerEnd) -> ([String; 5], Mood) {
    let server = state.server(&end.server);
    let standing = match server {
        Some(s) if s.is_new() => ("new release", Mood::Good),
        Some(s) if s.touched() => ("back on the old release", Mood::Calm),
        Some(s) if s.failed => ("failed; nothing was switched", Mood::Calm),
        _ => ("not touched", Mood::Calm),
    };
    let (what, mood) = match &end.stuck {
        // Where it stands is all right; that the lock is kept comes on top.
        Some(stuck @ Stuck::LockKept) => (format!("{}; {}", standing.0, warning::stuck(stuck)), Mood::Calm),
        Some(stuck) => (warning::stuck(stuck).to_uppercase(), Mood::Bad),
        None => (standing.0.to_owned(), standing.1),
    };
    let balancer = match end.in_balancer {
        Some(true) => "in",
        Some(false) => "OUT",
        None if server.is_some_and(Server::is_out) => "unknown",
        None => "-",
    };
    let release = end.release.as_ref().map_or_else(|| "-".to_owned(), |r| clean(r.as_str()));
    let busy = format!("{:.1}", server.map_or(0.0, |s| s.busy));
    ([clean(end.server.as_str()), release, balancer.to_owned(), busy, what], mood)
}

/// Says how a run ended, in one sentence.
fn sentence(state: &State) -> String {
    let Some(finished) = &state.finished else { return "the run has not ended".into() };
    let app = state.planned.as_ref().map_or("pitcrew", |p| p.app.as_str());
    let took = seconds(finished.seconds);
    let touched = state.rolled_out().any(Server::touched);
    let text = match finished.outcome {
        Outcome::Deployed if state.recovers() => format!("recovered in {took}; every server serves the new release"),
        Outcome::Reverted if state.recovers() && finished.exit_code == 0 => {
            format!("recovered in {took}; every server is on its old release")
        }
        Outcome::Mixed if state.recovers() => {
            format!("recovered in {took}; what was in flight was taken back, and servers are on different releases")
        }
        Outcome::Unchanged if state.recovers() => format!("recovered in {took}; nothing had been switched"),
        Outcome::Deployed => match &state.planned {
            Some(p) => {
                let done = if p.verb == "rollback" { "rolled back to" } else { "deployed" };
                let on = count(finished.servers.len(), "server");
                format!("{done} {} ({}) on {on} in {took}", p.release, p.revision.short())
            }
            None => format!("deployed in {took}"),
        },
        Outcome::Unchanged => "nothing to do".into(),
        Outcome::Reverted if touched => format!("failed after {took}; every server is back on its old release"),
        Outcome::Reverted => format!("failed after {took}; nothing was switched"),
        Outcome::Mixed => format!("servers are on different releases, after {took}"),
        Outcome::Stuck => {
            let of = |locked: bool| {
                let wanted = move |s: &&ServerEnd| s.stuck.as_ref().is_some_and(|w| (*w == Stuck::LockKept) == locked);
                finished.servers.iter().filter(wanted).map(|s| s.server.as_str()).collect::<Vec<_>>()
            };
            // A lock that is kept for the sake of others is no trouble of its own.
            let stuck = if of(false).is_empty() { of(true) } else { of(false) };
            match stuck.as_slice() {
                [] => format!("the release stands, but a step after it failed; {took}"),
                [one] => format!("{one} needs a person, after {took}"),
                many => format!("{} servers need a person, after {took}: {}", many.len(), names(many, 8)),
            }
        }
        Outcome::Locked if state.is_frozen() => "deploys are frozen; nothing was changed".into(),
        Outcome::Locked => "locked by another run; nothing was changed".into(),
        Outcome::Unreachable => {
            let mut whom: Vec<String> = state.failures.iter().filter(|f| !f.is_consequence()).map(unreached).collect();
            whom.dedup();
            let whom: Vec<&str> = whom.iter().map(String::as_str).collect();
            format!("could not reach {}; nothing was changed", names(&whom, 8))
        }
        Outcome::Interrupted if touched => {
            let kept = state.rolled_out().filter(|s| s.is_new()).count();
            match kept {
                0 => format!("interrupted after {took}; everything was taken back"),
                n => format!(
                    "interrupted after {took}; what was in flight was taken back, and {n} of {} keep the new release",
                    count(state.rolled_out().count(), "server")
                ),
            }
        }
        Outcome::Interrupted if state.rolled_out().all(|s| s.busy == 0.0) => {
            format!("interrupted after {took}; nothing was changed")
        }
        Outcome::Interrupted => format!("interrupted after {took}; nothing was switched"),
    };
    format!("{}: {text}", clean(app))
}

/// Who it was that could not be reached: on this machine, a balancer or the source.
fn unreached(failed: &Failed) -> String {
    match &failed.failure.cause {
        Cause::Balancer { at, .. } => format!("the balancer {}", clean(at)),
        _ if failed.server.as_str() == HERE => "the source".to_owned(),
        _ => failed.server.0.clone(),
    }
}
