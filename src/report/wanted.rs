//! Which reporters a run gets.
//!
//! It owns the choice, by the flags and by whether the streams are terminals.

use std::ffi::OsStr;
use std::io::{IsTerminal, stderr, stdout};

use console::Term;
use indicatif::ProgressDrawTarget;
use jiff::tz::TimeZone;

use super::frame::Size;
use super::json::Json;
use super::lines::Verbosity;
use super::log::RunLog;
use super::paint::Paint;
use super::plain::Plain;
use super::sink::{Sink, Sinks};
use super::terminal::Terminal;
use crate::cli::Color;
use crate::outcome::reporter::Reporter;

/// What the flags and the environment ask of the reporters.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportFlags<'a> {
    /// `--json`.
    pub json: bool,
    /// `-q`, neither, or `-v`.
    pub verbosity: Verbosity,
    /// `--color`.
    pub color: Color,
    /// The value of `NO_COLOR`, where it is set.
    pub no_color: Option<&'a OsStr>,
}

/// Picks the reporters for this process: progress and failures go to stderr, the summary to stdout.
///
/// With `--json`, stdout belongs to the events, and stderr shows only what a person must read.
pub fn reporters(wanted: ReportFlags<'_>, log: Option<RunLog>) -> Vec<Box<dyn Reporter + Send>> {
    let mut all: Vec<Box<dyn Reporter + Send>> = Vec::new();
    if let Some(log) = log {
        all.push(Box::new(log));
    }
    let paint = |terminal| Paint::choose(wanted.color, terminal, wanted.no_color);
    let on_stderr = || Sink::new(Box::new(stderr()), paint(stderr().is_terminal()));
    let on_stdout = || Sink::new(Box::new(stdout()), paint(stdout().is_terminal()));
    if wanted.json {
        all.push(Box::new(Json::new(Box::new(stdout()))));
        all.push(Box::new(Plain::new(
            Verbosity::Quiet,
            TimeZone::system(),
            Sinks { progress: on_stderr(), results: on_stderr() },
        )));
        return all;
    }
    let target = ProgressDrawTarget::term(Term::buffered_stderr(), 10);
    // Hidden: stderr is no terminal, or one that cannot move its cursor.
    if target.is_hidden() || wanted.verbosity == Verbosity::Quiet {
        all.push(Box::new(Plain::new(
            wanted.verbosity,
            TimeZone::system(),
            Sinks { progress: on_stderr(), results: on_stdout() },
        )));
        return all;
    }
    let size = || {
        let (rows, columns) = Term::stderr().size();
        Size { rows, columns }
    };
    all.push(Box::new(Terminal::new(
        target,
        Box::new(size),
        wanted.verbosity,
        Sinks { progress: on_stderr(), results: on_stdout() },
    )));
    all
}
