//! The reporter for cron, CI and pipes: one line an event, without escape sequences.
//!
//! It owns the columns of a line: time, server, step, text.

use console::measure_text_width;
use jiff::tz::TimeZone;

use super::end::end;
use super::lines::{Line, Verbosity, lines};
use super::sink::Sinks;
use crate::event::{Event, Planned, Stamped};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;

/// Marks lines of the run as a whole in the column of the servers' names.
const RUN: &str = "--";

/// Names longer than this do not widen the column.
const WIDEST: usize = 32;

/// Prints each event as it comes.
pub struct Plain {
    verbosity: Verbosity,
    zone: TimeZone,
    to: Sinks,
    width: usize,
}

impl Plain {
    /// Prints to these streams, with times of day in `zone`.
    pub fn new(verbosity: Verbosity, zone: TimeZone, to: Sinks) -> Self {
        Self { verbosity, zone, to, width: 4 }
    }

    fn widen(&mut self, planned: &Planned) {
        let names = planned.steps.iter().map(|p| &p.server).chain(planned.batches.iter().flatten());
        let widest = names.map(|n| measure_text_width(n.as_str())).max().unwrap_or_default();
        self.width = widest.clamp(self.width, WIDEST);
    }

    fn print(&mut self, stamped: &Stamped, line: &Line) {
        let time = stamped.at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        let server = line.server.as_deref().unwrap_or(RUN);
        let pad = " ".repeat(self.width.saturating_sub(measure_text_width(server)));
        let step = line.step.as_ref().map(|s| format!("{s:<9} ")).unwrap_or_default();
        self.to.progress.line(format!("{time} {server}{pad}  {step}{}", line.text).trim_end());
    }
}

impl Reporter for Plain {
    fn event(&mut self, stamped: &Stamped, state: &State) {
        if let Event::Planned(planned) = &stamped.event {
            self.widen(planned);
        }
        for line in lines(&stamped.event, state, self.verbosity, self.to.progress.paint) {
            self.print(stamped, &line);
        }
        self.to.progress.flush();
        if matches!(stamped.event, Event::Finished(_)) {
            end(state, self.verbosity, &mut self.to);
        }
    }
}
