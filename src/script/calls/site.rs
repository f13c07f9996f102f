//! What all scripts of a stack share, and how a call is filled.

use std::time::Duration;

use crate::name::{ReleaseId, RunId};
use crate::script::call::{Call, Param};
use crate::script::kind::Script;
use crate::web::Web;

/// What all scripts of a stack share.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// `[app] deploy_to` as written; the server resolves it.
    pub deploy_to: &'a str,
    /// `[app] name`; user's commands see it as `PITCREW_APP`.
    pub app: &'a str,
    /// The web server.
    pub web: &'a Web,
    /// Environment and secrets of the user's commands.
    pub env: &'a [(String, String)],
}

impl Site<'_> {
    pub(super) fn call(&self, script: Script) -> Call {
        let root = ("root", Param::Text(self.deploy_to.to_owned()));
        Call { script, params: vec![root], snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
    }
}

impl Call {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.params.retain(|(n, _)| *n != name);
        self.params.push((name, Param::Text(value.into())));
        self
    }

    pub(super) fn list(mut self, name: &'static str, values: Vec<String>) -> Self {
        self.params.push((name, Param::List(values)));
        self
    }

    pub(super) fn token(self, run: &RunId) -> Self {
        self.with("token", run.as_str())
    }

    pub(super) fn id(self, id: &ReleaseId) -> Self {
        self.with("id", id.as_str())
    }

    pub(super) fn proof(self, site: &Site<'_>) -> Self {
        let yes = |on: bool| if on { "yes" } else { "no" };
        let call = self.with("none", yes(site.web.proof.none)).with("lazy", yes(site.web.proof.lazy));
        call.with("named", yes(site.web.answer_named))
    }

    /// Only what runs a user's code gets the user's environment.
    pub(super) fn env(mut self, site: &Site<'_>) -> Self {
        self.env = vec![("PITCREW_APP".to_owned(), site.app.to_owned())];
        self.env.extend_from_slice(site.env);
        self
    }

    pub(super) fn web(self, site: &Site<'_>, names: &[&str]) -> Self {
        let mut call = self.env(site);
        let scripts = &site.web.scripts;
        for (name, short, snippet) in [
            ("web_processes", "processes", &scripts.processes),
            ("web_start", "start", &scripts.start),
            ("web_restart", "restart", &scripts.restart),
            ("web_stop", "stop", &scripts.stop),
            ("web_log", "log", &scripts.log),
            ("web_facts", "facts", &scripts.facts),
        ] {
            if names.contains(&short) {
                call.snippets.push((name, snippet.clone()));
            }
        }
        call.web = site.web.parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        call
    }

    /// Tells the script what time it is on the server, in seconds since the epoch, so that it need not ask.
    #[must_use]
    pub fn at(self, moment: Option<i64>) -> Self {
        match moment {
            Some(moment) => self.with("at", moment.to_string()),
            None => self,
        }
    }
}

/// Whole seconds, at least one: the scripts' clock has no fractions.
pub(super) fn seconds(limit: Duration) -> String {
    limit.as_secs().max(1).to_string()
}
