//! The places that settings come from.

use std::fmt;
use std::path::PathBuf;

/// The place that a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingOrigin {
    /// This key of `[ssh]` in pitcrew.toml.
    Toml(&'static str),
    /// The address in pitcrew.toml, or in a `ProxyJump`.
    Address,
    /// This line of an ssh_config.
    File(PathBuf, usize),
    /// The answer of `ssh -G`.
    Asked,
    /// pitcrew's default.
    Default,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml(key) => write!(f, "[ssh] {key}"),
            Self::Address => f.write_str("its address"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Asked => f.write_str("ssh -G"),
            Self::Default => f.write_str("default"),
        }
    }
}
