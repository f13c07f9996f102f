//! `pitcrew deploy`: flags to a request.

use clap::Args;

use super::rollout::{self, Asked};
use crate::cli::{Global, Select, WalkFlags};
use crate::error::Error;
use crate::plan::Verb;
use crate::plan::build::Request;
use crate::stack::request::request;
use crate::stack::{self, Stack, waiting};

/// Deploys a release.
#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Branch, tag or SHA to deploy instead of the file's `ref`.
    #[arg(value_name = "REF")]
    reference: Option<String>,
    /// How to walk.
    #[command(flatten)]
    walk: WalkFlags,
    /// Which servers.
    #[command(flatten)]
    select: Select,
    /// Runs the migrations even where the file says `when = "asked"`.
    #[arg(long, conflicts_with = "no_migrate")]
    migrate: bool,
    /// Runs no migrations.
    #[arg(long)]
    no_migrate: bool,
    /// Transfers and builds on all servers before the first is drained.
    #[arg(long)]
    prepare_ahead: bool,
    /// Does nothing when all servers are on that revision already.
    #[arg(long)]
    if_changed: bool,
}

impl Deploy {
    /// Deploys a release.
    ///
    /// # Errors
    /// When something ended it before there was a run.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let config = stack::read(global)?;
        if self.migrate && config.migrate.is_none() {
            return Err(Error::usage("--migrate: the file has no [migrate]").hint("add [migrate] with `run` to it"));
        }
        let stack = Stack::prepare(config, global).await?;
        let request = Request {
            migrate: match (self.migrate, self.no_migrate) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            prepare_ahead: self.prepare_ahead,
            if_changed: self.if_changed,
            insists: self.reference.is_some(),
            ..request(Verb::Deploy, &self.walk, stack.select(&self.select)?)?
        };
        let wait = waiting::read(self.walk.wait_lock.as_deref())?;
        let asked = Asked { request, reference: self.reference.clone(), dry_run: self.walk.dry_run, wait };
        rollout::run(global, &stack, asked).await
    }
}
