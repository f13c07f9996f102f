//! Servers that come by the release themselves: from a git repository, or from where an archive lies.

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Running;
use super::call::{How, Limit};
use crate::event::{Cause, Event, Failure, Place, Warning};
use crate::remote::calls::{self, Linked, Mirrored};
use crate::source::Delivery;

/// What servers fetch, and how many of them at once.
pub struct Fetch {
    delivery: Delivery,
    places: Semaphore,
}

impl Fetch {
    /// Takes a delivery that servers fetch; `None`: it is sent to them.
    pub fn of(delivery: &Delivery) -> Option<Self> {
        let at_once = match delivery {
            Delivery::Packed(_) => return None,
            Delivery::Fetched(remote) => remote.repository.at_once,
            // A store feeds any number.
            Delivery::Downloaded(_) => Semaphore::MAX_PERMITS,
        };
        Some(Self { delivery: delivery.clone(), places: Semaphore::new(at_once) })
    }
}

impl Running {
    /// Has one server fetch the release, when it is its turn.
    ///
    /// # Errors
    /// As [`super::remote::execute`].
    pub(super) async fn fetch(&self, fetch: &Fetch, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let _turn = tokio::select! {
            turn = fetch.places.acquire() => turn,
            () = stop.cancelled() => return Err(Cause::Interrupted.into()),
        };
        let (site, run, release, revision) = (self.site(), &self.world.run, &self.plan.release, &self.plan.revision);
        let call = match &fetch.delivery {
            Delivery::Fetched(remote) => {
                let from = Mirrored {
                    url: &remote.repository.url,
                    origin: remote.origin(),
                    login: remote.login.as_ref().map(|l| (l.user.as_str(), l.password.as_str())),
                    deploy_key: remote.repository.deploy_key.as_deref().unwrap_or_default(),
                    host_keys: &remote.repository.host_keys,
                    lent: self.world.links.get(&place.server).is_some_and(|link| link.target().settings.is_to_lend()),
                };
                calls::fetch(&site, run, release, revision, &from)
            }
            Delivery::Downloaded(link) => {
                let from = Linked { url: &link.url, sha256: &link.sha256, secret: link.secret };
                calls::download(&site, run, release, revision, &from)
            }
            Delivery::Packed(_) => {
                return Err(Cause::Local { detail: "what is sent cannot be fetched".into() }.into());
            }
        };
        let how = How { limit: Some(Limit(self.world.config.timeouts.prepare)), ..How::default() };
        let answers = self.call(place, call, how, stop).await?;
        for notice in answers.into_iter().filter(|a| a.key == "notice") {
            let warning = Warning::Note { text: notice.value };
            self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
        }
        Ok(())
    }
}
