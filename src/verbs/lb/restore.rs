//! `pitcrew lb restore`: servers back in their balancers, once they pass their own health check.

use super::by_hand::{ByHand, Ended, all_told, at_work, failed};
use crate::balancer::{Admin, BalancerError, MemberFacts, Snapshot};
use crate::config::Server;
use crate::error::Error;
use crate::facts::{self, Facts, ServerFacts};
use crate::lease::{self, Standing};
use crate::out;
use crate::plan::journal::Journal;
use crate::stack::taken;
use crate::text::clean::clean;
use crate::verbs::health::HealthQuestions;
use crate::wording::cause;

impl ByHand<'_> {
    /// Puts these servers back, one after another; the exit code.
    ///
    /// # Errors
    /// When a run is at work, or no balancer can be asked.
    pub async fn restore(&self, names: &[String], force: bool) -> Result<u8, Error> {
        let (servers, facts) = self.named(names).await?;
        let lb_names: Vec<String> = servers.iter().flat_map(|s| s.lb.clone()).collect();
        for server in &servers {
            let noted = facts.servers.get(&server.name).map(taken::places).unwrap_or_default();
            self.balancer.recall(&noted);
        }
        let (members, errors) = self.unless_asked(self.balancer.survey(&lb_names)).await?;
        if let (true, Some(error)) = (members.is_empty(), failed(errors)) {
            return Err(error);
        }
        for server in &servers {
            if self.stop.asked() {
                break;
            }
            self.put_back(server, &facts, force).await;
        }
        Ok(self.end(servers.len(), 3))
    }

    /// Puts one server back as it was before it was taken out; in service, where no note says.
    async fn put_back(&self, server: &Server, facts: &Facts, force: bool) -> bool {
        self.begin(server);
        if !force && facts.servers.get(&server.name).is_some_and(is_half_switched) {
            let why = "a dead run switched it, and never proved what runs there: `pitcrew recover` takes that back";
            let text = format!("is not put back: {why}; --force puts it back anyway");
            return self.said(server, Ended::Not, &text);
        }
        if !force && let Err(why) = self.healthy(server, facts).await {
            let text = format!("is not put back: {why}; --force puts it back anyway");
            return self.said(server, Ended::Not, &text);
        }
        // A run may have begun since the servers were asked: it puts them back itself, when they are proven.
        let noted = facts.servers.get(&server.name).and_then(|own| own.taken_out.as_ref());
        if let Ok(Some(lock)) = self.note(server, noted).await
            && let Err(locked) = at_work(&server.name, &lock)
        {
            return self.said(server, Ended::Not, &format!("is not put back: {}", locked.what));
        }
        let own = facts.servers.get(&server.name).map(taken::with_places);
        let own = own.as_ref();
        let (now, mut errors) = self.balancer.survey(&server.lb).await;
        let mut found = Snapshot { members: facts::before(own, &now) };
        // A balancer that the file does not name any more is not asked, and its note stays.
        let all = found.members.len();
        found.members.retain(|m| now.iter().any(|n| n.at == m.at) || errors.iter().any(|e| e.at == m.at));
        let told = found.members.len() == all;
        let recorded = own.is_some_and(|own| own.taken_out.is_some());
        if !(recorded && found.was_in()) {
            found.members.iter_mut().for_each(|m| m.admin = Admin::Ready);
        }
        let stays: Vec<String> = found.members.iter().filter(|m| m.admin != Admin::Ready).map(place).collect();
        let in_service = |m: &MemberFacts| m.admin == Admin::Ready && m.in_service;
        let all_in = stays.is_empty() && now.iter().all(in_service) && !now.is_empty() && errors.is_empty();
        if !all_in && !found.members.is_empty() {
            let mut on = |text: String| self.hear(server, &text);
            if let Err(error) = self.balancer.restore(server.lb.as_slice(), &found, &mut on, &self.stop.soft).await {
                // What could not be asked before could not be told now.
                errors.retain(|e| e.at != error.at);
                errors.insert(0, error);
            }
        }
        if !errors.is_empty() {
            return self.not_put_back(server, &now, &errors).await;
        }
        if told && let Err(failure) = self.note(server, None).await {
            let why = cause::reason(&failure.cause);
            self.hear(server, &format!("the note of who took it out could not be removed from it: {why}"));
        }
        let text = match (all_in, stays.is_empty()) {
            (true, _) => "is in service".to_owned(),
            (false, true) => "is back in service".to_owned(),
            (false, false) => format!(
                "is back in service, but for {}, where it was out before; {} once more puts it in there",
                stays.join(", "),
                self.command("restore", Some(&server.name))
            ),
        };
        self.said(server, Ended::Well, &text)
    }

    /// Says where a server is whose way back failed; always false.
    async fn not_put_back(&self, server: &Server, was: &[MemberFacts], errors: &[BalancerError]) -> bool {
        if !self.stop.asked() {
            return self.said(server, Ended::Left, &all_told(errors));
        }
        let (now, unknown) = self.balancer.survey(&server.lb).await;
        let as_before = now.iter().all(|n| was.iter().any(|w| w.is_there(n) && w.admin == n.admin));
        if as_before && unknown.is_empty() {
            return self.said(server, Ended::Not, "interrupted; it is out of its balancer as before");
        }
        let text = format!("interrupted on its way back; {} shows where it is", self.command("status", None));
        self.said(server, Ended::Left, &text)
    }

    /// Asks a server for its health, as a deploy would.
    async fn healthy(&self, server: &Server, facts: &Facts) -> Result<(), String> {
        let Some(health) = &self.stack.config.health else {
            out::notice(&format!("{}: there is no [health], so only the balancer judges it", server.name));
            return Ok(());
        };
        let questions = HealthQuestions { stack: self.stack, facts, verb: "lb restore" };
        match questions.within(server, health, &self.stop.soft).await {
            None => Err("it could not be asked for its health".to_owned()),
            Some(Ok(())) => Ok(()),
            Some(Err(_)) if self.stop.asked() => Err("interrupted".to_owned()),
            Some(Err(why)) => Err(format!("it fails its health check: {}", clean(&why))),
        }
    }
}

/// Tells whether a dead run changed what the server runs, and ended before it proved that.
fn is_half_switched(found: &ServerFacts) -> bool {
    let dead = |lock| matches!(lease::judge(lock), Standing::Dead { .. } | Standing::Silent { .. });
    let journal = Journal::read(&found.journal);
    let changed = !journal.switches.is_empty() || journal.restarted;
    found.lock.as_ref().is_some_and(dead) && changed && journal.proven.is_none()
}

fn place(member: &MemberFacts) -> String {
    format!("{} on {}", member.label(), member.at)
}
