//! Why a command could not be carried out, and which exit code that is.
//!
//! Runs end with a [`crate::event::Finished`]; this is for everything that ends before there is a run.

use std::fmt;

use crate::config::Problem;

/// A reason for ending before, or without, a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What sort; it decides the exit code.
    pub kind: Kind,
    /// What happened, as a fragment: "cannot read pitcrew.toml: …".
    pub what: String,
    /// What to do next, as sentences.
    pub hints: Vec<String>,
}

/// What sort of reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Flags, the file, or something they name: nothing was contacted or nothing was changed.
    Usage,
    /// A server, balancer or source could not be reached; nothing was changed.
    Unreachable,
    /// It was tried, and failed.
    Failed,
    /// A signal came first; nothing was changed.
    Interrupted,
    /// Another run holds the lock.
    Locked,
}

impl Error {
    /// A mistake in flags or files.
    pub fn usage(what: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, what: what.into(), hints: Vec::new() }
    }

    /// Something that was tried and failed.
    pub fn failed(what: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, ..Self::usage(what) }
    }

    /// Something that could not be reached.
    pub fn unreachable(what: impl Into<String>) -> Self {
        Self { kind: Kind::Unreachable, ..Self::usage(what) }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !hint.is_empty() {
            self.hints.push(hint);
        }
        self
    }

    /// The process's exit code, as README lists them.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Unreachable => 5,
            Kind::Failed => 1,
            Kind::Interrupted => 130,
            Kind::Locked => 4,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what.trim_end())?;
        for hint in &self.hints {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Vec<Problem>> for Error {
    fn from(problems: Vec<Problem>) -> Self {
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        let all: Vec<String> = problems.iter().map(Problem::render).collect();
        Self::usage(format!("{count} in the configuration\n\n{}", all.join("\n\n")))
    }
}
