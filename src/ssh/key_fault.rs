//! What is wrong with a key or a certificate of the user.

use std::fmt;
use std::path::PathBuf;

use super::io_fault::IoFault;

/// Why a key file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFault {
    /// The system refused to read it.
    Io(IoFault),
    /// Other users can read it, and its owner could prevent that.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no usable private key, for this reason.
    Malformed(String),
    /// It is encrypted, and the person gave no passphrase.
    NoPassphrase,
    /// It is encrypted, and every passphrase was wrong.
    WrongPassphrase,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Exposed { path, mode } => {
                write!(f, "others can read it (mode {mode:04o}): run chmod 600 {}", path.display())
            }
            Self::Malformed(why) => write!(f, "not a usable private key: {why}"),
            Self::NoPassphrase => f.write_str("encrypted, and no passphrase was given"),
            Self::WrongPassphrase => f.write_str("encrypted, and the passphrase was wrong"),
        }
    }
}

impl std::error::Error for KeyFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}

/// Why a certificate of a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// The system refused to read it.
    Io(IoFault),
    /// It is no certificate, for this reason.
    Malformed(String),
    /// It is a certificate for hosts.
    ForHosts,
    /// Its time has not come yet.
    NotYet,
    /// It has expired.
    Expired,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Malformed(why) => write!(f, "not a certificate: {why}"),
            Self::ForHosts => f.write_str("it is a certificate for hosts"),
            Self::NotYet => f.write_str("its time has not come yet"),
            Self::Expired => f.write_str("it has expired: have it signed again"),
        }
    }
}

impl std::error::Error for CertificateFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}
