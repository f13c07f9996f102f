//! Notes about a commit: what a person may expect in the release that is not in it.

use std::path::Path;

use super::super::quote::show;
use super::program::{ADVICE, run};

/// Tells of uncommitted changes, which people may expect to be deployed.
pub(super) fn uncommitted(path: &Path, sha: &str) -> Option<String> {
    let (head, ended) = run(path, &["rev-parse", "--verify", "--quiet", "HEAD"], ADVICE).ok()?;
    if !ended.status.success() || head.trim() != sha {
        return None;
    }
    let args = ["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=all", "--", "."];
    // Where there are more than fit the answer, git is cut off and fails; what was read still counts.
    let (lines, _) = run(path, &args, ADVICE).ok()?;
    let new = lines.lines().filter(|line| line.starts_with("??")).count();
    let changed = lines.lines().count() - new;
    let what = match (changed, new) {
        (0, 0) => return None,
        (changed, 0) => format!("{changed} uncommitted"),
        (0, new) => format!("{new} untracked"),
        (changed, new) => format!("{changed} uncommitted and {new} untracked"),
    };
    let (changes, are) = if changed + new == 1 { ("change", "is") } else { ("changes", "are") };
    Some(format!("{what} {changes} in {} {are} not part of the release.", show(path)))
}

/// Tells of commits that no other clone could deploy or find again.
pub(super) fn unpushed(path: &Path, sha: &str) -> Option<String> {
    let (remotes, _) = run(path, &["for-each-ref", "--count=1", "--format=x", "refs/remotes"], ADVICE).ok()?;
    if remotes.trim().is_empty() {
        return None;
    }
    let args = ["rev-list", "--count", "--max-count=1000", sha, "--not", "--remotes", "--"];
    let (count, ended) = run(path, &args, ADVICE).ok()?;
    match count.trim() {
        _ if !ended.status.success() => None,
        "0" | "" => None,
        "1" => Some("One commit of the release is on no remote.".into()),
        count => Some(format!("{count} commits of the release are on no remote.")),
    }
}

/// Tells of attributes that this clone alone has: another clone may release other files.
pub(super) fn own_attributes(path: &Path) -> Option<String> {
    let (file, ended) = run(path, &["rev-parse", "--git-path", "info/attributes"], ADVICE).ok()?;
    let file = path.join(file.trim_end_matches('\n'));
    let text = ended.status.success().then(|| std::fs::read(&file).ok())??;
    let says = |line: &[u8]| !matches!(line.trim_ascii().first(), None | Some(b'#'));
    let any = text.split(|b| *b == b'\n').any(says);
    any.then(|| format!("Attributes in {} count for the release; other clones may not have them.", show(&file)))
}
