//! Walking the plan: stages, batches and phases one after the other, lanes side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::world::World;
use super::{hooks, renew, unwind};
use crate::config::OnFailure;
use crate::event::{
    Blocker, Cause, Event, Failure, Place, Planned, RunVerb, StageName, StepName, StepOutcome, Warning,
};
use crate::name::ServerName;
use crate::plan::{Act, Batch, Lane, Phase, Plan, Verb};
use crate::policy::HERE;

/// Executes a plan to its end, and ends the connections.
///
/// `planned` is the first event; the reporting emits `finished`.
pub async fn run(world: World, plan: Plan) {
    world.emitter.emit(Event::Planned(planned(&world, &plan)));
    let running = Arc::new(Running::new(world, plan));
    let over = CancellationToken::new();
    let keeping = tokio::spawn(renew::keep(running.clone(), over.clone()));
    // A signal that came before anything was begun, or something that makes it impossible.
    let refused = running.world.stop.asked() || !running.plan.blockers.is_empty();
    match (running.world.stop.asked(), refused) {
        (true, _) => {}
        (false, true) => running.refuse(),
        (false, false) => walk(&running).await,
    }
    if refused || running.plan.unchanged {
        // What was taken before there was a plan is no step's to release.
        unwind::unlock(&running).await;
    }
    if refused {
        hooks::on_refusal(&running).await;
    }
    over.cancel();
    // Only what is told to end before its connection is closed does end.
    let _ = keeping.await;
    running.world.hands.close().await;
}

/// The plan as its first event shows it.
pub fn planned(world: &World, plan: &Plan) -> Planned {
    Planned {
        app: world.config.app.name.clone(),
        verb: match plan.verb {
            Verb::Deploy => RunVerb::Deploy,
            Verb::Rollback => RunVerb::Rollback,
        },
        strategy: plan.strategy,
        decided_by: plan.decided_by,
        web_server: world.config.web.name.clone(),
        prepare: plan.prepare,
        on_failure: plan.on_failure,
        release: plan.release.clone(),
        revision: plan.revision.clone(),
        previous: plan.previous.clone(),
        batches: plan.batches.clone(),
        migrate_on: plan.migrate_on.clone(),
        steps: plan.places(),
        notices: plan.notices.clone(),
        blockers: plan.blockers.clone(),
    }
}

async fn walk(running: &Arc<Running>) {
    for (number, stage) in running.plan.stages.iter().enumerate() {
        if stage.name == StageName::Finish {
            // While the locks still keep others from changing anything.
            running.last_word().await;
        }
        for (index, batch) in stage.batches.iter().enumerate() {
            let began = Instant::now();
            let emitter = &running.world.emitter;
            let batches = stage.batches.len();
            emitter.emit(Event::StageStarted { stage: stage.name, batch: index, batches });
            running.leases.phase(match batches {
                1 => stage.name.to_string(),
                _ => format!("{}, batch {} of {batches}", stage.name, index + 1),
            });
            let good = running.batch((number, stage.name, index), batch).await;
            let outcome = if good { StepOutcome::Ok } else { StepOutcome::Failed };
            let seconds = began.elapsed().as_secs_f64();
            emitter.emit(Event::StageFinished { stage: stage.name, batch: index, outcome, seconds });
            // A signal after the last batch comes too late to take anything back: every server serves the release.
            let last = stage.name == StageName::Rollout && index + 1 == stage.batches.len();
            if good && (stage.name == StageName::Finish || last || !running.world.stop.asked()) {
                continue;
            }
            if stage.name == StageName::Finish {
                // The release serves everywhere: what failed is named, and nothing is taken back.
                unwind::settle(running).await;
                unwind::unlock(running).await;
                // What was made good in the end is no failure.
                if running.world.emitter.exit_code() != 0 {
                    hooks::on_failure(running).await;
                }
                return;
            }
            // A batch that has succeeded is not in flight any more.
            let failing = (stage.name == StageName::Rollout).then_some(index + usize::from(good));
            unwind::unwind(running, failing, !good).await;
            return;
        }
    }
}

impl Running {
    /// Says of everything that makes the plan impossible where it would have failed.
    fn refuse(&self) {
        let here = ServerName(HERE.into());
        // A build on this machine has told of its failure where that happened.
        let untold = |b: &&Blocker| b.server.is_some() || b.step != StepName::Build;
        for Blocker { server, step, failure } in self.plan.blockers.iter().filter(untold) {
            let server = server.clone().unwrap_or_else(|| here.clone());
            let place = Place { stage: StageName::Lock, batch: 0, server, step: *step };
            let emitter = &self.world.emitter;
            emitter.emit(Event::StepStarted { place: place.clone() });
            emitter.emit(Event::StepFinished {
                place,
                outcome: StepOutcome::Failed,
                seconds: 0.0,
                failure: Some(Box::new(failure.clone())),
                sent: None,
            });
        }
    }

    /// Takes a batch through its phases.
    ///
    /// True: every step of every lane went well.
    async fn batch(self: &Arc<Self>, at: (usize, StageName, usize), batch: &Batch) -> bool {
        let (number, stage, index) = at;
        let failed = Arc::new(std::sync::Mutex::new(Vec::<ServerName>::new()));
        let trouble = Arc::new(AtomicBool::new(false));
        // A step that all of the batch depend on has failed: no server goes on, whatever the policy.
        let halt = Arc::new(AtomicBool::new(false));
        let mut whole = true;
        for phase in 0..batch.phases.len() {
            if halt.load(Ordering::Acquire) || (trouble.load(Ordering::Acquire) && !self.holds(stage)) {
                whole = false;
                break;
            }
            if self.world.stop.asked() && stage != StageName::Finish {
                return false;
            }
            let mut lanes = JoinSet::new();
            for lane in 0..batch.phases[phase].lanes.len() {
                let (running, failed, trouble, halt) = (self.clone(), failed.clone(), trouble.clone(), halt.clone());
                lanes.spawn(async move {
                    let lane = &running.plan.stages[number].batches[index].phases[phase].lanes[lane];
                    if crate::sync::lock(&failed).contains(&lane.server) {
                        return;
                    }
                    if !running.lane((stage, index), lane, &trouble).await {
                        trouble.store(true, Ordering::Release);
                        let shared = |act: &Act| {
                            matches!(act, Act::Hook { .. } | Act::Transfer | Act::Link | Act::Build | Act::Migrate)
                        };
                        if lane.steps.iter().any(shared) {
                            halt.store(true, Ordering::Release);
                        }
                        running.ledger.note(&lane.server, |r| r.failed = true);
                        crate::sync::lock(&failed).push(lane.server.clone());
                    }
                });
            }
            lanes.join_all().await;
        }
        let good = !trouble.load(Ordering::Acquire);
        // With `hold` the mates of a failing server may have gone all the way.
        let whole = whole && !halt.load(Ordering::Acquire) && (good || !self.world.stop.asked());
        if whole && stage == StageName::Rollout && (good || self.holds(stage)) {
            for server in batch.phases.iter().flat_map(|p: &Phase| &p.lanes).map(|l| &l.server) {
                if server.as_str() != HERE && !crate::sync::lock(&failed).contains(server) {
                    self.ledger.note(server, |r| r.finished = true);
                }
            }
        }
        good
    }

    /// With `hold` the mates of a failing server go on: it stays as it is, and they need not.
    fn holds(&self, stage: StageName) -> bool {
        stage == StageName::Finish || (stage == StageName::Rollout && self.plan.on_failure == OnFailure::Hold)
    }

    /// Takes one server through its steps of a phase.
    ///
    /// True: all went well.
    async fn lane(&self, at: (StageName, usize), lane: &Lane, trouble: &AtomicBool) -> bool {
        for act in &lane.steps {
            let stopped = self.world.stop.asked() && at.0 != StageName::Finish;
            if stopped || (trouble.load(Ordering::Acquire) && !self.holds(at.0)) {
                // Never in mid-step, but nothing new is begun that would be taken back at once.
                return !stopped;
            }
            if !self.step(at, &lane.server, act).await {
                return false;
            }
        }
        true
    }

    /// Does one step and says so.
    async fn step(&self, at: (StageName, usize), server: &ServerName, act: &Act) -> bool {
        let place = self.place(at, server, act.name());
        let emitter = &self.world.emitter;
        emitter.emit(Event::StepStarted { place: place.clone() });
        let began = Instant::now();
        let result = tokio::select! {
            result = self.act(act, &place) => result,
            // What waits for nothing but itself (a lock of another process, a stuck library) ends here all the same.
            () = self.world.stop.hard.cancelled() => Err(Failure::from(Cause::Interrupted)),
        };
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                let sent = if *act == Act::Transfer { self.ledger.take_sent(server) } else { None };
                emitter.emit(Event::StepFinished { place, outcome: StepOutcome::Ok, seconds, failure: None, sent });
                true
            }
            Err(failure) if place.step == StepName::Prune => {
                // The release serves: what is left over on a disk does not undo that.
                let warning = Warning::Prune { failure: Box::new(failure) };
                emitter.emit(Event::Warning { server: Some(server.clone()), warning });
                emitter.emit(Event::StepFinished {
                    place,
                    outcome: StepOutcome::Skipped,
                    seconds,
                    failure: None,
                    sent: None,
                });
                true
            }
            Err(failure) => {
                // What the network or a signal did says nothing of the revision.
                let definite = matches!(failure.cause, Cause::Exit { .. } | Cause::TimedOut { .. });
                if definite && matches!(place.step, StepName::Build | StepName::Migrate) {
                    self.ledger.note_unbuilt(server);
                }
                if matches!(place.step, StepName::Restart | StepName::Check) && failure.cause.condemns() {
                    self.ledger.condemn(server);
                }
                // Left behind on request: named, and no reason to stop.
                let skipped = place.step == StepName::Connect && self.plan.skipped.contains(server);
                let failure = Some(Box::new(failure));
                emitter.emit(Event::StepFinished { place, outcome: StepOutcome::Failed, seconds, failure, sent: None });
                skipped
            }
        }
    }
}
