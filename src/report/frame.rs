//! The live lines: what a terminal shows of a run at one moment, never more than a screenful.
//!
//! Pure: state, size and time come in, lines that fit go out. `terminal` draws them.

use console::{measure_text_width, truncate_str};

use super::paint::Paint;
use crate::event::{Progress, StepName};
use crate::outcome::server::ServerState;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::text::units::seconds as duration;
use crate::wording::step;

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its rows.
    pub rows: u16,
    /// Its columns.
    pub columns: u16,
}

/// Rows that stay free above the live lines.
const SPARE: usize = 4;

/// The fewest columns in which a live line can say anything.
const NARROWEST: usize = 20;

/// What a live line shows of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Failed,
    Busy,
    Waiting,
    Done,
}

/// Draws the run at `t` seconds from its start.
pub fn frame(state: &State, t: f64, size: Size, paint: Paint) -> Vec<String> {
    let columns = usize::from(size.columns);
    let room = usize::from(size.rows).saturating_sub(SPARE);
    if columns < NARROWEST || room == 0 || state.planned.is_none() {
        return Vec::new();
    }
    let all: Vec<(&ServerState, Shown)> =
        state.servers().iter().filter(|s| s.batch.is_some() || s.now.is_some()).map(|s| (s, shown(s))).collect();
    let chosen = choose(&all, room.saturating_sub(2));
    let width = chosen.iter().map(|(s, _)| measure_text_width(s.name.as_str())).max().unwrap_or(0).min(columns / 3);
    let view = View { t, width, paint };
    let mut lines = vec![paint.bold(&heading(state, t))];
    lines.extend(chosen.iter().map(|(server, shown)| line(server, *shown, view)));
    if chosen.len() < all.len() {
        lines.push(paint.dim(&rest(&all, chosen.len())));
    }
    lines.truncate(room);
    lines.iter().map(|l| truncate_str(l, columns, "…").into_owned()).collect()
}

fn shown(server: &ServerState) -> Shown {
    if server.now.is_some() {
        Shown::Busy
    } else if server.failed || server.undo_failed.is_some() {
        Shown::Failed
    } else if server.planned > 0 && server.done >= server.planned {
        Shown::Done
    } else {
        Shown::Waiting
    }
}

/// Picks the servers to show, in the order of the rollout.
///
/// Where not all of them fit, these are the failed ones, then those at work.
fn choose<'a>(all: &[(&'a ServerState, Shown)], room: usize) -> Vec<(&'a ServerState, Shown)> {
    if all.len() <= room + 1 {
        // One server more fits into the line that would count the others.
        return all.to_vec();
    }
    let mut picked: Vec<usize> = Vec::new();
    for wanted in [Shown::Failed, Shown::Busy] {
        picked.extend((0..all.len()).filter(|&i| all[i].1 == wanted));
    }
    picked.truncate(room);
    picked.sort_unstable();
    picked.into_iter().map(|i| all[i]).collect()
}

/// Counts the servers that are not shown, and all servers by what they do.
fn rest(all: &[(&ServerState, Shown)], chosen: usize) -> String {
    let of = |wanted: Shown| all.iter().filter(|(_, s)| *s == wanted).count();
    let mut parts = Vec::new();
    for (shown, word) in
        [(Shown::Done, "done"), (Shown::Waiting, "waiting"), (Shown::Busy, "at work"), (Shown::Failed, "failed")]
    {
        if of(shown) > 0 {
            parts.push(format!("{} {word}", of(shown)));
        }
    }
    format!("… and {} more; in all {}", all.len() - chosen, parts.join(", "))
}

fn heading(state: &State, t: f64) -> String {
    let app = state.planned.as_ref().map(|p| clean(&p.app)).unwrap_or_default();
    let stage = match state.stage {
        Some(s) if s.batches > 1 => format!("{}, batch {} of {}", s.name, s.batch.saturating_add(1), s.batches),
        Some(s) => s.name.to_string(),
        None => "…".into(),
    };
    let undoing = state.servers().iter().any(|s| s.now.as_ref().is_some_and(|n| n.stage.is_none()));
    format!("{app}: {}  {}", if undoing { "taking back".into() } else { stage }, whole(t))
}

/// What the lines of one frame have in common.
#[derive(Clone, Copy)]
struct View {
    /// Seconds from the run's start.
    t: f64,
    /// Columns for the names of the servers.
    width: usize,
    paint: Paint,
}

fn undo(server: &ServerState, step: StepName) -> &'static str {
    if server.is_first() { step::undo_of_first(step) } else { step::undo(step) }
}

fn line(server: &ServerState, shown: Shown, view: View) -> String {
    let View { t, width, paint } = view;
    let name = clean(server.name.as_str());
    let name = truncate_str(&name, width, "…");
    let pad = " ".repeat(width.saturating_sub(measure_text_width(&name)));
    let said = match (&server.now, shown) {
        (Some(now), _) => {
            let step = if now.stage.is_some() { now.step.to_string() } else { undo(server, now.step).to_owned() };
            let mut said = format!("{step:<9} {:>6}", whole(t - now.since));
            if let Some(progress) = now.progress {
                said.push_str(&format!("  {}", bar(progress)));
            }
            if !server.last_line.is_empty() {
                said.push_str(&format!("  {}", paint.dim(&clean(&server.last_line))));
            }
            said
        }
        (None, Shown::Failed) => paint.bad("failed"),
        (None, Shown::Done) => paint.good("done"),
        (None, _) => paint.dim(&format!("waiting   {} of {}", server.done, server.planned)),
    };
    format!("  {name}{pad}  {said}")
}

/// Shows how far a step is: with a bar where the end is known, else in words.
fn bar(progress: Progress) -> String {
    const CELLS: u64 = 10;
    let (done, total) = match progress {
        Progress::Bytes { done, total } => (done, total),
        Progress::Attempts { good, needed, .. } => (u64::from(good), u64::from(needed)),
        Progress::Sessions { .. } => return step::progress(progress),
    };
    let full = done.min(total).saturating_mul(CELLS).checked_div(total).unwrap_or(CELLS);
    let cells: String = (0..CELLS).map(|i| if i < full { '█' } else { '░' }).collect();
    format!("{cells} {}", step::progress(progress))
}

/// Spells a duration without fractions of a second, which would flicker.
fn whole(seconds: f64) -> String {
    if seconds < 60.0 { format!("{:.0}s", seconds.max(0.0).floor()) } else { duration(seconds) }
}
