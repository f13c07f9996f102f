//! Judges what a host shows by the lines that name it. Pure but for the clock of certificates.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::certificate;
use super::entry::{Entry, HostName, describe};
use super::error::{KnownHostsError, Recorded};
use super::line::Marker;

/// What the files say of one host.
#[derive(Debug)]
pub struct KnownHost {
    pub(super) name: HostName,
    /// Lines that match the name as written.
    pub(super) lines: Vec<Arc<Entry>>,
    /// Lines that match the bare host, if the port is not 22.
    ///
    /// As for ssh, they can vouch for a key and never contradict it.
    pub(super) bare: Vec<Arc<Entry>>,
    pub(super) first_file: Option<PathBuf>,
}

/// What a host shows.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// A plain key.
    Key(&'a PublicKey),
    /// A certificate of its key.
    Certificate(&'a Certificate),
}

impl Shown<'_> {
    /// Returns the host's key.
    pub(in crate::ssh) fn key(self) -> PublicKey {
        match self {
            Self::Key(key) => key.clone(),
            Self::Certificate(c) => PublicKey::new(c.public_key().clone(), ""),
        }
    }
}

impl KnownHost {
    /// Orders host key algorithms: those of known keys come first. SHA-1 is never among them.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys: Vec<Algorithm> = self.trusted().chain(self.bare_trusted()).map(|e| e.line.key.algorithm()).collect();
        let mut all = supported();
        // A stable sort keeps the order of preference within both halves.
        all.sort_by_key(|a| !keys.iter().any(|k| is_same_type(k, a)));
        all
    }

    /// Lists the host certificates to ask for: none, unless an authority is trusted for this host.
    pub fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities().next().is_some() { supported() } else { Vec::new() }
    }

    fn trusted(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.lines.iter().filter(|e| e.line.marker.is_none())
    }

    fn bare_trusted(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.bare.iter().filter(|e| e.line.marker.is_none())
    }

    fn authorities(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.lines.iter().chain(&self.bare).filter(|e| e.line.marker == Some(Marker::CertAuthority))
    }

    fn revoked(&self, key: &KeyData) -> Option<&Arc<Entry>> {
        let mut revoked = self.lines.iter().chain(&self.bare).filter(|e| e.line.marker == Some(Marker::Revoked));
        revoked.find(|e| e.line.key.key_data() == key)
    }

    /// Tells whether the files vouch for what the host shows; `false`: they say nothing of the host.
    ///
    /// # Errors
    /// When the files contradict it.
    pub(super) fn judge(&self, shown: Shown<'_>) -> Result<bool, KnownHostsError> {
        let key = shown.key();
        let host = || self.name.written.clone();
        let mut signers = vec![key.key_data()];
        if let Shown::Certificate(c) = shown {
            signers.push(c.signature_key());
        }
        for signer in signers {
            if let Some(entry) = self.revoked(signer) {
                return Err(KnownHostsError::Revoked { host: host(), key: describe(&key), by: entry.place() });
            }
        }
        // The bare name counts only where nothing is known of the port.
        let bare = self.bare_trusted().filter(|_| self.trusted().next().is_none());
        if self.trusted().chain(bare).any(|e| e.line.key.key_data() == key.key_data()) {
            return Ok(true);
        }
        if let Shown::Certificate(certificate) = shown {
            let trusted: Vec<_> = self.authorities().map(|e| e.line.key.fingerprint(HashAlg::Sha256)).collect();
            return match certificate::judge(certificate, &self.name.host, &trusted) {
                Ok(()) => Ok(true),
                Err(source) => Err(KnownHostsError::Certificate { host: host(), key: describe(&key), source }),
            };
        }
        let same_type = self.trusted().find(|e| is_same_type(&e.line.key.algorithm(), &key.algorithm()));
        if let Some(entry) = same_type.or_else(|| self.trusted().next()) {
            let recorded = Recorded {
                key: describe(&entry.line.key),
                file: entry.file.clone(),
                place: entry.place(),
                is_same_type: same_type.is_some(),
            };
            return Err(KnownHostsError::Changed { host: host(), key: describe(&key), recorded });
        }
        if let Some(entry) = self.authorities().next() {
            return Err(KnownHostsError::Uncertified { host: host(), key: describe(&key), by: entry.place() });
        }
        Ok(false)
    }

    /// Refuses a key that the files say nothing of.
    pub(super) fn unknown(&self, key: &PublicKey) -> KnownHostsError {
        KnownHostsError::Unknown { host: self.name.clone(), key: describe(key), file: self.first_file.clone() }
    }
}

/// Lists host key algorithms by preference; RFC 8332 retires ssh-rsa with SHA-1.
pub(in crate::ssh) fn supported() -> Vec<Algorithm> {
    russh::Preferred::DEFAULT.key.iter().filter(|a| !matches!(a, Algorithm::Rsa { hash: None })).cloned().collect()
}

fn is_same_type(a: &Algorithm, b: &Algorithm) -> bool {
    matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || a == b
}
