//! Faults that every balancer can have: on the way out, on the way back, and while it is asked.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::error::{BalancerError, BalancerErrorKind as Kind, BalancerFault};
use crate::config::Least;

/// What stops a server from going out, or from staying out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainFault {
    /// The caller asked for the end of the wait.
    Stopped,
    /// The run did not ask for the server's state before, so it could not be restored.
    NotAsked,
    /// Too few other members are in service.
    TooFew {
        /// Other members in service.
        others: usize,
        /// Members that must stay.
        least: usize,
        /// `min_in_service`.
        written: Least,
    },
    /// The balancer accepted the drain, and the member is in all the same; its status.
    Ignored(String),
    /// Connections were left after this time, and the balancer cannot end them.
    CannotEnd(Duration),
    /// Connections were left at the end of `drain_timeout`.
    StillOpen {
        /// How many; `None`: the balancer does not tell.
        open: Option<u64>,
        /// How long the drain took.
        after: Duration,
        /// The values of `on_drain_timeout` that go on all the same.
        instead: &'static str,
    },
    /// Something put the member back into service during the drain.
    PutBack,
    /// The member is out, and has been sent this many requests since.
    StillSent(u64),
}

impl Error for DrainFault {}

impl fmt::Display for DrainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "the wait was interrupted"),
            Self::NotAsked => write!(f, "its state before the run is not known"),
            Self::TooFew { others, least, written } => {
                write!(
                    f,
                    "draining it would leave {others} other members in service, and min_in_service is {written}"
                )?;
                if written.to_string() == least.to_string() { Ok(()) } else { write!(f, " ({least} here)") }
            }
            Self::Ignored(status) => write!(f, "it accepted the drain and did not do it: {status}"),
            Self::CannotEnd(after) => write!(f, "connections were left after {after:?}, and it cannot end them"),
            Self::StillOpen { open: Some(open), after, .. } => {
                write!(f, "{open} connections were still open after {after:?} of draining")
            }
            Self::StillOpen { open: None, after, .. } => write!(f, "it was still draining after {after:?}"),
            Self::StillSent(requests) => {
                write!(f, "it is out, and was sent {requests} more requests all the same")
            }
            Self::PutBack => {
                write!(f, "something put it back into service while it was drained (a reload, an operator)")
            }
        }
    }
}

impl BalancerFault for DrainFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Stopped => Kind::Stopped,
            Self::NotAsked | Self::CannotEnd(_) => Kind::Refused,
            Self::TooFew { .. } => Kind::TooFew,
            Self::Ignored(_) | Self::StillOpen { .. } | Self::PutBack | Self::StillSent(_) => Kind::Unproven,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Stopped | Self::NotAsked | Self::Ignored(_) => String::new(),
            Self::TooFew { .. } => {
                "bring other members back, use smaller batches or --parallel, or lower `min_in_service`".to_owned()
            }
            Self::CannotEnd(_) => "set `on_drain_timeout` to \"proceed\" or \"fail\"".to_owned(),
            Self::StillOpen { instead, .. } => format!("raise `drain_timeout`, or set `on_drain_timeout` to {instead}"),
            Self::StillSent(_) => {
                "`option persist` and `force-persist` in haproxy.cfg send clients to a server that is out: take them out, or \
                 deploy with --parallel"
                    .to_owned()
            }
            Self::PutBack => "do not reload or change the balancer during a deploy".to_owned(),
        }
    }
}

/// What stops a server from coming back.
#[derive(Debug, Clone)]
pub enum RestoreFault {
    /// The configuration does not name the balancer any more.
    NotConfigured,
    /// The balancer does not tell of this place any more.
    Gone,
    /// The member was not in service in time, or its way back was cut off.
    NotBack {
        /// What it did not do.
        why: &'static str,
        /// Its last status.
        last: String,
        /// What is to be done about it.
        hint: &'static str,
        /// Where it is now.
        kept: Whereabouts,
    },
}

/// Where a member is that did not come back.
#[derive(Debug, Clone)]
pub enum Whereabouts {
    /// Out, in these words.
    Out(&'static str),
    /// Not known: it could not be set to this, and why.
    NotSet(&'static str, Box<BalancerError>),
}

impl Error for RestoreFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotBack { kept: Whereabouts::NotSet(_, error), .. } => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl fmt::Display for RestoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => {
                write!(f, "the configuration does not name this balancer any more, so it was not asked")
            }
            Self::Gone => {
                write!(f, "it does not tell of this place any more, so the server was not put back there")
            }
            Self::NotBack { why, last, kept, .. } => {
                write!(f, "{why} ({last}), and ")?;
                match kept {
                    Whereabouts::Out(words) => f.write_str(words),
                    Whereabouts::NotSet(what, error) => write!(f, "could not be {what}: {error}"),
                }
            }
        }
    }
}

impl BalancerFault for RestoreFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NotConfigured => Kind::Refused,
            Self::Gone => Kind::Unknown,
            Self::NotBack { .. } => Kind::Unproven,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotConfigured => String::new(),
            Self::Gone => "compare [load_balancer] with what was there before".to_owned(),
            Self::NotBack { hint, .. } => (*hint).to_owned(),
        }
    }
}

/// What stops a question to a balancer of few calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskFault {
    /// The balancer did not answer within this time.
    Late(Duration),
    /// The balancer says nothing of this server.
    Silent(String),
}

impl Error for AskFault {}

impl fmt::Display for AskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "it did not answer within {limit:?}"),
            Self::Silent(lb_name) => write!(f, "it says nothing of {lb_name}"),
        }
    }
}

impl BalancerFault for AskFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Late(_) => Kind::Unreachable,
            Self::Silent(_) => Kind::Unknown,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Late(_) => String::new(),
            Self::Silent(_) => "set `lb` in [[servers]] to the server's name there".to_owned(),
        }
    }
}
