//! Why git cannot give what is released.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::malformed::Malformed;
use crate::process::end::Exited;
use crate::source::quote::{list, quote, show};
use crate::text::one_line;

/// Why git cannot give what is released.
#[derive(Debug)]
pub enum GitError {
    /// Git is not on the PATH.
    NotInstalled,
    /// A git command cannot be run.
    Unrun {
        /// The command.
        verb: String,
        /// What the system says.
        source: io::Error,
    },
    /// A git command did nothing for this long.
    Silent {
        /// The command.
        verb: String,
        /// The limit.
        limit: Duration,
    },
    /// The repository belongs to another user.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The command that trusts it, in git's words.
        trust: Option<String>,
    },
    /// A git command failed.
    Failed {
        /// The directory.
        path: PathBuf,
        /// The command.
        verb: String,
        /// Git's words.
        words: String,
        /// Its exit status.
        status: ExitStatus,
    },
    /// Git printed no archive.
    Garbled(Malformed),
    /// The commit tracks nothing below the directory, or its attributes leave nothing of it.
    Nothing {
        /// The directory.
        path: PathBuf,
        /// The ref or the SHA.
        reference: String,
        /// What leaves nothing.
        why: Emptied,
    },
    /// The directory has submodules.
    Submodules {
        /// The directory.
        path: PathBuf,
        /// Where they lie.
        names: Vec<Vec<u8>>,
    },
    /// Files are Git LFS pointers in place of their content.
    Pointers {
        /// The directory.
        path: PathBuf,
        /// The files.
        names: Vec<Vec<u8>>,
    },
}

/// Why nothing is left to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    /// Nothing is tracked.
    Untracked,
    /// `export-ignore` is set on all of it.
    Ignored,
}

impl GitError {
    /// Makes the error of a command that failed.
    pub(crate) fn failed(path: &Path, verb: &str, ended: &Exited) -> Self {
        let plain = |text: &str| one_line(text, 500);
        if ended.stderr.contains("dubious ownership") {
            // Git's own command names the repository's top, which `path` may lie below.
            let trust = ended.stderr.lines().find(|line| line.contains("--add safe.directory")).map(plain);
            return Self::Foreign { path: path.to_owned(), trust };
        }
        let words = plain(&ended.stderr.lines().map(str::trim).collect::<Vec<_>>().join("; "));
        Self::Failed { path: path.to_owned(), verb: verb.to_owned(), words, status: ended.status }
    }

    /// Says what to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NotInstalled => "Install git, or set `kind = \"archive\"` in [source].".into(),
            Self::Unrun { .. } => String::new(),
            Self::Silent { .. } => "Run it by hand; a filter or a remote that git asks for objects may hang.".into(),
            Self::Foreign { trust, .. } => {
                format!("If you trust it: {}", trust.as_deref().unwrap_or("set git's safe.directory"))
            }
            Self::Failed { .. } => {
                "Repair the repository, or set `kind = \"archive\"` in [source] to release the directory as it is."
                    .into()
            }
            Self::Garbled(_) => "Run `git archive` by hand, and `git fsck`.".into(),
            Self::Nothing { why: Emptied::Untracked, .. } => {
                "Commit files there, or set `kind = \"archive\"` in [source] to release the directory as it is.".into()
            }
            Self::Nothing { .. } => "Correct .gitattributes in that directory and in those above it.".into(),
            Self::Submodules { .. } => {
                "Release a built tarball with `kind = \"archive\"`, or mark them `export-ignore` \
                                        in .gitattributes if the application does without."
                    .into()
            }
            Self::Pointers { .. } => "Install git-lfs, and unset GIT_LFS_SKIP_SMUDGE and lfs.fetchexclude for the \
                                      deploy; or mark the files `export-ignore` in .gitattributes if the application \
                                      does without."
                .into(),
        }
    }
}

impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |names: &[Vec<u8>]| list(&names.iter().map(|name| quote(name)).collect::<Vec<_>>());
        match self {
            Self::NotInstalled => f.write_str("cannot run git: it is not on the PATH"),
            Self::Unrun { verb, .. } => write!(f, "cannot run git {verb}"),
            Self::Silent { verb, limit } => {
                write!(f, "git {verb} did nothing for {} seconds and was stopped", limit.as_secs())
            }
            Self::Foreign { path, .. } => {
                write!(f, "cannot use the git repository {}: it belongs to another user", show(path))
            }
            Self::Failed { path, verb, words, status } => {
                write!(f, "cannot use the git repository {}: git {verb} failed: {words} ({status})", show(path))
            }
            Self::Garbled(_) => f.write_str("cannot use what git archive printed"),
            Self::Nothing { path, reference, why } => {
                let (path, reference) = (show(path), quote(reference.as_bytes()));
                match why {
                    Emptied::Untracked => write!(f, "cannot release {path}: nothing in it is tracked at {reference}"),
                    Emptied::Ignored => {
                        write!(f, "cannot release {path}: all of it is marked export-ignore at {reference}")
                    }
                }
            }
            Self::Submodules { path, names } => write!(
                f,
                "cannot release {}: it has submodules, which git archive leaves empty: {}",
                show(path),
                listed(names)
            ),
            Self::Pointers { path, names } => write!(
                f,
                "cannot release {}: Git LFS gives no more than pointers in place of these files: {}",
                show(path),
                listed(names)
            ),
        }
    }
}

impl Error for GitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unrun { source, .. } => Some(source),
            Self::Garbled(malformed) => Some(malformed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn failed(verb: &str, stderr: &str) -> GitError {
        let ended = Exited { status: ExitStatus::from_raw(128 << 8), stderr: stderr.into() };
        GitError::failed(Path::new("/srv/shop"), verb, &ended)
    }

    #[test]
    fn a_repository_of_another_user_comes_with_the_command_that_trusts_it() {
        let stderr = "fatal: detected dubious ownership in repository at '/srv'\n\n\tgit config --global --add safe.directory /srv\u{1b}\n";
        let error = failed("rev-parse", stderr);
        assert!(error.to_string().contains("belongs to another user"), "{error:?}");
        assert!(error.hint().ends_with("git config --global --add safe.directory /srv"), "{error:?}");
    }

    #[test]
    fn other_failures_bring_gits_own_words_without_escapes() {
        let error = failed("archive", "fatal: bad object\n  \u{1b}[1mhint: x").to_string();
        assert!(error.contains("git archive failed: fatal: bad object; hint: x (exit status: 128)"), "{error}");
    }
}
