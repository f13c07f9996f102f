//! The table of all servers, and a line for each thing that needs reading.

use super::row::Row;
use crate::text::clean::clean;

/// Writes the table of all servers.
pub fn text(rows: &[Row], balancers: &[String]) -> String {
    let mut table = vec![["server", "release", "revision", "running", "health", "balancer", "disk"].map(String::from)];
    for row in rows {
        let balancer = match row.members.as_slice() {
            [] => "-".into(),
            all if all.iter().all(|m| m.in_service) => "in".into(),
            all => all.iter().map(|m| clean(&m.status)).collect::<Vec<_>>().join(","),
        };
        let health = match (&row.health, row.healthy) {
            (None, _) => "-",
            (Some(_), true) => "ok",
            (Some(_), false) => "FAILS",
        };
        let running = match (row.running.as_slice(), &row.release) {
            ([], _) => "-".into(),
            ([one], Some(release)) if one == release.as_str() => "the same".into(),
            (many, _) => many.join(","),
        };
        table.push([
            row.server.clone(),
            row.release.as_ref().map_or("-".into(), |r| r.as_str().into()),
            row.revision.as_ref().map_or("-".into(), |r| r.short().into()),
            running,
            health.into(),
            balancer,
            row.free_kb.map_or("-".into(), free),
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &table {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for (title, of) in [("lock", (|r| r.lock.as_deref()) as fn(&Row) -> Option<&str>), ("last", |r| r.last.as_deref())]
    {
        text.push_str(&together(rows, title, of));
    }
    for row in rows {
        for said in row.drift.iter().chain(&row.notes) {
            text.push_str(&format!("{}: {said}\n", row.server));
        }
    }
    for balancer in balancers {
        text.push_str(&format!("balancer {balancer}\n"));
    }
    text
}

/// A line for each thing that servers say alike, and who says it where not all do.
fn together(rows: &[Row], title: &str, of: fn(&Row) -> Option<&str>) -> String {
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        let Some(text) = of(row) else { continue };
        match said.iter_mut().find(|(t, _)| *t == text) {
            Some((_, who)) => who.push(&row.server),
            None => said.push((text, vec![&row.server])),
        }
    }
    let all = rows.len();
    let line = |(text, who): (&str, Vec<&str>)| {
        let who = if who.len() == all { String::new() } else { format!(" ({})", crate::text::units::names(&who, 5)) };
        format!("{title}: {text}{who}\n")
    };
    said.into_iter().map(line).collect()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn free(kb: u64) -> String {
    format!("{:.1}G free", kb as f64 / 1_048_576.0)
}
