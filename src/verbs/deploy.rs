//! `pitcrew deploy` and `pitcrew rollback`: flags to a request.

use crate::cli::{Deploy, Global, Rollback};
use crate::error::Error;
use crate::name::ReleaseId;
use crate::plan::Verb;
use crate::plan::build::Request;
use crate::stack::request::request;
use crate::stack::{self, Stack};

use super::rollout::{self, Asked};
use crate::stack::waiting;

/// Deploys a release.
///
/// # Errors
/// Whatever ended it before there was a run.
pub async fn run(global: &Global, flags: &Deploy) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global).await?;
    let request = Request {
        migrate: match (flags.migrate, flags.no_migrate) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
        prepare_ahead: flags.prepare_ahead,
        if_changed: flags.if_changed,
        ..request(Verb::Deploy, &flags.walk, stack.select(&flags.select)?)?
    };
    let wait = waiting::read(flags.walk.wait_lock.as_deref())?;
    let asked = Asked { request, reference: flags.reference.clone(), dry_run: flags.walk.dry_run, wait };
    rollout::run(global, &stack, asked).await
}

/// Returns to an earlier release.
///
/// # Errors
/// Whatever ended it before there was a run.
pub async fn rollback(global: &Global, flags: &Rollback) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global).await?;
    let release = match &flags.release {
        Some(text) => Some(ReleaseId::parse(text).ok_or_else(|| {
            Error::usage(format!("`{text}` is no release: a release is a timestamp like 20261123045900"))
                .hint("`pitcrew releases` lists them")
        })?),
        None => None,
    };
    let request = Request { release, ..request(Verb::Rollback, &flags.walk, stack.select(&flags.select)?)? };
    let wait = waiting::read(flags.walk.wait_lock.as_deref())?;
    rollout::run(global, &stack, Asked { request, reference: None, dry_run: flags.walk.dry_run, wait }).await
}
