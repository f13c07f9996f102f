//! `pitcrew rollback`: flags to a request.

use clap::Args;

use super::rollout::{self, Asked};
use crate::cli::{Global, Select, WalkFlags};
use crate::error::Error;
use crate::name::ReleaseId;
use crate::plan::Verb;
use crate::plan::build::Request;
use crate::stack::request::request;
use crate::stack::{self, Stack, waiting};

/// Returns to the last good release that all servers hold, or to RELEASE.
#[derive(Debug, Clone, Args)]
pub struct Rollback {
    /// The release to return to, as `pitcrew releases` lists it.
    release: Option<String>,
    /// How to walk.
    #[command(flatten)]
    walk: WalkFlags,
    /// Which servers.
    #[command(flatten)]
    select: Select,
}

impl Rollback {
    /// Returns to an earlier release.
    ///
    /// # Errors
    /// When something ended it before there was a run.
    pub async fn run(&self, global: &Global) -> Result<u8, Error> {
        let stack = Stack::prepare(stack::read(global)?, global).await?;
        let release = match &self.release {
            Some(text) => Some(ReleaseId::parse(text).ok_or_else(|| {
                Error::usage(format!("`{text}` is no release: a release is a timestamp like 20261123045900"))
                    .hint("`pitcrew releases` lists them")
            })?),
            None => None,
        };
        let request = Request { release, ..request(Verb::Rollback, &self.walk, stack.select(&self.select)?)? };
        let wait = waiting::read(self.walk.wait_lock.as_deref())?;
        rollout::run(global, &stack, Asked { request, reference: None, dry_run: self.walk.dry_run, wait }).await
    }
}
