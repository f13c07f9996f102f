//! Which strategy a run has, who decided it, and what the web servers themselves say of a restart.
//!
//! Pure. The facts are what a template's `facts` snippet told on each server.

use super::findings;
use crate::config::{Config, Server, Strategy};
use crate::event::{Blocker, Cause, DecidedBy, Failure, Finding, Refusal, StepName, Warning};
use crate::facts::{Facts, WebFactKind};
use crate::name::ServerName;

/// What a parameter of `[web]` holds in the file that `pitcrew init` writes, until it is filled in.
pub const PLACEHOLDER: &str = "CHANGE-ME";

/// The strategy of a run.
#[derive(Debug)]
pub struct Decision {
    /// How the rollout walks.
    pub strategy: Strategy,
    /// Who decided that.
    pub by: DecidedBy,
    /// What a person should read of it.
    pub notices: Vec<Warning>,
}

/// Decides on the strategy: a flag before the file before what the servers tell before the template.
pub fn decide(config: &Config, facts: &Facts, flag: Option<Strategy>, servers: &[&Server]) -> Decision {
    let web: Vec<&Server> = servers.iter().copied().filter(|s| s.is_web()).collect();
    // Where one server is all there is, no other could answer meanwhile.
    let alone = config.servers.iter().filter(|s| s.is_web()).count() < 2;
    let interrupts = if alone { Vec::new() } else { told(facts, &web, WebFactKind::Interrupts) };
    let (strategy, by) = match (flag, config.app.strategy) {
        (Some(flag), _) => (flag, DecidedBy::Flag),
        (None, Some(file)) => (file, DecidedBy::File),
        (None, None) if config.web.strategy == Strategy::Parallel && !interrupts.is_empty() => {
            (Strategy::Serial, DecidedBy::Fact)
        }
        (None, None) => (config.web.strategy, DecidedBy::Template),
    };
    let at_once = strategy == Strategy::Parallel && web.len() > 1;
    let notices = interrupts.into_iter().filter_map(|(on, why)| match by {
        DecidedBy::Fact => Some(Finding::SerialByFact { on, why }),
        _ => at_once.then_some(Finding::StopsAnswering { on, why }),
    });
    Decision { strategy, by, notices: notices.map(Warning::Finding).collect() }
}

/// Names what the web servers tell that a person should read, and that stops nothing.
pub fn warns(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<Warning> {
    let web: Vec<&Server> = servers.iter().copied().filter(|s| s.is_web()).collect();
    let mut all = told(facts, &web, WebFactKind::Warns);
    if makes_things(config) {
        all.extend(told(facts, &web, WebFactKind::Lacks));
    }
    all.into_iter().map(|(on, why)| Warning::Finding(Finding::WebServer { on, why })).collect()
}

/// Names why the web server cannot be restarted.
pub fn refuses(config: &Config, facts: &Facts, servers: &[&Server]) -> Vec<Blocker> {
    let refused = |server: Option<ServerName>, code: Refusal, detail: String| {
        let failure = Failure { cause: Cause::Refused { code, detail }, command: None, tail: Vec::new() };
        Blocker { server, step: StepName::Restart, failure }
    };
    let unfilled = config.web.parameters.iter().filter(|(_, value)| value.contains(PLACEHOLDER));
    let unfilled = unfilled.map(|(key, value)| refused(None, Refusal::Placeholder, format!("[web] {key} = {value:?}")));
    let mut blockers: Vec<Blocker> = unfilled.collect();
    if !blockers.is_empty() {
        // What the servers tell of a parameter that is none would only confuse.
        return blockers;
    }
    for server in servers.iter().filter(|s| s.is_web()) {
        let Some(found) = facts.servers.get(&server.name) else { continue };
        let lacks = found.told(WebFactKind::Lacks).filter(|_| !makes_things(config));
        for why in found.told(WebFactKind::Refuses).chain(lacks) {
            blockers.push(refused(Some(server.name.clone()), Refusal::CannotRestart, why.to_owned()));
        }
    }
    blockers.extend(findings::runs_unseen(config, facts, servers));
    blockers
}

/// Tells whether commands of the file may make what is missing on a server.
fn makes_things(config: &Config) -> bool {
    !config.hooks.is_empty() || !config.build.is_empty()
}

/// What servers tell of a kind: each sentence once, with the servers that say it.
///
/// Process numbers differ from one server to the next and do not make it another sentence.
fn told(facts: &Facts, servers: &[&Server], kind: WebFactKind) -> Vec<(Vec<ServerName>, String)> {
    let mut said: Vec<(Vec<ServerName>, String)> = Vec::new();
    let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    for server in servers {
        for why in facts.servers.get(&server.name).into_iter().flat_map(|found| found.told(kind)) {
            match said.iter_mut().find(|(_, other)| plain(other) == plain(why)) {
                Some((on, _)) => on.push(server.name.clone()),
                None => said.push((vec![server.name.clone()], why.to_owned())),
            }
        }
    }
    said
}
