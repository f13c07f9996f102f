//! An I/O error that can be cloned and compared, since one failure is the answer to many callers.

use std::fmt;
use std::io;
use std::sync::Arc;

/// An I/O error.
#[derive(Clone)]
pub struct IoFault(Arc<io::Error>);

impl From<io::Error> for IoFault {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// A task that was given up.
impl From<tokio::task::JoinError> for IoFault {
    fn from(error: tokio::task::JoinError) -> Self {
        io::Error::other(error).into()
    }
}

impl fmt::Display for IoFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IoFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for IoFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl PartialEq for IoFault {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind() == other.0.kind() && self.0.to_string() == other.0.to_string()
    }
}

impl Eq for IoFault {}
