//! From a ref to the SHA that it has in a repository elsewhere.

use std::path::Path;

use super::super::error::SourceError;
use super::super::error::unknown_ref::{RefFault, UnknownRef};
use super::super::git::refs;
use super::super::resolved::{Resolved, SourceOrigin};
use super::ask::{Asking, SILENCE};
use super::look::look;
use super::remote::Remote;
use crate::name::Revision;
use crate::process::program::Stop;

/// Resolves a ref to the SHA that it has in the repository now; a full SHA is taken as it is.
///
/// `base` may lie in a clone, which knows shortened SHAs and what is in a commit.
///
/// # Errors
/// When the ref does not exist or is ambiguous, the repository cannot be reached, or the commit cannot be released.
pub fn resolve(remote: &Remote, base: &Path, reference: &str, stop: Stop<'_>) -> Result<Resolved, SourceError> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace();
    if reference.is_empty() || reference.starts_with('-') || reference.chars().any(is_odd) {
        return Err(UnknownRef::new(reference, RefFault::Malformed).into());
    }
    let asking = Asking { remote, stop };
    let full = matches!(reference.len(), 40 | 64) && is_hex(reference);
    let sha = if full { reference.to_ascii_lowercase() } else { asked(asking, base, reference)? };
    let subject = look(asking, base, &sha)?;
    let (label, origin) = (reference.to_owned(), SourceOrigin::Repository);
    Ok(Resolved { revision: Revision(sha), label, subject, origin, notes: Vec::new() })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Asks the repository for a ref.
fn asked(asking: Asking<'_>, base: &Path, reference: &str) -> Result<String, SourceError> {
    let unknown = |fault| Err(UnknownRef::new(reference, fault).into());
    let url = asking.remote.repository.url.as_str();
    let candidates = match reference {
        "HEAD" => vec!["HEAD".to_owned()],
        whole if whole.starts_with("refs/") => vec![whole.to_owned()],
        _ => vec![format!("refs/tags/{reference}"), format!("refs/heads/{reference}")],
    };
    let patterns: Vec<String> = candidates.iter().flat_map(|c| [c.clone(), peeled(c)]).collect();
    let args: Vec<&str> = ["ls-remote", "--", url].into_iter().chain(patterns.iter().map(String::as_str)).collect();
    let listed = listed(&asking.run(None, &args, SILENCE)?);
    let found: Vec<String> = candidates.iter().filter_map(|name| commit(&listed, name)).collect();
    match found.as_slice() {
        [sha] => return Ok(sha.clone()),
        [one, other] if one == other => return Ok(one.clone()),
        [_, _, ..] => return unknown(RefFault::BranchAndTag { url: url.to_owned() }),
        [] => {}
    }
    if (4..40).contains(&reference.len()) && is_hex(reference) {
        let expanded = refs::expand(base, reference);
        return expanded.map_or_else(|| unknown(RefFault::Short { url: url.to_owned() }), Ok);
    }
    unknown(RefFault::NotThere { url: url.to_owned(), near: near(asking, reference)? })
}

/// Finds refs of the repository that are spelled alike.
fn near(asking: Asking<'_>, reference: &str) -> Result<Vec<String>, SourceError> {
    let url = asking.remote.repository.url.as_str();
    let all = listed(&asking.run(None, &["ls-remote", "--heads", "--tags", "--", url], SILENCE)?);
    let names: Vec<&str> = all
        .iter()
        .filter_map(|listed| listed.name.strip_prefix("refs/heads/").or(listed.name.strip_prefix("refs/tags/")))
        .filter(|name| !name.ends_with("^{}"))
        .collect();
    Ok(refs::nearest(reference, &names))
}

/// One line of `git ls-remote`.
struct Listed {
    sha: String,
    name: String,
}

/// Finds the commit of a ref.
///
/// An annotated tag is an object of its own; what it stands for is listed with `^{}`.
fn commit(listed: &[Listed], name: &str) -> Option<String> {
    let find = |wanted: &str| listed.iter().find(|listed| listed.name == wanted).map(|listed| listed.sha.clone());
    find(&peeled(name)).or_else(|| find(name))
}

fn peeled(name: &str) -> String {
    format!("{name}^{{}}")
}

/// Reads what `git ls-remote` prints: SHA, tab, name.
fn listed(answer: &str) -> Vec<Listed> {
    let lines = answer.lines().filter_map(|line| line.split_once('\t'));
    let good = lines.filter(|(sha, _)| matches!(sha.len(), 40 | 64) && is_hex(sha));
    good.map(|(sha, name)| Listed { sha: sha.to_owned(), name: name.to_owned() }).collect()
}
