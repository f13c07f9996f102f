//! The live lines: what a terminal shows of a run at one moment, never more than a screenful.
//!
//! Pure: state, size and time come in, lines that fit go out. Drawing them is `terminal`'s.

use console::{measure_text_width, truncate_str};

use super::paint::Paint;
use crate::event::Progress;
use crate::outcome::server::Server;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::text::units::seconds as duration;
use crate::wording::step;

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Rows left to what stands above the live lines.
const SPARE: usize = 4;

/// Below this there is no room for a line that says anything.
const NARROWEST: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
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
    let all: Vec<(&Server, Standing)> =
        state.servers().iter().filter(|s| s.batch.is_some() || s.now.is_some()).map(|s| (s, standing(s))).collect();
    let shown = choose(&all, room.saturating_sub(2));
    let width = shown.iter().map(|(s, _)| measure_text_width(s.name.as_str())).max().unwrap_or(0).min(columns / 3);
    let mut lines = vec![paint.bold(&heading(state, t))];
    lines.extend(shown.iter().map(|(server, standing)| line(server, *standing, t, width, paint)));
    if shown.len() < all.len() {
        lines.push(paint.dim(&rest(&all, shown.len())));
    }
    lines.truncate(room);
    lines.iter().map(|l| truncate_str(l, columns, "…").into_owned()).collect()
}

fn standing(server: &Server) -> Standing {
    if server.now.is_some() {
        Standing::Busy
    } else if server.failed || server.undo_failed.is_some() {
        Standing::Failed
    } else if server.planned > 0 && server.done >= server.planned {
        Standing::Done
    } else {
        Standing::Waiting
    }
}

/// Picks whom to show: everybody if they fit, else those who failed and those at work, in the order of the rollout.
fn choose<'a>(all: &[(&'a Server, Standing)], room: usize) -> Vec<(&'a Server, Standing)> {
    if all.len() <= room + 1 {
        // The line that would count the others has room for one of them.
        return all.to_vec();
    }
    let mut picked: Vec<usize> = Vec::new();
    for wanted in [Standing::Failed, Standing::Busy] {
        picked.extend((0..all.len()).filter(|&i| all[i].1 == wanted));
    }
    picked.truncate(room);
    picked.sort_unstable();
    picked.into_iter().map(|i| all[i]).collect()
}

/// Counts those who are not shown.
fn rest(all: &[(&Server, Standing)], shown: usize) -> String {
    let of = |wanted: Standing| all.iter().filter(|(_, s)| *s == wanted).count();
    let mut parts = Vec::new();
    for (standing, word) in [
        (Standing::Done, "done"),
        (Standing::Waiting, "waiting"),
        (Standing::Busy, "at work"),
        (Standing::Failed, "failed"),
    ] {
        if of(standing) > 0 {
            parts.push(format!("{} {word}", of(standing)));
        }
    }
    format!("… and {} more; in all {}", all.len() - shown, parts.join(", "))
}

fn heading(state: &State, t: f64) -> String {
    let app = state.planned.as_ref().map(|p| clean(&p.app)).unwrap_or_default();
    let stage = match state.stage {
        Some(s) if s.batches > 1 => format!("{}, batch {} of {}", s.name, s.batch.saturating_add(1), s.batches),
        Some(s) => s.name.to_string(),
        None => "…".into(),
    };
    let taken_back = state.servers().iter().any(|s| s.now.as_ref().is_some_and(|n| n.stage.is_none()));
    format!("{app}: {}  {}", if taken_back { "taking back".into() } else { stage }, whole(t))
}

fn line(server: &Server, standing: Standing, t: f64, width: usize, paint: Paint) -> String {
    let name = clean(server.name.as_str());
    let name = truncate_str(&name, width, "…");
    let pad = " ".repeat(width.saturating_sub(measure_text_width(&name)));
    let said = match (&server.now, standing) {
        (Some(now), _) => {
            let step = if now.stage.is_some() { now.step.to_string() } else { step::undo(now.step).to_owned() };
            let mut said = format!("{step:<9} {:>6}", whole(t - now.since));
            if let Some(progress) = now.progress {
                said.push_str(&format!("  {}", bar(progress)));
            }
            if !server.last_line.is_empty() {
                said.push_str(&format!("  {}", paint.dim(&clean(&server.last_line))));
            }
            said
        }
        (None, Standing::Failed) => paint.bad("failed"),
        (None, Standing::Done) => paint.good("done"),
        (None, _) => paint.dim(&format!("waiting   {} of {}", server.done, server.planned)),
    };
    format!("  {name}{pad}  {said}")
}

/// Shows how far a step is: a bar where the end is known, words where it is not.
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

/// Whole seconds: fractions that flicker help nobody.
fn whole(seconds: f64) -> String {
    if seconds < 60.0 { format!("{:.0}s", seconds.max(0.0).floor()) } else { duration(seconds) }
}
