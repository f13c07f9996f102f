//! The reporter for people at a terminal: live lines at the bottom, kept lines above, then the end.
//!
//! It owns drawing, through indicatif; `frame` and `lines` own the words. It draws at most ten times a second, however
//! fast events come.

use console::measure_text_width;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::end::end;
use super::frame::{Size, frame};
use super::lines::{Line, Verbosity, lines};
use super::sink::Sinks;
use crate::event::{Event, Stamped, StepOutcome};
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;

/// Draws live lines, and prints the lines that stay above them.
pub struct Terminal {
    bar: ProgressBar,
    size: Box<dyn Fn() -> Size + Send>,
    verbosity: Verbosity,
    to: Sinks,
    pending: Vec<String>,
    width: usize,
    over: bool,
}

impl Terminal {
    /// Draws live lines to `target`, asking `size` each time, and prints the end of the run to `to`.
    pub fn new(
        target: ProgressDrawTarget,
        size: Box<dyn Fn() -> Size + Send>,
        verbosity: Verbosity,
        to: Sinks,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        // One bar with many lines, so that they change together in one write. The template is a constant, so it parses.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, size, verbosity, to, pending: Vec::new(), width: 4, over: false }
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
        // indicatif divides by the width. A window of one column is just opening or closing: the lines wait.
        if !self.pending.is_empty() && (self.size)().columns > 1 {
            self.bar.println(self.pending.join("\n"));
            self.pending.clear();
        }
    }
}

impl Reporter for Terminal {
    fn event(&mut self, stamped: &Stamped, state: &State) {
        if is_kept(&stamped.event, self.verbosity) {
            for line in lines(&stamped.event, state, self.verbosity, self.to.progress.paint) {
                self.keep(&line);
            }
        }
        if matches!(stamped.event, Event::Finished(_)) {
            self.print_pending();
            self.bar.finish_and_clear();
            self.over = true;
            end(state, self.verbosity, &mut self.to);
        }
    }

    fn tick(&mut self, state: &State, t: f64) {
        if self.over {
            return;
        }
        self.print_pending();
        self.bar.set_message(frame(state, t, (self.size)(), self.to.progress.paint).join("\n"));
    }

    fn close(&mut self) {
        if !self.over {
            self.bar.finish_and_clear();
        }
    }
}

/// Tells which events stay above the live lines: with `-v` all, else those that a person must read.
fn is_kept(event: &Event, verbosity: Verbosity) -> bool {
    match event {
        Event::StepStarted { .. } => false,
        Event::StepFinished { outcome, .. } => *outcome == StepOutcome::Failed || verbosity == Verbosity::Verbose,
        _ => true,
    }
}
