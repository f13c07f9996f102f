//! A command on this machine with all that it started: told to end together.
//!
//! Its process group gets a signal as a whole. `timeout`, and shells that control jobs, make groups of their own: who
//! descends from the command is looked for as well, where the system tells of that (`/proc`). A daemon, whose parent has
//! ended or which made a session of its own, belongs to it no more.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::machine;

/// How often whoever was told to end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Between KILL and giving up.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// Those who are told to end with a command that leads a process group of its own.
///
/// Whoever is left when this is dropped is killed, unless they were let go.
pub struct Family {
    leader: Option<Pid>,
    /// The leader, and its descendants in other groups, each with its start: a number may be another's one day.
    known: BTreeMap<i32, u64>,
}

impl Family {
    /// Of the child with this number, which leads a process group.
    pub fn of(child: Option<u32>) -> Self {
        let started = child.and_then(|id| Some((i32::try_from(id).ok()?, machine::start(id)?)));
        Self {
            leader: child.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw),
            known: started.into_iter().collect(),
        }
    }

    /// Ends them all and waits for that: TERM, and KILL for whoever is left after `grace`.
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

    /// Sends them all a signal.
    fn tell(&mut self, signal: Signal) {
        let Some(leader) = self.leader else { return };
        // First: with its parent a process loses what it is found by.
        self.known.extend(machine::descend_elsewhere(leader.as_raw(), &self.known));
        let _ = killpg(leader, signal);
        for pid in self.known.keys().copied().filter(|pid| *pid != leader.as_raw() && self.is_there(*pid)) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Tells whether any of them is left.
    fn is_left(&self) -> bool {
        let Some(leader) = self.leader else { return false };
        killpg(leader, None) != Err(Errno::ESRCH) || self.known.keys().any(|pid| self.is_there(*pid))
    }

    /// Tells whether that very process lives.
    fn is_there(&self, pid: i32) -> bool {
        let now = u32::try_from(pid).ok().and_then(machine::start);
        now.is_some() && now == self.known.get(&pid).copied()
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

/// A signal's name without SIG, or its number where it has none.
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().trim_start_matches("SIG").to_owned())
}
