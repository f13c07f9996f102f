//! What is wrong with one setting.

use std::fmt;

use super::line::BadLine;
use super::tokens::Unexpanded;
use crate::ssh::hop::BadHop;

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// The line is malformed.
    Line(BadLine),
    /// `Host` has an empty pattern.
    EmptyPattern,
    /// There is more behind this keyword than its one word.
    MoreWords(String),
    /// It is no keyword, and looks like one.
    Misspelt {
        /// What is written.
        written: String,
        /// What is meant, in lower case.
        meant: &'static str,
    },
    /// `Include` goes too deep.
    TooDeep,
    /// `Include` has this malformed pattern.
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// `Include` cannot list the files of this pattern.
    Unlisted {
        /// The pattern.
        pattern: String,
        /// What the system says.
        why: String,
    },
    /// A setting has a value that it cannot have.
    Value {
        /// The setting.
        name: &'static str,
        /// What the value must be, as "yes or no".
        must: &'static str,
        /// The value, where it is short enough to be shown.
        value: Option<String>,
    },
    /// A value cannot be expanded.
    Unexpanded {
        /// The setting.
        name: &'static str,
        /// What is wrong with the value.
        source: Unexpanded,
    },
    /// This host is no host name.
    NoHost(String),
    /// `ProxyJump` is malformed.
    Jump(BadHop),
    /// `ProxyUseFdpass` is not supported.
    Fdpass,
    /// None of the algorithms is supported.
    NoAlgorithm {
        /// The setting.
        name: &'static str,
        /// The supported algorithms.
        supported: String,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(why) => write!(f, "the line {why}"),
            Self::EmptyPattern => f.write_str("Host has an empty pattern"),
            Self::MoreWords(keyword) => write!(f, "{keyword} takes one word; one with blanks needs quotes"),
            Self::Misspelt { written, .. } if written.starts_with('\u{feff}') => {
                f.write_str("the file begins with a byte order mark, which ssh refuses; save it without one")
            }
            Self::Misspelt { written, meant } => {
                write!(f, "{written} is no keyword, and ssh refuses the file; it looks like {meant}")
            }
            Self::TooDeep => f.write_str("Include goes too deep; does a file include itself?"),
            Self::BadPattern { pattern, why } => write!(f, "Include has a bad pattern {pattern}: {why}"),
            Self::Unlisted { pattern, why } => write!(f, "Include cannot look for {pattern}: {why}"),
            Self::Value { name, must, value: Some(value) } => write!(f, "{name} must be {must}, not {value:?}"),
            Self::Value { name, must, value: None } => write!(f, "{name} must be {must}"),
            Self::Unexpanded { name, source } => write!(f, "{name} {source}"),
            Self::NoHost(host) => write!(f, "{host:?} is no host name"),
            Self::Jump(why) => write!(f, "ProxyJump {why}"),
            Self::Fdpass => f.write_str("a ProxyCommand with ProxyUseFdpass is not supported"),
            Self::NoAlgorithm { name, supported } => {
                write!(f, "none of its {name} is supported; supported are {supported}")
            }
        }
    }
}

impl std::error::Error for Mistake {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Line(e) => Some(e),
            Self::Unexpanded { source, .. } => Some(source),
            Self::Jump(e) => Some(e),
            _ => None,
        }
    }
}
