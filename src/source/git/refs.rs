//! From a ref to a commit of a clone.

use std::path::Path;

use super::super::error::SourceError;
use super::super::error::unknown_ref::{RefFault, UnknownRef};
use super::super::quote::quote;
use super::program::{ADVICE, SILENCE, git, run, unended};

/// A commit that a ref means.
pub(super) struct Commit {
    /// Its full SHA.
    pub(super) sha: String,
    /// Whether the ref means something else as well.
    pub(super) is_ambiguous: bool,
}

/// Finds the commit that a ref means.
pub(super) fn commit(path: &Path, reference: &str) -> Result<Commit, SourceError> {
    let unknown = |fault| Err(UnknownRef::new(reference, fault).into());
    // git's own rule for names of branches and tags; here it also keeps a ref from becoming an option.
    if reference.is_empty() || reference.starts_with('-') || reference.chars().any(char::is_control) {
        return unknown(RefFault::Malformed);
    }
    let (answer, ended) = run(path, &["rev-parse", "--verify", &format!("{reference}^{{commit}}")], SILENCE)
        .map_err(|error| unended("rev-parse", error))?;
    let sha = answer.trim();
    let is_ambiguous = ended.stderr.contains("is ambiguous");
    if ended.status.success() && matches!(sha.len(), 40 | 64) && sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Commit { sha: sha.to_owned(), is_ambiguous });
    }
    let format = "--format=%(refname:short)";
    let refs = git(path, &["for-each-ref", "--count=2000", format, "refs/heads", "refs/tags", "refs/remotes"])?;
    let refs: Vec<&str> = refs.lines().collect();
    let path = path.to_owned();
    unknown(match reference {
        "HEAD" => RefFault::Unborn { path, is_empty: refs.is_empty() },
        _ if is_ambiguous => RefFault::Ambiguous(path),
        _ => RefFault::Missing { path, near: nearest(reference, &refs) },
    })
}

/// Finds a commit in the clone around `path` by the beginning of its SHA.
///
/// `None`: there is no clone, or no single such commit.
pub(crate) fn expand(path: &Path, sha: &str) -> Option<String> {
    let (answer, ended) =
        run(path, &["rev-parse", "--verify", "--quiet", &format!("{sha}^{{commit}}")], ADVICE).ok()?;
    let found = answer.trim();
    (ended.status.success() && found.starts_with(&sha.to_ascii_lowercase())).then(|| found.to_owned())
}

/// Picks at most three refs that are spelled alike, or are the same on a remote.
pub(crate) fn nearest(wanted: &str, refs: &[&str]) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = refs
        .iter()
        .map(|name| {
            let same = name.split_once('/').is_some_and(|(_, rest)| rest == wanted);
            (if same { 1.0 } else { strsim::normalized_damerau_levenshtein(wanted, name) }, *name)
        })
        .filter(|(score, _)| *score >= 0.5)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| quote(name.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_refs_are_those_spelled_alike_or_on_a_remote() {
        let refs = ["main", "feature/cart", "v1.2.0", "origin/release", "wholly-different"];
        assert_eq!(nearest("mian", &refs), ["`main`"]);
        assert_eq!(nearest("release", &refs), ["`origin/release`"]);
        assert_eq!(nearest("v1.2.1", &refs), ["`v1.2.0`"]);
        assert!(nearest("zzz", &refs).is_empty());
    }
}
