//! Looking at `current` and the releases while a run is on: each must be whole at every moment.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::case::Twist;
use crate::ground::{OLD, OLDER};

/// How often servers are looked at while a run is on: at the least sign of change, and thoroughly after some glances.
const GLANCE: Duration = Duration::from_millis(4);
/// See [`GLANCE`].
const THOROUGH: usize = 12;
/// Bytes of a release's last file, which does not compress.
pub const BLOB: u64 = 1 << 20;

/// Somebody who keeps looking.
pub struct Watch {
    /// Ends it.
    pub enough: CancellationToken,
    /// What was seen, and the longest time between two looks.
    pub seen: tokio::task::JoinHandle<(Vec<String>, Duration)>,
}

/// Looks at every `current` and every release again and again until told that it is enough.
pub fn watch(roots: Vec<(String, PathBuf)>, twist: Twist) -> Watch {
    let enough = CancellationToken::new();
    let until = enough.clone();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut known = vec![None; roots.len()];
        let (mut last, mut late) = (Instant::now(), Duration::ZERO);
        for glance in 0.. {
            if until.is_cancelled() {
                break;
            }
            for ((name, root), known) in roots.iter().zip(&mut known) {
                let now = Some(signs(root));
                if *known == now && glance % THOROUGH != 0 {
                    continue;
                }
                *known = now;
                let wrong = [wrong_current(root, twist), half_written(root)].concat();
                seen.extend(wrong.into_iter().map(|what| format!("for a moment on {name}: {what}")));
            }
            seen.dedup();
            seen.truncate(20);
            tokio::time::sleep(GLANCE).await;
            late = late.max(last.elapsed());
            last = Instant::now();
        }
        (seen, late)
    });
    Watch { enough, seen }
}

/// What changes whenever `current` or the list of releases does.
fn signs(root: &Path) -> (Option<PathBuf>, Option<SystemTime>) {
    let releases = std::fs::metadata(root.join("releases")).and_then(|m| m.modified());
    (std::fs::read_link(root.join("current")).ok(), releases.ok())
}

/// Releases that are there without all that was sent: they appear whole and vanish whole.
fn half_written(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("releases")) else { return Vec::new() };
    let mut wrong = Vec::new();
    for id in entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()) {
        let path = root.join("releases").join(&id);
        let lacks: Vec<String> = lacking(&path, &id).into_iter().filter(|w| w != "BUILT" && w != "log").collect();
        // It may have gone while it was looked at.
        if !lacks.is_empty() && path.exists() {
            wrong.push(format!("{id} lacks {}", lacks.join(", ")));
        }
    }
    wrong
}

/// What is wrong with a server's `current`: it must be a link to a whole release at every moment.
fn wrong_current(root: &Path, twist: Twist) -> Vec<String> {
    let Ok(target) = std::fs::read_link(root.join("current")) else {
        let none = twist == Twist::First && !root.join("current").exists();
        return if none { Vec::new() } else { vec!["current is no link".into()] };
    };
    let id = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    lacking(&root.join("releases").join(&id), &id).into_iter().map(|what| format!("{id} lacks {what}")).collect()
}

/// What a release directory lacks of what was sent, linked and built.
pub fn lacking(release: &Path, id: &str) -> Vec<String> {
    let mut wanted = vec!["REVISION", "VERSION", "lib/app.rb"];
    if id != OLD && id != OLDER {
        wanted.extend(["BUILT", "log"]);
    }
    let empty = |file: &&str| {
        let path = release.join(file);
        !path.is_dir() && std::fs::metadata(path).map_or(true, |m| m.len() == 0)
    };
    let mut lacks: Vec<String> = wanted.into_iter().filter(empty).map(str::to_owned).collect();
    if id != OLD && id != OLDER && std::fs::metadata(release.join("zz_blob")).map_or(0, |m| m.len()) != BLOB {
        lacks.push("its last file".to_owned());
    }
    lacks
}
