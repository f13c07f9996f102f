//! Why an ssh_config cannot be used.

use std::fmt;
use std::path::{Path, PathBuf};

use super::mistake::Mistake;
use super::origin::SettingOrigin;
use crate::ssh::io_fault::IoFault;

/// Why an ssh_config, or a setting, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileFault,
    },
    /// A setting is wrong.
    Setting {
        /// Its place.
        at: SettingOrigin,
        /// What is wrong with it.
        source: Mistake,
    },
    /// Only ssh can evaluate a line, and ssh did not.
    Unasked {
        /// The keyword that needs ssh.
        keyword: String,
        /// Its place.
        at: SettingOrigin,
        /// What ssh did instead.
        source: SshFault,
    },
    /// Only ssh can evaluate the files, and it was not asked about this host.
    Unanswered {
        /// The host.
        host: String,
    },
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFault {
    /// It does not exist, and pitcrew.toml names it.
    Missing,
    /// The system refused to read it.
    Io(IoFault),
    /// It is a directory, a pipe, or larger than any configuration.
    NotAFile,
    /// Other users can write it.
    Writable {
        /// The number of its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
}

/// What `ssh -G` did instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshFault {
    /// There is no ssh on this machine.
    NoSsh,
    /// It could not be started for this host.
    NotStarted {
        /// The host.
        host: String,
        /// What the system says.
        source: IoFault,
    },
    /// It did not answer about this host.
    Silent {
        /// The host.
        host: String,
        /// The limit in seconds.
        limit: u64,
    },
    /// It failed for this host.
    Failed {
        /// The host.
        host: String,
        /// Its last words.
        said: String,
    },
}

impl ConfigError {
    /// Makes the error of a file.
    pub(super) fn file(path: &Path, source: FileFault) -> Self {
        Self::File { path: path.to_path_buf(), source }
    }

    /// Makes the error of a setting.
    pub(in crate::ssh) fn setting(at: &SettingOrigin, source: Mistake) -> Self {
        Self::Setting { at: at.clone(), source }
    }

    /// Returns the host that the error names, if it names one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::File { .. } | Self::Setting { .. } => None,
            Self::Unanswered { host } => Some(host),
            Self::Unasked { source, .. } => match source {
                SshFault::NoSsh => None,
                SshFault::NotStarted { host, .. } | SshFault::Silent { host, .. } | SshFault::Failed { host, .. } => {
                    Some(host)
                }
            },
        }
    }

    /// Says what to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::File { source: FileFault::Missing, .. } => "Correct config_file in [ssh], or set it to false.".into(),
            Self::File { source: FileFault::Io(_), .. } => "Make it readable, or set config_file in [ssh].".into(),
            Self::File { source: FileFault::NotAFile, .. } => "Correct config_file or the Include.".into(),
            Self::File { source: FileFault::Writable { .. }, path } => {
                format!("As ssh demands, it must be yours: run chmod 600 {}.", path.display())
            }
            Self::Setting { .. } => "Correct it, or set config_file = false in [ssh] to do without.".into(),
            Self::Unasked { .. } => {
                "Install OpenSSH's client, or name a file without it with config_file in [ssh].".into()
            }
            Self::Unanswered { host } => format!("Run `ssh -G {host}` to see."),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Setting { at, source } => write!(f, "cannot use {at}: {source}"),
            Self::Unasked { keyword, at, source } => {
                write!(f, "cannot evaluate {keyword} in {at}, which is asked of ssh itself: {source}")
            }
            Self::Unanswered { host } => write!(f, "cannot tell what ssh's configuration says of {host}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Setting { source, .. } => Some(source),
            Self::Unasked { source, .. } => Some(source),
            Self::Unanswered { .. } => None,
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::Io(e) => e.fmt(f),
            Self::NotAFile => f.write_str("it is no configuration file"),
            Self::Writable { owner, mode } => write!(f, "others can write it (owner {owner}, mode {mode:04o})"),
        }
    }
}

impl std::error::Error for FileFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Missing | Self::NotAFile | Self::Writable { .. } => None,
        }
    }
}

impl fmt::Display for SshFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSsh => f.write_str("there is no ssh on this machine"),
            Self::NotStarted { host, source } => write!(f, "`ssh -G {host}` cannot be started: {source}"),
            Self::Silent { host, limit } => write!(f, "`ssh -G {host}` does not answer within {limit} s"),
            Self::Failed { host, said } => write!(f, "`ssh -G {host}` failed: {said}"),
        }
    }
}

impl std::error::Error for SshFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } => Some(source),
            Self::NoSsh | Self::Silent { .. } | Self::Failed { .. } => None,
        }
    }
}
