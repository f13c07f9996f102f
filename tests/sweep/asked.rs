//! How much is run, and which part of it, as the environment asks for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::case::Case;

/// The sample is the same every time, unless somebody wants another.
const SEED: u64 = 20_261_123;
/// Runs of a sample by default, and the most time they may take.
const SAMPLE: (usize, Duration) = (260, Duration::from_secs(25));
/// Fleets side by side: most of a case is waiting.
const FLEETS: usize = 12;

/// Which cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// Of all that can go wrong in every scenario, in an order that spreads a sample evenly; pairs between.
    Everything,
    /// The matrix: one thing at every place of every scenario without a twist.
    Core,
}

/// What is asked for.
pub struct Asked {
    /// Which cases.
    pub matter: Matter,
    /// The most runs.
    pub runs: usize,
    /// No case begins later.
    pub until: Option<Instant>,
    /// The part of the cases: number (from 0), of so many.
    pub part: (u64, u64),
    /// Only cases with this in their name.
    pub only: Option<String>,
    /// What a sample depends on.
    pub seed: u64,
    /// Fleets side by side.
    pub fleets: usize,
    /// Where runs are listed, and what is listed there as good is not run again.
    pub list: Option<PathBuf>,
    /// Just these.
    pub cases: Option<Vec<Case>>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Asked {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable makes no sense.
    pub fn read(began: Instant) -> Result<Self, String> {
        let number = |name: &str, text: &str| text.parse::<u64>().map_err(|_| format!("{name}={text} is no number"));
        let mut asked = Self {
            matter: Matter::Everything,
            runs: usize::MAX,
            until: None,
            part: (0, 1),
            only: variable("PITCREW_SWEEP_ONLY"),
            seed: variable("PITCREW_SWEEP_SEED").map_or(Ok(SEED), |s| number("PITCREW_SWEEP_SEED", &s))?,
            fleets: variable("PITCREW_SWEEP_FLEETS").and_then(|n| n.parse().ok()).unwrap_or(FLEETS),
            list: variable("PITCREW_SWEEP_LIST").map(PathBuf::from),
            cases: None,
        };
        if let Some(names) = variable("PITCREW_SWEEP_CASE") {
            let names = names.lines().filter(|l| !l.trim().is_empty());
            asked.cases = Some(names.map(str::parse).collect::<Result<_, _>>()?);
        }
        if let Some(text) = variable("PITCREW_SWEEP_PART") {
            let bad = || format!("PITCREW_SWEEP_PART={text} is not like 3/8");
            let (part, of) = text.split_once('/').ok_or_else(bad)?;
            let (part, of) = (number("the part", part)?, number("the parts", of)?);
            if part == 0 || part > of {
                return Err(bad());
            }
            asked.part = (part - 1, of);
        }
        match variable("PITCREW_SWEEP") {
            None => (asked.runs, asked.until) = (SAMPLE.0, Some(began + SAMPLE.1)),
            Some(text) => {
                for word in text.split(',') {
                    match (word, word.strip_suffix('m')) {
                        ("all", _) => {}
                        ("core", _) => asked.matter = Matter::Core,
                        (_, Some(minutes)) => {
                            let minutes = number("PITCREW_SWEEP", minutes)?;
                            asked.until = Some(began + Duration::from_secs(60 * minutes));
                        }
                        (runs, None) => {
                            asked.runs = usize::try_from(number("PITCREW_SWEEP", runs)?).map_err(|e| e.to_string())?;
                        }
                    }
                }
            }
        }
        Ok(asked)
    }

    /// Tells whether there is neither a number nor a time to keep to.
    pub fn is_whole(&self) -> bool {
        self.runs == usize::MAX && self.until.is_none()
    }

    /// Tells whether a case is among those that are asked for.
    pub fn wants(&self, case: &Case) -> bool {
        let (part, of) = self.part;
        let named = self.only.as_ref().is_none_or(|only| case.to_string().contains(only.as_str()));
        named && (of == 1 || crate::choose::rank(0, case.to_string()) % of == part)
    }
}
