//! Sources that are git work trees: the tracked files of one commit, as `git archive` gives them.
//!
//! Owns every call of the `git` program. Export-ignore, export-subst and filters are git's own work; what must not
//! depend on whose machine this is (line endings, umask, replaced objects) is pinned. Submodules are refused.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use super::archive::{Modes, Trouble, repack};
use super::members::{Body, Malformed, Members};
use super::pack::Packer;
use super::{Origin, Resolved, SourceError, Stop, list, quote, show};
use crate::name::Revision;
use crate::process::end::{Exited, Unended};
use crate::process::program::Program;
use crate::text::one_line;

/// How long git may say nothing; a filter that fetches large files may take its time.
const SILENCE: Duration = Duration::from_secs(300);
/// The same where only advice depends on the answer.
const ADVICE: Duration = Duration::from_secs(10);
/// Most characters of a commit's subject that are kept.
pub(super) const SUBJECT: usize = 300;
const BUFFER: usize = 256 * 1024;
/// As much as is read of an answer that should be a line.
pub(super) const ANSWER_MAX: u64 = 1024 * 1024;
/// What in the environment would make git look at another repository than the one in `path` (set, for one, in hooks).
pub(super) const MISLEADING: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];

/// Resolves a ref in the repository around `path`; `None`: there is none.
///
/// # Errors
/// When git is missing, refuses the repository, or the commit does not exist or cannot be released.
pub fn resolve(path: &Path, reference: &str) -> Result<Option<Resolved>, SourceError> {
    if !is_repository(path)? {
        return Ok(None);
    }
    let (sha, complaints) = commit(path, reference)?;
    check_tree(path, reference, &sha)?;
    let args = ["log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s", sha.as_str(), "--"];
    let (subject, _) = git(path, &args, SILENCE)?;
    let subject = one_line(&subject, SUBJECT);
    let mut notes = Vec::new();
    if complaints.contains("is ambiguous") {
        notes.push(format!("The name {} is ambiguous; it was taken for {sha}.", quote(reference.as_bytes())));
    }
    notes.extend(pointers(path, &sha));
    notes.extend(uncommitted(path, &sha));
    notes.extend(unpushed(path, &sha));
    Ok(Some(Resolved {
        revision: Revision(sha),
        label: reference.to_owned(),
        subject: Some(subject).filter(|s| !s.is_empty()),
        origin: Origin::Git,
        notes,
    }))
}

/// Packs the tracked files of a commit, below `path` only.
pub(super) fn pack(path: &Path, sha: &Revision, packer: &mut Packer<'_>, stop: Stop<'_>) -> Result<(), SourceError> {
    let (packed, ended) = archive(path, &sha.0)
        .silent_for_at_most(SILENCE)
        .run(stop, |stream| repack(BufReader::with_capacity(BUFFER, stream), packer, Modes::Git))
        .map_err(|error| unended("archive", error))?;
    match packed {
        Err(Trouble::Failed(error)) => Err(error),
        // Where git failed, its own words say more than what is wrong with half a stream.
        _ if !ended.status.success() => Err(failed(path, "archive", &ended)),
        Err(Trouble::Stream(malformed)) => Err(garbled(malformed)),
        Ok(()) => Ok(()),
    }
}

fn archive(path: &Path, sha: &str) -> Program {
    // Run in the directory itself: `SHA:directory` would lose the commit, and with it export-subst.
    let pinned = ["-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "tar.umask=0022"];
    command(path, &[&pinned[..], &["archive", "--format=tar", sha]].concat())
}

pub(super) fn is_repository(path: &Path) -> Result<bool, SourceError> {
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
    Err(failed(path, "rev-parse", &ended))
}

/// Turns a ref into a full SHA; what git said beside it comes back, too.
fn commit(path: &Path, reference: &str) -> Result<(String, String), SourceError> {
    let named = quote(reference.as_bytes());
    // git's own rule for names of branches and tags; here it also keeps a ref from becoming an option.
    if reference.is_empty() || reference.starts_with('-') || reference.chars().any(char::is_control) {
        return Err(SourceError::new(
            format!("cannot resolve {named}: it is no ref"),
            "Name a branch, a tag or a SHA.",
        ));
    }
    let (answer, ended) = run(path, &["rev-parse", "--verify", &format!("{reference}^{{commit}}")], SILENCE)
        .map_err(|error| unended("rev-parse", error))?;
    let sha = answer.trim();
    if ended.status.success() && matches!(sha.len(), 40 | 64) && sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok((sha.to_owned(), ended.stderr));
    }
    let format = "--format=%(refname:short)";
    let args = ["for-each-ref", "--count=2000", format, "refs/heads", "refs/tags", "refs/remotes"];
    let (refs, _) = git(path, &args, SILENCE)?;
    let refs: Vec<&str> = refs.lines().collect();
    if reference == "HEAD" {
        return Err(SourceError::new(
            format!("cannot resolve {named}: {} has no commit there yet", show(path)),
            if refs.is_empty() { "Commit first." } else { "Check out a branch that has commits, or name one." },
        ));
    }
    if ended.stderr.contains("is ambiguous") {
        return Err(SourceError::new(
            format!("cannot resolve {named}: more than one object in {} begins so", show(path)),
            "Give more digits of the SHA.",
        ));
    }
    let hint = match nearest(reference, &refs) {
        near if near.is_empty() => {
            "Name a branch, a tag or a SHA that this clone has; `git fetch` may bring it.".into()
        }
        near => format!("Did you mean {}? If it is newer than this clone: `git fetch`.", near.join(" or ")),
    };
    Err(SourceError::new(format!("cannot resolve {named}: {} has no such commit", show(path)), hint))
}

/// Finds a commit in the clone around `path` by the beginning of its SHA; `None`: there is no clone, or no one such commit.
pub(super) fn expand(path: &Path, sha: &str) -> Option<String> {
    let (answer, ended) =
        run(path, &["rev-parse", "--verify", "--quiet", &format!("{sha}^{{commit}}")], ADVICE).ok()?;
    let found = answer.trim();
    (ended.status.success() && found.starts_with(&sha.to_ascii_lowercase())).then(|| found.to_owned())
}

/// Picks at most three refs that are spelled alike, or are the same on a remote.
pub(super) fn nearest(wanted: &str, refs: &[&str]) -> Vec<String> {
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

/// Refuses a commit without files below `path`, and one with submodules that would be released as empty directories.
fn check_tree(path: &Path, reference: &str, sha: &str) -> Result<(), SourceError> {
    let (read, ended) = command(path, &["ls-tree", "-r", "-z", sha])
        .silent_for_at_most(SILENCE)
        .run(&|| false, |stream| {
            let mut any = false;
            let mut submodules = BTreeSet::new();
            for line in BufReader::with_capacity(BUFFER, stream).split(0) {
                let line = line?;
                any = true;
                // "160000 commit SHA\tPATH"
                if let Some(rest) = line.strip_prefix(b"160000 ") {
                    submodules.insert(rest.splitn(2, |b| *b == b'\t').nth(1).unwrap_or(rest).to_vec());
                }
            }
            Ok::<_, io::Error>((any, submodules))
        })
        .map_err(|error| unended("ls-tree", error))?;
    if !ended.status.success() {
        return Err(failed(path, "ls-tree", &ended));
    }
    let (any, mut submodules) = read.map_err(|error| unended("ls-tree", Unended::Failed(error)))?;
    if !any {
        return Err(SourceError::new(
            format!("cannot release {}: nothing in it is tracked at {}", show(path), quote(reference.as_bytes())),
            "Commit files there, or set `kind = \"archive\"` in [source] to release the directory as it is.",
        ));
    }
    if !submodules.is_empty() {
        // Those marked export-ignore are left out by git archive, and so do no harm.
        let archived = directories(path, sha)?;
        submodules.retain(|name| archived.contains(name));
    }
    if submodules.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = submodules.iter().map(|name| quote(name)).collect();
    Err(SourceError::new(
        format!("cannot release {}: it has submodules, which git archive leaves empty: {}", show(path), list(&names)),
        "Release a built tarball with `kind = \"archive\"`, or mark them `export-ignore` in .gitattributes if the \
         application does without.",
    ))
}

fn directories(path: &Path, sha: &str) -> Result<BTreeSet<Vec<u8>>, SourceError> {
    let (found, ended) = archive(path, sha)
        .silent_for_at_most(SILENCE)
        .run(&|| false, |stream| {
            let mut members = Members::new(BufReader::with_capacity(BUFFER, stream));
            let mut found = BTreeSet::new();
            while let Some(member) = members.next()? {
                if member.body == Body::Directory {
                    found.insert(member.path.strip_suffix(b"/").unwrap_or(&member.path).to_vec());
                }
            }
            Ok(found)
        })
        .map_err(|error| unended("archive", error))?;
    if !ended.status.success() {
        return Err(failed(path, "archive", &ended));
    }
    found.map_err(garbled)
}

/// Tells of files that git would release as a few lines about them, for want of the filter that fetches them.
fn pointers(path: &Path, sha: &str) -> Option<String> {
    for key in ["filter.lfs.process", "filter.lfs.smudge"] {
        let (filter, _) = run(path, &["config", "--get", key], ADVICE).ok()?;
        if !filter.trim().is_empty() {
            return None;
        }
    }
    let args = ["grep", "-q", "-F", "-e", "filter=lfs", sha, "--", ":(top,glob)**/.gitattributes"];
    let (_, ended) = run(path, &args, ADVICE).ok()?;
    let text = "Files kept in Git LFS are released as pointers, since git-lfs is not installed on this machine.";
    ended.status.success().then(|| text.to_owned())
}

/// Tells of changes that people may expect to be deployed with what they have checked out.
fn uncommitted(path: &Path, sha: &str) -> Option<String> {
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

/// Tells of commits that nobody else could deploy or find again.
fn unpushed(path: &Path, sha: &str) -> Option<String> {
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

fn command(path: &Path, args: &[&str]) -> Program {
    // Nobody is asked, nothing is written, messages stay in English, and a SHA means that very object.
    let fixed =
        [("GIT_TERMINAL_PROMPT", "0"), ("GIT_OPTIONAL_LOCKS", "0"), ("GIT_NO_REPLACE_OBJECTS", "1"), ("LC_ALL", "C")];
    Program::new("git").args([OsStr::new("-C"), path.as_os_str()]).args(args).without(MISLEADING).env(fixed)
}

fn run(path: &Path, args: &[&str], silence: Duration) -> Result<(String, Exited), Unended> {
    command(path, args).silent_for_at_most(silence).run(&|| false, |stream| {
        let mut answer = Vec::new();
        // What cannot be read shows in how the child ended.
        let _ = stream.take(ANSWER_MAX).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
}

/// Runs git and takes every failure for an error.
fn git(path: &Path, args: &[&str], silence: Duration) -> Result<(String, Exited), SourceError> {
    let verb = args.first().copied().unwrap_or_default();
    let (answer, ended) = run(path, args, silence).map_err(|error| unended(verb, error))?;
    if ended.status.success() { Ok((answer, ended)) } else { Err(failed(path, verb, &ended)) }
}

pub(super) fn unended(verb: &str, error: Unended) -> SourceError {
    match error {
        Unended::Stopped => SourceError::stopped(),
        Unended::Silent(limit) | Unended::TimedOut(limit) => SourceError::new(
            format!("cannot run git {verb}: it did nothing for {} seconds", limit.as_secs()),
            "Run it by hand; a filter or a remote that git asks for objects may hang.",
        ),
        Unended::Failed(error) if error.kind() == io::ErrorKind::NotFound => SourceError::new(
            "cannot run git: it is not on the PATH",
            "Install git, or set `kind = \"archive\"` in [source].",
        ),
        Unended::Failed(error) => SourceError::new(format!("cannot run git {verb}: {error}"), ""),
    }
}

fn failed(path: &Path, verb: &str, ended: &Exited) -> SourceError {
    let plain = |text: &str| one_line(text, 500);
    if ended.stderr.contains("dubious ownership") {
        // git's own command names the repository's top, which `path` may lie below.
        let trust = ended.stderr.lines().find(|line| line.contains("--add safe.directory"));
        return SourceError::new(
            format!("cannot use the git repository {}: it belongs to another user", show(path)),
            format!("If you trust it: {}", trust.map_or_else(|| "set git's safe.directory".into(), plain)),
        );
    }
    let words = plain(&ended.stderr.lines().map(str::trim).collect::<Vec<_>>().join("; "));
    SourceError::new(
        format!("cannot use the git repository {}: git {verb} failed: {words} ({})", show(path), ended.status),
        "Mend the repository, or set `kind = \"archive\"` in [source] to release the directory as it is.",
    )
}

fn garbled(malformed: Malformed) -> SourceError {
    let why = match malformed {
        Malformed::Read(error) => error.to_string(),
        Malformed::Truncated => "it ends too early".into(),
        Malformed::Corrupt(why) | Malformed::Unfit(why) => why,
    };
    SourceError::new(
        format!("cannot use what git archive printed: {why}"),
        "Run `git archive` by hand, and `git fsck`.",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_repository_of_another_user_comes_with_the_command_that_trusts_it() {
        let stderr =
            "fatal: detected dubious ownership in repository at '/srv'\n\n\tgit config --global --add safe.directory /srv\u{1b}\n"
            .into();
        let error =
            failed(Path::new("/srv/shop"), "rev-parse", &Exited { status: ExitStatus::from_raw(128 << 8), stderr });
        assert!(error.what.contains("belongs to another user"), "{error:?}");
        assert!(error.hint.ends_with("git config --global --add safe.directory /srv"), "{error:?}");
    }

    #[test]
    fn other_failures_bring_gits_own_words_without_escapes() {
        let stderr = "fatal: bad object\n  \u{1b}[1mhint: x".into();
        let error =
            failed(Path::new("/srv/shop"), "archive", &Exited { status: ExitStatus::from_raw(128 << 8), stderr });
        assert!(error.what.contains("git archive failed: fatal: bad object; hint: x (exit status: 128)"), "{error:?}");
    }

    #[test]
    fn the_nearest_refs_are_those_spelled_alike_or_on_a_remote() {
        let refs = ["main", "feature/cart", "v1.2.0", "origin/release", "wholly-different"];
        assert_eq!(nearest("mian", &refs), ["`main`"]);
        assert_eq!(nearest("release", &refs), ["`origin/release`"]);
        assert_eq!(nearest("v1.2.1", &refs), ["`v1.2.0`"]);
        assert!(nearest("zzz", &refs).is_empty());
    }
}
