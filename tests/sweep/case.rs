//! A case: a scenario and what goes wrong in it. Its name is all that it takes to repeat it.
//!
//! `serial/ahead/revert/good: s1 exec switch#0 = cut-after & s1 stream tcp#1 = hang`
//!
//! What goes wrong while a killed run is recovered stands behind `>>`: there places are counted anew.
//!
//! `serial/ahead/revert/good/pair: s1 exec switch#0 = kill@15 >> s1 exec restart#0 = cut-after`

use std::fmt;
use std::str::FromStr;

use pitcrew::demo::Fault;
use pitcrew::demo::faults::{Point, PointKind};

/// How the fleet is deployed to, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scenario {
    /// `parallel`, `serial` or `rolling`.
    pub strategy: &'static str,
    /// `in-turn` or `ahead`.
    pub prepare: &'static str,
    /// `revert`, `revert-all` or `hold`.
    pub on_failure: &'static str,
    /// `good`, `sick` (answers 500) or `stillborn` (does not boot).
    pub release: &'static str,
    /// What else is special; mostly nothing.
    pub twist: Twist,
}

/// What is special about a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Twist {
    /// Nothing.
    None,
    /// Two balancers.
    Pair,
    /// Hooks at many places, on failure too.
    Hooks,
    /// The first server cannot be reached from the start, and `--skip-unreachable` leaves it behind.
    Skip,
    /// Nothing was ever deployed.
    First,
    /// Requests that take a while come all the time: none may be lost.
    Traffic,
}

impl Twist {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Pair, "/pair"),
        (Self::Hooks, "/hooks"),
        (Self::Skip, "/skip"),
        (Self::First, "/first"),
        (Self::Traffic, "/traffic"),
    ];

    /// Tells whether it makes sense there; not all combinations say something new.
    fn fits(self, strategy: &str, prepare: &str, on_failure: &str, release: &str) -> bool {
        let walk = strategy != "parallel";
        let release = release != "stillborn" || self == Self::First;
        release
            && match self {
                Self::None => true,
                Self::Pair => walk && (strategy == "serial") == (prepare == "in-turn"),
                Self::Hooks => on_failure != "revert-all" && (strategy == "rolling") != (prepare == "ahead"),
                // A batch of two and nobody else is no walk.
                Self::Skip => strategy != "rolling" && on_failure != "hold",
                Self::First => on_failure != "revert-all" && !(strategy == "serial" && prepare == "ahead"),
                Self::Traffic => on_failure != "hold" && (strategy == "serial") == (prepare == "in-turn"),
            }
    }
}

impl Scenario {
    /// Lists all of them; parallel runs always prepare ahead.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (strategy, prepare) in [
            ("parallel", "ahead"),
            ("serial", "in-turn"),
            ("serial", "ahead"),
            ("rolling", "in-turn"),
            ("rolling", "ahead"),
        ] {
            for on_failure in ["revert", "revert-all", "hold"] {
                for release in ["good", "sick", "stillborn"] {
                    let twists = std::iter::once(Twist::None).chain(Twist::ALL.map(|(twist, _)| twist));
                    let fitting =
                        twists.filter(|t| *t == Twist::None || t.fits(strategy, prepare, on_failure, release));
                    all.extend(fitting.map(|twist| Self { strategy, prepare, on_failure, release, twist }));
                }
            }
        }
        all
    }

    /// How many servers it takes: a rolling run needs one that is left.
    pub fn servers(&self) -> usize {
        if self.strategy == "rolling" || self.twist == Twist::Skip { 3 } else { 2 }
    }

    /// How many balancers.
    pub fn balancers(&self) -> usize {
        if self.twist == Twist::Pair { 2 } else { 1 }
    }

    /// How many servers may be out of the balancer at once.
    pub fn batch(&self) -> usize {
        match self.strategy {
            "serial" => 1,
            "rolling" => 2,
            _ => 0,
        }
    }

    /// Which batch a server is in, from 0.
    pub fn batch_of(&self, index: usize) -> usize {
        let index = index.saturating_sub(usize::from(self.twist == Twist::Skip));
        index.checked_div(self.batch()).unwrap_or(0)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.strategy, self.prepare, self.on_failure, self.release)?;
        f.write_str(Twist::ALL.iter().find(|(twist, _)| *twist == self.twist).map_or("", |(_, name)| name))
    }
}

/// A place where something can go wrong, by a name that is the same in every fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spot {
    /// `s1`, `lb1`.
    pub server: String,
    /// `exec`, `stream` or `balancer`.
    pub kind: &'static str,
    /// The step, `tcp` or `unix`, or the balancer's command.
    pub label: String,
    /// Counts from 0 those that are otherwise the same.
    pub ordinal: usize,
}

const KINDS: [&str; 3] = ["exec", "stream", "balancer"];

impl From<&Point> for Spot {
    fn from(point: &Point) -> Self {
        let label = match point.kind {
            // Ports and directories differ from fleet to fleet.
            PointKind::Stream => point.label.split(':').next().unwrap_or_default().to_owned(),
            PointKind::Exec | PointKind::Balancer => point.label.clone(),
        };
        let kind = match point.kind {
            PointKind::Exec => "exec",
            PointKind::Stream => "stream",
            PointKind::Balancer => "balancer",
        };
        Self { server: point.server.clone(), kind, label, ordinal: point.ordinal }
    }
}

impl Spot {
    /// The sort of place, for spreading a sample.
    pub fn sort(&self) -> String {
        let label = match self.kind {
            "balancer" => self.label.split([' ', ';']).find(|w| CHANGES.contains(w)).unwrap_or("show").to_owned(),
            _ => self.label.clone(),
        };
        format!("{} {label}", self.kind)
    }
}

const CHANGES: [&str; 5] = ["drain", "maint", "ready", "down", "shutdown"];

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}#{}", self.server, self.kind, self.label, self.ordinal)
    }
}

/// What goes wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Harm {
    /// A fault of the fleet's.
    Fault(&'static str),
    /// Ctrl-C: so many milliseconds after the place is passed, or (`None`) with the step hanging there; and again after.
    Interrupt {
        /// Milliseconds; `None`: in mid-step.
        after: Option<u64>,
        /// The second signal, so many milliseconds after the first.
        again: Option<u64>,
    },
    /// The server's lock passes to another run.
    Theft,
    /// `kill -9`, so many milliseconds after the place is passed.
    Kill {
        /// Milliseconds.
        after: u64,
    },
}

/// Every fault that a server's command or connection can have.
pub const FAULTS: [&str; 8] = ["error", "error-after", "cut", "cut-after", "dead", "dead-after", "hang", "killed"];

impl Harm {
    /// Lists what can go wrong at a place.
    pub fn all(spot: &Spot) -> Vec<Self> {
        let mut all: Vec<Self> = FAULTS.iter().map(|f| Self::Fault(f)).collect();
        if spot.kind == "balancer" {
            all.push(Self::Fault("garbage"));
        }
        for after in [Some(0), Some(40), Some(150), None] {
            all.push(Self::Interrupt { after, again: None });
            all.push(Self::Interrupt { after, again: Some(20) });
            all.push(Self::Interrupt { after, again: Some(400) });
        }
        if spot.kind == "exec" {
            all.push(Self::Theft);
        }
        all.extend([0, 15, 60, 200].map(|after| Self::Kill { after }));
        all
    }

    /// Lists what can go wrong at a place while a dead run is recovered.
    pub fn all_in_recovery(spot: &Spot) -> Vec<Self> {
        Self::all(spot).into_iter().filter(|harm| *harm != Self::Theft).collect()
    }

    /// The sort of harm, for spreading a sample.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Fault(name) => name,
            Self::Interrupt { after: Some(_), again: None } => "int",
            Self::Interrupt { after: None, again: None } => "int in mid-step",
            Self::Interrupt { after: Some(_), again: Some(_) } => "int twice",
            Self::Interrupt { after: None, again: Some(_) } => "int twice in mid-step",
            Self::Theft => "theft",
            Self::Kill { .. } => "kill",
        }
    }

    /// Tells whether it passes: whatever is tried again works.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Fault(name) if !name.starts_with("dead"))
    }

    /// The fleet's fault, if it is one.
    pub fn fault(&self) -> Option<Fault> {
        Some(match self {
            Self::Fault("error") => Fault::ErrorBefore { status: 1, stderr: "the sweep says no".to_owned() },
            Self::Fault("error-after") => Fault::EffectThenError { status: 1 },
            Self::Fault("cut") => Fault::CutBefore,
            Self::Fault("cut-after") => Fault::CutAfter,
            Self::Fault("dead") => Fault::Dead,
            Self::Fault("dead-after") => Fault::DoneThenDead,
            Self::Fault("killed") => Fault::Killed { signal: "KILL".to_owned() },
            Self::Fault("garbage") => Fault::Garbage,
            Self::Fault("hang") | Self::Interrupt { after: None, .. } => Fault::Hang,
            _ => return None,
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(name) => f.write_str(name),
            Self::Interrupt { after, again } => {
                match after {
                    Some(ms) => write!(f, "int@{ms}")?,
                    None => write!(f, "int@hang")?,
                }
                again.map_or(Ok(()), |ms| write!(f, "+{ms}"))
            }
            Self::Theft => f.write_str("theft"),
            Self::Kill { after } => write!(f, "kill@{after}"),
        }
    }
}

/// A scenario and what goes wrong in it; nothing, when that list is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Case {
    /// The scenario.
    pub scenario: Scenario,
    /// At most one at each place.
    pub harms: Vec<(Spot, Harm)>,
    /// The same for the recovery, where the run is killed.
    pub then: Vec<(Spot, Harm)>,
}

impl Case {
    /// Tells whether pitcrew is killed in it.
    pub fn kills(&self) -> bool {
        self.harms.iter().any(|(_, harm)| matches!(harm, Harm::Kill { .. }))
    }

    /// Tells whether it is interrupted in it.
    pub fn interrupts(&self) -> bool {
        self.harms.iter().any(|(_, harm)| matches!(harm, Harm::Interrupt { .. }))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scenario)?;
        for (harms, before) in [(&self.harms, ": "), (&self.then, " >> ")] {
            for (n, (spot, harm)) in harms.iter().enumerate() {
                write!(f, "{}{spot} = {harm}", if n == 0 { before } else { " & " })?;
            }
        }
        Ok(())
    }
}

fn known(text: &str, among: &[&'static str]) -> Result<&'static str, String> {
    among.iter().find(|w| **w == text).copied().ok_or_else(|| format!("`{text}` is none of {}", among.join(", ")))
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scenario, harms) = text.trim().split_once(": ").unwrap_or((text.trim(), ""));
        let scenario = Scenario::all()
            .into_iter()
            .find(|s| s.to_string() == scenario)
            .ok_or_else(|| format!("`{scenario}` is no scenario"))?;
        let (harms, then) = harms.split_once(" >> ").unwrap_or((harms, ""));
        let list = |text: &str| text.split(" & ").filter(|h| !h.is_empty()).map(harm).collect::<Result<_, _>>();
        Ok(Self { scenario, harms: list(harms)?, then: list(then)? })
    }
}

fn harm(text: &str) -> Result<(Spot, Harm), String> {
    let bad = || format!("`{text}` is not `SERVER KIND LABEL#N = HARM`");
    let (spot, harm) = text.rsplit_once(" = ").ok_or_else(bad)?;
    let (rest, ordinal) = spot.rsplit_once('#').ok_or_else(bad)?;
    let (server, rest) = rest.split_once(' ').ok_or_else(bad)?;
    let (kind, label) = rest.split_once(' ').ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let spot = Spot {
        server: server.to_owned(),
        kind: known(kind, &KINDS)?,
        label: label.to_owned(),
        ordinal: ordinal.parse().map_err(|_| bad())?,
    };
    let harm = match harm.split_once('@') {
        Some(("kill", after)) => Harm::Kill { after: number(after)? },
        Some(("int", when)) => {
            let (after, again) = when.split_once('+').map_or((when, None), |(a, b)| (a, Some(b)));
            Harm::Interrupt {
                after: if after == "hang" { None } else { Some(number(after)?) },
                again: again.map(number).transpose()?,
            }
        }
        None if harm == "theft" => Harm::Theft,
        _ => Harm::Fault(known(harm, &[&FAULTS[..], &["garbage"]].concat())?),
    };
    Ok((spot, harm))
}
