//! Typed events: everything that happens in a run, as data.
//!
//! The engine emits them, reporters turn them into text, `--json` and the run's log print them as they are.
//! A leaf: it knows names and nothing else of the program.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{OnFailure, Prepare, Strategy};
use crate::lease::Standing;
use crate::name::{ReleaseId, Revision, RunId, ServerName};

/// An event with when it happened and in which run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stamped {
    /// UTC, printed with milliseconds.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Seconds since the run began, from a monotonic clock.
    pub t: f64,
    /// The run.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The verb of a run that takes back a dead one.
pub const RECOVER: &str = "recover";

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First, once: the whole plan.
    Planned(Planned),
    /// A stage begins for its first batch, or for each batch of a rollout.
    StageStarted {
        /// Which.
        stage: StageName,
        /// Batch, from 0.
        batch: usize,
        /// How many batches the stage has.
        batches: usize,
    },
    /// Every server concerned has left the stage (or this batch of it).
    StageFinished {
        /// Which.
        stage: StageName,
        /// Batch, from 0.
        batch: usize,
        /// Whether all its steps went well.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
    },
    /// A step begins on a server.
    StepStarted {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
    },
    /// A step advances.
    Progress {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// What is known of it.
        #[serde(flatten)]
        progress: Progress,
    },
    /// A step's command printed a line; control characters are gone and secrets are masked.
    Output {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// Which stream.
        stream: Stream,
        /// Without its newline, at most 8 KiB (64 KiB where an answer of ours is in it).
        line: String,
    },
    /// A step ended.
    StepFinished {
        /// Where in the plan.
        #[serde(flatten)]
        place: Place,
        /// How.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
        /// What a transfer sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Sent>,
    },
    /// Taking a step back begins.
    UndoStarted {
        /// Whose.
        server: ServerName,
        /// Which.
        step: StepName,
    },
    /// Taking a step back ended.
    UndoFinished {
        /// Whose.
        server: ServerName,
        /// Which.
        step: StepName,
        /// How.
        outcome: StepOutcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Box<Failure>>,
    },
    /// What a dead run had done to a server, for the run that recovers it.
    Inherited {
        /// Whose.
        server: ServerName,
        /// What.
        #[serde(flatten)]
        inherited: Inherited,
    },
    /// Something a person should read, that does not end the run.
    Warning {
        /// Whom it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<ServerName>,
        /// What.
        #[serde(flatten)]
        warning: Warning,
    },
    /// Last, once: how it ended.
    Finished(Finished),
}

/// Where in the plan something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Stage.
    pub stage: StageName,
    /// Batch, from 0.
    pub batch: usize,
    /// Server; `here` for the operator's machine.
    pub server: ServerName,
    /// Step.
    pub step: StepName,
}

/// A stage of a run; no server enters one before every server concerned has left the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StageName {
    Lock,
    Prepare,
    Migrate,
    Rollout,
    Finish,
}

/// A step's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StepName {
    Connect,
    Lock,
    Transfer,
    Link,
    Build,
    Migrate,
    Drain,
    Switch,
    Restart,
    Check,
    Restore,
    Prune,
    Unlock,
    Hook,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum StepOutcome {
    Ok,
    Failed,
    Skipped,
}

/// A stream of a remote command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the stream's own name")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a transfer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// So many bytes, compressed.
    pub bytes: u64,
    /// So many are all of the release.
    pub whole: u64,
    /// New or changed files and links, when only those were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// What was removed and not replaced, when only the difference was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// A transfer.
    Bytes {
        /// Sent so far.
        done: u64,
        /// To be sent.
        total: u64,
    },
    /// A drain: connections still open, over all balancers.
    Sessions {
        /// How many.
        open: u64,
    },
    /// A health check.
    Attempts {
        /// Good answers in a row.
        good: u32,
        /// Needed in a row.
        needed: u32,
        /// Asked so far.
        asked: u32,
    },
}

/// The plan as the first event shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// The stack's name.
    pub app: String,
    /// `deploy`, `rollback`.
    pub verb: String,
    /// Strategy.
    pub strategy: Strategy,
    /// Who decided it.
    pub decided_by: DecidedBy,
    /// The web server template's name.
    pub web_server: String,
    /// When preparation happens.
    pub prepare: Prepare,
    /// Failure policy.
    pub on_failure: OnFailure,
    /// The release that the run makes or returns to.
    pub release: ReleaseId,
    /// What it is made of.
    pub revision: Revision,
    /// Each server's release before the run.
    pub previous: Vec<(ServerName, Option<ReleaseId>)>,
    /// Servers in the order of the rollout.
    pub batches: Vec<Vec<ServerName>>,
    /// Where migrations run, when they do.
    pub migrate_on: Option<ServerName>,
    /// Every step, in order.
    pub steps: Vec<Place>,
    /// What the plan itself wants read.
    pub notices: Vec<Warning>,
    /// What makes the run impossible; nothing is touched while there is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

/// Something that makes a run impossible, found before anything was touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// Whom it is about; `None`: the run as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The step that could not succeed.
    pub step: StepName,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
}

/// Who decided the strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// The web server template.
    Template,
    /// `[app] strategy`.
    File,
    /// A flag of this run.
    Flag,
}

/// Why a step failed, and what is needed to see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The reason.
    #[serde(flatten)]
    pub cause: Cause,
    /// The command as the configuration has it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The last lines it printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
}

/// A reason for failing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The command ended with a status that is not 0.
    Exit {
        /// That status.
        status: u32,
    },
    /// The command was ended by a signal.
    Signal {
        /// Its name without SIG.
        signal: String,
    },
    /// The channel closed without a status: nobody knows how the command ended.
    NoStatus,
    /// The connection was lost.
    Lost {
        /// What the transport said.
        detail: String,
    },
    /// The connection could not be made.
    Connect {
        /// Which host, key or port, and what to do.
        detail: String,
        /// What to do next.
        hint: String,
    },
    /// A limit ran out.
    TimedOut {
        /// The limit, in seconds.
        limit: f64,
    },
    /// One of pitcrew's own remote scripts refused, with a code of its own.
    Refused {
        /// For example `no_space`, `current_changed`, `not_proven`.
        code: String,
        /// What it saw.
        detail: String,
    },
    /// Another run holds the lock, or a person froze deploys.
    Locked(Box<Held>),
    /// A health check did not pass in time.
    Unhealthy(Box<Unhealthy>),
    /// A balancer refused or did not answer.
    Balancer {
        /// Which: its address as configured.
        at: String,
        /// `backend/server`, when one is meant.
        member: Option<String>,
        /// What went wrong, as a fragment.
        detail: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// Something on the operator's machine failed.
    Local {
        /// What.
        detail: String,
    },
    /// What the file or the command line names cannot be released: a mistake in either of them.
    Source {
        /// What.
        detail: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// The run was interrupted.
    Interrupted,
    /// Another server's failure made the step pointless.
    Abandoned,
}

/// A lock that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// What its owner wrote: run, who, host, pid, command, since.
    pub owner: BTreeMap<String, String>,
    /// Seconds since it was last renewed, by the server's clock.
    pub age: Option<u64>,
    /// How far its run is, as it said itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What that says of its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// The last answer of a failing health check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unhealthy {
    /// What was asked: a URL, or a command.
    pub asked: String,
    /// How often.
    pub attempts: u32,
    /// Status of the last answer, HTTP or exit.
    pub status: Option<u16>,
    /// `Location` of the last answer.
    pub location: Option<String>,
    /// The first bytes of the body, or the last lines a command printed.
    pub body: String,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// Something a person should read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
pub enum Warning {
    /// Migrations in a parallel run: serial is advised.
    SerialAdvised,
    /// Serial or rolling without a balancer: servers stay in traffic while they restart.
    StaysInTraffic,
    /// Nothing but the process list proves the new release: there is no `[health]`.
    NoHealthCheck,
    /// A step has printed nothing for a while.
    Quiet {
        /// The step.
        step: StepName,
        /// For so many seconds.
        seconds: u64,
        /// The last line it printed.
        last_line: String,
    },
    /// Connections were left at the end of the drain.
    DrainIncomplete {
        /// How many.
        open: u64,
        /// In seconds.
        waited: f64,
    },
    /// What waiting for the balancer will cost, beside its connections and its checks.
    WaitsForBalancer {
        /// Seconds for all batches together.
        seconds: u64,
        /// Batches that are taken out.
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
    /// A member was out already when the run began, and is left so.
    FoundOut {
        /// The server.
        of: ServerName,
        /// `backend/server`.
        member: String,
        /// Its state.
        state: String,
        /// Who took it out, where its server knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<TakenBy>,
    },
    /// Somebody pointed `current` to something else after the server's turn.
    CurrentMoved {
        /// To what.
        current: String,
    },
    /// Somebody removed the release that `current` points to.
    CurrentGone {
        /// Where.
        on: ServerName,
        /// What it points to.
        target: String,
    },
    /// A server's clock differs from this machine's.
    ClockSkew {
        /// Whose.
        of: ServerName,
        /// Seconds, positive when the server is ahead.
        seconds: i64,
    },
    /// A hook that may fail did.
    Hook {
        /// Its command.
        command: String,
        /// How it failed.
        failure: Box<Failure>,
    },
    /// Pruning failed; the deploy stands.
    Prune {
        /// Why.
        failure: Box<Failure>,
    },
    /// Output lines were left out since the reporter could not keep up.
    OutputDropped {
        /// How many.
        lines: u64,
    },
    /// The server needs a person.
    Stuck {
        /// Why.
        stuck: Stuck,
    },
    /// The run waited for another one's lock.
    Waited {
        /// In seconds.
        seconds: u64,
        /// Whose it was.
        held: Box<Held>,
    },
    /// The lock could not be renewed: others may soon take this run for dead.
    NotRenewed {
        /// Seconds since the last renewal.
        seconds: u64,
        /// The lease in seconds.
        lease: u64,
        /// Why.
        failure: Box<Failure>,
    },
    /// Somebody removed the lock while the run was at work: nothing more is done there.
    LockLost {
        /// What the server said.
        detail: String,
    },
    /// A signal asked the run to stop; it unwinds now.
    Interrupted {
        /// Its name without SIG.
        signal: String,
        /// It is not the first: the run stops at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// What a rollback returns to.
    ReturnsTo {
        /// The release.
        release: ReleaseId,
        /// Its age in seconds; `None`: its name is no date.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
        /// Who deployed it, as far as `revisions.log` knows.
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
        /// How.
        detail: String,
    },
    /// The server was reached again and said what had become of the step.
    Found {
        /// The step.
        step: StepName,
        /// What.
        fate: Fate,
    },
    /// Anything else, as data from elsewhere.
    Note {
        /// A sentence.
        text: String,
    },
}

/// Who took a server out of its balancer by hand, as it stands on that server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TakenBy {
    /// Local user's name.
    pub who: String,
    /// Local host's name.
    pub host: String,
    /// RFC 3339, UTC.
    pub since: String,
    /// Why, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a dead run had done to a server, as far as its journal and its balancer tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inherited {
    /// It was being drained.
    pub drained: bool,
    /// It is back in its balancer, or may be.
    pub restored: bool,
    /// `current` was being switched.
    pub switched: bool,
    /// Its web server was being restarted.
    pub restarted: bool,
    /// Its whole batch went well.
    pub finished: bool,
    /// All of it had been taken back.
    pub taken_back: bool,
}

/// What became of a step whose connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It ended well.
    Done,
    /// It ended, and not well.
    Failed,
    /// It began, and ended without a word.
    Unfinished,
    /// It never began, or changes nothing, and is run again.
    Again,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finished {
    /// In a word.
    pub outcome: Outcome,
    /// The process's exit code.
    pub exit_code: u8,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Each server of the run.
    pub servers: Vec<ServerEnd>,
    /// Commands that a person must run next, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// Where a server stands at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerEnd {
    /// Which.
    pub server: ServerName,
    /// What its `current` points to, as far as is known.
    pub release: Option<ReleaseId>,
    /// Whether its balancer sends it traffic; `None` where it has none, or nobody knows.
    pub in_balancer: Option<bool>,
    /// What a person must look at; nothing when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// Why a server needs a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stuck {
    /// It was held where it failed, as `on_failure = hold` asks.
    Held,
    /// Taking it back failed at that step.
    UndoFailed {
        /// The step.
        step: StepName,
    },
    /// It is out of its balancer.
    OutOfBalancer,
    /// Its balancer does not stand to it as before.
    BalancerDiffers,
    /// Somebody pointed its `current` to something else after its turn.
    CurrentMoved,
    /// Its lock could not be released.
    LockKept,
    /// It could not be reached.
    Unreachable,
    /// A second signal ended the run before it was taken back.
    CutShort,
}

/// A run's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the contract")]
pub enum Outcome {
    Deployed,
    Unchanged,
    Reverted,
    Mixed,
    Stuck,
    Locked,
    Unreachable,
    Interrupted,
}

mod millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{at:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(input)
    }
}

macro_rules! words {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // One source of truth: the word in the event is the word on the screen.
                match serde_json::to_value(self) {
                    Ok(serde_json::Value::String(word)) => f.pad(&word),
                    _ => f.pad(&format!("{self:?}")),
                }
            }
        }
    )*};
}
words!(StageName, StepName, StepOutcome, Strategy, Prepare, OnFailure, Outcome, DecidedBy, Stream);
