//! A case: a scenario and what goes wrong in it. Its name is all that it takes to repeat it.
//!
//! `serial/ahead/revert/good: s1 exec switch#0 = cut-after & s1 stream tcp#1 = hang`
//!
//! What goes wrong while a killed run is recovered stands behind `>>`: there places are counted anew.
//!
//! `serial/ahead/revert/good/pair: s1 exec switch#0 = kill@15 >> s1 exec restart#0 = cut-after`

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

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
    /// `good`, `sick` (answers 500), `stillborn` (does not boot), `crashing` (boots, and dies again and again), `mixed` (is told
    /// of another release's libraries) or `lying` (answers in another's name).
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
    /// Servers fetch the release from a repository.
    Git,
    /// Servers download it as an archive.
    Url,
    /// Somebody else takes the last server out when the first is about to be drained, and puts it back a while later.
    Busy,
    /// Servers are far away: much happens while an answer is on its way.
    Far,
    /// The answer to the health check must name the release.
    Names,
}

impl Twist {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Pair, "/pair"),
        (Self::Hooks, "/hooks"),
        (Self::Skip, "/skip"),
        (Self::First, "/first"),
        (Self::Traffic, "/traffic"),
        (Self::Git, "/git"),
        (Self::Url, "/url"),
        (Self::Busy, "/busy"),
        (Self::Far, "/far"),
        (Self::Names, "/names"),
    ];

    /// Tells whether it makes sense there; not all combinations say something new.
    fn fits(self, strategy: &str, prepare: &str, on_failure: &str, release: &str) -> bool {
        let walk = strategy != "parallel";
        let says_something = match release {
            "good" => true,
            "sick" => self != Self::Names,
            "stillborn" => self == Self::First,
            "lying" => self == Self::Names,
            _ => false,
        };
        says_something
            && match self {
                Self::None => true,
                Self::Pair => walk && (strategy == "serial") == (prepare == "in-turn"),
                Self::Hooks => on_failure != "revert-all" && (strategy == "rolling") != (prepare == "ahead"),
                // A batch of two and nobody else is no walk.
                Self::Skip => strategy != "rolling" && on_failure != "hold",
                Self::First => on_failure != "revert-all" && !(strategy == "serial" && prepare == "ahead"),
                Self::Traffic => on_failure != "hold" && (strategy == "serial") == (prepare == "in-turn"),
                Self::Git => on_failure == "revert" && (strategy == "serial") == (prepare == "in-turn"),
                Self::Url => on_failure == "revert" && (strategy == "rolling") != (prepare == "ahead"),
                Self::Far => on_failure == "revert" && (strategy == "serial") == (prepare == "in-turn"),
                Self::Names => on_failure == "revert",
                Self::Busy => walk && on_failure == "revert",
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
                for release in ["good", "sick", "stillborn", "crashing", "mixed", "lying"] {
                    let twists = std::iter::once(Twist::None).chain(Twist::ALL.map(|(twist, _)| twist));
                    let fitting = twists.filter(|t| match t {
                        Twist::None => release != "lying",
                        _ => t.fits(strategy, prepare, on_failure, release),
                    });
                    all.extend(fitting.map(|twist| Self { strategy, prepare, on_failure, release, twist }));
                }
            }
        }
        all
    }

    /// Lists the matrix: every strategy, place of preparing and policy, with a release that works and one that does not.
    pub fn core() -> Vec<Self> {
        let matrix = |s: &Self| s.twist == Twist::None && ["good", "sick"].contains(&s.release);
        Self::all().into_iter().filter(matrix).collect()
    }

    /// How many servers it takes: a rolling run needs one that is left.
    pub fn servers(&self) -> usize {
        if self.strategy == "rolling" || self.twist == Twist::Skip { 3 } else { 2 }
    }

    /// How many balancers.
    pub fn balancers(&self) -> usize {
        if self.twist == Twist::Pair { 2 } else { 1 }
    }

    /// How long it takes to get to a server.
    pub fn distance(&self) -> Duration {
        Duration::from_millis(if self.twist == Twist::Far { 80 } else { 0 })
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

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::all().into_iter().find(|s| s.to_string() == text);
        found.ok_or_else(|| format!("`{text}` is no scenario"))
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

/// When a signal comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum When {
    /// So many milliseconds after the place is passed, while all goes its way.
    After(u64),
    /// With the step hanging there, which hears no signal either.
    Hang,
    /// With the step hanging there until a signal ends it.
    Stall,
}

impl When {
    /// Milliseconds after the place is passed: a command that hangs has been confirmed by then.
    pub fn milliseconds(self) -> u64 {
        match self {
            Self::After(milliseconds) => milliseconds,
            Self::Hang | Self::Stall => 60,
        }
    }

    /// The step's boundary, and its middle.
    fn both(spot: &Spot) -> [Self; 2] {
        [Self::After(0), if spot.kind == "exec" { Self::Stall } else { Self::Hang }]
    }

    fn fault(self) -> Option<Fault> {
        match self {
            Self::After(_) => None,
            Self::Hang => Some(Fault::Hang),
            Self::Stall => Some(Fault::Stall),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(milliseconds) => write!(f, "{milliseconds}"),
            Self::Hang => f.write_str("hang"),
            Self::Stall => f.write_str("stall"),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "hang" => Self::Hang,
            "stall" => Self::Stall,
            number => Self::After(number.parse().map_err(|_| format!("`{number}` is no number of milliseconds"))?),
        })
    }
}

/// What goes wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Harm {
    /// A fault of the fleet's.
    Fault(&'static str),
    /// Ctrl-C, and again after.
    Interrupt {
        /// The first.
        when: When,
        /// The second signal, so many milliseconds after the first.
        again: Option<u64>,
    },
    /// The server's lock passes to another run.
    Theft,
    /// `kill -9`.
    Kill {
        /// With a step that hangs: before anything of it is done.
        when: When,
    },
}

/// Every fault that a server's command or connection can have.
pub const FAULTS: [&str; 9] =
    ["error", "error-after", "cut", "cut-after", "dead", "dead-after", "hang", "stall", "killed"];

impl Harm {
    /// Lists what can go wrong at a place.
    pub fn all(spot: &Spot) -> Vec<Self> {
        let stalls = |f: &&&str| **f != "stall" || spot.kind == "exec";
        let mut all: Vec<Self> = FAULTS.iter().filter(stalls).map(|f| Self::Fault(f)).collect();
        if spot.kind == "balancer" {
            all.push(Self::Fault("garbage"));
        }
        let mut whens = Vec::from(When::both(spot));
        whens.extend([When::After(40), When::After(150)]);
        if spot.kind == "exec" {
            whens.push(When::Hang);
        }
        for when in whens {
            all.push(Self::Interrupt { when, again: None });
            all.push(Self::Interrupt { when, again: Some(20) });
            all.push(Self::Interrupt { when, again: Some(400) });
        }
        if spot.kind == "exec" {
            all.push(Self::Theft);
        }
        all.extend([When::After(60), When::After(200)].map(|when| Self::Kill { when }));
        all.extend(Self::kills());
        all
    }

    /// Lists what the matrix has at every place: six faults, for a command with two ways to hang; a signal, two signals and a
    /// kill, each at the step's boundary and in the middle of it. A kill has two boundaries: nothing of the step is done, and
    /// nobody is there to hear of it.
    pub fn core(spot: &Spot) -> Vec<Self> {
        let faults = ["error", "error-after", "cut", "cut-after", "dead", "hang"];
        let mut all: Vec<Self> = faults.map(Self::Fault).into();
        if spot.kind == "exec" {
            all.push(Self::Fault("stall"));
        }
        for when in When::both(spot) {
            all.push(Self::Interrupt { when, again: None });
            all.push(Self::Interrupt { when, again: Some(20) });
        }
        all.extend(Self::kills());
        all
    }

    fn kills() -> [Self; 3] {
        [When::Hang, When::After(0), When::After(15)].map(|when| Self::Kill { when })
    }

    /// Lists what can go wrong at a place while a dead run is recovered.
    pub fn all_in_recovery(spot: &Spot) -> Vec<Self> {
        Self::all(spot).into_iter().filter(|harm| *harm != Self::Theft).collect()
    }

    /// The sort of harm, for spreading a sample.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Fault(name) => name,
            Self::Interrupt { when: When::After(_), again: None } => "int",
            Self::Interrupt { again: None, .. } => "int in mid-step",
            Self::Interrupt { when: When::After(_), again: Some(_) } => "int twice",
            Self::Interrupt { again: Some(_), .. } => "int twice in mid-step",
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
            Self::Fault("stall") => Fault::Stall,
            Self::Fault("hang") => Fault::Hang,
            Self::Interrupt { when, .. } | Self::Kill { when } => return when.fault(),
            _ => return None,
        })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(name) => f.write_str(name),
            Self::Interrupt { when, again } => {
                write!(f, "int@{when}")?;
                again.map_or(Ok(()), |ms| write!(f, "+{ms}"))
            }
            Self::Theft => f.write_str("theft"),
            Self::Kill { when } => write!(f, "kill@{when}"),
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
    /// A scenario with nothing going wrong.
    pub fn plain(scenario: Scenario) -> Self {
        Self { scenario, harms: Vec::new(), then: Vec::new() }
    }

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
        let scenario = scenario.parse()?;
        let (harms, then) = harms.split_once(" >> ").unwrap_or((harms, ""));
        let list = |text: &str| text.split(" & ").filter(|h| !h.is_empty()).map(harm).collect::<Result<_, _>>();
        Ok(Self { scenario, harms: list(harms)?, then: list(then)? })
    }
}

impl FromStr for Spot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not `SERVER KIND LABEL#N`");
        let (rest, ordinal) = text.rsplit_once('#').ok_or_else(bad)?;
        let (server, rest) = rest.split_once(' ').ok_or_else(bad)?;
        let (kind, label) = rest.split_once(' ').ok_or_else(bad)?;
        let ordinal = ordinal.parse().map_err(|_| bad())?;
        Ok(Self { server: server.to_owned(), kind: known(kind, &KINDS)?, label: label.to_owned(), ordinal })
    }
}

fn harm(text: &str) -> Result<(Spot, Harm), String> {
    let bad = || format!("`{text}` is not `SERVER KIND LABEL#N = HARM`");
    let (spot, harm) = text.rsplit_once(" = ").ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let harm = match harm.split_once('@') {
        Some(("kill", when)) => Harm::Kill { when: when.parse()? },
        Some(("int", at)) => {
            let (when, again) = at.split_once('+').map_or((at, None), |(a, b)| (a, Some(b)));
            Harm::Interrupt { when: when.parse()?, again: again.map(number).transpose()? }
        }
        None if harm == "theft" => Harm::Theft,
        _ => Harm::Fault(known(harm, &[&FAULTS[..], &["garbage"]].concat())?),
    };
    Ok((spot.parse()?, harm))
}
