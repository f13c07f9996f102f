//! The reporter for cron, CI and pipes: one line an event, with the time and the server's name, without escapes.

use std::io::Write;

use console::measure_text_width;
use jiff::tz::TimeZone;

use super::lines::{Line, Verbosity, lines};
use super::paint::Paint;
use super::summary;
use crate::event::{Event, Planned, Stamped};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;
use crate::text::clean::clean;
use crate::wording::warning;

/// Stands for the run in the column of the servers' names.
const RUN: &str = "--";

/// Names longer than this do not widen the column.
const WIDEST: usize = 32;

/// Where a text goes, and in which colours.
pub struct Sink {
    to: Box<dyn Write + Send>,
    /// Colours of this stream.
    pub paint: Paint,
    broken: bool,
}

impl Sink {
    /// Writes to `to`; when that fails (`| head` has gone), it stops writing and says nothing.
    pub fn new(to: Box<dyn Write + Send>, paint: Paint) -> Self {
        Self { to, paint, broken: false }
    }

    /// Writes one line.
    pub fn line(&mut self, line: &str) {
        if !self.broken {
            self.broken = writeln!(self.to, "{line}").is_err();
        }
    }

    /// Hands on what was written.
    pub fn flush(&mut self) {
        if !self.broken {
            self.broken = self.to.flush().is_err();
        }
    }
}

/// Prints lines as they come.
pub struct Plain {
    verbosity: Verbosity,
    zone: TimeZone,
    progress: Sink,
    results: Sink,
    width: usize,
}

impl Plain {
    /// Prints progress and failures to `progress` and the summary to `results`; times of day are those of `zone`.
    pub fn new(verbosity: Verbosity, zone: TimeZone, progress: Sink, results: Sink) -> Self {
        Self { verbosity, zone, progress, results, width: 4 }
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
        self.progress.line(format!("{time} {server}{pad}  {step}{}", line.text).trim_end());
    }
}

impl Reporter for Plain {
    fn event(&mut self, stamped: &Stamped, state: &State) {
        if let Event::Planned(planned) = &stamped.event {
            self.widen(planned);
        }
        for line in lines(&stamped.event, state, self.verbosity, self.progress.paint) {
            self.print(stamped, &line);
        }
        self.progress.flush();
        if matches!(stamped.event, Event::Finished(_)) {
            end(state, self.verbosity, &mut self.progress, &mut self.results);
        }
    }
}

/// Prints what stands at the end of a run; with `-q` only when it needs reading.
pub fn end(state: &State, verbosity: Verbosity, progress: &mut Sink, results: &mut Sink) {
    let warnings = state.warnings.iter().filter(|w| warning::needs_reading(&w.warning));
    let failed = state.finished.as_ref().is_some_and(|f| f.exit_code != 0) || !state.failures.is_empty();
    if verbosity == Verbosity::Quiet {
        // Who freezes deploys knows that those of cron do not run meanwhile.
        if (!failed || state.is_frozen()) && warnings.clone().next().is_none() {
            return;
        }
        for warned in warnings {
            let whose = warned.server.as_ref().map(|s| format!("{}: ", clean(s.as_str()))).unwrap_or_default();
            let line = format!("{whose}warning: {}", warning::sentence(&warned.warning));
            progress.line(&progress.paint.notice(&line));
        }
    }
    let failures = summary::failures(state, progress.paint);
    if !failures.is_empty() {
        if verbosity != Verbosity::Quiet {
            progress.line("");
        }
        failures.iter().for_each(|line| progress.line(line));
    }
    progress.flush();
    summary::summary(state, results.paint).iter().for_each(|line| results.line(line));
    results.flush();
}
