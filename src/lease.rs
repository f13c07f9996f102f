//! What a held lock says of its holder: at work, dead, silent, stuck, or no run at all but a freeze.
//!
//! A lock is a lease: its holder renews it, and says in it how long its silence may last. Ages are those of files on the
//! server that holds the lock, by that server's clock, so that no other clock matters. Pure: it judges, and touches
//! nothing; what this machine knows of a process comes from [`crate::machine`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;

/// The lease where the configuration says no other, and of locks that do not say theirs.
pub const DEFAULT: Duration = Duration::from_secs(120);
/// The shortest lease: a renewal must have time to fail and be repeated.
pub const LEAST: Duration = Duration::from_secs(5);
/// Times a lock is renewed within its lease: several may fail before a warning.
pub const RENEWALS: u32 = 4;
/// Seconds after which a lock that does not name its holder was left by a run that died.
///
/// No living run takes longer to write its name.
const ORPHANED: u64 = 10;

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockFacts {
    /// What its owner wrote, by key.
    ///
    /// The keys are `run`, `who`, `host`, `pid`, `process`, `command`, `since` and `lease`; a freeze has also `freeze`,
    /// `reason` and `until`.
    pub owner: BTreeMap<String, String>,
    /// Seconds since it was taken or renewed, by the server's clock.
    pub age: Option<u64>,
    /// What the run wrote of how far it is.
    pub phase: Option<String>,
    /// The journal's last line: seconds since the epoch, the script, what it was about to change.
    pub doing: Option<String>,
    /// Why the run ended and kept it.
    pub stuck: Option<String>,
    /// Seconds until a freeze ends, by the server's clock; it is over when there are none left.
    pub left: Option<i64>,
    /// The plan that was written into it, line by line; only the probe tells.
    pub plan: Vec<String>,
    /// What this machine knows of the process that took it; the caller that asked the server adds it.
    pub seen: Seen,
}

/// The key of a lock's owner that says whose work it guards, where that is another's.
pub const ORIGIN: &str = "recovers";

impl LockFacts {
    /// Reads who holds the lock from the answers of a `lock` script.
    ///
    /// The script was refused with `locked`, or only looked.
    pub fn read(answers: &[Answer]) -> Self {
        let mut lock = Self::default();
        for answer in answers {
            // An unreadable number counts as missing: the lock is held all the same.
            let _ = lock.take(answer);
        }
        lock
    }

    /// The run that holds it; empty when it does not say.
    pub fn run(&self) -> &str {
        self.owner.get("run").map(String::as_str).unwrap_or_default()
    }

    /// The run whose work it guards: its own, or that of the dead run which it began to recover.
    pub fn origin(&self) -> &str {
        self.owner.get(ORIGIN).map_or_else(|| self.run(), String::as_str)
    }

    pub(crate) fn take(&mut self, answer: &Answer) -> Result<(), ()> {
        let value = answer.value.as_str();
        let text = || Some(value.to_owned()).filter(|v| !v.trim().is_empty());
        match answer.key.as_str() {
            "owner" => {
                if let Some((key, value)) = value.split_once('=') {
                    self.owner.insert(key.to_owned(), value.to_owned());
                }
            }
            "age" => self.age = Some(value.trim().parse().map_err(drop)?),
            "left" => self.left = Some(value.trim().parse().map_err(drop)?),
            "phase" => self.phase = text(),
            "doing" => self.doing = text(),
            "stuck" => self.stuck = text(),
            "plan" => self.plan.push(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// A lock that another run or an operator holds.
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

/// A process, beyond doubt: no other process of any machine is written so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The boot of its machine (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Its pid namespace (`/proc/self/ns/pid`): pids of another mean other processes.
    pub namespace: String,
    /// Its pid there.
    pub pid: u32,
    /// When it started, in clock ticks since the boot (`/proc/PID/stat`, field 22): pids are used again.
    pub start: u64,
}

/// What this machine knows of the process that took a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// Nothing: it runs elsewhere, or this machine cannot tell.
    #[default]
    Unknown,
    /// It runs here.
    Alive,
    /// It ran here, beyond doubt, and has ended.
    Ended,
    /// A process of that number runs on a machine of that name, and it may be another.
    Perhaps,
}

/// How a lock stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Standing {
    /// Its run is a live process of this machine.
    AliveHere {
        /// That process.
        pid: u32,
    },
    /// Its lease has not run out.
    Renewed {
        /// Seconds since the last sign of life.
        age: u64,
        /// The holder's lease in seconds.
        lease: u64,
    },
    /// Its run was a process of this machine, and has ended without releasing it.
    Dead {
        /// That process.
        pid: u32,
    },
    /// Its lease has run out: the run is dead, or cut off from this server.
    Silent {
        /// Seconds since the last sign of life.
        age: u64,
        /// The holder's lease in seconds.
        lease: u64,
    },
    /// Its run has ended and kept it, since a person must look.
    Stuck {
        /// Why.
        reason: String,
    },
    /// A person froze deploys.
    Frozen {
        /// Why.
        reason: String,
        /// Seconds until it ends; `None`: it ends when an operator unlocks.
        left: Option<u64>,
    },
    /// A person froze deploys for a time that is over: it stops no run any more.
    Expired,
    /// Nothing in it names its holder: the run that made it died over it, or a person wrote it by hand.
    Unowned {
        /// Seconds since it was made.
        age: Option<u64>,
    },
    /// The server cannot tell its age, and this machine does not know its run.
    Unknown,
}

/// Judges a lock by what stands in it, by its age, and by what this machine knows of its run.
pub fn judge(lock: &LockFacts) -> Standing {
    let text = |key: &str| lock.owner.get(key).map(|v| v.trim()).filter(|v| !v.is_empty());
    if text("freeze").is_some() {
        return match lock.left.map(|left| u64::try_from(left).unwrap_or(0)) {
            Some(0) => Standing::Expired,
            left => Standing::Frozen { reason: text("reason").unwrap_or_default().to_owned(), left },
        };
    }
    if let Some(reason) = &lock.stuck {
        return Standing::Stuck { reason: reason.clone() };
    }
    if text("run").is_none() {
        return Standing::Unowned { age: lock.age };
    }
    let pid = text("pid").and_then(|p| p.parse().ok()).unwrap_or(0);
    let lease = lease(lock).as_secs();
    match (lock.seen, lock.age) {
        (Seen::Alive, _) => Standing::AliveHere { pid },
        (Seen::Ended, _) => Standing::Dead { pid },
        (Seen::Unknown | Seen::Perhaps, Some(age)) if age <= lease => Standing::Renewed { age, lease },
        // Not beyond doubt, and still a reason to leave it alone.
        (Seen::Perhaps, _) => Standing::AliveHere { pid },
        (Seen::Unknown, Some(age)) => Standing::Silent { age, lease },
        (Seen::Unknown, None) => Standing::Unknown,
    }
}

/// What a run that wanted the lock is told of it.
pub fn held(lock: &LockFacts) -> Held {
    // Which script it runs: the journal's lines are the time, the script, and what it was about to change.
    let doing = lock.doing.as_deref().and_then(|line| line.split(' ').nth(1)).filter(|w| !w.is_empty());
    let phase = match (lock.phase.as_deref(), doing) {
        (Some(phase), Some(doing)) => Some(format!("{phase} ({doing})")),
        (phase, doing) => phase.or(doing).map(str::to_owned),
    };
    Held { owner: lock.owner.clone(), age: lock.age, phase, standing: Some(judge(lock)) }
}

/// The lease that the holder wrote into its lock.
pub fn lease(lock: &LockFacts) -> Duration {
    let written = lock.owner.get("lease").and_then(|l| l.trim().parse().ok()).map(Duration::from_secs);
    // Whatever stands there: for ever is no lease.
    written.unwrap_or(DEFAULT).clamp(LEAST, Duration::from_secs(24 * 3600))
}

impl Standing {
    /// Tells whether a run may be at work behind it, so that only force may take it away.
    pub fn may_be_at_work(&self) -> bool {
        match self {
            Self::AliveHere { .. } | Self::Renewed { .. } | Self::Unknown => true,
            Self::Unowned { age } => age.is_some_and(|age| age < ORPHANED),
            Self::Dead { .. } | Self::Silent { .. } | Self::Stuck { .. } | Self::Frozen { .. } | Self::Expired => false,
        }
    }

    /// Tells whether waiting so long may help.
    pub fn may_end_within(&self, wait: Duration) -> bool {
        match self {
            Self::Frozen { left: Some(left), .. } => Duration::from_secs(*left) <= wait,
            Self::Expired => true,
            _ => self.may_be_at_work(),
        }
    }

    /// Tells whether a run left it behind, so that `recover` is what takes it away.
    pub fn is_left_behind(&self) -> bool {
        match self {
            Self::Dead { .. } | Self::Silent { .. } | Self::Stuck { .. } => true,
            Self::Unowned { .. } => !self.may_be_at_work(),
            Self::AliveHere { .. } | Self::Renewed { .. } | Self::Frozen { .. } | Self::Expired | Self::Unknown => {
                false
            }
        }
    }
}

impl Process {
    /// Reads what [`Process`]'s `Display` wrote into a lock.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (boot, namespace) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (pid, start) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (words.next().is_none() && pid > 0).then_some(Self { boot, namespace, pid, start })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.boot, self.namespace, self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: &[(&str, &str)]) -> LockFacts {
        let owner = owner.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LockFacts { owner, ..LockFacts::default() }
    }

    const RUN: [(&str, &str); 3] = [("run", "r1"), ("pid", "42"), ("lease", "60")];

    fn run(age: Option<u64>, seen: Seen) -> Standing {
        judge(&LockFacts { age, seen, ..lock(&RUN) })
    }

    #[test]
    fn the_holders_own_lease_decides_where_its_process_is_unknown() {
        assert_eq!(run(Some(60), Seen::Unknown), Standing::Renewed { age: 60, lease: 60 });
        assert_eq!(run(Some(61), Seen::Unknown), Standing::Silent { age: 61, lease: 60 });
        assert_eq!(run(None, Seen::Unknown), Standing::Unknown);
        let unsaid = judge(&LockFacts { age: Some(119), ..lock(&RUN[..1]) });
        assert_eq!(unsaid, Standing::Renewed { age: 119, lease: 120 });
        for (written, lease) in [("0", 5), ("99999999999", 86400), ("x", 120), ("-1", 120)] {
            let odd = lock(&[("run", "r"), ("lease", written)]);
            assert_eq!(super::lease(&odd).as_secs(), lease, "{written}");
        }
    }

    #[test]
    fn a_process_of_this_machine_is_known_beyond_doubt_or_not_at_all() {
        assert_eq!(run(Some(4000), Seen::Alive), Standing::AliveHere { pid: 42 });
        assert_eq!(run(Some(0), Seen::Ended), Standing::Dead { pid: 42 });
        assert_eq!(run(None, Seen::Ended), Standing::Dead { pid: 42 });
        assert_eq!(run(Some(10), Seen::Perhaps), Standing::Renewed { age: 10, lease: 60 });
        assert_eq!(run(Some(4000), Seen::Perhaps), Standing::AliveHere { pid: 42 });
    }

    #[test]
    fn a_freeze_holds_until_its_time_is_over_whatever_else_is_known() {
        let frozen = [("run", "r1"), ("freeze", "yes"), ("reason", "fair"), ("until", "1795423815")];
        let left = |left| judge(&LockFacts { left, age: Some(9000), seen: Seen::Ended, ..lock(&frozen) });
        assert_eq!(left(Some(1)), Standing::Frozen { reason: "fair".into(), left: Some(1) });
        assert_eq!(left(None), Standing::Frozen { reason: "fair".into(), left: None });
        assert_eq!((left(Some(0)), left(Some(-7))), (Standing::Expired, Standing::Expired));
        assert!(!left(Some(7)).may_end_within(Duration::from_secs(6)));
        assert!(left(Some(6)).may_end_within(Duration::from_secs(6)));
        assert!(!left(None).may_end_within(Duration::MAX));
    }

    #[test]
    fn a_kept_lock_is_stuck_even_while_its_process_lives() {
        let stuck = Some("web2: could not restart".to_owned());
        let kept = judge(&LockFacts { stuck, age: Some(1), seen: Seen::Alive, ..lock(&RUN) });
        assert_eq!(kept, Standing::Stuck { reason: "web2: could not restart".into() });
        assert!(kept.is_left_behind() && !kept.may_be_at_work() && !kept.may_end_within(Duration::MAX));
    }

    #[test]
    fn a_lock_without_an_owner_is_being_made_or_was_left() {
        let young = judge(&LockFacts { age: Some(1), ..LockFacts::default() });
        assert!(young.may_be_at_work() && !young.is_left_behind(), "{young:?}");
        for age in [None, Some(ORPHANED)] {
            let old = judge(&LockFacts { age, ..LockFacts::default() });
            assert!(!old.may_be_at_work() && old.is_left_behind(), "{old:?}");
        }
    }

    #[test]
    fn only_what_may_be_at_work_is_waited_for() {
        for (standing, waits) in [
            (Standing::AliveHere { pid: 1 }, true),
            (Standing::Renewed { age: 1, lease: 60 }, true),
            (Standing::Unknown, true),
            (Standing::Dead { pid: 1 }, false),
            (Standing::Silent { age: 61, lease: 60 }, false),
        ] {
            assert_eq!(standing.may_end_within(Duration::from_secs(1)), waits, "{standing:?}");
            assert_eq!(standing.is_left_behind(), !waits && standing != Standing::Unknown, "{standing:?}");
        }
    }

    #[test]
    fn a_process_survives_the_lock_file() {
        let process = Process { boot: "b-1".into(), namespace: "pid:[4026531836]".into(), pid: 7, start: 99 };
        assert_eq!(Process::parse(&process.to_string()), Some(process));
        for bad in ["", "a b", "a b 0 1", "a b 1 x", "a b 1 2 3"] {
            assert_eq!(Process::parse(bad), None, "{bad}");
        }
    }
}
