//! What goes wrong with a balancer: where, of which kind, and why.
//!
//! A [`BalancerFault`] is an adapter's own type and keeps its source; text is made of it where it is shown. Callers go by the kind.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::event::Cause;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalancerErrorKind {
    /// No answer came, or none that counts; the same question may be answered a moment later.
    Unreachable,
    /// The caller asked for the end of the wait.
    Stopped,
    /// The balancer has no such backend or member.
    Unknown,
    /// The balancer or its settings do not allow the call; it stays so until a person changes them.
    Refused,
    /// The balancer accepted a change, and its effect is not proven.
    Unproven,
    /// Too few other members are in service.
    TooFew,
}

/// Why a call failed. `Display` is a fragment, the error's source lies below it.
pub trait BalancerFault: Error + Send + Sync + 'static {
    /// Tells what the failure means for the caller.
    fn kind(&self) -> BalancerErrorKind;

    /// Says what to do next; may be empty.
    fn hint(&self) -> String {
        String::new()
    }
}

/// A failure of one call to a balancer.
#[derive(Debug, Clone)]
pub struct BalancerError {
    /// The balancer's address, as configured.
    pub at: String,
    /// `backend/server`, where the failure is about one member.
    pub member: Option<String>,
    fault: Arc<dyn BalancerFault>,
    also: Vec<Also>,
}

/// What failed beside the first fault.
#[derive(Debug, Clone)]
enum Also {
    /// The same call at another place.
    Elsewhere(BalancerError),
    /// The undoing of the call, so that the member is still out.
    StaysOut(BalancerError),
    /// The undoing of the call, so that the member may be in.
    MayBeIn(BalancerError),
}

impl BalancerError {
    /// Makes an error about a balancer, or about a `member` of it.
    pub fn new(at: &str, member: Option<String>, fault: impl BalancerFault) -> Self {
        Self { at: at.to_owned(), member, fault: Arc::new(fault), also: Vec::new() }
    }

    /// Tells what the failure means for the caller.
    pub fn kind(&self) -> BalancerErrorKind {
        self.fault.kind()
    }

    /// Tells whether the same question may be answered a moment later.
    pub fn is_unreachable(&self) -> bool {
        self.kind() == BalancerErrorKind::Unreachable
    }

    /// Tells whether the caller ended the wait.
    pub fn is_stopped(&self) -> bool {
        self.kind() == BalancerErrorKind::Stopped
    }

    /// Says what went wrong, as a fragment.
    pub fn detail(&self) -> String {
        let mut text = self.fault.to_string();
        for also in &self.also {
            text.push_str(&match also {
                Also::Elsewhere(error) => format!("; also {error}"),
                Also::StaysOut(error) => format!("; and it stays out, since putting it back failed: {error}"),
                Also::MayBeIn(error) => format!("; whether it is in is not known: {error}"),
            });
        }
        text
    }

    /// Says what to do next; may be empty.
    pub fn hint(&self) -> String {
        self.fault.hint()
    }

    /// Says that the member is still out, since it could not be put back.
    #[must_use]
    pub fn and_stays_out(mut self, error: Self) -> Self {
        self.also.push(Also::StaysOut(error));
        self
    }

    /// Says that the member may be in, since it could not be taken out again.
    #[must_use]
    pub fn and_may_be_in(mut self, error: Self) -> Self {
        self.also.push(Also::MayBeIn(error));
        self
    }
}

/// Makes one error of several: the first, with the others in it.
///
/// An ended wait counts only where it is the first.
///
/// # Errors
/// When there is any.
pub fn together(errors: impl IntoIterator<Item = BalancerError>) -> Result<(), BalancerError> {
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else { return Ok(()) };
    first.also.extend(errors.filter(|e| !e.is_stopped()).map(Also::Elsewhere));
    Err(first)
}

impl PartialEq for BalancerError {
    fn eq(&self, other: &Self) -> bool {
        let words = |e: &Self| (e.kind(), e.detail(), e.hint());
        (&self.at, &self.member) == (&other.at, &other.member) && words(self) == words(other)
    }
}

impl Eq for BalancerError {}

impl fmt::Display for BalancerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)?;
        if let Some(member) = &self.member {
            write!(f, ", {member}")?;
        }
        write!(f, ": {}", self.detail())
    }
}

impl Error for BalancerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.fault.source()
    }
}

impl From<BalancerError> for Cause {
    fn from(e: BalancerError) -> Self {
        if e.is_stopped() {
            return Self::Interrupted;
        }
        let (detail, hint) = (e.detail(), e.hint());
        Self::Balancer { at: e.at, member: e.member, detail, hint }
    }
}
