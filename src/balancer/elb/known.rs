//! Places that were seen or are recorded: AWS forgets a target as soon as it is out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::target::{ListedTarget, Own, Spot, Stands};

/// The places that are known, each with what AWS will not tell again.
#[derive(Default)]
pub struct KnownSpots {
    spots: Mutex<BTreeMap<Spot, Known>>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    zone: Option<String>,
    /// AWS itself said that the target is not registered, and has not listed it since.
    out: bool,
}

impl KnownSpots {
    fn spots(&self) -> MutexGuard<'_, BTreeMap<Spot, Known>> {
        self.spots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of a recorded place.
    pub fn recall(&self, own: Own) {
        self.spots().entry(own.spot).or_insert(Known { zone: own.zone, out: false });
    }

    /// Tells whether a target of this id is known.
    pub fn has(&self, id: &str) -> bool {
        self.spots().keys().any(|spot| spot.id == id)
    }

    /// Returns the known places that fit.
    pub fn matching(&self, fits: impl Fn(&Spot) -> bool) -> Vec<Spot> {
        self.spots().keys().filter(|spot| fits(spot)).cloned().collect()
    }

    /// Tells whether AWS has said that the place is not registered.
    pub fn is_out(&self, spot: &Spot) -> bool {
        self.spots().get(spot).is_some_and(|known| known.out)
    }

    /// Forgets that a place is out: it is registered now.
    pub fn registered(&self, spot: &Spot) {
        if let Some(known) = self.spots().get_mut(spot) {
            known.out = false;
        }
    }

    /// Decides how a place stands, and returns that with its zone.
    ///
    /// `listed` is what AWS lists, `proof` what it said of the place by name.
    pub fn learn(
        &self,
        spot: &Spot,
        listed: Option<&ListedTarget>,
        proof: Option<&Stands>,
    ) -> (Stands, Option<String>) {
        let mut spots = self.spots();
        let entry = spots.entry(spot.clone()).or_default();
        let stands = match (listed, proof) {
            (Some(target), _) => {
                entry.zone.clone_from(&target.zone);
                target.stands.clone()
            }
            (None, Some(stands)) => stands.clone(),
            (None, None) if entry.out => Stands::gone(),
            (None, None) => Stands::unproven(),
        };
        entry.out = stands.gone;
        (stands, entry.zone.clone())
    }
}
