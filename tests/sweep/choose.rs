//! Which cases are run: all of them, or a sample that is spread evenly and comes from a seed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::case::{Case, Harm, Scenario, Spot};

/// Places of one sort that a poll passes again and again: the first few stand for the rest.
const REPEATS: usize = 6;

/// A number that looks random and depends on the seed and the thing alone.
pub fn rank(seed: u64, thing: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, thing).hash(&mut hasher);
    hasher.finish()
}

/// Every place of a scenario, without the endless repeats of polls.
pub fn places(spots: &[Spot]) -> Vec<Spot> {
    let mut places: Vec<Spot> = spots.iter().filter(|s| s.kind == "exec" || s.ordinal < REPEATS).cloned().collect();
    places.sort();
    places.dedup();
    places
}

/// Every single harm at every place, those of one sort apart from each other: the first of every sort come first.
pub fn singles(learnt: &BTreeMap<Scenario, Vec<Spot>>, seed: u64, harms: impl Fn(&Spot) -> Vec<Harm>) -> Vec<Case> {
    let mut sorts: BTreeMap<(String, &str), Vec<Case>> = BTreeMap::new();
    for (scenario, spots) in learnt {
        for spot in spots {
            for harm in harms(spot) {
                let sort = (spot.sort(), harm.sort());
                let case = Case { scenario: *scenario, harms: vec![(spot.clone(), harm)], then: Vec::new() };
                sorts.entry(sort).or_default().push(case);
            }
        }
    }
    let mut ranked: Vec<(usize, u64, Case)> = Vec::new();
    for (sort, mut cases) in sorts {
        cases.sort_by_key(|case| rank(seed, case));
        ranked.extend(cases.into_iter().enumerate().map(|(round, case)| (round, rank(seed, (&sort, round)), case)));
    }
    ranked.sort_by_key(|(round, rank, _)| (*round, *rank));
    ranked.into_iter().map(|(_, _, case)| case).collect()
}

/// Two harms in one run, at random.
pub fn pair(learnt: &BTreeMap<Scenario, Vec<Spot>>, seed: u64, number: usize) -> Option<Case> {
    let pick = |what: &str, of: usize| usize::try_from(rank(seed, (what, number)) % of.max(1) as u64).unwrap_or(0);
    let scenario = learnt.keys().nth(pick("scenario", learnt.len()))?;
    let spots = &learnt[scenario];
    let (one, other) = (spots.get(pick("one", spots.len()))?, spots.get(pick("other", spots.len()))?);
    if one == other {
        return None;
    }
    let harm = |what: &str, spot: &Spot| {
        let all = Harm::all(spot);
        all.get(pick(what, all.len())).cloned()
    };
    let harms = vec![(one.clone(), harm("harm", one)?), (other.clone(), harm("other harm", other)?)];
    Some(Case { scenario: *scenario, harms, then: Vec::new() })
}

/// The same kill, and something goes wrong in the recovery, at one of the places that it passed this time.
pub fn recovery(killed: &Case, passed: &[Spot], seed: u64, number: usize) -> Option<Case> {
    let pick = |what: &str, of: usize| usize::try_from(rank(seed, (what, killed, number)) % of.max(1) as u64).ok();
    let spots = places(passed);
    let spot = spots.get(pick("place", spots.len())?)?;
    let all = Harm::all_in_recovery(spot);
    let harm = all.get(pick("harm", all.len())?)?;
    Some(Case { then: vec![(spot.clone(), harm.clone())], ..killed.clone() })
}
