//! `--dry-run -v`: the scripts that a plan's steps would execute.
//!
//! Secrets are not in them: they travel on standard input.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::owner::owner;
use super::prepare::Stack;
use crate::config::Config;
use crate::config::source::Fetcher;
use crate::name::{ReleaseId, RunId};
use crate::plan::{Act, Plan};
use crate::script::calls;
use crate::script::calls::{Dir, Fresh, Linked, Mirrored, Site};
use crate::script::{Call, Owner};

/// Writes each step's script once, as the first server that takes the step would get it.
pub fn text(stack: &Stack, plan: &Plan, run: &RunId) -> String {
    let mut seen = BTreeSet::new();
    let mut out = String::new();
    let lanes = plan.stages.iter().flat_map(|s| &s.batches).flat_map(|b| &b.phases).flat_map(|p| &p.lanes);
    for lane in lanes {
        for act in &lane.steps {
            if !seen.insert(act.name()) {
                continue;
            }
            let of = Of { config: &stack.config, site: stack.site(), plan, run };
            for call in of.calls(act) {
                let _ = writeln!(out, "\n# {}, as {} would get it\n{}", act.name(), lane.server, call.text());
            }
        }
    }
    out
}

struct Of<'a> {
    config: &'a Config,
    site: Site<'a>,
    plan: &'a Plan,
    run: &'a RunId,
}

impl Of<'_> {
    fn calls(&self, act: &Act) -> Vec<Call> {
        let (site, run, release) = (&self.site, self.run, &self.plan.release);
        let command = |text: &str| calls::command(site, Dir::Release(release.clone()), text);
        match act {
            Act::Connect | Act::Drain | Act::Restore => Vec::new(),
            Act::Lock => vec![calls::lock(site, &self.owner())],
            Act::Transfer => vec![self.transfer()],
            Act::Link => vec![calls::link(site, run, release, &self.config.shared)],
            Act::Build => self.config.build.iter().map(|b| command(b)).collect(),
            Act::Migrate => self.config.migrate.iter().map(|m| command(&m.run)).collect(),
            Act::Switch { from, to } => vec![calls::switch(site, run, from.as_ref(), Some(to))],
            Act::Restart => {
                vec![calls::restart(
                    site,
                    run,
                    release,
                    self.config.timeouts.restart.unwrap_or(Duration::from_secs(86400)),
                )]
            }
            Act::Check => vec![calls::prove(site, run, release)],
            Act::Prune => {
                let spare: Vec<ReleaseId> =
                    self.plan.previous.iter().find_map(|(_, r)| r.clone()).into_iter().collect();
                vec![calls::prune(site, run, self.config.app.keep_releases, &spare)]
            }
            Act::Unlock => vec![calls::unlock(site, run)],
            Act::Hook { index, .. } => self.config.hooks.get(*index).map(|h| command(&h.run)).into_iter().collect(),
        }
    }

    /// Without a login, and with a URL that is not signed: both travel on standard input.
    fn transfer(&self) -> Call {
        let (site, run, release, revision) = (&self.site, self.run, &self.plan.release, &self.plan.revision);
        let source = &self.config.source;
        if let Some(repository) = &source.repository {
            let from = Mirrored {
                url: &repository.url,
                origin: "",
                login: None,
                deploy_key: repository.deploy_key.as_deref().unwrap_or_default(),
                host_keys: &repository.host_keys,
                lent: self.config.ssh.forward_agent == Some(true),
            };
            return calls::fetch(site, run, Fresh { id: release, revision }, &from);
        }
        match source.download.as_ref().filter(|d| d.by == Fetcher::Servers) {
            Some(download) => {
                let sha256 = download.sha256.as_deref().unwrap_or_default();
                calls::download(site, run, Fresh { id: release, revision }, &Linked { url: "", sha256, secret: true })
            }
            None => calls::transfer(site, run, release, revision),
        }
    }

    fn owner(&self) -> Owner {
        Owner { run: self.run.clone(), ..owner("pitcrew deploy".into(), crate::lease::DEFAULT) }
    }
}
