//! Draining and restoring with a balancer that is steered by few calls: ask, take out, put back.
//!
//! Owns all waiting: what is asked how often, what counts as out and as back, who may be taken out, every deadline, and
//! undoing a drain that failed half-way. An adapter ([`Steer`]) waits for nothing and remembers nothing but connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Admin, BalancerError, Drained, Draining, MemberFacts, Snapshot, pause, together, too_few, unless};
use crate::config::{LoadBalancer, OnDrainTimeout};

/// How much longer than the balancer's own limit on a drain is waited for it.
const SLACK: Duration = Duration::from_secs(30);
/// How long connections may take to end once they were forced.
const SETTLE: Duration = Duration::from_secs(5);

/// What a balancer of few calls can do. Every call may be made twice, and any may be cut off.
///
/// A place that is [`Admin::Ready`] takes traffic, or would if it were healthy; [`Admin::Drain`] takes no more and may
/// still have connections; [`Admin::Maint`] has none, or none that the balancer can tell of.
pub trait Steer: Send + Sync {
    /// The balancer, as errors name it.
    fn at(&self) -> String;

    /// How slow it is. Asked again for every wait: what a look has taught may count.
    fn pace(&self) -> Pace;

    /// Learns what a record says of places that the balancer may have forgotten, before it is asked about them.
    fn recall(&self, found: &[MemberFacts]) {
        let _ = found;
    }

    /// Asks once about all of these servers, and says of each every place that it has, or could be put back to.
    ///
    /// A server that nothing is said of is an error of its own; what is wrong with one hides no other. `unreachable`
    /// errors are asked about again, others are final.
    fn look(&self, lb_names: &[String]) -> impl Future<Output = Reading> + Send;

    /// Begins to take one place out, without waiting for its connections.
    fn take_out(&self, now: &MemberFacts) -> impl Future<Output = Result<(), BalancerError>> + Send;

    /// Ends the connections of a place that has been taken out. `false`: the balancer cannot do that.
    fn force(&self, now: &MemberFacts) -> impl Future<Output = Result<bool, BalancerError>> + Send;

    /// Puts one place back as it was found, without waiting for its health.
    fn put_back(&self, found: &MemberFacts) -> impl Future<Output = Result<(), BalancerError>> + Send;
}

/// How slow a balancer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Pause between two looks of one wait; lanes that wait side by side share their looks.
    pub tick: Duration,
    /// Up to so much is added to it at random, so that many runs do not ask in step.
    pub jitter: Duration,
    /// Limit on one call.
    pub call: Duration,
    /// For how long a look that fails as `unreachable` is repeated.
    pub patience: Duration,
    /// How long after a change a look may still show what was before.
    pub shows_within: Duration,
    /// The least time from taking a place out to believing that it is: traffic goes on that long.
    pub lag: Duration,
    /// The balancer itself ends a drain within this, so that a longer `drain_timeout` waits for nothing.
    pub drains_within: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            jitter: Duration::from_millis(200),
            call: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            shows_within: Duration::from_secs(10),
            lag: Duration::ZERO,
            drains_within: None,
        }
    }
}

/// What one look brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every place of every server asked about.
    pub members: Vec<MemberFacts>,
    /// What could not be told, of one server or (`None`) of all.
    pub errors: Vec<(Option<String>, BalancerError)>,
}

impl Reading {
    /// Makes one of a look that brought nothing.
    pub fn failed(error: BalancerError) -> Self {
        Self { members: Vec::new(), errors: vec![(None, error)] }
    }

    /// Returns a server's places, or the first error that concerns it.
    fn of(&self, at: &str, lb_name: &str) -> Result<Vec<MemberFacts>, BalancerError> {
        if let Some((_, error)) = self.errors.iter().find(|(name, _)| name.as_deref().is_none_or(|n| n == lb_name)) {
            return Err(error.clone());
        }
        let places: Vec<MemberFacts> = self.members.iter().filter(|m| m.member == lb_name).cloned().collect();
        if places.is_empty() {
            return Err(BalancerError {
                at: at.to_owned(),
                member: Some(lb_name.to_owned()),
                detail: format!("it says nothing of {lb_name}"),
                hint: "set `lb` in [[servers]] to the server's name there".to_owned(),
                ..BalancerError::default()
            });
        }
        Ok(places)
    }
}

/// A balancer of few calls, with everything that has to be waited for.
pub struct Walk<A> {
    steer: A,
    config: LoadBalancer,
    /// All servers behind it, who are asked about together.
    names: Vec<String>,
    /// Shortens the limit on one call.
    limit: Duration,
    /// Held from counting who is left to taking one out, so that two lanes cannot both count on each other.
    gate: Mutex<()>,
    /// How many changes have been made; a look begun before the last one is stale.
    changes: AtomicU64,
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    began: Instant,
    changes: u64,
    reading: Arc<Reading>,
}

impl<A: Steer> Walk<A> {
    /// Makes one for a stack whose servers have these names in the balancer.
    pub fn new(steer: A, config: &LoadBalancer, names: Vec<String>) -> Self {
        Self {
            steer,
            config: config.clone(),
            names,
            limit: Duration::MAX,
            gate: Mutex::new(()),
            changes: AtomicU64::new(0),
            seen: Mutex::new(None),
        }
    }

    /// Shortens the limit on one call; see [`super::Balancer::within`].
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Learns what was recorded; see [`super::Balancer::recall`].
    pub fn recall(&self, found: &[MemberFacts]) {
        self.steer.recall(found);
    }

    /// Asks about these servers; see [`super::Balancer::survey`].
    pub async fn survey(&self, lb_names: &[String]) -> (Vec<MemberFacts>, Vec<BalancerError>) {
        let reading = self.read(Duration::ZERO).await;
        let (mut facts, mut errors) = (Vec::new(), Vec::new());
        for name in lb_names {
            match reading.of(&self.steer.at(), name) {
                Ok(places) => facts.extend(places),
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
        }
        (facts, errors)
    }

    /// The same, or what is wrong with any of them.
    #[cfg(test)]
    pub async fn facts(&self, lb_names: &[String]) -> Result<Vec<MemberFacts>, Vec<BalancerError>> {
        let (facts, errors) = self.survey(lb_names).await;
        if errors.is_empty() { Ok(facts) } else { Err(errors) }
    }

    /// Takes a server out of all its places; see [`super::Balancer::drain`].
    pub async fn drain(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(Draining) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Drained, BalancerError> {
        self.steer.recall(&found.members);
        let mut out = Out { all: self, server: lb_name, taken: Vec::new(), on, stop };
        match out.take(found).await {
            Ok(drained) => Ok(drained),
            Err(mut error) => {
                let back = join_all(out.taken.iter().map(|taken| self.put_back(taken))).await;
                if let Err(kept) = together(back.into_iter().filter_map(Result::err).collect()) {
                    error.detail = format!("{}; and it stays out, since putting it back failed: {kept}", error.detail);
                }
                Err(error)
            }
        }
    }

    /// Tells whether the server takes traffic nowhere.
    pub async fn still_out(&self, lb_name: &str) -> Result<bool, BalancerError> {
        Ok(self.places(lb_name, Duration::ZERO).await?.iter().all(|m| m.admin != Admin::Ready))
    }

    /// Takes a server out again where it is not; see [`super::Balancer::ensure_out`].
    pub async fn ensure_out(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(Draining) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<Option<Drained>, BalancerError> {
        self.steer.recall(&found.members);
        if unless(stop, self.still_out(lb_name)).await?? {
            return Ok(None);
        }
        let mut out = Out { all: self, server: lb_name, taken: Vec::new(), on, stop };
        out.take(found).await.map(Some)
    }

    /// Puts a server back as it was found; see [`super::Balancer::restore`].
    pub async fn restore(
        &self,
        lb_name: &str,
        found: &Snapshot,
        on: &mut (dyn FnMut(String) + Send + Sync),
        stop: &CancellationToken,
    ) -> Result<(), BalancerError> {
        self.steer.recall(&found.members);
        let found: Vec<&MemberFacts> = found.members.iter().filter(|m| m.member == lb_name).collect();
        let mut back = Back { all: self, server: lb_name, cases: Vec::new(), errors: Vec::new(), on, stop };
        if let Err(error) = back.walk(&found).await {
            back.errors.insert(0, error);
            // Interrupted or cut off: what is not proven stays out, as far as that can still be said.
            back.abandon("").await;
        }
        together(back.errors)?;
        // Being stopped now changes nothing: it is back.
        let _ = pause(stop, self.config.wait_after_restore).await;
        Ok(())
    }

    /// Sets a server's administrative state in all its places, without waiting for anything.
    pub async fn set(&self, lb_name: &str, to: Admin) -> Result<(), BalancerError> {
        let places = self.places(lb_name, Duration::ZERO).await?;
        let set = join_all(places.iter().map(|now| async move {
            match (to, now.admin) {
                (Admin::Ready, Admin::Ready) => Ok(()),
                (Admin::Ready, _) => self.put_back(&MemberFacts { admin: Admin::Ready, ..now.clone() }).await,
                (Admin::Drain | Admin::Maint, Admin::Ready) => self.take_out(now).await,
                (Admin::Drain | Admin::Maint, _) => Ok(()),
            }
        }));
        together(set.await.into_iter().filter_map(Result::err).collect())
    }

    /// Looks at a server's places, again and again where the balancer cannot be reached for a moment.
    async fn places(&self, lb_name: &str, age: Duration) -> Result<Vec<MemberFacts>, BalancerError> {
        let began = Instant::now();
        loop {
            match self.read(age).await.of(&self.steer.at(), lb_name) {
                Err(error) if error.unreachable && began.elapsed() < self.steer.pace().patience => {
                    sleep(self.tick()).await;
                }
                result => return result,
            }
        }
    }

    /// Asks about all servers, or returns a reading that began no longer than `age` ago and after the last change.
    async fn read(&self, age: Duration) -> Arc<Reading> {
        let asked = Instant::now();
        // Whoever waits here asked before the next look begins, and may use it.
        let mut seen = self.seen.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if let Some(seen) = seen.as_ref()
            && seen.changes == changes
            && seen.began + age >= asked
        {
            return seen.reading.clone();
        }
        let began = Instant::now();
        let reading = match timeout(self.call_limit(), self.steer.look(&self.names)).await {
            Ok(reading) => reading,
            Err(_) => Reading::failed(self.late()),
        };
        let reading = Arc::new(reading);
        *seen = Some(Seen { began, changes, reading: reading.clone() });
        reading
    }

    async fn take_out(&self, now: &MemberFacts) -> Result<(), BalancerError> {
        self.change(self.steer.take_out(now)).await
    }

    async fn put_back(&self, found: &MemberFacts) -> Result<(), BalancerError> {
        self.change(self.steer.put_back(found)).await
    }

    async fn change<T>(&self, call: impl Future<Output = Result<T, BalancerError>>) -> Result<T, BalancerError> {
        let result = timeout(self.call_limit(), call).await;
        self.changes.fetch_add(1, Ordering::SeqCst);
        result.unwrap_or_else(|_| Err(self.late()))
    }

    fn call_limit(&self) -> Duration {
        self.steer.pace().call.min(self.limit)
    }

    fn late(&self) -> BalancerError {
        let detail = format!("it did not answer within {:?}", self.call_limit());
        BalancerError { at: self.steer.at(), detail, unreachable: true, ..BalancerError::default() }
    }

    /// The pause before the next look.
    fn tick(&self) -> Duration {
        let pace = self.steer.pace();
        pace.tick + pace.jitter.mul_f64(rand::random())
    }

    fn error(&self, place: &MemberFacts, detail: String, hint: &str) -> BalancerError {
        BalancerError {
            at: place.at.clone(),
            member: Some(place.label()),
            detail,
            hint: hint.to_owned(),
            ..BalancerError::default()
        }
    }
}

/// Tells whether nothing goes to a place any more, as far as the balancer tells.
fn is_empty(place: &MemberFacts) -> bool {
    match (place.admin, place.sessions) {
        (Admin::Ready, _) | (Admin::Drain, None) => false,
        (Admin::Maint, None) => true,
        (Admin::Drain | Admin::Maint, Some(open)) => open == 0,
    }
}

/// One server's way out.
struct Out<'a, A> {
    all: &'a Walk<A>,
    server: &'a str,
    /// The places that were taken out, as they were just before.
    taken: Vec<MemberFacts>,
    on: &'a mut (dyn FnMut(Draining) + Send + Sync),
    stop: &'a CancellationToken,
}

impl<A: Steer> Out<'_, A> {
    async fn take(&mut self, found: &Snapshot) -> Result<Drained, BalancerError> {
        self.pass_gate(found).await?;
        let began = Instant::now();
        let (config, pace) = (&self.all.config, self.all.steer.pace());
        let own = pace.drains_within.map_or(Duration::MAX, |own| own.saturating_add(SLACK));
        let limit = config.drain_timeout.min(own);
        let mut places = self.wait(began + pace.lag, began + limit).await?;
        if !places.iter().all(is_empty) && config.on_drain_timeout == OnDrainTimeout::Kill {
            for place in places.iter().filter(|m| !is_empty(m)) {
                if !self.all.change(self.all.steer.force(place)).await? {
                    let detail = format!("connections were left after {limit:?}, and it cannot end them");
                    return Err(self.all.error(place, detail, "set `on_drain_timeout` to \"proceed\" or \"fail\""));
                }
            }
            places = self.wait(Instant::now(), Instant::now() + SETTLE.max(pace.shows_within)).await?;
        }
        let open = places.iter().filter(|m| !is_empty(m));
        let left = open.clone().try_fold(0u64, |all, m| Some(all.saturating_add(m.sessions?)));
        if let Some(place) = open.clone().next()
            && config.on_drain_timeout == OnDrainTimeout::Fail
        {
            let what = left.map_or("it was still draining".to_owned(), |n| format!("{n} connections were still open"));
            let hint = "raise `drain_timeout`, or set `on_drain_timeout` to \"proceed\"";
            return Err(self.all.error(place, format!("{what} after {limit:?}"), hint));
        }
        // Whatever is left, traffic goes on for so long.
        unless(self.stop, tokio::time::sleep_until(began + pace.lag)).await?;
        let drained = Drained { left, waited: began.elapsed() };
        pause(self.stop, config.wait_after_drain).await?;
        let places = unless(self.stop, self.all.places(self.server, Duration::ZERO)).await??;
        if let Some(place) = places.iter().find(|m| m.admin == Admin::Ready) {
            let detail = "something put it back into service while it was drained (a reload, an operator)".to_owned();
            return Err(self.all.error(place, detail, "see that nobody changes the balancer during a deploy"));
        }
        Ok(drained)
    }

    /// Counts who would be left, and takes the server out of new traffic, with no other lane in between.
    async fn pass_gate(&mut self, found: &Snapshot) -> Result<(), BalancerError> {
        let all = self.all;
        // The time that other lanes wait here counts.
        let patient = Instant::now() + all.config.capacity_timeout;
        let _gate = unless(self.stop, all.gate.lock()).await?;
        let places = self.capacity(patient).await?;
        for place in &places {
            // What was not asked about could not be restored either.
            if !found.members.iter().any(|m| m.is_there(place)) {
                return Err(all.error(place, "its state before the run is not known".to_owned(), ""));
            }
        }
        for place in places.into_iter().filter(|m| m.admin == Admin::Ready) {
            // Noted before it is sent: half of it may arrive.
            self.taken.push(place.clone());
            all.take_out(&place).await?;
        }
        let shown = Instant::now() + all.steer.pace().shows_within;
        loop {
            let places = unless(self.stop, all.places(self.server, Duration::ZERO)).await??;
            let Some(place) = places.iter().find(|m| m.admin == Admin::Ready) else { return Ok(()) };
            if Instant::now() >= shown {
                let detail = format!("it accepted the drain and did not do it: {}", place.status);
                return Err(all.error(place, detail, ""));
            }
            pause(self.stop, all.tick()).await?;
        }
    }

    /// Waits until others are in service; returns the server's places as they are then.
    async fn capacity(&mut self, until: Instant) -> Result<Vec<MemberFacts>, BalancerError> {
        loop {
            let places = unless(self.stop, self.all.places(self.server, Duration::ZERO)).await??;
            let least = |m: &MemberFacts| self.all.config.min_in_service.of(m.size);
            // A place that serves nobody (a first deploy, a site that is down) takes no capacity with it.
            let Some(place) = places.iter().find(|m| m.in_service && m.others_in_service < least(m)) else {
                return Ok(places);
            };
            let (why, hint) = too_few(place.others_in_service, least(place), &self.all.config);
            if Instant::now() >= until {
                return Err(self.all.error(place, why, hint));
            }
            (self.on)(Draining::Waiting(format!("{}: {why}", place.label())));
            pause(self.stop, self.all.tick()).await?;
        }
    }

    /// Waits until every place is empty, not before `least`; returns them as they are then or at `until`.
    async fn wait(&mut self, least: Instant, until: Instant) -> Result<Vec<MemberFacts>, BalancerError> {
        let age = self.all.steer.pace().tick;
        loop {
            let places = unless(self.stop, self.all.places(self.server, age)).await??;
            let again: Vec<&MemberFacts> = places.iter().filter(|m| m.admin == Admin::Ready).collect();
            for place in &again {
                // A reload forgets what it was told, and takes what it had for nothing.
                self.all.take_out(place).await?;
            }
            if let Some(open) = places.iter().filter_map(|m| m.sessions).reduce(u64::saturating_add) {
                (self.on)(Draining::Open(open));
            }
            let now = Instant::now();
            if (places.iter().all(is_empty) && now >= least) || (now >= until && again.is_empty()) || now >= until + age
            {
                return Ok(places);
            }
            pause(self.stop, self.all.tick()).await?;
        }
    }
}

/// A place on its way back into traffic.
struct Case<'a> {
    found: &'a MemberFacts,
    /// It had not to be put back.
    was_in: bool,
    /// In how many readings in a row it is out again; `None`: it has not been seen in yet.
    out_again: Option<u8>,
    /// Since when it is in service without a break.
    since: Option<Instant>,
    /// What was last said of it.
    said: String,
    back: bool,
}

/// One server's way back.
struct Back<'a, A> {
    all: &'a Walk<A>,
    server: &'a str,
    cases: Vec<Case<'a>>,
    errors: Vec<BalancerError>,
    on: &'a mut (dyn FnMut(String) + Send + Sync),
    stop: &'a CancellationToken,
}

impl<'a, A: Steer> Back<'a, A> {
    async fn walk(&mut self, found: &[&'a MemberFacts]) -> Result<(), BalancerError> {
        if found.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.all.config.restore_timeout;
        let places = unless(self.stop, self.all.places(self.server, Duration::ZERO)).await??;
        for found in found.iter().copied() {
            let Some(now) = places.iter().find(|m| m.is_there(found)) else {
                let detail = "it does not tell of this place any more, so the server was not put back there".to_owned();
                self.errors.push(self.all.error(found, detail, "compare [load_balancer] with what was there before"));
                continue;
            };
            let changed = match (found.admin, now.admin) {
                (Admin::Ready, admin) => {
                    // Noted before it is sent: half of it may arrive.
                    let was_in = admin == Admin::Ready;
                    self.cases.push(Case {
                        found,
                        was_in,
                        out_again: was_in.then_some(0),
                        since: None,
                        said: String::new(),
                        back: false,
                    });
                    if was_in { Ok(()) } else { self.all.put_back(found).await }
                }
                // Somebody had taken it out, and has not asked for it.
                (_, Admin::Ready) => self.all.take_out(now).await,
                _ => Ok(()),
            };
            if let Err(mut error) = changed {
                self.cases.retain(|c| !c.found.is_there(found));
                // Half of it may have arrived: what is not proven stays out.
                if found.admin == Admin::Ready
                    && let Err(also) = self.all.take_out(found).await
                {
                    error.detail = format!("{}; whether it is in is not known: {also}", error.detail);
                }
                self.errors.push(error);
            }
        }
        while self.cases.iter().any(|c| !c.back) {
            let places = unless(self.stop, self.all.places(self.server, self.all.steer.pace().tick)).await??;
            self.look(&places).await?;
            let steady = self.cases.iter().all(|c| c.back || c.since.is_some());
            if Instant::now() >= deadline && !steady {
                self.abandon("it was not reported up in time").await;
            } else if self.cases.iter().any(|c| !c.back) {
                pause(self.stop, self.all.tick()).await?;
            }
        }
        Ok(())
    }

    /// Holds the cases against a reading.
    async fn look(&mut self, places: &[MemberFacts]) -> Result<(), BalancerError> {
        for case in self.cases.iter_mut().filter(|c| !c.back) {
            let now = places.iter().find(|m| m.is_there(case.found));
            let said = now.map_or("gone", |m| m.status.as_str());
            if case.said != said {
                said.clone_into(&mut case.said);
                (self.on)(format!("{}: {said}", case.found.label()));
            }
            case.out_again = match now.map(|m| m.admin) {
                Some(Admin::Ready) => Some(0),
                Some(_) => case.out_again.map(|readings| readings.saturating_add(1)),
                None => case.out_again,
            };
            // One reading may be an old one: not all balancers know at once what they have been told.
            if case.out_again >= Some(2) {
                case.back = true;
                (self.on)(format!("{}: somebody has taken it out meanwhile; it is left so", case.found.label()));
                continue;
            }
            if !now.is_some_and(|m| m.in_service && m.admin == Admin::Ready) {
                case.since = None;
                continue;
            }
            let since = *case.since.get_or_insert_with(Instant::now);
            case.back = since.elapsed() >= self.all.config.min_healthy_time;
        }
        Ok(())
    }

    /// Takes out again what is not back; says so where `why` is not empty.
    async fn abandon(&mut self, why: &str) {
        for case in self.cases.iter_mut().filter(|c| !c.back) {
            case.back = true;
            if case.was_in && why.is_empty() {
                // Interrupted: it is as it was.
                continue;
            }
            let kept = self.all.take_out(case.found).await;
            if why.is_empty() && kept.is_ok() {
                // The reason is an error already.
                continue;
            }
            let why = if why.is_empty() { "its way back was cut off" } else { why };
            let detail = match kept {
                Ok(()) => format!("{why} ({}), and is out again", case.said),
                Err(error) => format!("{why} ({}), and could not be taken out again: {error}", case.said),
            };
            let hint = "the balancer checks in its own way: compare its health check with what the server answers, or \
                        raise `restore_timeout`";
            self.errors.push(self.all.error(case.found, detail, hint));
        }
    }
}

#[cfg(test)]
pub mod tests;
