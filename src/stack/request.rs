//! From a walk's flags to what a plan decides on.

use crate::cli::{Policy, StrategyFlags, WalkFlags};
use crate::config::{BatchSize, OnFailure, Strategy, parse_batch};
use crate::error::Error;
use crate::name::ServerName;
use crate::plan::Verb;
use crate::plan::build::Request;

/// Returns what the flags of a walk ask for.
///
/// # Errors
/// When a batch size cannot be read.
pub fn request(verb: Verb, walk: &WalkFlags, servers: Vec<ServerName>) -> Result<Request, Error> {
    let (strategy, batch) = strategy(&walk.strategy)?;
    Ok(Request {
        verb,
        strategy,
        batch,
        prepare_ahead: false,
        migrate: None,
        on_failure: walk.on_failure.map(|p| match p {
            Policy::Revert => OnFailure::Revert,
            Policy::RevertAll => OnFailure::RevertAll,
            Policy::Hold => OnFailure::Hold,
        }),
        servers,
        revision: None,
        size: None,
        release: None,
        if_changed: false,
        insists: false,
        skip_unreachable: walk.skip_unreachable,
        holder: None,
    })
}

fn strategy(walk: &StrategyFlags) -> Result<(Option<Strategy>, Option<Vec<BatchSize>>), Error> {
    Ok(match (&walk.rolling, walk.serial, walk.parallel) {
        (Some(batch), _, _) if batch.is_empty() => (Some(Strategy::Rolling), None),
        (Some(batch), _, _) => {
            let sizes = parse_batch(batch).map_err(|bad| {
                Error::usage(format!("--rolling={batch}: a batch {}; {}", bad.what, bad.hint))
                    .hint("say 2, 25%, or a ramp like 1,25%,100%")
            })?;
            (Some(Strategy::Rolling), Some(sizes))
        }
        (None, true, _) => (Some(Strategy::Serial), None),
        (None, _, true) => (Some(Strategy::Parallel), None),
        (None, false, false) => (None, None),
    })
}
