//! The stages of a plan: which steps each server goes through, in which order, behind which barriers.

use super::act::Act;
use super::shape::{Batch, Lane, Phase, Plan, Stage, Verb};
use crate::config::{BuildPlace, Config, HookPlace, HookPoint, HookStep, Prepare, Strategy};
use crate::event::StageName;
use crate::name::{ReleaseId, ServerName};
use crate::policy::HERE;

struct Builder<'a> {
    config: &'a Config,
    plan: &'a Plan,
    drains: bool,
    all: Vec<ServerName>,
}

/// Builds the stages of a plan whose other fields are decided.
///
/// `drains`: there is a balancer and the strategy uses it.
pub fn build(config: &Config, plan: &Plan, drains: bool) -> Vec<Stage> {
    let all = plan.batches.concat();
    let b = Builder { config, plan, drains, all };
    let mut stages = vec![b.lock()];
    if plan.verb == Verb::Deploy && plan.prepare == Prepare::Ahead {
        stages.push(one(StageName::Prepare, b.prepare(&b.all)));
        // In a walk the migration server migrates in its own turn, when it is out of the balancer.
        if plan.strategy == Strategy::Parallel && plan.migrate_on.is_some() {
            stages.push(one(StageName::Migrate, b.migrate()));
        }
    }
    stages.push(Stage {
        name: StageName::Rollout,
        batches: (0..plan.batches.len()).map(|index| Batch { phases: b.batch(index, &stages) }).collect(),
    });
    stages.push(b.finish());
    for stage in &mut stages {
        for batch in &mut stage.batches {
            batch.phases.retain(|p| p.lanes.iter().any(|l| !l.steps.is_empty()));
        }
    }
    stages
}

/// The stages of a run that has nothing to do.
///
/// They still name the servers that could not be reached.
pub fn unreached(plan: &Plan) -> Vec<Stage> {
    if plan.skipped.is_empty() {
        return Vec::new();
    }
    let lane = |s: &ServerName| Lane { server: s.clone(), steps: vec![Act::Connect] };
    vec![one(StageName::Lock, vec![Phase { lanes: plan.skipped.iter().map(lane).collect() }])]
}

/// Lists the servers whose release nothing proves.
pub fn unchecked(config: &Config) -> Vec<ServerName> {
    let asks = config.health.is_some() || !config.web.proof.none;
    config.servers.iter().filter(|s| !(s.is_web() && asks)).map(|s| s.name.clone()).collect()
}

fn one(name: StageName, phases: Vec<Phase>) -> Stage {
    Stage { name, batches: vec![Batch { phases }] }
}

impl Builder<'_> {
    fn lock(&self) -> Stage {
        let mut locked = self.locked();
        let reached: Vec<ServerName> = locked.iter().chain(&self.plan.skipped).cloned().collect();
        let connect = self.lanes(&reached, |_| vec![Act::Connect]);
        let lock = |_: &ServerName| vec![Act::Lock];
        let mut phases = vec![connect];
        // One server decides between two runs that start together; only its winner goes on to the others. Where two runs
        // reach different servers no single server may decide: a run that leaves servers behind has taken its locks before.
        let rest = locked.split_off(locked.len().min(1));
        let lead = self.lanes(&locked, lock);
        let rest = self.lanes(&rest, lock);
        phases.extend(self.around(HookStep::Lock, vec![lead, rest]));
        one(StageName::Lock, phases)
    }

    /// Every server whose lock is taken, in the file's order, whatever the order of the walk.
    ///
    /// Two runs must agree on that order.
    fn locked(&self) -> Vec<ServerName> {
        let servers = self.config.servers.iter().map(|s| &s.name);
        servers.filter(|s| self.all.contains(s) || self.plan.bystanders.contains(s)).cloned().collect()
    }

    fn prepare(&self, servers: &[ServerName]) -> Vec<Phase> {
        let lanes = self.lanes(servers, |_| {
            let mut steps = vec![Act::Transfer];
            if !self.config.shared.dirs.is_empty() || !self.config.shared.files.is_empty() {
                steps.push(Act::Link);
            }
            if !self.config.build.is_empty() && self.config.build_on == BuildPlace::Each {
                steps.push(Act::Build);
            }
            steps
        });
        self.around(HookStep::Prepare, vec![lanes])
    }

    fn migrate(&self) -> Vec<Phase> {
        let Some(server) = &self.plan.migrate_on else { return Vec::new() };
        let lanes = self.lanes(std::slice::from_ref(server), |_| vec![Act::Migrate]);
        self.around(HookStep::Migrate, vec![lanes])
    }

    /// What a batch of the rollout goes through; `before` are the stages that come before it.
    fn batch(&self, index: usize, before: &[Stage]) -> Vec<Phase> {
        let servers = &self.plan.batches[index];
        let drained: Vec<ServerName> = servers.iter().filter(|s| self.is_drained(s)).cloned().collect();
        let web: Vec<ServerName> = servers.iter().filter(|s| self.is_web(s)).cloned().collect();
        let mut phases = Vec::new();
        if !drained.is_empty() {
            let lanes = self.lanes(&drained, |_| vec![Act::Drain]);
            phases.extend(self.around(HookStep::Drain, vec![lanes]));
        }
        if self.plan.verb == Verb::Deploy && self.plan.prepare == Prepare::InTurn {
            phases.extend(self.prepare(servers));
        }
        let migrated = before.iter().any(|s| s.name == StageName::Migrate);
        if index == 0 && !migrated {
            phases.extend(self.migrate());
        }
        let to = &self.plan.release;
        let switch = self.lanes(servers, |s| vec![Act::Switch { from: self.previous(s), to: to.clone() }]);
        let prove = self.lanes(&web, |server| {
            let restart = (!self.config.web.proof.none).then_some(Act::Restart);
            let check = self.plan.is_checked(server).then_some(Act::Check);
            restart.into_iter().chain(check).collect()
        });
        phases.extend(self.merge(self.around(HookStep::Switch, vec![switch]), prove));
        if !drained.is_empty() {
            let lanes = self.lanes(&drained, |_| vec![Act::Restore]);
            phases.extend(self.around(HookStep::Restore, vec![lanes]));
        }
        phases
    }

    fn finish(&self) -> Stage {
        let success: Vec<Phase> = self.hooks(HookPoint::OnSuccess, &self.all);
        let prune = self.lanes(&self.all, |_| vec![Act::Prune]);
        let mut phases = self.around(HookStep::Finish, vec![prune]);
        phases.extend(success);
        let mut locked = self.locked();
        // The server that decides which run wins is let go last, so that its winner finds the others free.
        let rest = locked.split_off(locked.len().min(1));
        phases.push(self.lanes(&rest, |_| vec![Act::Unlock]));
        phases.push(self.lanes(&locked, |_| vec![Act::Unlock]));
        one(StageName::Finish, phases)
    }

    fn lanes(&self, servers: &[ServerName], steps: impl Fn(&ServerName) -> Vec<Act>) -> Phase {
        Phase { lanes: servers.iter().map(|s| Lane { server: s.clone(), steps: steps(s) }).collect() }
    }

    /// Puts hooks before and after phases.
    ///
    /// Hooks on servers run in lanes; the operator's run before or after them.
    fn around(&self, at: HookStep, phases: Vec<Phase>) -> Vec<Phase> {
        let mut servers: Vec<ServerName> = Vec::new();
        for lane in phases.iter().flat_map(|p| &p.lanes) {
            // A server that is only locked runs no hooks.
            if !servers.contains(&lane.server) && self.all.contains(&lane.server) {
                servers.push(lane.server.clone());
            }
        }
        let mut all = self.hooks(HookPoint::Before(at), &servers);
        all.extend(phases);
        all.extend(self.hooks(HookPoint::After(at), &servers));
        all
    }

    fn hooks(&self, point: HookPoint, servers: &[ServerName]) -> Vec<Phase> {
        let hooks = self.config.hooks.iter().enumerate().filter(|(_, h)| h.at == point);
        hooks
            .map(|(index, hook)| {
                let act = |_: &ServerName| vec![Act::Hook { index, on: hook.on }];
                let here = [ServerName(HERE.into())];
                match hook.on {
                    HookPlace::Each => self.lanes(servers, act),
                    HookPlace::One => self.lanes(&servers[..servers.len().min(1)], act),
                    HookPlace::Here => self.lanes(&here, act),
                }
            })
            .collect()
    }

    /// Lets a server go on from its switch to its restart without waiting for the others.
    ///
    /// It does so where no hook stands between.
    fn merge(&self, mut phases: Vec<Phase>, next: Phase) -> Vec<Phase> {
        let hooks_after = self.config.hooks.iter().any(|h| h.at == HookPoint::After(HookStep::Switch));
        match phases.last_mut() {
            Some(last) if !hooks_after => {
                for lane in next.lanes {
                    if let Some(found) = last.lanes.iter_mut().find(|l| l.server == lane.server) {
                        found.steps.extend(lane.steps);
                    }
                }
            }
            _ => phases.push(next),
        }
        phases
    }

    fn is_web(&self, server: &ServerName) -> bool {
        self.config.servers.iter().any(|s| s.name == *server && s.is_web())
    }

    fn is_drained(&self, server: &ServerName) -> bool {
        self.drains && self.is_web(server)
    }

    fn previous(&self, server: &ServerName) -> Option<ReleaseId> {
        self.plan.previous.iter().find(|(s, _)| s == server).and_then(|(_, r)| r.clone())
    }
}
