//! Which reporters a run gets, from the flags and from what the streams are.

use std::ffi::OsStr;
use std::io::{IsTerminal, stderr, stdout};

use console::Term;
use indicatif::ProgressDrawTarget;
use jiff::tz::TimeZone;

use super::frame::Size;
use super::json::Json;
use super::lines::Verbosity;
use super::log::RunLog;
use super::paint::{Color, Paint};
use super::plain::{Plain, Sink};
use super::terminal::Terminal;
use crate::outcome::reporter::Reporter;

/// What the flags and the environment ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// `--json`.
    pub json: bool,
    /// `-q`, nothing, or `-v`.
    pub verbosity: Verbosity,
    /// `--color`.
    pub color: Color,
    /// `NO_COLOR`, if set.
    pub no_color: Option<&'a OsStr>,
}

/// Picks the reporters for this process's streams: progress and failures go to stderr, results to stdout.
///
/// With `--json` stdout belongs to the events; stderr then tells only what needs reading.
pub fn reporters(wanted: Wanted<'_>, log: Option<RunLog>) -> Vec<Box<dyn Reporter + Send>> {
    let mut all: Vec<Box<dyn Reporter + Send>> = Vec::new();
    if let Some(log) = log {
        all.push(Box::new(log));
    }
    let paint = |terminal| Paint::choose(wanted.color, terminal, wanted.no_color);
    let on_stderr = || Sink::new(Box::new(stderr()), paint(stderr().is_terminal()));
    let on_stdout = || Sink::new(Box::new(stdout()), paint(stdout().is_terminal()));
    if wanted.json {
        all.push(Box::new(Json::new(Box::new(stdout()))));
        all.push(Box::new(Plain::new(Verbosity::Quiet, TimeZone::system(), on_stderr(), on_stderr())));
        return all;
    }
    let target = ProgressDrawTarget::term(Term::buffered_stderr(), 10);
    // Hidden: stderr is no terminal, or a dumb one.
    if target.is_hidden() || wanted.verbosity == Verbosity::Quiet {
        all.push(Box::new(Plain::new(wanted.verbosity, TimeZone::system(), on_stderr(), on_stdout())));
        return all;
    }
    let size = || {
        let (rows, columns) = Term::stderr().size();
        Size { rows, columns }
    };
    all.push(Box::new(Terminal::new(target, Box::new(size), wanted.verbosity, on_stderr(), on_stdout())));
    all
}
