//! Asks the servers and the balancers of a stack; changes nothing.

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::prepare::Stack;
use super::taken;
use crate::answer::Answer;
use crate::balancer::{BalancerError, MemberFacts};
use crate::config::Probe;
use crate::event::{Cause, Failure, Refusal};
use crate::facts::{Facts, ServerFacts};
use crate::machine;
use crate::name::ServerName;
use crate::remote::{Ear, Execution};
use crate::script::Call;
use crate::script::calls;
use crate::wording::cause;

/// What balancers told of members, and what is wrong with some balancers.
pub type Survey = (Vec<MemberFacts>, Vec<BalancerError>);

/// How a server executes the scripts that it is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execs {
    /// Each question is an exec of its own.
    Single,
    /// The first question begins an exec that stands ready for later scripts.
    Ready,
}

impl Stack {
    /// Asks every server and the balancers, at once.
    ///
    /// Also returns what the balancers refused. The facts hold every member that any balancer reported.
    pub async fn facts(&self, execs: Execs, stop: &CancellationToken) -> (Facts, Vec<BalancerError>) {
        let names: Vec<String> = self.config.servers.iter().filter(|s| s.is_web()).flat_map(|s| s.lb.clone()).collect();
        let members = async {
            match &self.balancer {
                Some(balancer) => balancer.survey(&names).await,
                None => (Vec::new(), Vec::new()),
            }
        };
        let (mut facts, survey) = tokio::join!(self.servers(execs, stop), members);
        let (members, refused) = self.remind(&facts, &names, survey).await;
        facts.members = members;
        (facts, refused)
    }

    /// Asks every server, at once.
    pub async fn servers(&self, execs: Execs, stop: &CancellationToken) -> Facts {
        let servers = join_all(self.config.servers.iter().map(|s| async {
            let answer = self.probe(&s.name, execs, stop).await;
            (s.name.clone(), answer)
        }));
        let mut facts = Facts::default();
        for (name, answer) in servers.await {
            match answer {
                Ok(mut found) => {
                    if let Some(lock) = &mut found.lock {
                        lock.seen = machine::look(&lock.owner);
                    }
                    facts.servers.insert(name, found);
                }
                Err(failure) => drop(facts.unreachable.insert(name, failure)),
            }
        }
        facts
    }

    /// Asks the balancers again where they may have forgotten which members were taken out by hand.
    pub async fn remind(&self, facts: &Facts, names: &[String], survey: Survey) -> Survey {
        let noted = facts.servers.values().flat_map(taken::places);
        let noted: Vec<MemberFacts> = noted.filter(|n| names.contains(&n.member)).collect();
        let same =
            |a: &MemberFacts, b: &MemberFacts| (&a.backend, &a.member, &a.own) == (&b.backend, &b.member, &b.own);
        let known = noted.iter().all(|n| survey.0.iter().any(|m| same(n, m)));
        let deaf = !survey.1.is_empty() && survey.1.iter().all(|e| e.is_unreachable());
        match &self.balancer {
            Some(balancer) if !known && !deaf => {
                balancer.recall(&noted);
                balancer.survey(names).await
            }
            _ => survey,
        }
    }

    /// The port on which the web server's own processes are to answer, where that can be told.
    fn health_port(&self) -> Option<u16> {
        let proof = &self.config.web.proof;
        match self.config.health.as_ref().map(|health| &health.probe) {
            // A lazy web server's listener is not the application.
            Some(Probe::Http(http)) if !proof.none && !proof.lazy => Some(http.port),
            _ => None,
        }
    }

    async fn probe(&self, name: &ServerName, execs: Execs, stop: &CancellationToken) -> Result<ServerFacts, Failure> {
        if execs == Execs::Ready {
            let site = self.site();
            tokio::select! {
                begun = self.hosts.stand_ready(name, &site) => begun?,
                () = stop.cancelled() => return Err(Cause::Interrupted.into()),
            }
        }
        let probe = calls::probe(&self.site(), &self.config.shared.files).needing(&self.config.source.tools());
        let probe = self.health_port().map_or(probe.clone(), |port| probe.listening(port));
        let probe = if self.config.source.is_fetched() { calls::measuring(probe) } else { probe };
        let checks = self.checks_addresses();
        let probe = if checks { calls::locating(probe) } else { probe };
        let asked = self.ask(name, probe, stop).await;
        let answers = asked.map_err(|mut failure| {
            // The probe itself never ends like this: it did not run, or was cut off.
            if matches!(failure.cause, Cause::Exit { .. } | Cause::Signal { .. } | Cause::NoStatus) {
                let detail = cause::reason(&failure.cause);
                failure.cause = Cause::Refused { code: Refusal::NoShell, detail };
            }
            failure
        })?;
        let read = ServerFacts::read(&answers);
        let mut found = read.map_err(|detail| Failure::from(Cause::Refused { code: Refusal::OddAnswer, detail }))?;
        if checks {
            found.addresses.extend(self.resolved(name).await);
        }
        found.ahead = Some(found.time.saturating_sub(jiff::Timestamp::now().as_second()));
        Ok(found)
    }

    /// Executes one of pitcrew's own short scripts outside a run.
    ///
    /// # Errors
    /// As [`crate::remote::Host::run`].
    pub async fn ask(&self, name: &ServerName, call: Call, stop: &CancellationToken) -> Result<Vec<Answer>, Failure> {
        let execution = Execution::new(call, Some(self.config.timeouts.step), stop);
        self.hosts.get(name)?.run(&execution, Ear::Off).await
    }

    /// Asks a server for the last lines of its `revisions.log`: its releases, their times and senders.
    ///
    /// # Errors
    /// As [`crate::remote::Host::run`].
    pub async fn history(&self, name: &ServerName, stop: &CancellationToken) -> Result<Vec<String>, Failure> {
        let answers = self.ask(name, calls::history(&self.site()), stop).await?;
        Ok(answers.into_iter().filter(|a| a.key == "line").map(|a| a.value).collect())
    }
}
