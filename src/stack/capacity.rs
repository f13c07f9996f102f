//! Waiting, before anything is touched, for members that are not in service through nobody's wish but must be for a drain.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::waiting::Waiting;
use crate::event::Warning;
use crate::facts::Facts;
use crate::plan::Plan;
use crate::plan::capacity::{Lack, lacks};
use crate::report::{cause, held};
use crate::verbs::out;

/// Between two looks at the balancers.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits, no longer than `capacity_timeout`, where the plan lacks nothing else; the facts are then as they are after it.
///
/// Returns what there is to say of the wait; `None`: there was none.
pub async fn wait(waiting: &Waiting<'_>, plan: &Plan, facts: &mut Facts) -> Option<Warning> {
    let Waiting { stack, stop, quiet, .. } = *waiting;
    let (balancer, config) = (stack.balancer.as_ref()?, stack.config.balancer.as_ref()?);
    let limit = config.capacity_timeout;
    let found = lacks(&stack.config, facts, &plan.batches);
    let may_pass = |all: &[Lack]| all.iter().all(|l| l.may_pass);
    let nothing_else = plan.blockers.iter().all(|b| found.iter().any(|l| l.blocker == *b));
    if plan.blockers.is_empty() || !nothing_else || !may_pass(&found) || limit.is_zero() {
        return None;
    }
    if !quiet {
        let why: Vec<String> = found.iter().map(|l| cause::reason(&l.blocker.failure.cause)).collect();
        let limit = held::long(limit.as_secs());
        out::notice(&format!("waiting up to {limit} for members to be in service: {}", why.join("; ")));
    }
    let names: Vec<String> = stack.config.servers.iter().filter(|s| s.is_web()).map(|s| s.lb.clone()).collect();
    let began = Instant::now();
    while began.elapsed() < limit {
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.soft.cancelled() => return None,
        }
        // Who cannot be asked for a moment is asked again; for good, whoever drains says so.
        if let Ok(members) = balancer.facts(&names).await {
            facts.members = members;
            let now = lacks(&stack.config, facts, &plan.batches);
            if now.is_empty() || !may_pass(&now) {
                break;
            }
        }
    }
    let text = format!("waited {} for members to be in service", held::long(began.elapsed().as_secs()));
    Some(Warning::Note { text })
}
