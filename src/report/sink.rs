//! The streams that the plain and the terminal reporter print to.
//!
//! It owns what happens when a stream breaks: printing stops and the run goes on.

use std::io::Write;

use super::paint::Paint;

/// A stream and its colours.
pub struct Sink {
    to: Box<dyn Write + Send>,
    /// The colours of this stream.
    pub paint: Paint,
    broken: bool,
}

/// The two streams of a reporter.
pub struct Sinks {
    /// Progress, warnings and failures.
    pub progress: Sink,
    /// The summary.
    pub results: Sink,
}

impl Sink {
    /// Prints to `to`; once that fails (`| head` has ended), it prints nothing more.
    pub fn new(to: Box<dyn Write + Send>, paint: Paint) -> Self {
        Self { to, paint, broken: false }
    }

    /// Prints one line.
    pub fn line(&mut self, line: &str) {
        if !self.broken {
            self.broken = writeln!(self.to, "{line}").is_err();
        }
    }

    /// Flushes the stream.
    pub fn flush(&mut self) {
        if !self.broken {
            self.broken = self.to.flush().is_err();
        }
    }
}
