//! Unwinds a dead run: takes its locks over and takes back what it did.
//!
//! It does so as the dead run itself would have done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::{renew, unwind};
use crate::event::{Cause, Event, Failure, Inherited, Refusal, StageName, StepName, StepOutcome, Stuck, Warning};
use crate::name::{RunId, ServerName};
use crate::plan::unwind::Record;
use crate::script::calls;

/// How taking over the locks of a dead run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// All of them are this run's.
    All,
    /// Another run was faster, and none is this run's.
    Anothers,
    /// One could not be taken.
    Failed,
}

/// Makes these servers' locks this run's own, each from the run that holds it.
///
/// `origin` is the dead run that is recovered; a run that died in recovering it may hold some of its locks by now.
pub async fn take_over(running: &Arc<Running>, servers: &[(ServerName, RunId)], origin: &RunId) -> Taken {
    // The first decides between two who recover at once, as it does between two who deploy.
    let (lead, rest) = servers.split_at(servers.len().min(1));
    for side_by_side in [lead, rest] {
        let mut lanes = JoinSet::new();
        for (name, from) in side_by_side {
            let (running, name, from, origin) = (running.clone(), name.clone(), from.clone(), origin.clone());
            lanes.spawn(async move { running.take_over(&name, &from, &origin).await });
        }
        let taken = lanes.join_all().await;
        match taken.as_slice() {
            all if all.iter().all(|taken| *taken == Taken::All) => {}
            [Taken::Anothers] if std::ptr::eq(side_by_side, lead) => {
                return Taken::Anothers;
            }
            _ => return Taken::Failed,
        }
    }
    Taken::All
}

/// Asks servers that nothing but their health proves, and returns those that are healthy.
///
/// They are asked as the dead run would have asked them.
pub async fn healthy(running: &Arc<Running>, servers: &[ServerName]) -> BTreeSet<ServerName> {
    let over = CancellationToken::new();
    let keeping = tokio::spawn(renew::keep(running.clone(), over.clone()));
    let asked = servers.iter().map(|server| async {
        let place = running.place((StageName::Rollout, 0), server, StepName::Check);
        let failure = running.healthy(&place, &running.plan.release, &running.world.stop.soft).await.err();
        let failure = failure.map(Box::new);
        if let Some(failure) = failure {
            let warning = Warning::NotHealthy { release: running.plan.release.clone(), failure };
            running.world.emitter.emit(Event::Warning { server: Some(server.clone()), warning });
            return None;
        }
        Some(server.clone())
    });
    let healthy = join_all(asked).await.into_iter().flatten().collect();
    over.cancel();
    let _ = keeping.await;
    healthy
}

/// Takes back what the dead run had in flight, or finishes what it had finished, and releases its lock.
pub async fn run(running: &Arc<Running>, failing: Option<usize>, unreadable: &[ServerName]) {
    for server in running.ledger.touched() {
        let record = running.ledger.record(&server);
        if let Some(known) = running.server(&server).filter(|_| record.drained) {
            running.tell_found_out(known);
        }
        running.world.emitter.emit(Event::Inherited { server, inherited: inherited(&record) });
    }
    for server in unreadable {
        running.stuck(server, Stuck::LockKept);
    }
    let over = CancellationToken::new();
    let keeping = tokio::spawn(renew::keep(running.clone(), over.clone()));
    match failing {
        Some(batch) => unwind::unwind(running, Some(batch), false).await,
        None => {
            unwind::settle(running).await;
            unwind::unlock(running).await;
        }
    }
    over.cancel();
    let _ = keeping.await;
}

/// What a record says of a dead run.
pub fn inherited(record: &Record) -> Inherited {
    Inherited {
        drained: record.drained,
        restored: record.restored,
        switched: record.switched.is_some(),
        restarted: record.restarted,
        finished: record.finished,
        taken_back: record.taken_back,
    }
}

/// Says what a dead run had done, as far as it is known.
///
/// A recovery that came no further has left everything so.
pub fn tell(running: &Running, records: BTreeMap<ServerName, Record>) {
    for (server, record) in records {
        running.world.emitter.emit(Event::Inherited { server, inherited: inherited(&record) });
    }
}

impl Running {
    async fn take_over(&self, server: &ServerName, from: &RunId, origin: &RunId) -> Taken {
        let place = self.place((StageName::Lock, 0), server, StepName::Lock);
        let emitter = &self.world.emitter;
        emitter.emit(Event::StepStarted { place: place.clone() });
        let began = Instant::now();
        let call = calls::takeover(&self.site(), &self.world.owner, from, origin);
        let stop = &self.world.stop;
        let result = tokio::select! {
            result = self.call(&place, self.script(call, &stop.soft)) => result,
            () = stop.hard.cancelled() => Err(Failure::from(Cause::Interrupted)),
        };
        let mut taken = Taken::All;
        let (outcome, failure) = match result {
            // The dead run's own release of it has come round since it was seen.
            Ok(answers) if answers.iter().any(|a| a.key == "lock" && a.value == "free") => (StepOutcome::Skipped, None),
            Ok(_) => (StepOutcome::Ok, None),
            Err(failure) => {
                let faster = matches!(failure.cause, Cause::Refused { code: Refusal::LockedAnew, .. });
                taken = if faster { Taken::Anothers } else { Taken::Failed };
                (StepOutcome::Failed, Some(Box::new(failure)))
            }
        };
        emitter.emit(Event::StepFinished {
            place,
            outcome,
            seconds: began.elapsed().as_secs_f64(),
            failure,
            sent: None,
        });
        taken
    }

    /// Names a server that this run cannot do anything for.
    pub fn cannot_reach(&self, server: &ServerName, failure: Failure) {
        let place = self.place((StageName::Lock, 0), server, StepName::Connect);
        let emitter = &self.world.emitter;
        emitter.emit(Event::StepStarted { place: place.clone() });
        let failure = Some(Box::new(failure));
        emitter.emit(Event::StepFinished { place, outcome: StepOutcome::Failed, seconds: 0.0, failure, sent: None });
    }

    /// Says what a person should read.
    pub fn say(&self, warning: Warning) {
        self.world.emitter.emit(Event::Warning { server: None, warning });
    }
}
