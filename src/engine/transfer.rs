//! Transfers a release to one server.
//!
//! It sends what differs from the tree that the server keeps, or else all of it, unless the server fetches the release
//! itself.
//!
//! A server's tree is never relied on: the server compares what comes out with what is wanted, and refuses it. Then the
//! whole release is sent.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::fetch::{Fetch, Fetched};
use super::running::Running;
use crate::answer::Answer;
use crate::event::{Cause, Event, Failure, Place, Refusal, Sent, Warning};
use crate::facts::ServerFacts;
use crate::plan::build::needed_kb;
use crate::remote::{Ear, Execution};
use crate::script::Call;
use crate::script::calls::{self, Base, Format, Wanted};
use crate::source::Package;
use crate::source::delta::{Delta, Packed, Tree};
use crate::source::store::LISTING_MAX;
use crate::ssh::Payload;

impl Running {
    /// Makes the release on a server, and says how much was sent.
    ///
    /// # Errors
    /// As [`Running::call`]; a cached tree that cannot be used is no error.
    pub(super) async fn transfer(&self, place: &Place, stop: &CancellationToken) -> Result<Sent, Failure> {
        let package = self.world.package.as_ref().ok_or_else(|| local("nothing was packed".into()))?;
        let mut sent = Sent { bytes: 0, whole: package.payload.len, files: None, removed: None };
        if let Some(tree) = &package.tree
            && let Some((base, delta)) = self.delta(package, place, stop).await?
        {
            let size = delta.payload.as_ref().map_or(0, |payload| payload.len);
            sent.bytes = size;
            let call = self.blank(place, Some(tree)).onto(&Base { tree: &base, gone: delta.gone, size });
            match self.sending(place, call, delta.payload, stop).await {
                Ok(_) => {
                    package.remember().await;
                    return Ok(Sent { files: Some(delta.files), removed: Some(delta.removed), ..sent });
                }
                Err(Failure { cause: Cause::Refused { code: Refusal::StaleBase, detail }, .. }) => {
                    let (server, warning) = (Some(place.server.clone()), Warning::TreeUnusable { detail });
                    self.world.emitter.emit(Event::Warning { server, warning });
                }
                Err(failure) => return Err(failure),
            }
        }
        let payload = self.whole(package, place, stop).await?;
        sent.bytes += payload.len;
        let call = self.blank(place, package.tree.as_deref());
        let answers = self.sending(place, call, Some(payload), stop).await?;
        if answers.iter().any(|answer| answer.key == "modes") {
            let (server, warning) = (Some(place.server.clone()), Warning::ModesLost);
            self.world.emitter.emit(Event::Warning { server, warning });
        }
        package.remember().await;
        Ok(sent)
    }

    /// Has one server fetch the release, when it is its turn.
    ///
    /// # Errors
    /// As [`Running::call`].
    pub(super) async fn fetch(&self, fetch: &Fetch, place: &Place, stop: &CancellationToken) -> Result<(), Failure> {
        let _turn = tokio::select! {
            turn = fetch.turn() => turn,
            () = stop.cancelled() => return Err(Cause::Interrupted.into()),
        };
        let lent = self.world.hands.lends(&place.server);
        let (run, release, revision) = (&self.world.run, &self.plan.release, &self.plan.revision);
        let call = fetch.call(&self.site(), &Fetched { run, release, revision, lent })?;
        let execution = self.script(call, stop).limit(self.world.config.timeouts.prepare);
        let answers = self.call(place, execution).await?;
        for notice in answers.into_iter().filter(|a| a.key == "notice") {
            let warning = Warning::Note { text: notice.value };
            self.world.emitter.emit(Event::Warning { server: Some(place.server.clone()), warning });
        }
        Ok(())
    }

    /// The call that makes the release, without what it is made from.
    fn blank(&self, place: &Place, tree: Option<&Tree>) -> Call {
        let (site, run) = (self.site(), &self.world.run);
        let call = calls::transfer(&site, run, &self.plan.release, &self.plan.revision).packed(self.format(place));
        let (Some(tree), Some(package)) = (tree, &self.world.package) else { return call };
        let kb = package.unpacked.div_ceil(1024);
        let found = self.world.facts.servers.get(&place.server);
        // The build needs its room more than the next transfer its base.
        let room = found.is_none_or(|f| {
            f.free_kb.is_none_or(|free| free >= needed_kb(package.unpacked) + kb)
                && f.free_inodes.is_none_or(|free| free >= package.entries * 3)
        });
        call.wanting(&Wanted { tree: tree.digest(), loose: tree.loose_digest(), keep: room, kb })
    }

    async fn sending(
        &self,
        place: &Place,
        call: Call,
        payload: Option<Payload>,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        let execution = self.script(call, stop).limit(self.world.config.timeouts.prepare).payload(payload);
        self.call(place, execution).await
    }

    fn facts_of(&self, place: &Place) -> Option<&ServerFacts> {
        self.world.facts.servers.get(&place.server)
    }

    fn format(&self, place: &Place) -> Format {
        if self.facts_of(place).is_some_and(|facts| facts.zstd) { Format::Zstd } else { Format::Gzip }
    }

    /// All of the release in the format that the server can unpack.
    async fn whole(&self, package: &Package, place: &Place, stop: &CancellationToken) -> Result<Payload, Failure> {
        if self.format(place) == Format::Zstd {
            return Ok(package.payload.clone());
        }
        tokio::select! {
            gzipped = package.gzipped() => gzipped.map_err(|e| local(e.what())),
            () = stop.cancelled() => Err(Cause::Interrupted.into()),
        }
    }

    /// What differs from the tree that the server keeps, and that tree's name.
    ///
    /// `None`: the server keeps no tree that is worth it.
    async fn delta(
        &self,
        package: &Package,
        place: &Place,
        stop: &CancellationToken,
    ) -> Result<Option<(String, Delta)>, Failure> {
        let Some(found) = self.facts_of(place) else { return Ok(None) };
        let Some(cache) = &found.cache else { return Ok(None) };
        // Only without the cache is there room: it goes before the whole release comes.
        if found.free_kb.is_some_and(|free| free < needed_kb(package.unpacked)) {
            return Ok(None);
        }
        let packed = match self.format(place) {
            Format::Zstd => Packed::Zstd,
            Format::Gzip => Packed::Gzip,
        };
        let made = tokio::select! {
            made = package.delta(&cache.tree, packed, self.listing(place, &cache.tree, stop)) => made,
            () = stop.cancelled() => return Err(Cause::Interrupted.into()),
        };
        Ok(made.map_err(|e| local(e.what()))?.map(|delta| (cache.tree.clone(), delta)))
    }

    /// Asks a server what the tree that it keeps holds: another machine has sent it.
    async fn listing(&self, place: &Place, tree: &str, stop: &CancellationToken) -> Option<Vec<u8>> {
        let limit = Some(self.world.config.timeouts.step);
        let execution = Execution::new(calls::listing(&self.site(), tree), limit, stop);
        let answers = self.world.hands.run(&place.server, &execution, Ear::Off).await.ok()?;
        let text: String = answers.into_iter().filter(|a| a.key == "listing").map(|a| a.value).collect();
        let unzipped = spawn_blocking(move || {
            let packed = STANDARD.decode(text).ok()?;
            let mut listing = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).take(LISTING_MAX).read_to_end(&mut listing).ok()?;
            Some(listing)
        });
        unzipped.await.ok().flatten()
    }
}

fn local(detail: String) -> Failure {
    Cause::Local { detail }.into()
}
