//! A look into a commit, to refuse before any server is contacted what servers would refuse.
//!
//! What this machine cannot see is no reason to refuse: servers may be allowed to fetch what this machine is not.

use std::path::Path;

use super::super::error::SourceError;
use super::super::error::repository::{RepositoryError, Unfetchable};
use super::super::git::{refs, subject};
use super::ask::{Asking, LOOK};

/// Looks into a commit and returns its first line; `base` may lie in a clone that has it.
pub(super) fn look(asking: Asking<'_>, base: &Path, sha: &str) -> Result<Option<String>, SourceError> {
    if refs::expand(base, sha).as_deref() == Some(sha) {
        return inside(asking, base, sha);
    }
    let Ok(directory) = tempfile::Builder::new().prefix("pitcrew-look-").tempdir() else { return Ok(None) };
    let path = directory.path();
    let url = asking.remote.repository.url.as_str();
    // The commit's trees alone, where the host can leave the rest out.
    let fetch =
        ["fetch", "-q", "--depth=1", "--filter=blob:none", "--no-tags", "--no-recurse-submodules", "origin", sha];
    for args in [&["init", "-q", "--bare", "."][..], &["remote", "add", "origin", url], &fetch] {
        if asking.run(Some(path), args, LOOK).is_err() {
            return if (asking.stop)() { Err(SourceError::Stopped) } else { Ok(None) };
        }
    }
    inside(asking, path, sha)
}

fn inside(asking: Asking<'_>, path: &Path, sha: &str) -> Result<Option<String>, SourceError> {
    let ask = |args: &[&str]| asking.run(Some(path), args, LOOK).ok();
    let Some(tree) = ask(&["ls-tree", "-r", "--full-tree", "-z", sha]) else { return Ok(None) };
    let entries: Vec<(&str, &str)> = tree.split('\0').filter_map(|entry| entry.split_once('\t')).collect();
    let has_attributes = entries.iter().any(|(_, name)| *name == ".gitattributes" || name.ends_with("/.gitattributes"));
    let says = |what: &str| {
        let args = ["grep", "-l", "-F", "-e", what, sha, "--", ":(top,glob)**/.gitattributes"];
        has_attributes && ask(&args).is_some_and(|found| !found.trim().is_empty())
    };
    let refused = |holds| {
        let url = asking.remote.repository.url.clone();
        Err(RepositoryError::Unfetchable { url, sha: sha.to_owned(), holds }.into())
    };
    if says("filter=lfs") {
        return refused(Unfetchable::Lfs);
    }
    let modules: Vec<String> =
        entries.iter().filter(|(head, _)| head.starts_with("160000 ")).map(|(_, name)| (*name).to_owned()).collect();
    // Those marked export-ignore do no harm; the servers see the others.
    if !modules.is_empty() && !says("export-ignore") {
        return refused(Unfetchable::Submodules(modules));
    }
    let log = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s", sha, "--"];
    Ok(subject(&ask(&log).unwrap_or_default()))
}
