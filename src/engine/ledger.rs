//! The ledger of a run: its work on servers, the balancers as found, the servers that need a person.
//!
//! It only remembers. What follows from a record is decided in [`crate::plan::unwind`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::balancer::Snapshot;
use crate::event::{Sent, Stuck};
use crate::name::ServerName;
use crate::plan::unwind::Record;
use crate::sync::lock;

/// What a run has done so far; lanes that run side by side share it.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    records: BTreeMap<ServerName, Record>,
    snapshots: BTreeMap<ServerName, Snapshot>,
    sent: BTreeMap<ServerName, Sent>,
    stuck: Vec<(ServerName, Stuck)>,
    compared: bool,
    unbuilt: BTreeSet<ServerName>,
    condemned: BTreeSet<ServerName>,
    told: BTreeSet<(ServerName, String)>,
}

impl Ledger {
    /// Continues the records of a dead run.
    pub fn inheriting(records: BTreeMap<ServerName, Record>, snapshots: BTreeMap<ServerName, Snapshot>) -> Self {
        Self { pages: Mutex::new(Pages { records, snapshots, ..Pages::default() }) }
    }

    /// Notes what is about to be done to a server.
    ///
    /// The note precedes the act, so that a half-done act counts as done.
    pub fn note(&self, server: &ServerName, change: impl FnOnce(&mut Record)) {
        change(lock(&self.pages).records.entry(server.clone()).or_default());
    }

    /// What has been done to the server so far.
    pub fn record(&self, server: &ServerName) -> Record {
        lock(&self.pages).records.get(server).cloned().unwrap_or_default()
    }

    /// The servers that the run has done anything to.
    pub fn touched(&self) -> Vec<ServerName> {
        lock(&self.pages).records.keys().cloned().collect()
    }

    /// The servers whose lock the run holds.
    pub fn locked(&self) -> Vec<ServerName> {
        let pages = lock(&self.pages);
        pages.records.iter().filter(|(_, record)| record.locked).map(|(server, _)| server.clone()).collect()
    }

    /// Tells whether a notice of the server was not told before; from now on it was.
    pub fn is_news(&self, server: &ServerName, notice: &str) -> bool {
        lock(&self.pages).told.insert((server.clone(), notice.to_owned()))
    }

    /// Notes that the release could not be built or migrated on the server.
    pub fn note_unbuilt(&self, server: &ServerName) {
        lock(&self.pages).unbuilt.insert(server.clone());
    }

    /// Tells whether the release could not be built or migrated on the server.
    pub fn is_unbuilt(&self, server: &ServerName) -> bool {
        lock(&self.pages).unbuilt.contains(server)
    }

    /// Notes that the release itself failed on the server: it did not start, or did not answer well.
    pub fn condemn(&self, server: &ServerName) {
        lock(&self.pages).condemned.insert(server.clone());
    }

    /// Tells whether the release itself failed on the server.
    pub fn is_condemned(&self, server: &ServerName) -> bool {
        lock(&self.pages).condemned.contains(server)
    }

    /// How the server was found in its balancers; `None`: the run has not drained it.
    pub fn snapshot(&self, server: &ServerName) -> Option<Snapshot> {
        lock(&self.pages).snapshots.get(server).cloned()
    }

    /// Keeps how the server was found in its balancers; the first snapshot stands.
    pub fn found(&self, server: &ServerName, snapshot: Snapshot) {
        lock(&self.pages).snapshots.entry(server.clone()).or_insert(snapshot);
    }

    /// Replaces the snapshot of a server that was back in service and is taken out once more.
    pub fn found_anew(&self, server: &ServerName, snapshot: Snapshot) {
        lock(&self.pages).snapshots.insert(server.clone(), snapshot);
    }

    /// Keeps what was sent to the server until its transfer step ends.
    pub fn sent(&self, server: &ServerName, sent: Sent) {
        lock(&self.pages).sent.insert(server.clone(), sent);
    }

    /// Hands out what was sent to the server, once.
    pub fn take_sent(&self, server: &ServerName) -> Option<Sent> {
        lock(&self.pages).sent.remove(server)
    }

    /// Keeps why a server needs a person.
    pub fn stuck(&self, server: &ServerName, stuck: Stuck) {
        lock(&self.pages).stuck.push((server.clone(), stuck));
    }

    /// The servers that need a person, and why, in the order in which they were noted.
    pub fn all_stuck(&self) -> Vec<(ServerName, Stuck)> {
        lock(&self.pages).stuck.clone()
    }

    /// Notes that the balancers are compared with what they were; true for the first caller only.
    pub fn compare_once(&self) -> bool {
        !std::mem::replace(&mut lock(&self.pages).compared, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::MemberFacts;
    use crate::event::StepName;

    fn name(text: &str) -> ServerName {
        ServerName(text.into())
    }

    fn snapshot(status: &str) -> Snapshot {
        Snapshot { members: vec![MemberFacts { status: status.into(), ..MemberFacts::default() }] }
    }

    #[test]
    fn notes_on_one_server_add_up_and_leave_the_others_alone() {
        let ledger = Ledger::default();
        ledger.note(&name("web1"), |r| r.drained = true);
        ledger.note(&name("web1"), |r| r.restarted = true);
        let expected = Record { drained: true, restarted: true, ..Record::default() };
        assert_eq!(ledger.record(&name("web1")), expected);
        assert_eq!(ledger.record(&name("web2")), Record::default());
        assert_eq!(ledger.touched(), [name("web1")], "a question touches nothing");
    }

    #[test]
    fn only_locked_servers_are_listed_as_locked() {
        let ledger = Ledger::default();
        for (server, locked) in [("b", true), ("a", true), ("c", false)] {
            ledger.note(&name(server), |r| r.locked = locked);
        }
        assert_eq!(ledger.locked(), [name("a"), name("b")]);
        ledger.note(&name("a"), |r| r.locked = false);
        assert_eq!(ledger.locked(), [name("b")]);
    }

    #[test]
    fn the_first_snapshot_stands_until_the_server_is_found_anew() {
        let (ledger, web1) = (Ledger::default(), name("web1"));
        assert_eq!(ledger.snapshot(&web1), None);
        ledger.found(&web1, snapshot("UP"));
        ledger.found(&web1, snapshot("MAINT"));
        assert_eq!(ledger.snapshot(&web1), Some(snapshot("UP")));
        ledger.found_anew(&web1, snapshot("MAINT"));
        assert_eq!(ledger.snapshot(&web1), Some(snapshot("MAINT")));
    }

    #[test]
    fn what_was_sent_is_handed_out_once() {
        let (ledger, web1) = (Ledger::default(), name("web1"));
        let sent = Sent { bytes: 7, whole: 9, files: None, removed: None };
        ledger.sent(&web1, sent);
        assert_eq!(ledger.take_sent(&name("web2")), None);
        assert_eq!(ledger.take_sent(&web1), Some(sent));
        assert_eq!(ledger.take_sent(&web1), None);
    }

    #[test]
    fn stuck_servers_keep_the_order_in_which_they_were_noted() {
        let ledger = Ledger::default();
        ledger.stuck(&name("web2"), Stuck::Held);
        ledger.stuck(&name("web1"), Stuck::UndoFailed { step: StepName::Check });
        ledger.stuck(&name("web2"), Stuck::LockKept);
        let servers: Vec<String> = ledger.all_stuck().into_iter().map(|(server, _)| server.0).collect();
        assert_eq!(servers, ["web2", "web1", "web2"]);
    }

    #[test]
    fn the_balancers_are_compared_once() {
        let ledger = Ledger::default();
        assert_eq!([ledger.compare_once(), ledger.compare_once()], [true, false]);
    }

    #[test]
    fn a_dead_runs_records_and_snapshots_go_on() {
        let record = Record { locked: true, drained: true, ..Record::default() };
        let records = BTreeMap::from([(name("web1"), record.clone())]);
        let ledger = Ledger::inheriting(records, BTreeMap::from([(name("web1"), snapshot("UP"))]));
        ledger.found(&name("web1"), snapshot("MAINT"));
        assert_eq!((ledger.record(&name("web1")), ledger.snapshot(&name("web1"))), (record, Some(snapshot("UP"))));
    }
}
