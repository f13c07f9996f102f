//! Scripts about the lock: taken, renewed, kept, released, taken over, and the journal that lies in it.

use std::time::Duration;

use super::site::Site;
use crate::lease::ORIGIN;
use crate::name::{ReleaseId, RunId};
use crate::release::Adopted;
use crate::script::call::Call;
use crate::script::kind::Script;
use crate::script::owner::{Owner, one_line};

/// What a plan takes for granted about one server.
#[derive(Debug, Clone, Copy)]
pub struct AsPlanned<'a> {
    /// What `current` points to.
    pub current: Option<&'a ReleaseId>,
    /// The newest release.
    pub newest: Option<&'a ReleaseId>,
    /// The directory of another tool that is to become the current release.
    pub adopts: Option<&'a Adopted>,
}

/// Takes the lock; [`Call::planning`] and [`Call::expecting`] say more.
///
/// Answers `taken yes|again|thawed`. Refuses with `locked` (its answers are for [`crate::lease::LockFacts::read`]),
/// `other_stack`, `stale_facts`, `not_writable`, `no_space`; a lock that it took it has released then.
pub fn lock(site: &Site<'_>, owner: &Owner) -> Call {
    locking(site, "take", &owner.run).with("owner", owner.lines())
}

/// Takes the lock to keep it without a run, for `time` or until an operator unlocks.
///
/// Otherwise as [`lock`].
pub fn freeze(site: &Site<'_>, owner: &Owner, reason: &str, time: Option<Duration>) -> Call {
    let reason = one_line(reason);
    let call = lock(site, owner).with("owner", format!("{}\nfreeze=yes\nreason={reason}", owner.lines()));
    match time {
        Some(time) => call.with("for", time.as_secs().to_string()),
        None => call,
    }
}

/// Renews a held lock, and says in it what the run does (`phase`, one line; empty: as before).
///
/// Refuses with `lock_lost`.
pub fn renew(site: &Site<'_>, run: &RunId, phase: &str) -> Call {
    locking(site, "renew", run).with("phase", one_line(phase))
}

/// Says in a held lock why it is kept after the run has ended: `reason`, one line.
///
/// Refuses with `lock_lost`.
pub fn keep(site: &Site<'_>, run: &RunId, reason: &str) -> Call {
    locking(site, "keep", run).with("reason", one_line(reason))
}

/// Asks who holds the lock, and nothing else.
///
/// Answers `lock free`, or what [`crate::lease::LockFacts::read`] reads.
pub fn look(site: &Site<'_>) -> Call {
    locking(site, "look", &RunId(String::new()))
}

/// Releases this run's lock.
///
/// Refuses with `not_ours`; a lock that is gone already is no failure.
pub fn unlock(site: &Site<'_>, run: &RunId) -> Call {
    site.call(Script::Unlock).token(run)
}

/// Makes the lock that `from` left behind this run's own, and ends what `from` left running.
///
/// The journal stays. `origin` is the run whose work the journal tells of: `from` may have died in recovering it.
///
/// Answers `taken over`, or `lock free`. Refuses with `locked_anew`, `still_running`, `not_writable`, `no_space`.
pub fn takeover(site: &Site<'_>, owner: &Owner, from: &RunId, origin: &RunId) -> Call {
    let lines = format!("{}\n{ORIGIN}={}", owner.lines(), one_line(origin.as_str()));
    site.call(Script::Takeover).token(&owner.run).with("from", from.as_str()).with("owner", lines)
}

/// Writes a line into the journal before a server is taken out of its balancer.
///
/// Refuses with `lock_lost`, `no_space`, `not_writable`.
pub fn note(site: &Site<'_>, run: &RunId, words: &str) -> Call {
    site.call(Script::Note).token(run).with("words", one_line(words)).with("in", "no")
}

/// Notes who takes a server out of its balancer by hand; an empty record: it has been put back.
///
/// No lock is needed. Answers who holds the lock, if it is held, for [`crate::lease::LockFacts::read`]. Refuses with
/// `no_site`, `no_space`, `not_writable`.
pub fn aside(site: &Site<'_>, record: &str) -> Call {
    site.call(Script::Aside).with("record", record)
}

fn locking(site: &Site<'_>, mode: &str, run: &RunId) -> Call {
    let empty = ["owner", "plan", "for", "phase", "reason", "expect", "current", "newest"];
    let call = site.call(Script::Lock).token(run).with("mode", mode).with("app", one_line(site.app));
    empty.into_iter().fold(call, |call, name| call.with(name, ""))
}

impl Call {
    /// Writes the plan into a [`lock`], before its owner: what `recover` needs to know.
    ///
    /// The plan is opaque here.
    #[must_use]
    pub fn planning(self, plan: &str) -> Self {
        self.with("plan", plan.trim_end_matches('\n'))
    }

    /// Makes a [`lock`] refuse with `stale_facts` when the server is not as the plan takes for granted.
    #[must_use]
    pub fn expecting(self, expected: AsPlanned<'_>) -> Self {
        let text = |id: Option<&ReleaseId>| id.map(ReleaseId::as_str).unwrap_or_default().to_owned();
        self.with("expect", "yes").with("current", text(expected.current)).with("newest", text(expected.newest)).with(
            "adopts",
            expected.adopts.map(|adopted| format!("{} {}", adopted.name, adopted.id)).unwrap_or_default(),
        )
    }

    /// Makes a [`note`] forget who once took the server out by hand: it was found in its balancer.
    #[must_use]
    pub fn found_in(self) -> Self {
        self.with("in", "yes")
    }
}
