//! What a person should read although the run goes on, as data.
//!
//! It owns every warning; the sentence for each is `wording`'s.

use serde::{Deserialize, Serialize};

use super::end::Stuck;
use super::failure::Failure;
use super::finding::Finding;
use super::word::StepName;
use crate::lease::Held;
use crate::name::{ReleaseId, Revision, RunId, ServerName};

/// Something a person should read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
pub enum Warning {
    /// A parallel run has migrations: serial is advised.
    SerialAdvised,
    /// Servers that the run leaves out stay on another release.
    StaysOn {
        /// The servers.
        servers: Vec<ServerName>,
        /// Their release.
        release: ReleaseId,
    },
    /// A server that the run was told to leave out could not be locked.
    LeftUnlocked {
        /// The server.
        of: ServerName,
        /// Why.
        why: String,
    },
    /// Servers that the run was told to leave out could not be asked, and are not locked.
    NotLocked {
        /// The servers.
        servers: Vec<ServerName>,
    },
    /// A serial or rolling run has no balancer: servers stay in traffic while they restart.
    StaysInTraffic,
    /// There is no `[health]`: nothing but the list of processes proves the new release.
    NoHealthCheck,
    /// `--if-changed` leaves a revision alone that failed before, or was rolled back from.
    Fled {
        /// The revision.
        revision: Revision,
        /// The release that had it.
        release: ReleaseId,
        /// A server that tells.
        on: ServerName,
        /// How the release ended.
        how: Flight,
    },
    /// An old release stays, since a process that the login may not look into may come from it.
    ReleaseKept {
        /// The release.
        release: ReleaseId,
        /// Which process.
        why: String,
    },
    /// A step has printed nothing for a while.
    Quiet {
        /// The step.
        step: StepName,
        /// Seconds since it printed something, or began.
        seconds: u64,
        /// The last line it printed.
        last_line: String,
    },
    /// Connections were still open at the end of a drain.
    DrainIncomplete {
        /// Connections still open.
        open: u64,
        /// Seconds that the drain took.
        waited: f64,
    },
    /// The run will wait for the balancer, beside connections to end and checks to pass.
    WaitsForBalancer {
        /// Seconds for all batches together.
        seconds: u64,
        /// Batches that are drained.
        batches: usize,
    },
    /// A member is not as it was before the run.
    BalancerDiffers {
        /// `backend/server`.
        member: String,
        /// Its status before.
        was: String,
        /// Its status after.
        now: String,
    },
    /// A member was out of its balancer before the run, and stays so.
    FoundOut {
        /// The server.
        of: ServerName,
        /// `backend/server`.
        member: String,
        /// Its status.
        state: String,
        /// Who took it out by hand, where its server knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<TakenBy>,
    },
    /// Another user or program repointed `current` after the server's turn.
    CurrentMoved {
        /// What it points to now.
        current: String,
    },
    /// The release that `current` points to was deleted; pitcrew recreates the link.
    CurrentGone {
        /// The server.
        on: ServerName,
        /// What it points to.
        target: String,
    },
    /// A server's clock differs from this machine's.
    ClockSkew {
        /// The server.
        of: ServerName,
        /// The difference in seconds; positive where the server is ahead.
        seconds: i64,
    },
    /// A hook failed that may fail.
    Hook {
        /// Its command.
        command: String,
        /// How it failed.
        failure: Box<Failure>,
    },
    /// Old releases could not be removed; the deploy stands.
    Prune {
        /// Why it failed.
        failure: Box<Failure>,
    },
    /// Lines of output were left out, since the reporters could not keep up.
    OutputDropped {
        /// The number of these lines.
        lines: u64,
    },
    /// A step printed more than a log is to hold; its beginning and its end are kept.
    OutputLeftOut {
        /// The step.
        step: StepName,
        /// The number of lines in between.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The server needs a person.
    Stuck {
        /// Why it does.
        stuck: Stuck,
    },
    /// The run waited for another run's lock.
    Waited {
        /// Seconds that it waited.
        seconds: u64,
        /// The lock as it was last seen.
        held: Box<Held>,
    },
    /// The lock could not be renewed: others may soon take this run for dead.
    NotRenewed {
        /// Seconds since the last renewal.
        seconds: u64,
        /// The lease in seconds.
        lease: u64,
        /// Why it failed.
        failure: Box<Failure>,
    },
    /// The lock was removed during the run, which changes nothing more on that server.
    LockLost {
        /// What the server said.
        detail: String,
    },
    /// A signal asked the run to stop.
    Interrupted {
        /// Its name without SIG.
        signal: String,
        /// `false`: the run takes back what is in flight; `true`: a further signal stops it at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// The release that a rollback returns to.
    ReturnsTo {
        /// The release.
        release: ReleaseId,
        /// Its age in seconds; `None`: its name is no date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
        /// The user who deployed it, where `revisions.log` tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// Later releases whose deploys ran migrations: a rollback does not undo them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        migrated: Vec<ReleaseId>,
    },
    /// The connection was lost while a step ran.
    Lost {
        /// The step.
        step: StepName,
        /// How it was lost.
        detail: String,
    },
    /// The server, reached again, told what became of the step.
    Found {
        /// The step.
        step: StepName,
        /// What became of it.
        fate: Fate,
    },
    /// A drain waits until enough other members are in service.
    DrainWaits {
        /// What the balancer waits for.
        detail: String,
    },
    /// The drain's limit ended while the balancer still drained, and the balancer counts no connections.
    DrainUncounted {
        /// In seconds.
        waited: f64,
    },
    /// A drained server was found back in its balancer, and is drained again.
    ///
    /// Its processes had not been touched by then.
    DrainedAgain,
    /// The balancers could not be asked how they stand after the run.
    NotCompared {
        /// Why.
        detail: String,
    },
    /// Servers name another holder of their lock each time that it is taken over.
    StillLocked {
        /// The servers.
        servers: Vec<ServerName>,
    },
    /// The run keeps its locks, since a person must look at these servers.
    LockKept {
        /// Which, by name.
        servers: Vec<ServerName>,
    },
    /// The reason why the run keeps a lock could not be written into the lock.
    LockUnmarked {
        /// Why.
        detail: String,
    },
    /// The tree that a server keeps is no base for a difference: the whole release is sent.
    TreeUnusable {
        /// What the server saw.
        detail: String,
    },
    /// The server's file system does not keep the permissions that the release was sent with.
    ModesLost,
    /// The next release may find no room: less is free than the running release takes.
    MayNotFit {
        /// The server.
        of: ServerName,
        /// Kilobytes that are free.
        free_kb: u64,
        /// The directory in which they are free.
        root: String,
        /// Kilobytes that the running release takes.
        current_kb: u64,
    },
    /// A dry run: what the transfer would send.
    WouldSend {
        /// Amounts and how many servers get each.
        what: String,
    },
    /// The run waited for members of the balancer to be in service.
    WaitedForMembers {
        /// In seconds.
        seconds: u64,
    },
    /// A balancer cannot be used; the run drains no server, so it goes on.
    BalancerUnusable {
        /// What the balancer said.
        detail: String,
    },
    /// A member's address is none of its server's, and none of another's.
    StrangeAddress {
        /// The server.
        of: ServerName,
        /// `backend/server on ADDRESS`.
        member: String,
        /// The member's address.
        address: String,
        /// The server's own addresses.
        own: String,
    },
    /// A balancer sends a server the stack's traffic by other ways than those that are drained.
    AlsoSentTo {
        /// The server.
        of: ServerName,
        /// The balancer.
        at: String,
        /// `backend/server` of each.
        places: Vec<String>,
    },
    /// A server is in some of the backends only, and is drained there.
    InSomeBackends {
        /// The server.
        of: ServerName,
        /// The balancer.
        at: String,
        /// The backends that have it.
        has: Vec<String>,
        /// The backends that do not.
        lacks: Vec<String>,
    },
    /// The release that a dead run left on a server does not pass its health check.
    NotHealthy {
        /// The release.
        release: ReleaseId,
        /// Why it does not.
        failure: Box<Failure>,
    },
    /// A server of a dead run is not in the file, so it is not recovered.
    Absent {
        /// The dead run.
        run: RunId,
        /// The run's command line, as its lock has it.
        command: String,
        /// The server's address in that run.
        at: String,
        /// The address of the server that has its name now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<String>,
        /// Where a balancer has it out: `backend/server on ADDRESS is STATUS`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        out: Vec<String>,
    },
    /// The agent is to be lent to the servers, and none runs on this machine.
    NoAgent {
        /// Where it was looked for.
        detail: String,
    },
    /// Servers keep other copies of a dead run's plan than most.
    PlanDiffers {
        /// These servers.
        on: Vec<ServerName>,
        /// No plan is kept by more servers than another, so that none is followed.
        undecided: bool,
    },
    /// Secrets are too short to be masked.
    NotMasked {
        /// Their names.
        names: Vec<String>,
    },
    /// The run has no log.
    NoLog {
        /// Why.
        detail: String,
    },
    /// The run's log has gaps from here on.
    LogBroken {
        /// The log's directory.
        directory: String,
        /// Why.
        detail: String,
    },
    /// What was found on servers, or in the file, before the run.
    Finding(Finding),
    /// What a server or a source says, in its own words.
    Note {
        /// The sentence.
        text: String,
    },
}

/// Who took a server out of its balancer by hand, as recorded on that server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TakenBy {
    /// The user's name on their machine.
    pub who: String,
    /// That machine's name.
    pub host: String,
    /// When, as in RFC 3339, in UTC.
    pub since: String,
    /// Why, where the user said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a step whose connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It ended well.
    Done,
    /// It failed.
    Failed,
    /// It began, and never ended.
    Unfinished,
    /// It never began, or changes nothing: it runs again.
    Again,
}

/// How a release ended that `--if-changed` leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flight {
    /// It failed and was taken back.
    Failed,
    /// It was proven, and rolled back from later.
    RolledBack,
    /// Its build or its migration failed before anything was switched.
    Unbuilt,
}
