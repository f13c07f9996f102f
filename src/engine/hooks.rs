//! Hooks: commands of the configuration around steps, on servers or on the operator's machine.

use tokio_util::sync::CancellationToken;

use super::checkup::{Known, revision};
use super::running::Running;
use crate::config::{HookPlace, HookPoint};
use crate::event::{Cause, Event, Failure, Place, StageName, StepName, Warning};
use crate::name::{ReleaseId, ServerName};
use crate::policy::HERE;
use crate::process::command::UserCommand;
use crate::script::Call;
use crate::script::calls::{self, Dir};

/// Runs one hook at its place in the plan.
///
/// # Errors
/// When it failed and `halt` is true; otherwise it is a warning.
pub async fn run(running: &Running, index: usize, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
    let Some(hook) = running.world.config.hooks.get(index) else { return Ok(()) };
    let result = if place.server.as_str() == HERE {
        here(running, index, place, stop).await
    } else {
        let dir = match running.ledger.record(&place.server) {
            // What was prepared is gone, or is no longer what runs.
            record if record.taken_back => match running.plan.previous(&place.server) {
                Some(_) => Dir::Current,
                None => Dir::Root,
            },
            record if record.prepared => Dir::Release(running.plan.release.clone()),
            record if record.switched.is_some() => Dir::Current,
            _ => Dir::Root,
        };
        let mut call = running.with_facts(calls::command(&running.site(), dir, &hook.run), place, Some(&hook.at));
        if running.ledger.record(&place.server).locked {
            call = call.under(&running.world.run, "hook");
        }
        let limit = running.world.config.timeouts.prepare;
        running.call(place, running.script(call, stop).limit(limit).command(&hook.run)).await.map(drop)
    };
    match result {
        // All is done by then: a notification has nothing left to stop.
        Err(failure) if (!hook.halt || hook.at == HookPoint::OnSuccess) && failure.cause != Cause::Interrupted => {
            let warning = Warning::Hook { command: hook.run.clone(), failure: Box::new(failure) };
            running.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
            Ok(())
        }
        other => other,
    }
}

/// Runs the `on failure` hooks; nothing that happens to them changes how the run ends.
pub async fn on_failure(running: &Running) {
    let all = running.plan.batches.concat();
    tell_failure(running, &all).await;
}

/// Runs the `on failure` hooks on the operator's machine alone.
///
/// The run came to nothing: the servers belong to another run.
pub async fn on_refusal(running: &Running) {
    tell_failure(running, &[]).await;
}

async fn tell_failure(running: &Running, all: &[ServerName]) {
    let stop = &running.world.stop;
    let stop = if stop.asked() { &stop.hard } else { &stop.soft };
    for (index, hook) in running.world.config.hooks.iter().enumerate() {
        if hook.at != HookPoint::OnFailure {
            continue;
        }
        let servers = match hook.on {
            HookPlace::Here => vec![ServerName(HERE.into())],
            HookPlace::One => all.iter().take(1).cloned().collect(),
            HookPlace::Each => all.to_vec(),
        };
        for server in servers {
            let place = Place { stage: StageName::Finish, batch: 0, server, step: StepName::Hook };
            if let Err(failure) = run(running, index, &place, stop).await {
                let warning = Warning::Hook { command: hook.run.clone(), failure: Box::new(failure) };
                running.world.emitter.emit(Event::Warning { server: Some(place.server), warning });
            }
        }
    }
}

impl Running {
    /// Adds the run's facts to a command's environment.
    pub fn with_facts(&self, mut call: Call, place: &Place, hook: Option<&HookPoint>) -> Call {
        call.env.extend(self.facts_for(place, hook));
        call
    }

    fn facts_for(&self, place: &Place, hook: Option<&HookPoint>) -> Vec<(String, String)> {
        let mut facts = self.known(place, &self.plan.release).variables();
        facts.extend(hook.map(|hook| ("PITCREW_HOOK".to_owned(), hook.to_string())));
        facts
    }

    /// What commands on the server of a place are told, where `release` is the one that it concerns.
    pub(super) fn known(&self, place: &Place, release: &ReleaseId) -> Known {
        let plan = &self.plan;
        let revision = match *release == plan.release {
            true => Some(plan.revision.clone()),
            false => revision(&self.world.facts, &place.server, release),
        };
        Known {
            app: self.world.config.app.name.clone(),
            run: Some(self.world.run.clone()),
            release: Some(release.clone()),
            revision,
            strategy: Some(plan.strategy),
            stage: place.stage.to_string(),
            server: place.server.clone(),
            servers: plan.batches.concat(),
        }
    }
}

/// Runs a hook on the operator's machine, in the configuration's directory.
async fn here(running: &Running, index: usize, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
    let config = &running.world.config;
    let Some(hook) = config.hooks.get(index) else { return Ok(()) };
    let command = UserCommand {
        command: &hook.run,
        directory: &config.base,
        env: running.world.env.iter().cloned().chain(running.facts_for(place, Some(&hook.at))).collect(),
        limit: config.timeouts.prepare,
    };
    let hear = |stream, line: &str| {
        running.world.emitter.emit(Event::Output { place: place.clone(), stream, line: line.to_owned() });
    };
    running.world.hands.here(&command, stop, &hear).await
}
