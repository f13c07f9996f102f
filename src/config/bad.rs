//! What is wrong with one value.

use std::fmt;

use super::words::quoted;

/// What is wrong with a value: a fragment that follows the key's name, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// For example "cannot be empty".
    pub what: String,
    /// A sentence; may be empty.
    pub hint: String,
}

impl Bad {
    /// Makes one.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// Refuses a text as a whole.
pub(crate) fn refused(text: &str, hint: &str) -> Bad {
    let what = if text.is_empty() { "cannot be empty".to_owned() } else { format!("cannot be {}", quoted(text)) };
    Bad::new(what, hint)
}

/// Writes the fragment alone; the edge words the hint.
impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Bad {}
