//! Waits for members that failed and must be in service for a drain, before anything is touched.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::waiting::Waiting;
use crate::event::Warning;
use crate::facts::Facts;
use crate::out;
use crate::plan::Plan;
use crate::plan::capacity::{Lack, lacks};
use crate::text::units;
use crate::wording::cause;

/// The pause between two looks at the balancers.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits at most `capacity_timeout` where the plan lacks nothing else, and refreshes the facts.
///
/// Returns a notice of the wait; `None`: there was none.
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
        let limit = units::long(limit.as_secs());
        out::notice(&format!("waiting up to {limit} for members to be in service: {}", why.join("; ")));
    }
    let names: Vec<String> = stack.config.servers.iter().filter(|s| s.is_web()).flat_map(|s| s.lb.clone()).collect();
    let began = Instant::now();
    while began.elapsed() < limit {
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.soft.cancelled() => return None,
        }
        // A balancer that does not answer is asked again. If it stays silent, the drain reports it.
        if let Ok(members) = balancer.facts(&names).await {
            facts.members = members;
            let now = lacks(&stack.config, facts, &plan.batches);
            if now.is_empty() || !may_pass(&now) {
                break;
            }
        }
    }
    Some(Warning::WaitedForMembers { seconds: began.elapsed().as_secs() })
}
