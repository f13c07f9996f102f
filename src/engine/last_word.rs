//! Compares every member with what it was before, at the end of a run that drained.
//!
//! The balancer has the last word. It corrects nothing: it only says what differs, and an operator looks.

use super::running::Running;
use crate::balancer::{Admin, BalancerError, MemberFacts};
use crate::config::Server;
use crate::event::{Event, Warning};

impl Running {
    /// Asks the balancers once more, where this run drained a member, and names every member that changed.
    ///
    /// Does so once, however often it is called.
    pub async fn last_word(&self) {
        let Some(balancer) = &self.world.balancer else { return };
        let servers: Vec<&Server> = self.world.config.servers.iter().filter(|s| s.is_web()).collect();
        let drained = |s: &&Server| self.ledger.record(&s.name).drained;
        if !servers.iter().any(drained) || !self.ledger.compare_once() {
            return;
        }
        let names: Vec<String> = servers.iter().flat_map(|s| s.lb.clone()).collect();
        let hard = &self.world.stop.hard;
        let asked = async {
            match balancer.facts_soon(&names, hard).await {
                Ok(now) => servers.iter().for_each(|server| self.compare(server, Ok(&now))),
                // One server that is gone must not hide the others.
                Err(errors) if errors.iter().all(|e| !e.is_unreachable()) => {
                    for server in &servers {
                        let now = balancer.facts_soon(&server.lb, hard).await;
                        self.compare(server, now.as_deref().map_err(Vec::as_slice));
                    }
                }
                Err(errors) => {
                    let detail = errors.first().map(ToString::to_string).unwrap_or_default();
                    self.world.emitter.emit(Event::Warning { server: None, warning: Warning::NotCompared { detail } });
                }
            }
        };
        tokio::select! {
            () = asked => {}
            () = hard.cancelled() => {}
        }
    }

    fn compare(&self, server: &Server, now: Result<&[MemberFacts], &[BalancerError]>) {
        let record = self.ledger.record(&server.name);
        // It was left out, and a warning named it.
        let held_out = record.drained && !record.taken_back && (!record.restored || record.failed);
        let was = match self.ledger.snapshot(&server.name) {
            Some(found) => found.members,
            None => self.world.facts.members.iter().filter(|m| server.is_member(&m.member)).cloned().collect(),
        };
        let differs = |member: String, was: String, now: String| {
            let warning = Warning::BalancerDiffers { member, was, now };
            self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
        };
        let now = match now {
            Ok(now) => now,
            Err([]) => return,
            Err([error, ..]) if error.is_unreachable() => return,
            Err([error, ..]) => {
                let member = error.member.clone().unwrap_or_else(|| server.lb.join(", "));
                let was = was.first().map(|m| m.status.clone()).unwrap_or_default();
                return differs(member, was, error.detail());
            }
        };
        for was in &was {
            let member = was.label();
            match now.iter().find(|now| now.is_there(was)) {
                None => differs(member, was.status.clone(), "not there any more".to_owned()),
                Some(now) if held_out && now.admin != Admin::Ready => {}
                Some(now) if differ(was, now) => differs(member, was.status.clone(), now.status.clone()),
                Some(_) => {}
            }
        }
    }
}

/// Tells whether a member is worse off than it was, or is back although an operator had taken it out.
fn differ(was: &MemberFacts, now: &MemberFacts) -> bool {
    (was.admin == Admin::Ready) != (now.admin == Admin::Ready) || (was.in_service && !now.in_service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worse_or_was_out_differs() {
        let m = |admin, in_service| MemberFacts { admin, in_service, ..MemberFacts::default() };
        for (was, now, differs) in [
            (m(Admin::Ready, true), m(Admin::Ready, true), false),
            (m(Admin::Ready, true), m(Admin::Ready, false), true),
            (m(Admin::Ready, true), m(Admin::Maint, false), true),
            // A first deploy: nothing served before.
            (m(Admin::Ready, false), m(Admin::Ready, true), false),
            (m(Admin::Ready, false), m(Admin::Ready, false), false),
            (m(Admin::Maint, false), m(Admin::Maint, false), false),
            (m(Admin::Maint, false), m(Admin::Ready, true), true),
        ] {
            assert_eq!(differ(&was, &now), differs, "{was:?} {now:?}");
        }
    }
}
