//! Servers that come by the release themselves: from a git repository, or from where an archive lies.
//!
//! It makes the script that fetches, and limits how many servers fetch at once.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::event::{Cause, Failure};
use crate::name::{ReleaseId, Revision, RunId};
use crate::script::Call;
use crate::script::calls::{self, Fresh, Linked, Mirrored, Site};
use crate::source::Delivery;

/// What servers fetch, and how many of them at once.
pub struct Fetch {
    delivery: Delivery,
    turns: Semaphore,
}

/// The release to fetch, and what the server may use for it.
pub(super) struct Fetched<'a> {
    pub run: &'a RunId,
    pub release: &'a ReleaseId,
    pub revision: &'a Revision,
    /// The operator's SSH agent is forwarded to the server.
    pub lent: bool,
}

impl Fetch {
    /// Takes a delivery that servers fetch; `None`: the delivery is sent to them.
    pub fn of(delivery: &Delivery) -> Option<Self> {
        let at_once = match delivery {
            Delivery::Packed(_) => return None,
            Delivery::Fetched(remote) => remote.repository.at_once,
            // A store feeds any number.
            Delivery::Downloaded(_) => Semaphore::MAX_PERMITS,
        };
        Some(Self { delivery: delivery.clone(), turns: Semaphore::new(at_once) })
    }

    /// Waits until one more server may fetch; the turn ends when the value is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Makes the script that fetches the release.
    ///
    /// # Errors
    /// When the delivery is one that is sent.
    pub(super) fn call(&self, site: &Site<'_>, fetched: &Fetched<'_>) -> Result<Call, Failure> {
        let Fetched { run, release, revision, lent } = fetched;
        match &self.delivery {
            Delivery::Fetched(remote) => {
                let from = Mirrored {
                    url: &remote.repository.url,
                    origin: remote.origin(),
                    login: remote.login.as_ref().map(|l| (l.user.as_str(), l.password.as_str())),
                    deploy_key: remote.repository.deploy_key.as_deref().unwrap_or_default(),
                    host_keys: &remote.repository.host_keys,
                    lent: *lent,
                };
                Ok(calls::fetch(site, run, Fresh { id: release, revision }, &from))
            }
            Delivery::Downloaded(link) => {
                let from = Linked { url: &link.url, sha256: &link.sha256, secret: link.secret };
                Ok(calls::download(site, run, Fresh { id: release, revision }, &from))
            }
            Delivery::Packed(_) => Err(Cause::Local { detail: "what is sent cannot be fetched".into() }.into()),
        }
    }
}
