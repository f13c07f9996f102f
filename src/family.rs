//! A command on this machine with all that it started: told to end together.
//!
//! Its process group gets a signal as a whole. `timeout`, and shells that control jobs, make groups of their own: who
//! descends from the command is looked for as well, where the system tells of that (`/proc`). A daemon, whose parent has
//! ended or which made a session of its own, belongs to it no more.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::machine;

/// Those who are told to end with a command that leads a process group of its own.
///
/// Whoever is left when this is dropped is killed, unless they were let go.
pub struct Family {
    leader: Option<Pid>,
    /// Descendants in other groups, each with its start: a number may be another's one day.
    others: BTreeMap<i32, u64>,
}

impl Family {
    /// Of the child with this number, which leads a process group.
    pub fn of(child: Option<u32>) -> Self {
        Self { leader: child.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw), others: BTreeMap::new() }
    }

    /// Sends them all a signal.
    pub fn tell(&mut self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        // First: with its parent a process loses what it is found by.
        self.others.extend(machine::descend_elsewhere(leader.as_raw(), &self.others));
        let _ = killpg(leader, signal);
        for (pid, _) in self.others.iter().filter(|(pid, start)| is_same(**pid, **start)) {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }

    /// Tells whether any of them is left.
    pub fn is_left(&self) -> bool {
        let Some(leader) = self.leader else { return false };
        killpg(leader, None) != Err(Errno::ESRCH) || self.others.iter().any(|(pid, start)| is_same(*pid, *start))
    }

    /// Ends nobody any more: what a command leaves in the background after its own end is meant to stay.
    pub fn let_go(&mut self) {
        self.leader = None;
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.tell(Signal::SIGKILL);
    }
}

fn is_same(pid: i32, start: u64) -> bool {
    u32::try_from(pid).is_ok_and(|pid| machine::start(pid) == Some(start))
}
