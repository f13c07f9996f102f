//! The reporter for programs: each event as one JSON object on a line of its own, flushed at once.
//!
//! It owns the framing; the fields are those of `event`.

use std::io::Write;

use crate::event::Stamped;
use crate::outcome::reporter::Reporter;
use crate::outcome::state::State;

/// Prints each event as JSON.
pub struct Json {
    to: Box<dyn Write + Send>,
    broken: bool,
}

impl Json {
    /// Prints to `to`; once that fails (`| head` has ended), it prints nothing more and the run goes on.
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to, broken: false }
    }
}

impl Reporter for Json {
    fn event(&mut self, stamped: &Stamped, _: &State) {
        if !self.broken {
            self.broken = write(&mut self.to, stamped).is_err();
        }
    }
}

/// Writes one event as a line, and flushes.
pub fn write(to: &mut impl Write, stamped: &Stamped) -> std::io::Result<()> {
    // In one write, so that a reader of the file never sees half a line.
    let mut line = serde_json::to_vec(stamped)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}
