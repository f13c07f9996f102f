//! Scripts about what stays on a server: the release's state, the history, which releases are kept.

use super::site::Site;
use crate::name::{ReleaseId, Revision, RunId};
use crate::release::ReleaseState;
use crate::script::call::Call;
use crate::script::kind::Script;
use crate::script::owner::one_line;

/// What [`mark`] records; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Mark<'a> {
    /// A release's state; [`ReleaseState::Foreign`] cannot be written and is left out.
    pub state: Option<(&'a ReleaseId, ReleaseState)>,
    /// A line for `revisions.log`.
    pub line: Option<&'a str>,
    /// Whether the server was left behind.
    pub behind: Option<Behind<'a>>,
}

/// Whether a run left a server behind.
#[derive(Debug, Clone, Copy)]
pub enum Behind<'a> {
    /// This run did.
    By(&'a RunId),
    /// It caught up.
    No,
}

/// Records what became of a release and of the server.
///
/// Refuses with `no_space`, `not_writable`, `lock_lost`.
pub fn mark(site: &Site<'_>, run: &RunId, mark: &Mark<'_>) -> Call {
    site.call(Script::Mark).token(run).marking(mark)
}

/// Removes old releases but `keep` good ones, the current, the previous, those in use and `spare`.
///
/// With [`Call::marking`] it records first, as [`mark`] does and with its refusals: one round trip less; and answers
/// `moved WHERE` when `current` is not on that release any more.
/// Answers `removed ID` and `left ID why`. Refuses with `not_removed` (after all that could go has gone), `lock_lost`.
pub fn prune(site: &Site<'_>, run: &RunId, keep: usize, spare: &[ReleaseId]) -> Call {
    let spare = spare.iter().map(|id| id.as_str().to_owned()).collect();
    site.call(Script::Prune)
        .token(run)
        .with("keep", keep.to_string())
        .with("app", one_line(site.app))
        .list("spare", spare)
        .with("mark", "no")
        .with("cache", "no")
}

/// Removes a prepared, failed or reverted release.
///
/// Refuses with `in_use`, `not_removed`, `lock_lost`.
pub fn remove(site: &Site<'_>, run: &RunId, id: &ReleaseId) -> Call {
    site.call(Script::Remove).token(run).id(id)
}

impl Call {
    /// Makes a [`remove`] write down that the release's revision could not be built or migrated.
    #[must_use]
    pub fn unbuilt(self, revision: &Revision) -> Self {
        self.with("unbuilt", one_line(&revision.0))
    }
}

/// Answers the last lines of `revisions.log`, one `line TEXT` each.
pub fn history(site: &Site<'_>) -> Call {
    site.call(Script::History)
}

impl Call {
    /// Makes a [`prune`] record first what has become of a release and of the server.
    #[must_use]
    pub fn marking(self, mark: &Mark<'_>) -> Self {
        let (id, state) = match mark.state {
            Some((id, state)) if !matches!(state, ReleaseState::Foreign | ReleaseState::Unfinished) => {
                (id.as_str(), state.word())
            }
            _ => ("", ""),
        };
        let behind = match mark.behind {
            None => "",
            Some(Behind::No) => "-",
            Some(Behind::By(run)) => run.as_str(),
        };
        let line = mark.line.unwrap_or_default().replace(['\n', '\r'], " ");
        self.with("mark", "yes").with("id", id).with("state", state).with("line", line).with("behind", behind)
    }

    /// Makes a [`prune`] leave the cached tree where it is.
    #[must_use]
    pub fn keeping_cache(self) -> Self {
        self.with("cache", "yes")
    }
}
