//! What a run was, as far as can be seen from outside: the evidence that [`crate::rules`] judges.

use std::time::Duration;

use pitcrew::demo::Admin;
use pitcrew::demo::Record;
use pitcrew::demo::balancer::MemberState;
use pitcrew::demo::load::LoadReport;

use crate::case::{Case, Spot};

/// What a run was, as far as can be seen from outside.
pub struct Evidence {
    /// The case.
    pub case: Case,
    /// The servers' login shell.
    pub shell: String,
    /// How many of its harms came to pass.
    pub hits: usize,
    /// Exit code; `None`: it was killed, or did not end.
    pub code: Option<i32>,
    /// It was ended by the sweep after [`LIMIT`].
    pub endless: bool,
    /// Seconds.
    pub took: f64,
    /// What it printed.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// Signals that were sent while it ran, `kill -9` not counted.
    pub signals: usize,
    /// How long it ran on after the second of them.
    pub after_second: Option<Duration>,
    /// The fleet's log of the run.
    pub log: Vec<Record>,
    /// The places that were passed.
    pub spots: Vec<Spot>,
    /// What was wrong with a `current` or a release while it ran.
    pub moments: Vec<String>,
    /// Servers whose lock passed to another run, and the number of the log's next record then.
    pub stolen: Vec<(String, u64)>,
    /// A server that somebody else had out when the run ended, and put back later.
    pub away: Option<String>,
    /// Each balancer's members before the run.
    pub before: Vec<(String, Vec<MemberState>)>,
    /// Each server after the run.
    pub servers: Vec<Standing>,
    /// After a kill: every `pitcrew recover`, in order.
    pub recovered: Vec<Recovery>,
    /// What the hooks wrote: on each server, and last on the operator's machine.
    pub hooks: Vec<Vec<String>>,
    /// What became of the traffic, where there was some.
    pub load: Option<LoadReport>,
    /// The longest time between two looks at the servers, which should be a moment: how busy the machine was.
    pub late: Duration,
}

/// What a recovery meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Things go wrong.
    Harm,
    /// A server is cut off, and nothing else is wrong.
    Absence,
    /// All is well: it must reach what unwinding would have reached.
    Nothing,
    /// All is done.
    Done,
}

/// How `pitcrew recover` ended.
pub struct Recovery {
    /// What it met.
    pub meets: Meets,
    /// Exit code; `None`: it was killed, or did not end.
    pub code: Option<i32>,
    /// It did not end.
    pub endless: bool,
    /// What it printed on standard output: events.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// How many harms came to pass.
    pub hits: usize,
    /// The places that were passed.
    pub spots: Vec<Spot>,
    /// Each server after it, where that is looked at.
    pub servers: Vec<Standing>,
}

/// How one server stands.
#[derive(Debug)]
pub struct Standing {
    /// `s1`.
    pub name: String,
    /// As the configuration and pitcrew's events name it.
    pub ip: String,
    /// What `current` links to.
    pub current: Option<String>,
    /// Every release directory: name, state as pitcrew wrote it, what it lacks.
    pub releases: Vec<(String, Option<String>, Vec<String>)>,
    /// A lock lies there.
    pub locked: bool,
    /// What the application itself answers: status and the release it runs from.
    pub answer: Option<(u16, String)>,
    /// Where each of the application's processes runs.
    pub app: Vec<String>,
    /// Other processes.
    pub strays: Vec<String>,
    /// As each balancer has it.
    pub members: Vec<MemberState>,
}

impl Standing {
    /// Tells whether it serves a release as it should: the balancer sends traffic to processes that run it and are well.
    pub fn serves(&self) -> Option<&str> {
        let current = self.current.as_deref()?;
        let whole = self.app.len() == 2 && self.app.iter().all(|r| r == current);
        let well = self.answer.as_ref().is_some_and(|(status, release)| *status == 200 && release == current);
        (whole && well && self.members.iter().all(|m| m.in_service)).then_some(current)
    }

    /// Tells whether every balancer lets it have traffic.
    pub fn is_let_in(&self) -> bool {
        self.members.iter().all(|m| m.admin == Admin::Ready)
    }

    /// Tells whether nothing was ever deployed to it, and nobody keeps traffic from it.
    pub fn is_bare(&self) -> bool {
        self.current.is_none() && self.app.is_empty() && self.is_let_in()
    }

    /// As its balancers show it.
    pub fn status(&self) -> String {
        self.members.iter().map(|m| m.status.as_str()).collect::<Vec<_>>().join(", ")
    }
}
