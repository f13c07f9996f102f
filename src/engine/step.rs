//! One act on one server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::remote::{Execution, execute, no_link};
use super::{Running, hooks};
use crate::balancer::{Admin, Balancer, Draining, MemberFacts, Snapshot};
use crate::config::{Probe, Server, SourceKind};
use crate::event::{Cause, Event, Failure, Place, Progress, StageName, Warning};
use crate::facts::ReleaseState;
use crate::health::{self, Attempt};
use crate::name::{ReleaseId, ServerName};
use crate::plan::Act;
use crate::plan::build::found_out;
use crate::plan::journal::{Intent, Journal};
use crate::plan::past::MIGRATED;
use crate::plan::unwind::Switched;
use crate::remote::calls::{self, Behind, Dir, Expected, Mark};
use crate::remote::{Answer, Call};
use crate::report::clean::clean;
use crate::ssh::{Link, Payload};

/// How long a server that refuses one more session is asked again.
const ONE_SESSION: Duration = Duration::from_secs(5);
/// Lines of the web server's log that are shown.
const LOG_LINES: usize = 60;

/// What one call of a script needs beside the script.
#[derive(Default)]
pub struct How<'a> {
    /// Sent after the environment.
    pub payload: Option<Payload>,
    /// Hard limit; `None`: that of pitcrew's own steps.
    pub limit: Option<Limit>,
    /// The command as the configuration has it.
    pub command: Option<&'a str>,
}

/// A limit that the configuration sets, which may be none.
#[derive(Clone, Copy)]
pub struct Limit(pub Option<Duration>);

impl Running {
    /// Does one act of the plan.
    ///
    /// # Errors
    /// Why it failed; whatever it changed is in the server's record.
    pub async fn act(&self, act: &Act, place: &Place) -> Result<(), Failure> {
        // Finishing is what an interrupted run would do as well; only a second signal cuts it short.
        let stop = if place.stage == StageName::Finish { &self.world.stop.hard } else { &self.world.stop.soft };
        if let Act::Hook { index, .. } = act {
            // A hook may hang for its own reasons: the first signal ends it, wherever it stands.
            let stop = if self.world.stop.asked() { &self.world.stop.hard } else { &self.world.stop.soft };
            return hooks::run(self, *index, place, stop).await;
        }
        let server = self.server(&place.server).ok_or_else(|| no_link(&place.server))?;
        let config = &self.world.config;
        let run = &self.world.run;
        let release = &self.plan.release;
        if let Some(detail) = self.leases.lost(&server.name) {
            // Whatever is done here now may be done to another run's server.
            return Err(Cause::Refused { code: "lock_lost".into(), detail }.into());
        }
        match act {
            Act::Connect => self.connect(server).await,
            Act::Lock => {
                self.note(&server.name, |r| r.locked = true);
                // Without one, whoever needs the connection says why there is none.
                let _ = self.world.standings.begin(&server.name, self.link(&server.name)?, &self.site()).await;
                let taken = self.call(place, self.lock(&server.name), How::default(), stop).await;
                match &taken {
                    Ok(_) => self.leases.taken(&server.name),
                    // Somebody else's: not ours to release.
                    Err(Failure { cause: Cause::Locked(_), .. }) => self.note(&server.name, |r| r.locked = false),
                    Err(_) => {}
                }
                taken.map(drop)
            }
            Act::Transfer => {
                if let Some(fetch) = &self.world.fetch {
                    self.note(&server.name, |r| r.prepared = true);
                    return self.fetch(fetch, place, stop).await;
                }
                let sent = self.transfer(place, stop).await?;
                self.sent(&server.name, sent);
                Ok(())
            }
            Act::Link => {
                let how = How { limit: Some(Limit(config.timeouts.prepare)), ..How::default() };
                self.call(place, calls::link(&self.site(), run, release, &config.shared), how, stop).await.map(drop)
            }
            Act::Build => {
                for command in &config.build {
                    self.command(place, command, Limit(config.timeouts.prepare), stop).await?;
                }
                Ok(())
            }
            Act::Migrate => match &config.migrate {
                Some(migrate) => self.command(place, &migrate.run, Limit(config.timeouts.migrate), stop).await,
                None => Ok(()),
            },
            Act::Drain => self.drain(server, place, stop).await,
            Act::Switch { from, to } => {
                let switched = Switched { from: from.clone(), to: to.clone() };
                self.note(&server.name, |r| r.switched = Some(switched));
                let done = self.switch(place, from.as_ref(), Some(to), stop).await;
                if let Err(Failure { cause: Cause::Refused { code, .. }, .. }) = &done
                    && ["current_changed", "current_odd", "no_release", "lock_lost"].contains(&code.as_str())
                {
                    // Refused before anything was changed: there is nothing to switch back.
                    self.note(&server.name, |r| r.switched = None);
                }
                done
            }
            Act::Restart => {
                self.stay_out(server, place, stop).await?;
                self.note(&server.name, |r| r.restarted = true);
                self.restart(place, release, stop).await
            }
            Act::Check => self.check(server, place, release, stop).await,
            Act::Restore => {
                self.note(&server.name, |r| r.restored = true);
                self.restore(server, place, stop).await
            }
            Act::Prune => self.prune(place, stop).await,
            Act::Unlock => {
                self.leases.released(&server.name);
                self.call(place, calls::unlock(&self.site(), run), How::default(), stop).await?;
                self.note(&server.name, |r| r.locked = false);
                Ok(())
            }
            Act::Hook { .. } => Ok(()),
        }
    }

    /// The call that takes the lock, and leaves in it what is meant to be done.
    fn lock(&self, server: &ServerName) -> Call {
        let intent = Intent::of(&self.plan, server, &self.world.owner.who);
        let call = calls::lock(&self.site(), &self.world.owner).planning(&intent.line());
        match self.world.facts.servers.get(server) {
            Some(found) => {
                let newest = found.releases.last().map(|r| &r.id);
                call.expecting(Expected { current: found.current.as_ref(), newest })
            }
            None => call,
        }
    }

    /// Executes a script for a step.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn call(
        &self,
        place: &Place,
        call: Call,
        how: How<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        tokio::select! {
            biased;
            result = self.called(place, call, how, stop) => result,
            // Ending a command in order takes its time; a second signal waits for nothing.
            () = self.world.stop.hard.cancelled() => Err(Cause::Interrupted.into()),
        }
    }

    async fn called(
        &self,
        place: &Place,
        call: Call,
        how: How<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        // The server's clock, as far as it is known: a script that asks for the time costs a process more.
        let ahead = self.world.facts.servers.get(&place.server).and_then(|facts| facts.ahead);
        let moment = ahead.map(|ahead| jiff::Timestamp::now().as_second().saturating_add(ahead));
        let execution = Execution {
            call: call.at(moment),
            kept: self.world.standings.kept(&place.server),
            payload: how.payload,
            limit: how.limit.map_or(Some(self.world.config.timeouts.step), |l| l.0),
            quiet: self.world.config.timeouts.quiet,
            command: how.command,
            stop,
        };
        let (link, ear) = (self.link(&place.server)?, Some((&self.world.emitter, place)));
        if let Some(result) = self.world.standings.execute(&place.server, link, &execution, ear).await {
            return result;
        }
        let began = Instant::now();
        loop {
            let result = execute(link, execution.clone(), ear).await;
            match &result {
                // A server that allows one session at a time: the exec that stands ready is it, or the lock's renewal.
                Err(Failure { cause: Cause::Refused { code, .. }, .. })
                    if code == "channel" && began.elapsed() < ONE_SESSION && !stop.is_cancelled() =>
                {
                    if !self.world.standings.end(&place.server).await {
                        sleep(ONE_SESSION / 20).await;
                    }
                }
                _ => return result,
            }
        }
    }

    fn link(&self, server: &ServerName) -> Result<&Arc<Link>, Failure> {
        self.world.links.get(server).ok_or_else(|| no_link(server))
    }

    async fn connect(&self, server: &Server) -> Result<(), Failure> {
        if let Some(failure) = self.world.facts.unreachable.get(&server.name) {
            return Err(failure.clone());
        }
        self.link(&server.name)?.session().await.map(drop).map_err(|e| Cause::from(e).into())
    }

    async fn command(
        &self,
        place: &Place,
        command: &str,
        limit: Limit,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let call = calls::command(&self.site(), Dir::Release(self.plan.release.clone()), command);
        let call = self.with_facts(call, place, None).under(&self.world.run, &place.step.to_string());
        let how = How { limit: Some(limit), command: Some(command), payload: None };
        self.call(place, call, how, stop).await.map(drop)
    }

    /// Takes the server out of every balancer, and keeps how it was found.
    ///
    /// # Errors
    /// What the balancer said.
    pub async fn drain(&self, server: &Server, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(()) };
        self.note(&server.name, |r| r.drained = true);
        let found = match self.snapshot(&server.name) {
            Some(found) if self.is_back(&server.name) => self.found_since(server, found, place, stop).await?,
            Some(found) => found,
            None => {
                let asked = balancer.facts_soon(std::slice::from_ref(&server.lb), stop).await;
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
                if let Err(failure) = self.call(place, note, How::default(), stop).await {
                    if matches!(failure.cause, Cause::Refused { .. }) {
                        // The balancer has not been told anything.
                        self.note(&server.name, |r| r.drained = false);
                    }
                    return Err(failure);
                }
                self.found(&server.name, found.clone());
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
                let shown = format!("the drain waits for others to be in service: {text}");
                let warning = Warning::Note { text: shown };
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
            None => {
                let text = format!(
                    "it was still being drained after {waited:.0} s, and the balancer does not tell how many connections are open"
                );
                Warning::Note { text }
            }
        };
        emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
        Ok(())
    }

    /// How a server was found that is back since: whoever took it out after that has the last word.
    async fn found_since(
        &self,
        server: &Server,
        mut found: Snapshot,
        place: &Place,
        stop: &CancellationToken,
    ) -> Result<Snapshot, Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(found) };
        let asked = balancer.facts_soon(std::slice::from_ref(&server.lb), stop).await;
        let before = found.clone();
        for now in asked.map_err(|all| first_of(all, place))?.into_iter().filter(|m| m.admin != Admin::Ready) {
            if let Some(was) = found.members.iter_mut().find(|was| was.is_there(&now) && was.admin == Admin::Ready) {
                let warning = self.found_out(server, &now);
                self.world.emitter.emit(Event::Warning { server: Some(server.name.clone()), warning });
                *was = now;
            }
        }
        if found != before {
            // For whoever recovers this run.
            let note = calls::note(&self.site(), &self.world.run, &Journal::found_since(&found));
            self.call(place, note, How::default(), stop).await?;
        }
        self.found_anew(&server.name, found.clone());
        self.note(&server.name, |r| r.out_again = true);
        Ok(found)
    }

    /// Tells whether it is back since its turn, and nothing of this run has taken it out after that.
    fn is_back(&self, server: &ServerName) -> bool {
        let record = self.record(server);
        record.finished && !record.out_again
    }

    /// Makes sure a drained server is still out: a reload of the balancer puts everybody back without a word.
    ///
    /// # Errors
    /// What the balancer said.
    pub async fn stay_out(&self, server: &Server, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let (Some(balancer), true) = (&self.world.balancer, self.record(&server.name).drained) else { return Ok(()) };
        let Some(found) = self.snapshot(&server.name) else { return Ok(()) };
        let again = balancer.ensure_out(&server.lb, &found, &mut |_| {}, stop).await;
        if again.map_err(|e| Failure::from(Cause::from(e)))?.is_some() {
            let text = "it was put back into its balancer by somebody else or by a reload, and is drained again".into();
            let warning = Warning::Note { text };
            self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
        }
        Ok(())
    }

    /// Puts the server back as it was found.
    ///
    /// # Errors
    /// What the balancer said; the server is out then.
    pub async fn restore(&self, server: &Server, _place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let Some(balancer) = &self.world.balancer else { return Ok(()) };
        let Some(found) = self.snapshot(&server.name) else {
            self.tell_where(server, balancer).await;
            return Ok(());
        };
        balancer.restore(&server.lb, &found, &mut |_| {}, stop).await.map_err(|e| Cause::from(e).into())
    }

    fn found_out(&self, server: &Server, member: &MemberFacts) -> Warning {
        found_out(server, member, self.world.facts.servers.get(&server.name))
    }

    /// Says of a server that the run never came to take out where it is by now: it may have been removed meanwhile.
    async fn tell_where(&self, server: &Server, balancer: &Balancer) {
        let asked = self.world.stop.unless_hard(balancer.facts(std::slice::from_ref(&server.lb))).await;
        let all: Vec<Warning> = match asked {
            Some(Ok(members)) => {
                members.iter().filter(|m| m.admin != Admin::Ready).map(|m| self.found_out(server, m)).collect()
            }
            Some(Err(errors)) => errors
                .into_iter()
                .map(|e| {
                    let state = if e.unreachable { "out of reach" } else { "not to be found" };
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

    /// Points `current` from one release to another.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn switch(
        &self,
        place: &Place,
        from: Option<&ReleaseId>,
        to: Option<&ReleaseId>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let call = calls::switch(&self.site(), &self.world.run, from, to);
        self.call(place, call, How::default(), stop).await.map(drop)
    }

    /// Restarts the web server and proves that it runs from the release.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn restart(&self, place: &Place, release: &ReleaseId, stop: &CancellationToken) -> Result<(), Failure> {
        let limit = self.restart_limit();
        let call = calls::restart(&self.site(), &self.world.run, release, limit);
        // The script keeps the limit itself, so that it can say which proof is missing; this one is for when it cannot.
        let how = How { limit: Some(Limit(Some(limit.saturating_add(self.margin())))), ..How::default() };
        self.call(place, call, how, stop).await.map(drop)
    }

    /// Stops the web server: what a first deploy started is taken back so.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn halt(&self, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let limit = self.restart_limit();
        let call = calls::stop(&self.site(), &self.world.run, limit);
        let how = How { limit: Some(Limit(Some(limit.saturating_add(self.margin())))), ..How::default() };
        self.call(place, call, how, stop).await.map(drop)
    }

    /// How much later than a script's own limit it is given up.
    fn margin(&self) -> Duration {
        self.world.config.timeouts.step.min(Duration::from_secs(15))
    }

    /// `restart = "none"` still ends: nothing waits for ever.
    fn restart_limit(&self) -> Duration {
        self.world.config.timeouts.restart.unwrap_or(Duration::from_secs(24 * 3600))
    }

    /// Asks the server for its health, then proves that what answered are the release's processes.
    ///
    /// # Errors
    /// With the last answer and the last lines of the web server's log.
    pub async fn check(
        &self,
        server: &Server,
        place: &Place,
        release: &ReleaseId,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if !server.is_web() {
            return Ok(());
        }
        let healthy = self.healthy(place, stop).await;
        let proven = match healthy {
            Ok(()) if self.world.config.web.proof.none => return Ok(()),
            Ok(()) => {
                let call = calls::prove(&self.site(), &self.world.run, release);
                self.call(place, call, How::default(), stop).await.map(drop)
            }
            Err(failure) => Err(failure),
        };
        match proven {
            Err(mut failure) if failure.cause != Cause::Interrupted && failure.tail.is_empty() => {
                failure.tail = self.log_tail(place, stop).await;
                Err(failure)
            }
            other => other,
        }
    }

    async fn healthy(&self, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let Some(health) = &self.world.config.health else { return Ok(()) };
        let emitter = &self.world.emitter;
        let mut on = |progress| emitter.emit(Event::Progress { place: place.clone(), progress });
        let link = self.link(&place.server)?;
        let checked = match &health.probe {
            Probe::Http(probe) => {
                let ask = health::through(link.clone(), probe.clone(), health.timeout);
                health::check(health, ask, &mut on, stop).await
            }
            Probe::Command(command) => {
                let ask = || async {
                    let call = calls::check(&self.site(), command);
                    let call = self.with_facts(call, place, None);
                    let how = How { limit: Some(Limit(Some(health.timeout))), command: Some(command), payload: None };
                    answer(self.call(place, call, how, stop).await)
                };
                health::check(health, ask, &mut on, stop).await
            }
        };
        checked.map_err(|e| match e {
            health::CheckFailed::Stopped => Cause::Interrupted.into(),
            health::CheckFailed::Unhealthy(unhealthy) => Cause::Unhealthy(unhealthy).into(),
        })
    }

    /// The last lines of the web server's log; empty when it has none or cannot say.
    async fn log_tail(&self, place: &Place, stop: &CancellationToken) -> Vec<String> {
        let execution = Execution {
            call: calls::log(&self.site()),
            kept: None,
            payload: None,
            limit: Some(self.world.config.timeouts.step.min(Duration::from_secs(10))),
            quiet: Duration::ZERO,
            command: None,
            stop,
        };
        let Ok(link) = self.link(&place.server) else { return Vec::new() };
        let mut lines = std::collections::VecDeque::new();
        let mut keep = |line: &str| {
            // The script prints no more; what is on the other side is no reason to believe it.
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        };
        let _ = super::remote::execute_hearing(link, execution, None, &mut keep).await;
        lines.into()
    }

    async fn prune(&self, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let line = self.history();
        let release = &self.plan.release;
        let mark = Mark { state: Some((release, ReleaseState::Good)), line: Some(&line), behind: Some(Behind::No) };
        let previous: Vec<ReleaseId> = self.previous(&place.server).into_iter().collect();
        let keep = self.world.config.app.keep_releases;
        let mut call = calls::prune(&self.site(), &self.world.run, keep, &previous).marking(&mark);
        if self.world.config.source.kind == SourceKind::Push {
            call = call.keeping_cache();
        }
        let how = How { limit: Some(Limit(self.world.config.timeouts.prepare)), ..How::default() };
        let pruned = self.call(place, call, how, stop).await.map(|answers| {
            for moved in answers.into_iter().filter(|a| a.key == "moved") {
                let warning = Warning::CurrentMoved { current: clean(&moved.value) };
                self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
            }
        });
        // What cannot be removed is told after all has been recorded.
        let recorded = match &pruned {
            Ok(()) => true,
            Err(failure) => matches!(&failure.cause, Cause::Refused { code, .. } if code == "not_removed"),
        };
        if recorded {
            self.note(&place.server, |r| r.marked = true);
        }
        pruned
    }

    /// Writes what has become of the run's release, and of the server.
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn mark(&self, place: &Place, mark: &Mark<'_>, stop: &CancellationToken) -> Result<(), Failure> {
        self.call(place, calls::mark(&self.site(), &self.world.run, mark), How::default(), stop).await.map(drop)
    }

    /// The line of `revisions.log`, as Capistrano writes it.
    pub fn history(&self) -> String {
        let (who, revision, release) = (&self.world.owner.who, &self.plan.revision, &self.plan.release);
        match self.plan.verb {
            crate::plan::Verb::Deploy => {
                let migrated = if self.plan.migrate_on.is_some() { MIGRATED } else { "" };
                format!("Release {release} (at {revision}) deployed by {who} in run {}{migrated}", self.world.run)
            }
            crate::plan::Verb::Rollback => {
                format!("{who} rolled back to release {release} (at {revision}) in run {}", self.world.run)
            }
        }
    }

    /// The server's release before the run.
    pub fn previous(&self, server: &ServerName) -> Option<ReleaseId> {
        self.plan.previous.iter().find(|(s, _)| s == server).and_then(|(_, r)| r.clone())
    }
}

/// Turns a command's result into a health attempt.
fn answer(result: Result<Vec<Answer>, Failure>) -> Attempt {
    match result {
        Ok(_) => Attempt { ok: true, ..Attempt::default() },
        Err(failure) => {
            let body = failure.tail.join("\n");
            match failure.cause {
                Cause::Exit { status } => Attempt { status: u16::try_from(status).ok(), body, ..Attempt::default() },
                cause => Attempt { error: Some(crate::report::cause::reason(&cause)), body, ..Attempt::default() },
            }
        }
    }
}

/// The first of a balancer's complaints; they are about one member on several balancers.
fn first_of(all: Vec<crate::balancer::BalancerError>, place: &Place) -> Failure {
    match all.into_iter().next() {
        Some(first) => Cause::from(first).into(),
        None => Cause::Local { detail: format!("the balancer said nothing of {}", place.server) }.into(),
    }
}
