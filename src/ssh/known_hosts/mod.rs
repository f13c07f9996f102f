//! The known hosts: which keys a host may show, by the rules of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! `files` reads the files and checks a host against them, `judging` judges what a host shows, `append` records a new key.
//! `told` has what a command prints of a host, `line` has the syntax of one line, `certificate` the rules of host certificates, `error` the refusals.

mod append;
mod certificate;
mod entry;
mod error;
mod files;
mod judging;
mod line;
mod told;

pub use self::certificate::HostCertificateFault;
pub use self::entry::HostName;
pub use self::error::{KnownHostsError, NotRecorded, Recorded, Revocations};
pub use self::files::KnownHosts;
pub(super) use self::judging::supported;
pub use self::judging::{KnownHost, Shown};
pub use self::told::{KeysCommandFault, ToldKeys, Whom};

#[cfg(test)]
mod tests;
