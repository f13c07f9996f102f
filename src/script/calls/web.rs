//! Scripts about `current` and the web server: switch, restart, prove, stop, log.

use std::time::Duration;

use super::site::{Site, seconds};
use crate::name::{ReleaseId, RunId};
use crate::script::call::Call;
use crate::script::kind::Script;

/// Points `current` from one release to another; `None` is no `current` at all.
///
/// A `current` that points there already is no failure.
///
/// Refuses with `current_changed`, `current_odd`, `no_release`, `not_switched`, `no_space`, `not_writable`, `lock_lost`.
pub fn switch(site: &Site<'_>, run: &RunId, from: Option<&ReleaseId>, to: Option<&ReleaseId>) -> Call {
    let text = |id: Option<&ReleaseId>| id.map(ReleaseId::as_str).unwrap_or_default().to_owned();
    site.call(Script::Switch).token(run).with("from", text(from)).with("to", text(to))
}

/// Restarts the web server, or starts it, and proves within `limit` that the release runs.
///
/// Answers `action start|restart|none` (none: the processes that an earlier restart of the run found live on, untouched, in
/// `id`), `notice TEXT`, `process PID RELEASE`, `proven N`. Refuses with `not_restarted`, `not_proven`, `no_proc`,
/// `current_changed`, `lock_lost`; the log's end is then on standard output.
pub fn restart(site: &Site<'_>, run: &RunId, id: &ReleaseId, limit: Duration) -> Call {
    site.call(Script::Restart)
        .token(run)
        .id(id)
        .proof(site)
        .with("limit", seconds(limit))
        .with("old_gone", seconds(site.web.proof.old_gone))
        .with("out", "no")
        .web(site, &["processes", "start", "restart", "log"])
}

/// Judges again what [`restart`] proved, without restarting: for after the health check.
///
/// Refuses as [`restart`] does.
pub fn prove(site: &Site<'_>, run: &RunId, id: &ReleaseId) -> Call {
    site.call(Script::Prove)
        .token(run)
        .id(id)
        .proof(site)
        .with("answered", "no")
        .with("held", "no")
        .web(site, &["processes", "log"])
}

/// The same question while nothing answers yet: what it finds is no proof, and is written down nowhere.
pub fn glance(site: &Site<'_>, run: &RunId, id: &ReleaseId) -> Call {
    prove(site, run, id).with("answered", "not-yet")
}

impl Call {
    /// Tells a [`restart`] that the server is out of its balancer, so that it meets no request.
    #[must_use]
    pub fn out_of_traffic(self) -> Self {
        self.with("out", "yes")
    }

    /// Makes a [`prove`] refuse with `lock_lost` where another run holds the lock by now.
    #[must_use]
    pub fn while_held(self) -> Self {
        self.with("held", "yes")
    }

    /// Makes a [`prove`] look who listens on the port that answered.
    #[must_use]
    pub fn answered_on(self, port: u16) -> Self {
        self.with("port", port.to_string())
    }

    /// Makes a [`prove`] demand a process also of a lazy web server.
    ///
    /// That server starts its application with the first request, and one was answered.
    #[must_use]
    pub fn after_answer(self) -> Self {
        self.with("answered", "yes")
    }
}

/// Stops the web server within `limit` and proves it.
///
/// Refuses with `still_running`, `no_proc`, `lock_lost`.
pub fn stop(site: &Site<'_>, run: &RunId, limit: Duration) -> Call {
    site.call(Script::Stop)
        .token(run)
        .proof(site)
        .with("limit", seconds(limit))
        .web(site, &["processes", "stop", "log"])
}

/// Prints the end of the web server's log on standard output.
pub fn log(site: &Site<'_>) -> Call {
    site.call(Script::Log).web(site, &["log"])
}
