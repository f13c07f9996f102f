//! What a run finds before it is planned: facts of servers and balancers, and the packed source.

use std::os::unix::net::UnixStream;

use super::packing::{Building, Packing, Unpacked};
use super::prepare::Stack;
use super::survey::Execs;
use crate::balancer::BalancerError;
use crate::config::source::Repository;
use crate::engine::Stop;
use crate::event::Warning;
use crate::facts::Facts;
use crate::plan::Verb;
use crate::plan::build::Request;
use crate::source::{Delivery, Resolved};
use crate::text::redact::is_too_short;

/// What to gather for.
pub struct Gathering<'a> {
    /// What the plan decides on, without what is found here.
    pub request: Request,
    /// `deploy REF`.
    pub reference: Option<String>,
    /// Whether the first question leaves an exec ready on each server.
    pub execs: Execs,
    /// Whether `[build] on = "here"` is done.
    pub building: Building<'a>,
    /// Signals.
    pub stop: &'a Stop,
}

/// What was found before the plan.
pub struct Gathered {
    /// The request, with the revision and the size of the source.
    pub request: Request,
    /// What the servers and balancers say.
    pub facts: Facts,
    /// What balancers refused to say.
    pub refused: Vec<BalancerError>,
    /// The source and how it is delivered; `None`: a rollback needs none.
    pub source: Result<Option<(Resolved, Delivery)>, Unpacked>,
    /// What the plan is to say besides its own notices.
    pub notices: Vec<Warning>,
}

/// Asks everything and packs the source; `None`: a second signal came.
pub async fn gather(stack: &Stack, asked: Gathering<'_>) -> Option<Gathered> {
    let Gathering { mut request, reference, execs, building, stop } = asked;
    let deploys = request.verb == Verb::Deploy;
    let packing = deploys.then(|| Packing::start(stack, reference, stop, building));
    let packed = async {
        match packing {
            Some(packing) => packing.end().await.map(Some),
            None => Ok(None),
        }
    };
    let all = async { tokio::join!(stack.facts(execs, &stop.soft), packed) };
    let ((facts, refused), source) = stop.unless_hard(all).await?;
    if let Ok(Some((resolved, delivery))) = &source {
        request.revision = Some(resolved.revision.clone());
        request.size = delivery.package().map(|p| (p.unpacked, p.entries));
    }
    let lends_nothing = deploys.then(|| lends_nothing(stack)).flatten();
    let notices = lends_nothing.into_iter().chain(shows_secrets(stack)).collect();
    Some(Gathered { request, facts, refused, source, notices })
}

/// Reports secrets that would be found everywhere.
fn shows_secrets(stack: &Stack) -> Option<Warning> {
    let short = stack.secrets.iter().filter(|(_, value)| is_too_short(value));
    let names: Vec<String> = short.map(|(name, _)| name.clone()).collect();
    (!names.is_empty()).then_some(Warning::NotMasked { names })
}

/// Reports that no agent runs here, where servers are to fetch with its keys.
fn lends_nothing(stack: &Stack) -> Option<Warning> {
    let over_ssh = |r: &&Repository| r.deploy_key.is_none() && r.is_over_ssh();
    stack.config.source.repository.as_ref().filter(over_ssh)?;
    let settings = stack.links.values().map(|link| &link.target().settings).find(|settings| settings.is_to_lend())?;
    let detail = match settings.forward.as_ref().map(|path| (path, UnixStream::connect(path))) {
        Some((_, Ok(_))) => return None,
        Some((path, Err(e))) => format!("{}: {e}", path.display()),
        None => "SSH_AUTH_SOCK is not set".to_owned(),
    };
    Some(Warning::NoAgent { detail })
}
