//! One line of a known hosts file with its place, and the names under which hosts are looked up.

use std::path::PathBuf;

use russh::keys::{HashAlg, PublicKey};

use super::line::Line;

/// A line and its place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Line,
    pub(super) file: PathBuf,
    /// The number of the line from 1; 0: this run recorded it.
    pub(super) number: usize,
}

impl Entry {
    /// Names the place for messages.
    pub(super) fn place(&self) -> String {
        match self.number {
            0 => format!("{} (recorded by this run)", self.file.display()),
            number => format!("{}:{number}", self.file.display()),
        }
    }
}

/// The name of a host in known hosts files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// The host in lower case, as certificates and entries for port 22 have it.
    pub(super) host: String,
    pub(super) port: u16,
    /// `host`, or `[host]:port`.
    pub(super) written: String,
}

impl HostName {
    /// Names a host and port as known hosts files do.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let written = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
        Self { host, port, written }
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

/// Describes a key by its algorithm and fingerprint.
pub(super) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}
