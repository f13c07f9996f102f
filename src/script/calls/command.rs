//! Scripts that run a user's command.

use super::site::Site;
use crate::name::{ReleaseId, RunId};
use crate::script::call::Call;
use crate::script::kind::Script;

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dir {
    /// In `current`.
    Current,
    /// In a release that need not be current.
    Release(ReleaseId),
    /// In `deploy_to` itself: there may be no release yet.
    Root,
}

/// Runs a user's command.
///
/// The script's exit status is the command's. Answers `exit N`, before it `signal NAME` when a signal ended it. Refuses
/// with `no_release`, and with [`Call::under`] with `lock_lost`.
pub fn command(site: &Site<'_>, dir: Dir, run: &str) -> Call {
    users(site, Script::Command, &dir, run)
}

/// Runs a user's command that asks how `current` is, and changes nothing; the same otherwise.
pub fn check(site: &Site<'_>, run: &str) -> Call {
    users(site, Script::Check, &Dir::Current, run)
}

fn users(site: &Site<'_>, script: Script, dir: &Dir, run: &str) -> Call {
    let dir = match dir {
        Dir::Current => "",
        Dir::Release(id) => id.as_str(),
        Dir::Root => "/",
    };
    site.call(script).with("dir", dir).with("run", run).with("token", "").with("verb", "").env(site)
}

impl Call {
    /// Makes a [`command`] refuse with `lock_lost` unless the run holds the lock.
    ///
    /// The command then writes `verb` into the journal first.
    #[must_use]
    pub fn under(self, run: &RunId, verb: &str) -> Self {
        self.with("token", run.as_str()).with("verb", verb)
    }
}
