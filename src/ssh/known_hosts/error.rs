//! Why a host cannot be trusted, and what is wrong with the files that would tell.

use std::fmt;
use std::path::PathBuf;

use super::certificate::HostCertificateFault;
use super::entry::HostName;
use super::told::KeysCommandFault;
use crate::ssh::io_fault::IoFault;

/// Why a host cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownHostsError {
    /// A known hosts file cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: IoFault,
    },
    /// The list of `RevokedHostKeys` cannot be used: as for ssh, no host can be trusted then.
    Revocations {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: Revocations,
    },
    /// `KnownHostsCommand` has failed: as for ssh, no host can be trusted then.
    Command {
        /// The program.
        program: String,
        /// What went wrong.
        source: KeysCommandFault,
    },
    /// A new key could not be recorded.
    NotRecorded {
        /// The host, as known hosts files write it.
        host: String,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: NotRecorded,
    },
    /// The key, or the authority that signed it, is revoked.
    Revoked {
        /// The host, as known hosts files write it.
        host: String,
        /// The key.
        key: String,
        /// The place that revokes it.
        by: String,
    },
    /// The host shows another key than the recorded one.
    Changed {
        /// The host, as known hosts files write it.
        host: String,
        /// The key.
        key: String,
        /// What is recorded instead.
        recorded: Recorded,
    },
    /// Nothing is recorded of the host.
    Unknown {
        /// The host.
        host: HostName,
        /// The key.
        key: String,
        /// The file that would record it.
        file: Option<PathBuf>,
    },
    /// The host's certificate is no proof.
    Certificate {
        /// The host, as known hosts files write it.
        host: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        source: HostCertificateFault,
    },
    /// An authority is trusted for the host, which shows a plain key.
    Uncertified {
        /// The host, as known hosts files write it.
        host: String,
        /// The key.
        key: String,
        /// The place that trusts the authority.
        by: String,
    },
}

/// A recorded key that contradicts the one which a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The recorded key.
    pub key: String,
    /// Its file.
    pub file: PathBuf,
    /// Its file and line.
    pub place: String,
    /// Whether the two keys are of one type.
    pub is_same_type: bool,
}

/// What is wrong with a list of revoked keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocations {
    /// The system refused to read it.
    Io(IoFault),
    /// It is a binary list (KRL).
    Binary,
    /// A line is no public key.
    Line,
}

/// Why a key could not be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRecorded {
    /// This name would be taken for syntax.
    Name(String),
    /// The key has no text form, for this reason.
    Encoding(String),
    /// The system refused to write.
    Io(IoFault),
}

impl fmt::Display for KnownHostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => {
                write!(f, "cannot read the known hosts in {}: {source}", file.display())
            }
            Self::Revocations { file, source } => {
                write!(f, "cannot read the revoked host keys in {}: {source}", file.display())
            }
            Self::Command { program, source } => write!(f, "cannot ask KnownHostsCommand, {program}: {source}"),
            Self::NotRecorded { host, file, source } => {
                write!(f, "cannot record the key of {host} in {}: {source}", file.display())
            }
            Self::Revoked { host, key, by } => write!(f, "{key} of {host} is revoked by {by}"),
            Self::Changed { host, key, recorded } => {
                let Recorded { key: known, place, is_same_type, .. } = recorded;
                let what = if *is_same_type { "another key of that type" } else { "keys of other types only" };
                write!(f, "cannot trust {host}: it shows {key}, but {place} holds {what}: {known}")
            }
            Self::Unknown { host, key, .. } => {
                write!(f, "cannot trust {}: its key is not known: {key}", host.written)
            }
            Self::Certificate { host, key, source } => {
                write!(f, "cannot trust the host certificate of {host} ({key}): {source}")
            }
            Self::Uncertified { host, key, by } => {
                write!(f, "cannot trust {host}: it shows {key} without a certificate, and {by} trusts an authority")
            }
        }
    }
}

impl KnownHostsError {
    /// Says what to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { file, .. } => {
                format!("Make {} readable, or name another file with known_hosts.", file.display())
            }
            Self::Revocations { .. } => "Make RevokedHostKeys name a readable list of public keys, one a line.".into(),
            Self::Command { .. } => "Try the command by hand, or take KnownHostsCommand out of ssh_config.".into(),
            Self::NotRecorded { file, .. } => {
                format!("Make {} writable, or record the key yourself and keep checking strict.", file.display())
            }
            Self::Revoked { .. } => {
                "Do not connect until you know why: replace the server's host key, then record the new one.".into()
            }
            Self::Changed { host, recorded, .. } => format!(
                "If the server was reinstalled, run `ssh-keygen -R '{host}' -f {}` and record the new key; \
                 if not, another machine may stand between you and the server.",
                recorded.file.display()
            ),
            Self::Unknown { host, file, .. } => {
                let port = if host.port == 22 { String::new() } else { format!("-p {} ", host.port) };
                let file = file.as_ref().map_or("~/.ssh/known_hosts".into(), |f| f.to_string_lossy());
                format!(
                    "Compare the fingerprint, then run `ssh-keyscan {port}{} >> {file}`; \
                     or set host_key_checking = \"accept-new\".",
                    host.host
                )
            }
            Self::Certificate { .. } => "Have the server's certificate signed again, or record its plain key.".into(),
            Self::Uncertified { .. } => {
                "Check that sshd there has HostCertificate set, or record its plain key.".into()
            }
        }
    }

    /// Tells whether a file of this machine is at fault, and not the host.
    pub fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. } | Self::Revocations { .. } | Self::Command { .. } | Self::NotRecorded { .. }
        )
    }
}

impl std::error::Error for KnownHostsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Revocations { source, .. } => Some(source),
            Self::Command { source, .. } => Some(source),
            Self::NotRecorded { source, .. } => Some(source),
            Self::Certificate { source, .. } => Some(source),
            Self::Revoked { .. } | Self::Changed { .. } | Self::Unknown { .. } | Self::Uncertified { .. } => None,
        }
    }
}

impl fmt::Display for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Binary => f.write_str("binary revocation lists are not supported"),
            Self::Line => f.write_str("a line is no public key"),
        }
    }
}

impl std::error::Error for Revocations {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Binary | Self::Line => None,
        }
    }
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} cannot be written as a host name"),
            Self::Encoding(why) => f.write_str(why),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for NotRecorded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::Name(_) | Self::Encoding(_) => None,
        }
    }
}
