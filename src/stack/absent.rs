//! The servers of dead runs that the file does not name, with what the balancers say of them.

use super::prepare::Stack;
use crate::balancer::Admin;
use crate::event::Warning;
use crate::facts::Facts;
use crate::lease;
use crate::name::{RunId, ServerName};
use crate::plan::absent::absent;

/// A server that is not in the file, and what a person should read of it.
pub type Missing = (ServerName, Warning);

impl Stack {
    /// Names the servers that a dead run had and the file does not name.
    ///
    /// The balancers are asked where they have them; a balancer that does not know them says nothing.
    pub async fn missing(&self, facts: &Facts, run: &RunId) -> Vec<Missing> {
        let absent = absent(&self.roster(), facts, run);
        let names: Vec<String> = absent.iter().flat_map(|absent| absent.was.lb.clone()).collect();
        let members = match &self.balancer {
            Some(balancer) if !names.is_empty() => balancer.survey(&names).await.0,
            _ => Vec::new(),
        };
        let lock = facts.servers.values().filter_map(|found| found.lock.as_ref());
        let mut of_run = lock.filter(|lock| lock.run() == run.as_str() || lock.origin() == run.as_str());
        let command = of_run.next().and_then(|lock| lock.owner.get("command")).cloned().unwrap_or_default();
        let missing = absent.into_iter().map(|absent| {
            let own = members.iter().filter(|member| absent.was.lb.contains(&member.member));
            let out = own.filter(|member| member.admin != Admin::Ready);
            let warning = Warning::Absent {
                run: run.clone(),
                command: command.clone(),
                at: absent.was.at,
                now: absent.now,
                out: out.map(|m| format!("{} on {} is {}", m.label(), m.at, m.status)).collect(),
            };
            (absent.was.name, warning)
        });
        missing.collect()
    }

    /// Names those of every run that has left its lock behind.
    pub async fn missing_of_dead_runs(&self, facts: &Facts) -> Vec<Missing> {
        let locks = facts.servers.values().filter_map(|found| found.lock.as_ref());
        let mut dead: Vec<RunId> = locks
            .filter(|lock| lease::judge(lock).is_left_behind())
            .map(|lock| RunId(lock.origin().to_owned()))
            .collect();
        dead.sort();
        dead.dedup();
        let mut missing = Vec::new();
        for run in &dead {
            missing.extend(self.missing(facts, run).await);
        }
        missing
    }
}
