//! What `revisions.log` says of the release that a rollback returns to.
//!
//! Pure.

use jiff::Timestamp;

use crate::event::Warning;
use crate::name::ReleaseId;
use crate::text::one_line;

/// Ends the line of a release whose deploy ran migrations.
pub const MIGRATED: &str = ", with migrations";

/// Says how old the release is, who made it, and which later releases brought migrations.
///
/// A rollback does not undo those. `lines` are those of `revisions.log`, oldest first, pitcrew's or Capistrano's.
pub fn of(release: &ReleaseId, lines: &[String], now: Timestamp) -> Warning {
    let made = lines.iter().find(|line| line.contains(release.as_str()) && !line.contains("rolled back"));
    let migrations = lines.iter().filter(|line| line.ends_with(MIGRATED)).filter_map(|line| released(line));
    let mut migrated: Vec<ReleaseId> = migrations.filter(|id| id > release).collect();
    migrated.sort();
    migrated.dedup();
    Warning::ReturnsTo {
        release: release.clone(),
        seconds: release.time().map(|then| (now.as_second() - then.as_second()).max(0).unsigned_abs()),
        who: made.and_then(|line| who(line)),
        migrated,
    }
}

/// The release that a line is about: its first word of fourteen digits.
fn released(line: &str) -> Option<ReleaseId> {
    line.split_ascii_whitespace().find_map(ReleaseId::parse)
}

/// Who: "… by NAME", to the end of the line or to pitcrew's "in run".
fn who(line: &str) -> Option<String> {
    let line = line.strip_suffix(MIGRATED).unwrap_or(line);
    let line = line.rsplit_once(" in run ").map_or(line, |(before, _)| before);
    let (_, who) = line.rsplit_once(" by ")?;
    let who = one_line(who, 80);
    (!who.is_empty()).then_some(who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_who_made_it_and_what_came_since() {
        let lines = [
            "Branch main (at 1a2b) deployed as release 20260101000000 by deploy",
            "Release 20260102000000 (at 3c4d) deployed by ann in run 20260102T000000Z-1, with migrations",
            "Release 20260103000000 (at 5e6f) deployed by by in run 20260103T000000Z-2",
            "ann rolled back to release 20260102000000 (at 3c4d) in run r",
            "Release 20260104000000 (at 7a8b) deployed by bob in run 20260104T000000Z-3, with migrations",
        ];
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        let now: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let id = |text: &str| ReleaseId::parse(text).unwrap();
        let told = |release: &str| match of(&id(release), &lines, now) {
            Warning::ReturnsTo { seconds, who, migrated, .. } => (seconds, who, migrated),
            other => panic!("{other:?}"),
        };
        let two = vec![id("20260102000000"), id("20260104000000")];
        assert_eq!(told("20260101000000"), (Some(4 * 86400), Some("deploy".into()), two));
        let ann = (Some(3 * 86400), Some("ann".into()), vec![id("20260104000000")]);
        assert_eq!(told("20260102000000"), ann);
        assert_eq!(told("20260103000000").1.as_deref(), Some("by"));
        assert_eq!(told("99999999999999"), (None, None, vec![]));
    }
}
