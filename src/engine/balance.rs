//! Takes a server out of its balancers and puts it back.
//!
//! Writes both into the run's record and journal.

use tokio_util::sync::CancellationToken;

use super::hands::Balance;
use super::running::Running;
use crate::balancer::{Admin, BalancerError, Draining, MemberFacts, Snapshot};
use crate::config::Server;
use crate::event::{Cause, Event, Failure, Place, Progress, Warning};
use crate::name::ServerName;
use crate::plan::build::found_out;
use crate::plan::journal::Journal;
use crate::script::calls;

impl Running {
    /// Takes the server out of every balancer, and keeps how it was found.
    ///
    /// # Errors
    /// What the balancer said.
    pub async fn drain(&self, server: &Server, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(()) };
        let found = match self.ledger.snapshot(&server.name) {
            Some(found) if self.is_back(&server.name) => self.found_since(server, found, place, stop).await?,
            Some(found) => found,
            None => {
                let asked = balancer.facts_soon(&server.lb, stop).await;
                let members = asked.map_err(|all| first_of(all, place))?;
                let mut found = Snapshot { members };
                if let Some(own) = self.world.facts.servers.get(&server.name) {
                    // Where an earlier run took it out and never put it back, this one does, once it is proven.
                    found.members.iter_mut().for_each(|member| *member = own.before_left(member));
                }
                // An operator may have taken it out since the plan was made.
                for member in found.members.iter().filter(|m| m.admin != Admin::Ready) {
                    let warning = self.found_out(server, member);
                    if !self.plan.notices.contains(&warning) {
                        self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
                    }
                }
                let note = calls::note(&self.site(), &self.world.run, &Journal::drain(&found));
                let note = if found.was_in() { note.found_in() } else { note };
                if let Err(failure) = self.call(place, self.script(note, stop)).await {
                    if matches!(failure.cause, Cause::Refused { .. }) {
                        // The balancer has not been told anything.
                        self.ledger.note(&server.name, |r| r.drained = false);
                    }
                    return Err(failure);
                }
                self.ledger.found(&server.name, found.clone());
                found
            }
        };
        let emitter = &self.world.emitter;
        let mut waiting = String::new();
        let mut on = |heard: Draining| match heard {
            Draining::Open(open) => {
                emitter.emit(Event::Progress { place: place.clone(), progress: Progress::Sessions { open } });
            }
            Draining::Waiting(text) if text == waiting => {}
            Draining::Waiting(text) => {
                let warning = Warning::DrainWaits { detail: text.clone() };
                emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
                waiting = text;
            }
        };
        let drained =
            balancer.drain(&server.lb, &found, &mut on, stop).await.map_err(|e| Failure::from(Cause::from(e)))?;
        let waited = drained.waited.as_secs_f64();
        let warning = match drained.left {
            Some(0) => return Ok(()),
            Some(open) => Warning::DrainIncomplete { open, waited },
            None => Warning::DrainUncounted { waited },
        };
        emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
        Ok(())
    }

    /// How a server was found that is back since: an operator who took it out after that has the last word.
    async fn found_since(
        &self,
        server: &Server,
        mut found: Snapshot,
        place: &Place,
        stop: &CancellationToken,
    ) -> Result<Snapshot, Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(found) };
        let asked = balancer.facts_soon(&server.lb, stop).await;
        let before = found.clone();
        for now in asked.map_err(|all| first_of(all, place))?.into_iter().filter(|m| m.admin != Admin::Ready) {
            if let Some(was) = found.members.iter_mut().find(|was| was.is_there(&now) && was.admin == Admin::Ready) {
                let warning = self.found_out(server, &now);
                self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
                *was = now;
            }
        }
        if found != before {
            // For the run that recovers this one.
            let note = calls::note(&self.site(), &self.world.run, &Journal::found_since(&found));
            self.call(place, self.script(note, stop)).await?;
        }
        self.ledger.found_anew(&server.name, found.clone());
        self.ledger.note(&server.name, |r| r.out_again = true);
        Ok(found)
    }

    /// Tells whether it is back since its turn, and nothing of this run has taken it out after that.
    fn is_back(&self, server: &ServerName) -> bool {
        let record = self.ledger.record(server);
        record.finished && !record.out_again
    }

    /// Makes sure that a drained server is still out.
    ///
    /// A reload of the balancer puts all members back without a word.
    ///
    /// # Errors
    /// What the balancer said.
    pub async fn stay_out(&self, server: &Server, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let (Some(balancer), true) = (&self.world.balancer, self.ledger.record(&server.name).drained) else {
            return Ok(());
        };
        let Some(found) = self.ledger.snapshot(&server.name) else { return Ok(()) };
        let again = balancer.ensure_out(&server.lb, &found, stop).await;
        if again.map_err(|e| Failure::from(Cause::from(e)))?.is_some() {
            let server = Some(place.server.clone());
            self.world.emitter.emit(Event::Warning { server, warning: Warning::DrainedAgain });
        }
        Ok(())
    }

    /// Puts the server back as it was found, and proves it up.
    ///
    /// # Errors
    /// What the balancer said; the server is out then.
    pub async fn restore(&self, server: &Server, stop: &CancellationToken) -> Result<(), Failure> {
        self.put_back(server, std::convert::identity, stop).await
    }

    /// Puts a server back that is on its old release: what was down before may be down.
    ///
    /// # Errors
    /// What the balancer said; the server is out then.
    pub async fn restore_old(&self, server: &Server, stop: &CancellationToken) -> Result<(), Failure> {
        self.put_back(server, Snapshot::as_before, stop).await
    }

    async fn put_back(
        &self,
        server: &Server,
        how: fn(Snapshot) -> Snapshot,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(()) };
        let Some(found) = self.ledger.snapshot(&server.name).map(how) else {
            self.tell_where(server, balancer.as_ref()).await;
            return Ok(());
        };
        balancer.restore(&server.lb, &found, stop).await.map_err(|e| Cause::from(e).into())
    }

    /// Names the places that were out before the run that this one recovers.
    pub fn tell_found_out(&self, server: &Server) {
        let found = self.ledger.snapshot(&server.name).map(|found| found.members).unwrap_or_default();
        for member in found.iter().filter(|m| m.admin != Admin::Ready) {
            let warning = self.found_out(server, member);
            self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
        }
    }

    fn found_out(&self, server: &Server, member: &MemberFacts) -> Warning {
        found_out(server, member, self.world.facts.servers.get(&server.name))
    }

    /// Says where a server is by now that the run never came to take out.
    ///
    /// It may have been removed meanwhile.
    async fn tell_where(&self, server: &Server, balancer: &dyn Balance) {
        let asked = self.world.stop.unless_hard(balancer.facts(&server.lb)).await;
        let all: Vec<Warning> = match asked {
            Some(Ok(members)) => {
                members.iter().filter(|m| m.admin != Admin::Ready).map(|m| self.found_out(server, m)).collect()
            }
            Some(Err(errors)) => errors
                .into_iter()
                .map(|e| {
                    let state = if e.is_unreachable() { "out of reach" } else { "not to be found" };
                    let member = e.member.map_or_else(|| e.at.clone(), |member| format!("{member} on {}", e.at));
                    Warning::FoundOut { of: server.name.clone(), member, state: state.into(), by: None }
                })
                .collect(),
            None => Vec::new(),
        };
        for warning in all {
            self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
        }
    }
}

/// The first of a balancer's complaints; they are about one member on several balancers.
fn first_of(all: Vec<BalancerError>, place: &Place) -> Failure {
    match all.into_iter().next() {
        Some(first) => Cause::from(first).into(),
        None => Cause::Local { detail: format!("the balancer said nothing of {}", place.server) }.into(),
    }
}
