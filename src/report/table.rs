//! The table of a run's servers, printed at its end.
//!
//! It owns the columns, and which servers a long table leaves out.

use console::measure_text_width;

use super::paint::Paint;
use crate::event::{ServerEnd, Stuck};
use crate::outcome::server::ServerState;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::wording::warning;

/// The most rows of a table; servers that need a look are listed beyond that.
const ROWS: usize = 30;

#[derive(Clone, Copy)]
enum Mood {
    Heading,
    Good,
    Calm,
    Bad,
}

type Row = ([String; 5], Mood);

/// Returns the table of the servers as lines, with a heading.
pub fn table(state: &State, ends: &[ServerEnd], paint: Paint) -> Vec<String> {
    let rows = rows(state, ends);
    let widths: Vec<usize> = (0..4)
        .map(|column| rows.iter().map(|(cells, _)| measure_text_width(&cells[column])).max().unwrap_or_default())
        .collect();
    let mut lines: Vec<String> = rows.iter().map(|row| print(row, &widths, paint)).collect();
    let left = (ends.len() + 1).saturating_sub(rows.len());
    if left > 0 {
        lines.push(format!("  … and {left} more, all well"));
    }
    lines
}

/// Returns the heading and the servers that fit, of which those with a failure always do.
fn rows(state: &State, ends: &[ServerEnd]) -> Vec<Row> {
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
    rows
}

fn print(row: &Row, widths: &[usize], paint: Paint) -> String {
    let (cells, mood) = row;
    let mut line = String::from(" ");
    for (cell, width) in cells.iter().zip(widths) {
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
}

fn row(state: &State, end: &ServerEnd) -> Row {
    let server = state.server(&end.server);
    let standing = match server {
        Some(s) if s.is_new() => ("new release", Mood::Good),
        Some(s) if s.touched() && s.is_bare() => ("no release, as before", Mood::Calm),
        Some(s) if s.touched() => ("back on the old release", Mood::Calm),
        Some(s) if s.failed => ("failed; nothing was switched", Mood::Calm),
        _ => ("not touched", Mood::Calm),
    };
    let (what, mood) = match &end.stuck {
        // Its release is as it should be; the kept lock comes on top.
        Some(stuck @ Stuck::LockKept) => (format!("{}; {}", standing.0, warning::stuck(stuck)), Mood::Calm),
        Some(stuck) => (warning::stuck(stuck).to_uppercase(), Mood::Bad),
        None => (standing.0.to_owned(), standing.1),
    };
    let balancer = match end.in_balancer {
        Some(true) => "in",
        Some(false) => "OUT",
        None if server.is_some_and(ServerState::is_out) => "unknown",
        None => "-",
    };
    let release = end.release.as_ref().map_or_else(|| "-".to_owned(), |r| clean(r.as_str()));
    let busy = format!("{:.1}", server.map_or(0.0, |s| s.busy));
    ([clean(end.server.as_str()), release, balancer.to_owned(), busy, what], mood)
}
