//! A command with all that it started, which end together.
//!
//! A signal goes to the command's process group as a whole. `timeout`, and shells that control jobs, make groups of their
//! own: Linux tells which processes descend from the command, and which have its mark in their environment. A daemon, which
//! made a session of its own, does not belong to the command.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::proc::{self, Known};

/// Pause between two looks at processes that were told to end.
const LOOK: Duration = Duration::from_millis(20);
/// Limit on the end after KILL.
const AFTER_KILL: Duration = Duration::from_secs(1);
/// Rounds of KILL: a process may start another one between the search and the signal.
const ROUNDS: u32 = 50;

/// What a command is started with, so that all that it starts can be found.
#[derive(Debug, Clone)]
pub struct ChildMark(String);

/// Where a command belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// In a process group of its own: Ctrl-C at the terminal is for pitcrew, which then decides.
    Own,
    /// In pitcrew's own, where the terminal's foreground is: it may ask the person something.
    Shared,
}

/// The processes that end with a command.
///
/// Dropping it kills them, unless they were let go.
pub struct Descendants {
    leader: Option<Pid>,
    group: Group,
    mark: ChildMark,
    /// The leader, and its descendants in other groups.
    known: Known,
}

impl ChildMark {
    /// The name of the variable that holds it.
    pub const NAME: &str = "PITCREW_COMMAND";

    /// Makes one that no other command has.
    pub fn random() -> Self {
        Self(format!("{}-{:016x}", std::process::id(), rand::random::<u64>()))
    }

    /// The value of the variable.
    pub fn value(&self) -> &str {
        &self.0
    }

    fn variable(&self) -> String {
        format!("{}={}", Self::NAME, self.0)
    }
}

impl Descendants {
    /// Follows a child that was started with `mark`.
    pub fn of(child: Option<u32>, group: Group, mark: ChildMark) -> Self {
        let started = child.and_then(|id| Some((i32::try_from(id).ok()?, proc::start(id)?)));
        let leader = child.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { leader, group, mark, known: started.into_iter().collect() }
    }

    /// Ends them all and waits for that: TERM, and KILL for those that still run after `grace`.
    pub async fn end(&mut self, child: &mut Child, grace: Duration) {
        for (signal, grace) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, AFTER_KILL)] {
            self.tell(signal);
            let gone = async {
                let _ = child.wait().await;
                // The shell may end at once, and what it ran take its time.
                while self.is_left() {
                    sleep(LOOK).await;
                }
            };
            if timeout(grace, gone).await.is_ok() {
                break;
            }
        }
        self.let_go();
    }

    /// Kills them all, and waits until they have ended.
    pub fn kill(&mut self, child: &mut std::process::Child) {
        for _ in 0..ROUNDS {
            self.tell(Signal::SIGKILL);
            // A leader that has ended is a zombie, and counts as a member of its group, until its status is read.
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            if ended && !self.is_left() {
                break;
            }
            std::thread::park_timeout(LOOK);
        }
        self.let_go();
    }

    /// Sends them all a signal.
    fn tell(&mut self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        // First: a process whose parent has ended no longer descends from the leader.
        self.known.extend(proc::descend(&self.known, &self.mark.variable(), self.own_group()));
        match self.group {
            Group::Own => drop(killpg(leader, signal)),
            // Not one that has ended: its number may be another's.
            Group::Shared if self.known.is_empty() || self.is_there(leader.as_raw()) => drop(kill(leader, signal)),
            Group::Shared => {}
        }
        for pid in self.known.keys().copied().filter(|pid| *pid != leader.as_raw() && self.is_there(*pid)) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn own_group(&self) -> Option<Pid> {
        self.leader.filter(|_| self.group == Group::Own)
    }

    /// Tells whether one of them still runs.
    fn is_left(&self) -> bool {
        if self.leader.is_none() {
            return false;
        }
        self.own_group().is_some_and(|group| killpg(group, None) != Err(Errno::ESRCH))
            || self.known.keys().any(|pid| self.is_there(*pid))
    }

    /// Tells whether that very process lives.
    fn is_there(&self, pid: i32) -> bool {
        let now = u32::try_from(pid).ok().and_then(proc::start);
        now.is_some() && now == self.known.get(&pid).copied()
    }

    /// Leaves them running: what a command starts in the background may outlive the command's own end.
    pub fn let_go(&mut self) {
        self.leader = None;
    }
}

impl Drop for Descendants {
    fn drop(&mut self) {
        self.tell(Signal::SIGKILL);
    }
}
