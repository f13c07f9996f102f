//! From a ref to what is released of a repository.

use std::io;
use std::path::Path;

use super::super::error::SourceError;
use super::super::error::git::GitError;
use super::super::quote::quote;
use super::super::resolved::{Resolved, SourceOrigin};
use super::program::{SILENCE, git, run, unended};
use super::{archive, notes, refs};
use crate::name::Revision;
use crate::process::end::Unended;
use crate::text::one_line;

/// Characters of a commit's first line that are kept.
const SUBJECT: usize = 300;

/// Resolves a ref in the repository around `path`; `None`: there is none.
///
/// # Errors
/// When git is missing, refuses the repository, or the commit does not exist or cannot be released.
pub fn resolve(path: &Path, reference: &str) -> Result<Option<Resolved>, SourceError> {
    if !is_repository(path)? {
        return Ok(None);
    }
    let refs::Commit { sha, is_ambiguous } = refs::commit(path, reference)?;
    archive::check(path, reference, &sha)?;
    let args = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s", sha.as_str(), "--"];
    let subject = subject(&git(path, &args)?);
    let mut told = Vec::new();
    if is_ambiguous {
        told.push(format!("The name {} is ambiguous; it was taken for {sha}.", quote(reference.as_bytes())));
    }
    told.extend(notes::own_attributes(path));
    told.extend(notes::uncommitted(path, &sha));
    told.extend(notes::unpushed(path, &sha));
    let (label, origin) = (reference.to_owned(), SourceOrigin::Git);
    Ok(Some(Resolved { revision: Revision(sha), label, subject, origin, notes: told }))
}

/// Makes a commit's first line fit to be shown; `None`: it is empty.
pub(crate) fn subject(line: &str) -> Option<String> {
    Some(one_line(line, SUBJECT)).filter(|s| !s.is_empty())
}

/// Tells whether a directory lies in a git repository.
///
/// # Errors
/// When it does and git cannot use it.
pub fn is_repository(path: &Path) -> Result<bool, SourceError> {
    let marked = path.ancestors().any(|directory| directory.join(".git").symlink_metadata().is_ok());
    let ended = match run(path, &["rev-parse", "--git-dir"], SILENCE) {
        Ok((_, ended)) if ended.status.success() => return Ok(true),
        Ok((_, ended)) => ended,
        Err(Unended::Failed(error)) if error.kind() == io::ErrorKind::NotFound && !marked => return Ok(false),
        Err(error) => return Err(unended("rev-parse", error)),
    };
    if ended.stderr.contains("not a git repository") && !marked {
        return Ok(false);
    }
    Err(GitError::failed(path, "rev-parse", &ended).into())
}
