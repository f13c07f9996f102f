//! Faults on request: which of the things a client does to the fleet goes wrong, and how.
//!
//! Every exec, forwarded connection and balancer command is a fault point. A first run without faults lists them
//! ([`Faults::points`]); a sweep then runs again with one fault at each. Decides only; servers and balancers carry it out.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::held::held;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; this status and text on standard error are the answer.
    ///
    /// A stream is refused; a balancer answers the text.
    ErrorBefore {
        /// Exit status.
        status: u32,
        /// Text.
        stderr: String,
    },
    /// It is done, its output is lost and this status is the answer.
    ///
    /// A stream and a balancer end without an answer.
    EffectThenError {
        /// Exit status.
        status: u32,
    },
    /// The TCP connection is cut; nothing is done.
    CutBefore,
    /// It is done, then the TCP connection is cut without an answer.
    CutAfter,
    /// The server is cut off: nothing is done, all its connections end, new ones are refused.
    Dead,
    /// The same, after it is done.
    DoneThenDead,
    /// Never answered; nothing is done, and no signal is heard.
    Hang,
    /// In place of a command something hangs that ends at a signal. Elsewhere as `Hang`.
    Stall,
    /// A command seems killed by this signal (without SIG) before it did anything. A stream is refused.
    Killed {
        /// Without SIG.
        signal: String,
    },
    /// A balancer answers rubbish; nothing is done. Elsewhere as `ErrorBefore`.
    Garbage,
}

/// The kinds of fault points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointKind {
    /// A command; its label is the step's name, or `exec`.
    Exec,
    /// A forwarded connection; its label is `tcp:PORT` or `unix:PATH`.
    Stream,
    /// A command of a balancer's runtime API; its label is the command.
    Balancer,
}

/// A point where something can go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Counts from 0 over the fleet.
    ///
    /// With servers working at once the order between them varies from run to run.
    pub number: usize,
    /// Server or balancer.
    pub server: String,
    /// Kind.
    pub kind: PointKind,
    /// What it is; see [`PointKind`].
    pub label: String,
    /// Counts from 0 the points with this server, kind and label: together a stable name over runs.
    pub ordinal: usize,
}

impl Point {
    /// Tells whether both are the same point of two runs.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.ordinal == other.ordinal
            && self.server == other.server
            && self.label == other.label
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {} #{}", self.server, self.kind, self.label, self.ordinal)
    }
}

type Decide = Box<dyn FnMut(&Point) -> Option<Fault> + Send>;

/// Decides what goes wrong; clones share one table.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    points: Vec<Point>,
    seen: HashMap<(String, PointKind, String), usize>,
    rules: Vec<(Wanted, Fault)>,
    decide: Option<Decide>,
}

enum Wanted {
    Number(usize),
    Same(Point),
}

impl Faults {
    /// Injects a fault at the point with this number.
    pub fn at_number(&self, number: usize, fault: Fault) {
        held(&self.0).rules.push((Wanted::Number(number), fault));
    }

    /// Injects a fault at a point that an earlier run listed.
    pub fn at(&self, point: &Point, fault: Fault) {
        held(&self.0).rules.push((Wanted::Same(point.clone()), fault));
    }

    /// Injects a fault at the `ordinal`-th (from 0) time this server runs this remote script.
    pub fn at_step(&self, server: &str, step: &str, ordinal: usize, fault: Fault) {
        let (server, label) = (server.to_owned(), step.to_owned());
        self.at(&Point { number: 0, server, kind: PointKind::Exec, label, ordinal }, fault);
    }

    /// Asks a closure at every point that no rule names.
    pub fn decide_with(&self, decide: impl FnMut(&Point) -> Option<Fault> + Send + 'static) {
        held(&self.0).decide = Some(Box::new(decide));
    }

    /// Forgets rules, closure, points and counters.
    pub fn clear(&self) {
        *held(&self.0) = Table::default();
    }

    /// Lists the points passed so far.
    pub fn points(&self) -> Vec<Point> {
        held(&self.0).points.clone()
    }

    /// Passes a point and says what goes wrong there.
    pub(super) fn pass(&self, server: &str, kind: PointKind, label: &str) -> Option<Fault> {
        let mut table = held(&self.0);
        let seen = table.seen.entry((server.to_owned(), kind, label.to_owned())).or_default();
        let ordinal = *seen;
        *seen += 1;
        let number = table.points.len();
        let point = Point { number, server: server.to_owned(), kind, label: label.to_owned(), ordinal };
        table.points.push(point.clone());
        let rule = table.rules.iter().find(|(wanted, _)| match wanted {
            Wanted::Number(wanted) => *wanted == number,
            Wanted::Same(wanted) => wanted.is_same(&point),
        });
        match rule {
            Some((_, fault)) => Some(fault.clone()),
            None => table.decide.as_mut().and_then(|decide| decide(&point)),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_point_it_names_and_no_other() {
        let faults = Faults::default();
        faults.at_step("s2", "switch", 1, Fault::CutAfter);
        faults.at_number(3, Fault::Hang);
        let hits: Vec<_> = [("s1", "switch"), ("s2", "switch"), ("s2", "switch"), ("s1", "lock"), ("s2", "switch")]
            .map(|(server, step)| faults.pass(server, PointKind::Exec, step))
            .to_vec();
        assert_eq!(hits, [None, None, Some(Fault::CutAfter), Some(Fault::Hang), None]);
        assert_eq!(faults.points()[2].to_string(), "s2 Exec switch #1");
        faults.clear();
        faults.decide_with(|point| (point.label == "lock").then_some(Fault::Dead));
        assert_eq!(faults.pass("s1", PointKind::Exec, "lock"), Some(Fault::Dead));
        assert_eq!(faults.pass("s1", PointKind::Balancer, "show info"), None);
    }
}
