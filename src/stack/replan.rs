//! From what was gathered to a plan that can run.
//!
//! Plans, waits for locks and members, looks again, plans anew. `plan` decides what is done; this file decides what to
//! wait for.

use super::capacity;
use super::prepare::Stack;
use super::survey::Execs;
use super::waiting::{Waited, Waiting};
use crate::balancer::BalancerError;
use crate::config::Strategy;
use crate::error::Error;
use crate::event::{Blocker, Cause, StepName, Warning};
use crate::facts::Facts;
use crate::name::ServerName;
use crate::plan::build::{Request, build};
use crate::plan::{Plan, Verb, past};

/// A run before its plan is settled.
pub struct Draft {
    /// What the run is asked for.
    pub request: Request,
    /// What was found.
    pub facts: Facts,
    /// What balancers refused to say.
    pub refused: Vec<BalancerError>,
    /// What makes the run impossible whatever the servers say: its source.
    pub blocker: Option<Blocker>,
    /// What the plan is to say besides its own notices.
    pub notices: Vec<Warning>,
}

/// A plan that can run, or that says why not.
pub struct Settled {
    /// The plan.
    pub plan: Plan,
    /// The facts that it is made from.
    pub facts: Facts,
    /// The servers whose lock the run has taken already.
    pub held: Vec<ServerName>,
}

impl Draft {
    /// Plans a run that will not happen: waits for nothing, and takes no lock.
    pub async fn foresee(self, waiting: &Waiting<'_>) -> Settled {
        let plan = self.plan(waiting.stack);
        self.end(waiting, plan, Vec::new()).await
    }

    /// Plans the run; waits for what stands in its way only for a while, and then plans anew.
    pub async fn settle(mut self, waiting: &Waiting<'_>) -> Settled {
        let Waiting { stack, stop, .. } = *waiting;
        let mut plan = self.plan(stack);
        let held = self.take_locks(waiting, &plan).await;
        if let Some(held) = &held {
            self.request.holder = (!held.is_empty()).then(|| waiting.owner.run.clone());
            // The run that held the lock may have deployed.
            let found = stop.unless_hard(waiting.meanwhile(held, stack.facts(Execs::Ready, &stop.soft))).await;
            // Interrupted, the run ends before it begins: it releases what is held, and names what it could not release.
            if let Some((facts, refused)) = found.filter(|_| !stop.asked()) {
                (self.facts, self.refused) = (facts, refused);
                plan = self.plan(stack);
            }
        }
        let held = held.unwrap_or_default();
        if !stop.asked() && plan.strategy != Strategy::Parallel {
            let waited = capacity::wait(waiting, &plan, &mut self.facts);
            let waited = stop.unless_hard(waiting.meanwhile(&held, waited)).await.flatten();
            if let Some(waited) = waited.filter(|_| !stop.asked()) {
                self.refused.clear();
                plan = self.plan(stack);
                self.notices.push(waited);
            }
        }
        self.end(waiting, plan, held).await
    }

    fn plan(&self, stack: &Stack) -> Plan {
        let mut plan = build(&stack.config, &self.facts, &self.request, jiff::Timestamp::now());
        plan.blockers.splice(0..0, self.blocker.clone());
        if plan.strategy == Strategy::Parallel {
            // The next serial run fails on this.
            plan.notices.extend(self.refused.iter().map(|e| Warning::BalancerUnusable { detail: e.to_string() }));
        } else {
            plan.blockers.extend(self.refused.iter().cloned().map(refused));
        }
        plan
    }

    /// Takes the locks before the run does, where another run is in the way or servers could not be asked.
    ///
    /// `None`: there was no reason to, or a signal came.
    async fn take_locks(&mut self, waiting: &Waiting<'_>, plan: &Plan) -> Option<Vec<ServerName>> {
        let may_help = plan.blockers.iter().any(is_lock) && plan.blockers.iter().all(may_pass);
        let is_free = plan.blockers.is_empty();
        let taken: Result<Vec<ServerName>, Error> = if waiting.wait.is_some() && may_help {
            waiting.wait(&self.facts).await.map(|waited| self.waited(waited))
        } else if !self.facts.unreachable.is_empty() && is_free {
            waiting.take_first(&self.facts).await
        } else if waiting.wait.is_some() && is_free && !plan.unchanged {
            // Two that begin at once: one of them waits.
            waiting.take_or_wait(&self.facts).await.map(|waited| self.waited(waited))
        } else {
            return None;
        };
        // Interrupted: what was taken is given back, or named.
        taken.map_err(|e| self.notices.extend(e.hints.into_iter().map(|text| Warning::Note { text }))).ok()
    }

    /// Says how long it was waited for a lock; returns the servers whose lock is held now.
    fn waited(&mut self, waited: Option<Waited>) -> Vec<ServerName> {
        match waited {
            Some(Waited::Taken { held, waited, whose }) => {
                self.notices.push(Warning::Waited { seconds: waited.as_secs(), held: whose });
                held
            }
            Some(Waited::Free(held)) => held,
            _ => Vec::new(),
        }
    }

    async fn end(self, waiting: &Waiting<'_>, mut plan: Plan, held: Vec<ServerName>) -> Settled {
        let Waiting { stack, stop, .. } = *waiting;
        let mut notices = self.notices;
        if stop.asked() {
            // A server that did not answer to the end blocks nothing: the run ends before it begins.
            plan.blockers.clear();
        } else if self.request.verb == Verb::Rollback
            && plan.blockers.is_empty()
            && let Some((server, _)) = plan.previous.first()
        {
            let lines = stop.unless_hard(stack.history(server, &stop.soft)).await.and_then(Result::ok);
            notices.push(past::of(&plan.release, &lines.unwrap_or_default(), jiff::Timestamp::now()));
        }
        plan.notices.extend(notices);
        Settled { plan, facts: self.facts, held }
    }
}

fn is_lock(blocker: &Blocker) -> bool {
    matches!(blocker.failure.cause, Cause::Locked(_))
}

/// Tells whether a blocker may be the other run's doing: its lock, its drain, its switch.
fn may_pass(blocker: &Blocker) -> bool {
    is_lock(blocker) || matches!(blocker.step, StepName::Drain | StepName::Switch)
}

/// Makes a blocker of what a balancer refused.
pub fn refused(error: BalancerError) -> Blocker {
    // A balancer that cannot be reached is like a server that cannot be reached: the exit code says so.
    let unreachable = error.is_unreachable();
    let mut cause = Cause::from(error);
    if let (true, Cause::Balancer { hint, .. }) = (unreachable, &mut cause) {
        // A balancer that is down for good must not keep everyone from deploying.
        let way_out =
            "while it is down, --parallel asks no balancer; one that is gone for good is left out of the file";
        *hint = [hint.as_str(), way_out].into_iter().filter(|h| !h.is_empty()).collect::<Vec<_>>().join("; ");
    }
    let step = if unreachable { StepName::Connect } else { StepName::Drain };
    Blocker { server: None, step, failure: cause.into() }
}
