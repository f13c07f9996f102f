//! Unwinding: from what was done to a server to how it is taken back. Pure; the engine executes it.
//!
//! "Never back in the balancer without a good check" needs no special case: it is the order of the answer, and the
//! engine stops a server's list at the first failure.

use crate::name::ReleaseId;

/// What a run has done to one server; each mark is set before the act begins, so that a half-done act counts as done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Its lock is taken.
    pub locked: bool,
    /// A release was being prepared on it.
    pub prepared: bool,
    /// It was being taken out of its balancer.
    pub drained: bool,
    /// It was being put back.
    pub restored: bool,
    /// `current` was being switched.
    pub switched: Option<Switched>,
    /// The web server was being restarted on the new release.
    pub restarted: bool,
    /// Its batch has succeeded.
    pub finished: bool,
    /// It was being taken out once more, to take it back; what a dead run came to is not known.
    pub out_again: bool,
    /// All of that has been taken back.
    pub taken_back: bool,
    /// What became of the release is written on it.
    pub marked: bool,
    /// A step of its own failed.
    pub failed: bool,
}

/// A switch of `current`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// What it pointed to; `None`: there was none.
    pub from: Option<ReleaseId>,
    /// What it points to.
    pub to: ReleaseId,
}

/// One thing done to take a server back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takeback {
    /// Out of the balancer again, before its processes are touched.
    Drain,
    /// `current` back to where it was; `None`: there was none, the link goes.
    SwitchBack(Option<ReleaseId>),
    /// The web server restarted on the release it was on.
    Restart(ReleaseId),
    /// What a first deploy started is stopped: there is nothing to go back to.
    Stop,
    /// Proof that it serves.
    Check,
    /// Back into the balancer, as it was found.
    Restore,
    /// The prepared release is removed.
    RemoveRelease,
}

/// Lists what takes the server back to how the run found it, in order.
pub fn lane(record: &Record) -> Vec<Takeback> {
    let mut list = Vec::new();
    let balanced = record.drained;
    match &record.switched {
        Some(Switched { from, to }) if from.as_ref() != Some(to) => {
            // Its restart would lose requests in service; draining is idempotent, so a half-restored one is drained too.
            if balanced && record.restored && record.restarted {
                list.push(Takeback::Drain);
            }
            list.push(Takeback::SwitchBack(from.clone()));
            match (record.restarted, from) {
                (true, Some(from)) => list.push(Takeback::Restart(from.clone())),
                (true, None) => list.push(Takeback::Stop),
                (false, _) => {}
            }
            // After a first deploy nothing serves, so there is nothing to prove; in a balancer it must stay out.
            if from.is_some() || balanced {
                list.push(Takeback::Check);
            }
            if balanced {
                list.push(Takeback::Restore);
            }
        }
        // The same release again (a rollback to where the server already is): its processes were restarted at most.
        Some(_) | None => {
            if record.prepared {
                list.push(Takeback::RemoveRelease);
            }
            if balanced && (!record.restored || record.restarted) {
                list.push(Takeback::Check);
                list.push(Takeback::Restore);
            } else if balanced {
                list.push(Takeback::Restore);
            } else if record.restarted {
                list.push(Takeback::Check);
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ReleaseId {
        ReleaseId::parse(text).unwrap()
    }

    fn every_record() -> Vec<Record> {
        let old = id("20260101000000");
        let new = id("20260102000000");
        let switches = [
            None,
            Some(Switched { from: Some(old.clone()), to: new.clone() }),
            Some(Switched { from: None, to: new.clone() }),
            Some(Switched { from: Some(new.clone()), to: new.clone() }),
        ];
        let mut all = Vec::new();
        for bits in 0..32u8 {
            for switched in &switches {
                let bit = |n: u8| bits & (1 << n) != 0;
                let record = Record {
                    locked: true,
                    prepared: bit(0),
                    drained: bit(1),
                    restored: bit(1) && bit(2),
                    switched: switched.clone(),
                    restarted: switched.is_some() && bit(3),
                    finished: bit(4),
                    out_again: false,
                    taken_back: false,
                    marked: false,
                    failed: false,
                };
                all.push(record);
            }
        }
        all
    }

    #[test]
    fn nothing_returns_to_a_balancer_without_a_check_after_its_last_restart() {
        for record in every_record() {
            let list = lane(&record);
            let at = |what: fn(&Takeback) -> bool| list.iter().position(what);
            let Some(restore) = at(|t| matches!(t, Takeback::Restore)) else { continue };
            assert_eq!(restore, list.len() - 1, "{record:?}");
            let touched = record.restarted || !record.restored;
            if touched {
                let check = at(|t| matches!(t, Takeback::Check));
                assert!(check.is_some_and(|c| c + 1 == restore), "{record:?} -> {list:?}");
            }
        }
    }

    #[test]
    fn whatever_was_drained_is_restored_last_and_whatever_was_switched_is_switched_back() {
        for record in every_record() {
            let list = lane(&record);
            assert_eq!(list.contains(&Takeback::Restore), record.drained, "{record:?}");
            let moved = record.switched.as_ref().is_some_and(|s| s.from.as_ref() != Some(&s.to));
            assert_eq!(list.iter().any(|t| matches!(t, Takeback::SwitchBack(_))), moved, "{record:?}");
            // A release that was switched to stays for inspection; one that never was goes.
            let removed = list.contains(&Takeback::RemoveRelease);
            assert_eq!(removed, record.prepared && !moved, "{record:?}");
        }
    }

    #[test]
    fn a_server_back_in_service_is_drained_before_its_processes_are_touched() {
        let old = id("20260101000000");
        let record = Record {
            locked: true,
            prepared: true,
            drained: true,
            restored: true,
            switched: Some(Switched { from: Some(old.clone()), to: id("20260102000000") }),
            restarted: true,
            finished: true,
            out_again: false,
            taken_back: false,
            marked: false,
            failed: false,
        };
        let expected = [
            Takeback::Drain,
            Takeback::SwitchBack(Some(old.clone())),
            Takeback::Restart(old),
            Takeback::Check,
            Takeback::Restore,
        ];
        assert_eq!(lane(&record), expected);
    }

    #[test]
    fn a_first_deploy_leaves_nothing_running() {
        let switched = Some(Switched { from: None, to: id("20260102000000") });
        let record = Record { switched, restarted: true, prepared: true, ..Record::default() };
        assert_eq!(lane(&record), [Takeback::SwitchBack(None), Takeback::Stop]);
    }
}
