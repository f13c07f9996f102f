//! The `git` program: how it is called, and what it means when it does not answer.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::super::error::SourceError;
use super::super::error::git::GitError;
use crate::process::end::{Exited, Unended};
use crate::process::program::Program;

/// Limit on git's silence; a filter that fetches large files may take its time.
pub(super) const SILENCE: Duration = Duration::from_secs(300);
/// The same where only advice depends on the answer.
pub(super) const ADVICE: Duration = Duration::from_secs(10);
/// Bytes read of an answer that should be short.
pub(crate) const ANSWER_MAX: u64 = 1024 * 1024;
/// Variables that make git look at another repository, or read paths otherwise.
///
/// Git sets some of them in hooks.
pub(crate) const MISLEADING: [&str; 13] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_ATTR_SOURCE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
];
/// Git asks no person, writes nothing and speaks English, and a SHA means that very object.
const FIXED: [(&str, &str); 4] =
    [("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("GIT_NO_REPLACE_OBJECTS", "1"), ("LC_ALL", "C")];

/// Prepares git in a directory.
pub(super) fn command<A: AsRef<OsStr>>(path: &Path, args: impl IntoIterator<Item = A>) -> Program {
    Program::new("git").args([OsStr::new("-C"), path.as_os_str()]).args(args).without(MISLEADING).env(FIXED)
}

/// Runs git and returns what it printed, and how it ended.
pub(super) fn run(path: &Path, args: &[&str], silence: Duration) -> Result<(String, Exited), Unended> {
    command(path, args).silent_for_at_most(silence).run(&|| false, |stream| {
        let mut answer = Vec::new();
        // What cannot be read shows in how git ended.
        let _ = stream.take(ANSWER_MAX).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
}

/// Runs git and takes every failure for an error.
pub(super) fn git(path: &Path, args: &[&str]) -> Result<String, SourceError> {
    let verb = args.first().copied().unwrap_or_default();
    let (answer, ended) = run(path, args, SILENCE).map_err(|error| unended(verb, error))?;
    if ended.status.success() { Ok(answer) } else { Err(GitError::failed(path, verb, &ended).into()) }
}

/// Makes an error of a git command that did not end by itself.
pub(crate) fn unended(verb: &str, error: Unended) -> SourceError {
    let verb = verb.to_owned();
    match error {
        Unended::Stopped => SourceError::Stopped,
        Unended::Silent(limit) | Unended::TimedOut(limit) => GitError::Silent { verb, limit }.into(),
        Unended::Failed(error) if error.kind() == io::ErrorKind::NotFound => GitError::NotInstalled.into(),
        Unended::Failed(source) => GitError::Unrun { verb, source }.into(),
    }
}
