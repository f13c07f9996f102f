//! What goes wrong with the user's own commands.

use std::error::Error;
use std::fmt;

use super::jobs::{JobEnd, NotRun};
use crate::balancer::error::{BalancerErrorKind as Kind, BalancerFault};

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteeringAction {
    /// Says how a server stands.
    Status,
    /// Takes a server out.
    Drain,
    /// Puts a server back.
    Restore,
}

impl fmt::Display for SteeringAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "status",
            Self::Drain => "drain",
            Self::Restore => "restore",
        })
    }
}

/// A failure of a command, or of the place where commands run.
#[derive(Debug, Clone)]
pub enum CommandFault {
    /// No command could be run there.
    NotRun(NotRun),
    /// The command ended otherwise than agreed.
    Failed {
        /// What it was to do.
        action: SteeringAction,
        /// How it ended.
        end: JobEnd,
        /// Its last lines.
        said: String,
    },
}

impl CommandFault {
    /// Tells whether the shell did not find the program, or could not run it.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Failed { end: JobEnd::Exit(126 | 127), .. })
    }
}

impl Error for CommandFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotRun(not) => Some(not),
            Self::Failed { .. } => None,
        }
    }
}

impl fmt::Display for CommandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(not) => not.fmt(f),
            Self::Failed { action, end, said } => {
                write!(f, "its `{action}` command {end}")?;
                if said.is_empty() { Ok(()) } else { write!(f, ": {said}") }
            }
        }
    }
}

impl BalancerFault for CommandFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NotRun(_) => Kind::Unreachable,
            // A status command that was found and run may fail for a moment: the balancer behind it reloads.
            Self::Failed { action: SteeringAction::Status, .. } if !self.is_missing() => Kind::Unreachable,
            Self::Failed { .. } => Kind::Refused,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotRun(not) => not.hint(),
            Self::Failed { .. } if self.is_missing() => {
                "it runs with `sh -c`; here in the configuration's directory, on a host in the login's home".to_owned()
            }
            Self::Failed { action: SteeringAction::Status, .. } => {
                "`status` must end with 193 (in service), 194 (not healthy yet), 195 (draining) or 196 (out)".to_owned()
            }
            Self::Failed { .. } => "it must end with 0, also when there is nothing left to do".to_owned(),
        }
    }
}
