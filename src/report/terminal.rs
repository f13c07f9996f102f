//! The reporter for people at a terminal: live lines at the bottom, what is worth keeping above them, a summary.
//!
//! It owns drawing, through indicatif; what the lines say is `frame`'s and `lines`'. Everything is drawn in ticks, at
//! most ten times a second, however fast events come.

use console::measure_text_width;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::frame::{Size, frame};
use super::lines::{Line, Verbosity, lines};
use super::plain::{Sink, end};
use crate::event::{Event, Stamped, StepOutcome};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;

/// Draws live lines.
pub struct Terminal {
    bar: ProgressBar,
    size: Box<dyn Fn() -> Size + Send>,
    verbosity: Verbosity,
    progress: Sink,
    results: Sink,
    pending: Vec<String>,
    width: usize,
    over: bool,
}

impl Terminal {
    /// Draws live lines to `target`, of the size that `size` tells each time, and prints the end of the run to
    /// `progress` (failures) and `results` (summary).
    pub fn new(
        target: ProgressDrawTarget,
        size: Box<dyn Fn() -> Size + Send>,
        verbosity: Verbosity,
        progress: Sink,
        results: Sink,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // One bar of many lines: they change together, in one write. The template is a constant, so it parses.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, size, verbosity, progress, results, pending: Vec::new(), width: 4, over: false }
    }

    fn keep(&mut self, line: &Line) {
        let server = line.server.as_deref().unwrap_or_default();
        let said = match (&line.server, &line.step) {
            (None, _) => line.text.clone(),
            (Some(_), step) => {
                self.width = self.width.max(measure_text_width(server)).min(32);
                let pad = " ".repeat(self.width.saturating_sub(measure_text_width(server)));
                let step = step.as_ref().map(|s| format!("{s:<9} ")).unwrap_or_default();
                format!("  {server}{pad}  {step}{}", line.text)
            }
        };
        self.pending.push(said);
    }

    fn print_pending(&mut self) {
        // indicatif divides lines by the width; a window of one column is about to be closed or opened.
        if !self.pending.is_empty() && (self.size)().columns > 1 {
            self.bar.println(self.pending.join("\n"));
            self.pending.clear();
        }
    }
}

impl Reporter for Terminal {
    fn event(&mut self, stamped: &Stamped, state: &State) {
        if is_kept(&stamped.event, self.verbosity) {
            for line in lines(&stamped.event, state, self.verbosity, self.progress.paint) {
                self.keep(&line);
            }
        }
        if matches!(stamped.event, Event::Finished(_)) {
            self.print_pending();
            self.bar.finish_and_clear();
            self.over = true;
            end(state, self.verbosity, &mut self.progress, &mut self.results);
        }
    }

    fn tick(&mut self, state: &State, t: f64) {
        if self.over {
            return;
        }
        self.print_pending();
        self.bar.set_message(frame(state, t, (self.size)(), self.progress.paint).join("\n"));
    }

    fn close(&mut self) {
        if !self.over {
            self.bar.finish_and_clear();
        }
    }
}

/// Tells which events outlive their live line: with `-v` all that is said, else what needs reading.
fn is_kept(event: &Event, verbosity: Verbosity) -> bool {
    match event {
        Event::StepStarted { .. } => false,
        Event::StepFinished { outcome, .. } => *outcome == StepOutcome::Failed || verbosity == Verbosity::Verbose,
        _ => true,
    }
}
