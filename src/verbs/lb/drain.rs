//! `pitcrew lb drain`: servers out of every balancer, and on each a note of who did it.

use super::by_hand::{ByHand, Ended, all_told, at_work, failed, told};
use crate::balancer::{Admin, BalancerError, Draining, Snapshot};
use crate::config::Server;
use crate::error::Error;
use crate::event::TakenBy;
use crate::facts::{self, Facts, TakenOut};
use crate::out;
use crate::plan::members;
use crate::stack::taken;
use crate::text::clean::clean;
use crate::wording::{cause, warning};

impl ByHand<'_> {
    /// Takes these servers out, one after another; the exit code.
    ///
    /// # Errors
    /// When no server was taken out: a run is at work, or a balancer cannot be told.
    pub async fn drain(&self, names: &[String], reason: Option<&str>) -> Result<u8, Error> {
        let (servers, facts) = self.named(names).await?;
        let lb_names: Vec<String> = servers.iter().flat_map(|s| s.lb.clone()).collect();
        // Everything that is wrong is said before the first is taken out.
        let (members, errors) = self.unless_asked(self.balancer.survey(&lb_names)).await?;
        if let Some(error) = failed(errors) {
            return Err(error.hint("no server was taken out: every balancer in the file must be told"));
        }
        let mistaken = members::mistaken(&self.stack.config, &facts, &members, &servers);
        if let Some(first) = mistaken.first() {
            let hint = "no server was taken out: another server would have been";
            return Err(Error::failed(cause::lines(&first.failure).join("\n  ")).hint(hint));
        }
        for warning in members::elsewhere(servers.iter().copied(), &members) {
            out::notice(&warning::sentence(&warning));
        }
        for server in &servers {
            // What could not be done for one is no reason to take out the next.
            if self.stop.asked() || !self.take_out(server, &facts, reason).await? {
                break;
            }
        }
        Ok(self.end(servers.len(), 1))
    }

    /// Takes one server out. False: it was not, and why has been said.
    async fn take_out(&self, server: &Server, facts: &Facts, reason: Option<&str>) -> Result<bool, Error> {
        self.begin(server);
        let own = facts.servers.get(&server.name);
        let found = match self.balancer.facts_soon(&server.lb, &self.stop.soft).await {
            Ok(members) => Snapshot { members },
            Err(errors) => return Ok(self.said(server, Ended::Not, &all_told(&errors))),
        };
        if !found.was_in() {
            let by = own.and_then(taken::who).map(|by| format!(" (taken out {by})")).unwrap_or_default();
            return Ok(self.said(server, Ended::Well, &format!("was out already{by}, and is left as it is")));
        }
        let by = TakenBy {
            who: self.owner.who.clone(),
            host: self.owner.host.clone(),
            since: self.owner.since.clone(),
            reason: reason.map(str::to_owned),
        };
        let record = TakenOut { by, found: facts::before(own, &found.members) };
        self.note_out(server, &record).await?;
        let mut last = None;
        let mut on = |heard: Draining| {
            if last.as_ref() != Some(&heard) {
                match &heard {
                    Draining::Open(open) => self.hear(server, &format!("{open} connections open")),
                    Draining::Waiting(why) => self.hear(server, &format!("waits for others to be in service: {why}")),
                }
            }
            last = Some(heard);
        };
        match self.balancer.drain(server.lb.as_slice(), &found, &mut on, &self.stop.soft).await {
            Ok(drained) => {
                let text = match drained.left {
                    Some(0) => "is out, and has no connections left".to_owned(),
                    Some(open) => format!("is out, with {open} connections left"),
                    None => "is out; how many connections are left is not known".to_owned(),
                };
                Ok(self.said(server, Ended::Well, &text))
            }
            Err(error) => Ok(self.not_taken_out(server, &found, own.and_then(|o| o.taken_out.as_ref()), &error).await),
        }
    }

    /// Says where a server is whose drain failed; always false.
    async fn not_taken_out(
        &self,
        server: &Server,
        found: &Snapshot,
        before: Option<&TakenOut>,
        error: &BalancerError,
    ) -> bool {
        let (now, unknown) = self.balancer.survey(&server.lb).await;
        let was_in = found.members.iter().filter(|m| m.admin == Admin::Ready);
        let back = was_in.clone().all(|was| now.iter().any(|n| n.is_there(was) && n.admin == Admin::Ready));
        if back && unknown.is_empty() {
            let _ = self.note(server, before).await;
            return self.said(server, Ended::Not, &format!("{}; it is in its balancer as before", told(error)));
        }
        let restore = self.command("restore", Some(&server.name));
        let text = format!("{}; it may be out: {restore} puts it back", told(error));
        self.said(server, Ended::Left, &text)
    }

    /// Notes on the server who takes it out; a run may have begun since it was asked.
    async fn note_out(&self, server: &Server, record: &TakenOut) -> Result<(), Error> {
        match self.note(server, Some(record)).await {
            Ok(Some(lock)) => {
                let locked = at_work(&server.name, &lock);
                if locked.is_err() {
                    let _ = self.note(server, None).await;
                }
                locked
            }
            Ok(None) => Ok(()),
            Err(failure) => {
                // A server that cannot be reached may be taken out for that very reason.
                let why = cause::reason(&failure.cause);
                out::notice(&format!("{}: `lb status` will not say who took it out: {}", server.name, clean(&why)));
                Ok(())
            }
        }
    }
}
