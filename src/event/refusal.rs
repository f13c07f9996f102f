//! The codes by which pitcrew's own scripts, its plan and its transport refuse, as data.
//!
//! It owns the words that stand in `--json` and in the scripts; the sentence and the hint for each are `wording`'s.

use serde::de::IntoDeserializer as _;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};

/// Why pitcrew's own scripts, or its plan, refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The server's disk is full.
    NoSpace,
    /// The login user cannot write where it must.
    NotWritable,
    /// The login runs no commands.
    NoShell,
    /// The probe's answer cannot be read.
    OddAnswer,
    /// The server opens no further session on the connection.
    Channel,
    /// Tools that the scripts need are not installed.
    MissingTools,
    /// The server has no `/proc` to read processes from.
    NoProc,
    /// The connection ended before the script's input arrived.
    NoInput,
    /// `deploy_to` is no directory that a release can lie in.
    BadRoot,
    /// `deploy_to` does not exist yet.
    NoSite,
    /// Another run holds the lock.
    Locked,
    /// The lock that was to be taken over has another holder by now.
    LockedAnew,
    /// The run's lock is gone.
    LockLost,
    /// The lock to be released belongs to another run.
    NotOurs,
    /// The directory belongs to another stack.
    OtherStack,
    /// Two servers of the stack are one directory.
    SamePlace,
    /// The server has changed since the run was planned.
    StaleFacts,
    /// What arrived is not what was sent.
    BadPayload,
    /// The server cannot list the tree that it keeps.
    NoCache,
    /// The tree that the server keeps cannot be the base of a difference.
    StaleBase,
    /// The server cannot fetch from the repository.
    NotFetched,
    /// The repository lacks the commit.
    NoCommit,
    /// The server does not trust the git host's key.
    GitHostKey,
    /// The git host denies the server access.
    GitDenied,
    /// The server cannot read its deploy key.
    NoDeployKey,
    /// The revision keeps files in Git LFS.
    GitLfs,
    /// The revision has submodules.
    Submodules,
    /// `repo` on the server is no mirror of a git repository.
    RepoOdd,
    /// The release could not be unpacked.
    NotUnpacked,
    /// The archive could not be downloaded.
    NotDownloaded,
    /// The downloaded archive has another SHA-256.
    BadChecksum,
    /// A path in `[shared]` cannot be linked.
    BadPath,
    /// Files of `[shared]` are not on the server.
    MissingFiles,
    /// `current` is not what it was when the run began.
    CurrentChanged,
    /// `current` is no link to a release.
    CurrentOdd,
    /// `current` could not be switched.
    NotSwitched,
    /// The release is not on the server, or not whole.
    NoRelease,
    /// The release to return to is not on the server.
    ReleaseMissing,
    /// The release is on the server already.
    ReleaseExists,
    /// The release to return to was never proven there.
    ReleaseNotGood,
    /// No release can be returned to.
    NoRollbackRelease,
    /// The server lacks the release that others could return to.
    LacksRelease,
    /// The migration server is not part of the run.
    NoMigrationServer,
    /// A release could not be removed.
    NotRemoved,
    /// The release is in use and stays.
    InUse,
    /// The web server cannot be restarted as it stands.
    CannotRestart,
    /// The web server runs where `[web]` does not look.
    RunsUnseen,
    /// A parameter of `[web]` was never filled in.
    Placeholder,
    /// The web server could not be restarted.
    NotRestarted,
    /// The restart is not proven.
    NotProven,
    /// Processes that should have ended still run.
    StillRunning,
    /// There is no earlier release that could be proven.
    NothingToServe,
    /// A code that only a newer version's scripts know.
    #[serde(untagged)]
    Other(String),
}

impl Refusal {
    /// Tells whether a switch and a restart refuse with this code before they change what serves.
    pub(super) fn is_early(&self) -> bool {
        matches!(
            self,
            Self::BadRoot
                | Self::CurrentChanged
                | Self::CurrentOdd
                | Self::LockLost
                | Self::NoInput
                | Self::NoProc
                | Self::NoRelease
                | Self::NoSpace
                | Self::NotWritable
        )
    }

    /// Reads a code as a script says it.
    pub fn read(code: &str) -> Self {
        let word: Result<Self, Error> = Self::deserialize(code.into_deserializer());
        word.unwrap_or_else(|_| Self::Other(code.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Cause;

    #[test]
    fn a_code_is_the_scripts_own_word_and_reads_back() {
        for (refusal, word) in [
            (Refusal::NoSpace, "no_space"),
            (Refusal::LockedAnew, "locked_anew"),
            (Refusal::Other("brand_new".into()), "brand_new"),
        ] {
            assert_eq!(Refusal::read(word), refusal);
            let cause = Cause::Refused { code: refusal, detail: "why".into() };
            let json = serde_json::to_string(&cause).unwrap();
            assert_eq!(json, format!(r#"{{"cause":"refused","code":"{word}","detail":"why"}}"#));
            assert_eq!(serde_json::from_str::<Cause>(&json).unwrap(), cause);
        }
    }
}
