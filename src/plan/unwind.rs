//! Unwinding: from what was done to a server to the list that takes it back.
//!
//! Pure; the engine executes the list.
//!
//! `--dry-run` prints the same list ([`Forecast`]). "Never back in the balancer without a good check" needs no special
//! case: it is the order of the list, and the engine stops a server's list at the first failure.

use std::collections::BTreeMap;

use super::act::Act;
use super::shape::{Lane, Plan};
use crate::event::StepName;
use crate::name::{ReleaseId, ServerName};

/// What a run has done to one server.
///
/// [`Record::begin`] sets a mark before the act begins: half done counts as done.
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

impl Record {
    /// Marks that an act begins on the server.
    ///
    /// Releasing the lock sets no mark: it undoes one when it has succeeded.
    pub fn begin(&mut self, act: &Act) {
        match act {
            Act::Lock => self.locked = true,
            Act::Transfer => self.prepared = true,
            Act::Drain => self.drained = true,
            Act::Switch { from, to } => self.switched = Some(Switched { from: from.clone(), to: to.clone() }),
            Act::Restart => self.restarted = true,
            Act::Restore => self.restored = true,
            Act::Connect
            | Act::Link
            | Act::Build
            | Act::Migrate
            | Act::Check
            | Act::Prune
            | Act::Unlock
            | Act::Hook { .. } => {}
        }
    }
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
    /// Proof that this release serves.
    Check(ReleaseId),
    /// No earlier release can be proven: the server stays out of its balancer and needs a person.
    StayOut,
    /// Back into the balancer, as it was found.
    Restore,
    /// The prepared release is removed.
    RemoveRelease,
}

impl Takeback {
    /// The step of the plan that this takes back, as events name it.
    pub fn step(&self) -> StepName {
        match self {
            // Draining again takes back the restore, and restoring takes back the drain.
            Self::Drain => StepName::Restore,
            Self::Restore => StepName::Drain,
            Self::SwitchBack(_) => StepName::Switch,
            Self::Restart(_) | Self::Stop => StepName::Restart,
            Self::Check(_) | Self::StayOut => StepName::Check,
            Self::RemoveRelease => StepName::Transfer,
        }
    }
}

/// Follows a plan lane by lane and tells what would take each server back if its batch failed there.
pub struct Forecast<'a> {
    plan: &'a Plan,
    records: BTreeMap<&'a ServerName, Record>,
}

impl<'a> Forecast<'a> {
    /// Begins before the first lane.
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan, records: BTreeMap::new() }
    }

    /// Lists what would take the lane's server back after this lane.
    ///
    /// The list is empty where the lane itself changes nothing. The lanes must come in the plan's order: a list also takes
    /// back what earlier lanes of the server did.
    pub fn after(&mut self, lane: &'a Lane) -> Vec<Takeback> {
        let record = self.records.entry(&lane.server).or_default();
        let before = record.clone();
        lane.steps.iter().for_each(|act| record.begin(act));
        match *record == before {
            true => Vec::new(),
            false => way_back(self.plan, &lane.server, record),
        }
    }
}

/// Lists what takes a server of a plan back to how the run found it, in order.
///
/// That is [`lane`]'s list, without a check where the plan asks nothing of the server.
pub fn way_back(plan: &Plan, server: &ServerName, record: &Record) -> Vec<Takeback> {
    let mut list = lane(record, plan.previous(server));
    list.retain(|takeback| plan.is_checked(server) || !matches!(takeback, Takeback::Check(_)));
    list
}

/// Lists what takes a server back to how the run found it, in order.
///
/// `previous` is its release before the run. The lock is not in the list: it is released when all servers have been
/// taken back.
pub fn lane(record: &Record, previous: Option<&ReleaseId>) -> Vec<Takeback> {
    let check = || previous.map_or(Takeback::StayOut, |release| Takeback::Check(release.clone()));
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
                list.push(check());
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
                list.push(check());
                list.push(Takeback::Restore);
            } else if balanced {
                list.push(Takeback::Restore);
            } else if record.restarted {
                list.push(check());
            }
        }
    }
    // What comes after that never runs.
    if let Some(end) = list.iter().position(|takeback| *takeback == Takeback::StayOut) {
        list.truncate(end + 1);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::journal::Wreck;

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

    /// The release before the run: what `current` pointed to, or the old one where it was never switched.
    fn previous(record: &Record) -> Option<ReleaseId> {
        record.switched.as_ref().map_or_else(|| Some(id("20260101000000")), |s| s.from.clone())
    }

    #[test]
    fn nothing_returns_to_a_balancer_without_a_check_after_its_last_restart() {
        for record in every_record() {
            let list = lane(&record, previous(&record).as_ref());
            let at = |what: fn(&Takeback) -> bool| list.iter().position(what);
            let Some(restore) = at(|t| matches!(t, Takeback::Restore)) else { continue };
            assert_eq!(restore, list.len() - 1, "{record:?}");
            let touched = record.restarted || !record.restored;
            if touched {
                let check = at(|t| matches!(t, Takeback::Check(_)));
                assert!(check.is_some_and(|c| c + 1 == restore), "{record:?} -> {list:?}");
            }
        }
    }

    #[test]
    fn whatever_was_drained_is_restored_last_and_whatever_was_switched_is_switched_back() {
        for record in every_record() {
            let list = lane(&record, previous(&record).as_ref());
            let returns = previous(&record).is_some();
            assert_eq!(list.contains(&Takeback::Restore), record.drained && returns, "{record:?}");
            assert_eq!(list.last() == Some(&Takeback::StayOut), record.drained && !returns, "{record:?}");
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
            Takeback::Restart(old.clone()),
            Takeback::Check(old.clone()),
            Takeback::Restore,
        ];
        assert_eq!(lane(&record, Some(&old)), expected);
    }

    #[test]
    fn a_server_that_nothing_is_asked_of_is_not_said_to_be_proven() {
        let (old, worker) = (id("20260101000000"), ServerName("worker1".into()));
        let mut plan = Wreck::of_nothing(std::slice::from_ref(&worker)).plan;
        plan.previous = vec![(worker.clone(), Some(old.clone()))];
        let switched = Some(Switched { from: Some(old.clone()), to: id("20260102000000") });
        let record = Record { switched, prepared: true, ..Record::default() };
        let expected = [Takeback::SwitchBack(Some(old.clone())), Takeback::Check(old.clone())];
        assert_eq!(way_back(&plan, &worker, &record), expected);
        plan.unchecked = vec![worker.clone()];
        assert_eq!(way_back(&plan, &worker, &record), [Takeback::SwitchBack(Some(old))]);
        // A first deploy that was drained still stays out.
        plan.previous.clear();
        let drained = Record { drained: true, ..record };
        assert_eq!(way_back(&plan, &worker, &drained).last(), Some(&Takeback::StayOut));
    }

    #[test]
    fn a_first_deploy_leaves_nothing_running() {
        let switched = Some(Switched { from: None, to: id("20260102000000") });
        let record = Record { switched, restarted: true, prepared: true, ..Record::default() };
        assert_eq!(lane(&record, None), [Takeback::SwitchBack(None), Takeback::Stop]);
    }
}
