//! Runs one act of the plan on one server: chooses its script or balancer call.
//!
//! Writes into the run's record what the act did.
//!
//! `call` runs scripts, `balance` speaks to the balancers, `prove` restarts and checks; this file only chooses among them.

use tokio_util::sync::CancellationToken;

use super::hooks;
use super::running::Running;
use crate::answer::Answer;
use crate::config::{Server, SourceKind};
use crate::event::{Cause, Event, Failure, Place, Refusal, StageName, StepName, Warning};
use crate::facts::ServerFacts;
use crate::name::{ReleaseId, ServerName};
use crate::plan::Act;
use crate::plan::intent::Intent;
use crate::plan::past::MIGRATED;
use crate::release::ReleaseState;
use crate::remote::execute::no_link;
use crate::script::Call;
use crate::script::calls::{self, AsPlanned, Behind, Mark};
use crate::text::clean::clean;
use crate::wording::cause::reason;

impl Running {
    /// Does one act of the plan.
    ///
    /// # Errors
    /// Why it failed; whatever it changed is in the server's record.
    pub async fn act(&self, act: &Act, place: &Place) -> Result<(), Failure> {
        // Finishing is what an interrupted run would do as well; only a second signal cuts it short.
        let stop = if place.stage == StageName::Finish { &self.world.stop.hard } else { &self.world.stop.soft };
        if let Act::Hook { index, .. } = act {
            // A hook may hang for its own reasons: the first signal ends it, wherever it stands.
            let stop = if self.world.stop.asked() { &self.world.stop.hard } else { &self.world.stop.soft };
            return hooks::run(self, *index, place, stop).await;
        }
        let server = self.server(&place.server).ok_or_else(|| no_link(&place.server))?;
        let config = &self.world.config;
        let run = &self.world.run;
        let release = &self.plan.release;
        if let Some(detail) = self.leases.lost(&server.name) {
            // Whatever is done here now may be done to another run's server.
            return Err(Cause::Refused { code: Refusal::LockLost, detail }.into());
        }
        match act {
            Act::Connect => match self.world.facts.unreachable.get(&server.name) {
                Some(failure) => Err(failure.clone()),
                None => self.world.hands.connect(&server.name).await,
            },
            Act::Lock => self.take_lock(server, place, stop).await,
            Act::Transfer => {
                self.ledger.note(&server.name, |r| r.begin(act));
                if let Some(fetch) = &self.world.fetch {
                    return self.fetch(fetch, place, stop).await;
                }
                let sent = self.transfer(place, stop).await?;
                self.ledger.sent(&server.name, sent);
                Ok(())
            }
            Act::Link => {
                let call = calls::link(&self.site(), run, release, &config.shared);
                self.call(place, self.script(call, stop).limit(config.timeouts.prepare)).await.map(drop)
            }
            Act::Build => {
                for command in &config.build {
                    self.command(place, command, config.timeouts.prepare, stop).await?;
                }
                Ok(())
            }
            Act::Migrate => match &config.migrate {
                Some(migrate) => self.command(place, &migrate.run, config.timeouts.migrate, stop).await,
                None => Ok(()),
            },
            Act::Drain => {
                self.ledger.note(&server.name, |r| r.begin(act));
                self.drain(server, place, stop).await
            }
            Act::Switch { .. } => self.switch_on(act, place, stop).await,
            Act::Restart => {
                self.stay_out(server, place, stop).await?;
                self.ledger.note(&server.name, |r| r.begin(act));
                let done = self.restart(place, release, stop).await;
                if matches!(&done, Err(Failure { cause, .. }) if cause.changed_nothing(StepName::Restart)) {
                    self.ledger.note(&server.name, |r| r.restarted = false);
                }
                done
            }
            Act::Check => self.check(server, place, release, stop).await,
            Act::Restore => {
                self.ledger.note(&server.name, |r| r.begin(act));
                self.restore(server, stop).await
            }
            Act::Prune => self.prune(place, stop).await,
            Act::Unlock => {
                self.leases.released(&server.name);
                self.call(place, self.script(calls::unlock(&self.site(), run), stop)).await?;
                self.ledger.note(&server.name, |r| r.locked = false);
                Ok(())
            }
            Act::Hook { .. } => Ok(()),
        }
    }

    async fn take_lock(&self, server: &Server, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        self.ledger.note(&server.name, |r| r.begin(&Act::Lock));
        self.world.hands.stand_ready(&server.name, &self.site()).await;
        let taken = self.call(place, self.script(self.lock(&server.name), stop)).await;
        match &taken {
            Ok(_) => self.leases.taken(&server.name),
            // Another run's lock: not ours to release.
            Err(Failure { cause: Cause::Locked(_), .. }) => self.ledger.note(&server.name, |r| r.locked = false),
            // What is wrong with a server that the run was told to leave out stops no other. Whatever of its lock is there
            // goes with the others.
            Err(Failure { cause: cause @ Cause::Refused { .. }, .. })
                if self.plan.bystanders.contains(&server.name) =>
            {
                let warning = Warning::LeftUnlocked { of: server.name.clone(), why: reason(cause) };
                self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
                return Ok(());
            }
            Err(_) => {}
        }
        taken.map(drop)
    }

    /// Switches to the run's release.
    async fn switch_on(&self, act: &Act, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let Act::Switch { from, to } = act else { return Ok(()) };
        self.ledger.note(&place.server, |r| r.begin(act));
        let done = self.switch(place, from.as_ref(), Some(to), stop).await;
        if matches!(&done, Err(Failure { cause, .. }) if cause.changed_nothing(StepName::Switch)) {
            // There is nothing to switch back.
            self.ledger.note(&place.server, |r| r.switched = None);
        }
        done
    }

    /// The call that takes the lock, and leaves in it what is meant to be done.
    fn lock(&self, server: &ServerName) -> Call {
        let intent = Intent::of(&self.plan, server, &self.world.owner.who).among(&self.plan, &self.world.roster);
        let call = calls::lock(&self.site(), &self.world.owner).planning(&intent.line());
        match self.world.facts.servers.get(server) {
            Some(found) => {
                let newest = found.releases.last().map(|r| &r.id);
                let adopts = found.adopts.as_ref();
                call.expecting(AsPlanned { current: found.current.as_ref(), newest, adopts })
            }
            None => call,
        }
    }

    /// Points `current` from one release to another.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub async fn switch(
        &self,
        place: &Place,
        from: Option<&ReleaseId>,
        to: Option<&ReleaseId>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let call = calls::switch(&self.site(), &self.world.run, from, to);
        self.call(place, self.script(call, stop)).await.map(drop)
    }

    async fn prune(&self, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let line = self.history();
        let release = &self.plan.release;
        // A run that did not put it back leaves word that an earlier one had taken it out.
        let stays_out = self.world.facts.servers.get(&place.server).is_some_and(ServerFacts::was_left_drained)
            && !self.ledger.record(&place.server).drained;
        let behind = (!stays_out).then_some(Behind::No);
        let mark = Mark { state: Some((release, ReleaseState::Good)), line: Some(&line), behind };
        let previous: Vec<ReleaseId> = self.plan.previous(&place.server).cloned().into_iter().collect();
        let keep = self.world.config.app.keep_releases;
        let mut call = calls::prune(&self.site(), &self.world.run, keep, &previous).marking(&mark);
        if self.world.config.source.kind == SourceKind::Push {
            call = call.keeping_cache();
        }
        let execution = self.script(call, stop).limit(self.world.config.timeouts.prepare);
        let pruned = self.call(place, execution).await.map(|answers| {
            for warning in told_by_prune(&answers) {
                self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
            }
        });
        // What cannot be removed is told after all has been recorded.
        let recorded = match &pruned {
            Ok(()) => true,
            Err(failure) => matches!(failure.cause, Cause::Refused { code: Refusal::NotRemoved, .. }),
        };
        if recorded {
            self.ledger.note(&place.server, |r| r.marked = true);
        }
        pruned
    }

    /// Writes what has become of the run's release, and of the server.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub async fn mark(&self, place: &Place, mark: &Mark<'_>, stop: &CancellationToken) -> Result<(), Failure> {
        self.call(place, self.script(calls::mark(&self.site(), &self.world.run, mark), stop)).await.map(drop)
    }

    /// The line of `revisions.log`, as Capistrano writes it.
    pub fn history(&self) -> String {
        let (who, revision, release) = (&self.world.owner.who, &self.plan.revision, &self.plan.release);
        match self.plan.verb {
            crate::plan::Verb::Deploy => {
                let migrated = if self.plan.migrate_on.is_some() { MIGRATED } else { "" };
                format!("Release {release} (at {revision}) deployed by {who} in run {}{migrated}", self.world.run)
            }
            crate::plan::Verb::Rollback => {
                format!("{who} rolled back to release {release} (at {revision}) in run {}", self.world.run)
            }
        }
    }
}

/// Returns what the answers of the prune script warn of: releases that are kept are one warning.
fn told_by_prune(answers: &[Answer]) -> Vec<Warning> {
    let of = |key: &'static str| answers.iter().filter(move |a| a.key == key).map(|a| a.value.as_str());
    let mut told: Vec<Warning> = of("moved").map(|current| Warning::CurrentMoved { current: clean(current) }).collect();
    let more = match of("kept").count() {
        0 | 1 => String::new(),
        kept => format!("; so do {} more, for processes like it", kept - 1),
    };
    let first = of("kept").next().and_then(|value| value.split_once(' '));
    if let Some((release, why)) = first.and_then(|(release, why)| Some((ReleaseId::parse(release)?, why))) {
        told.push(Warning::ReleaseKept { release, why: format!("{why}{more}") });
    }
    told
}
