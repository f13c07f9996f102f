//! The known hosts: which keys a host may show, by the rules of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! Owns reading the files once, finding the lines of a host and judging the key it shows. Recording a new key lies in
//! `append`, one line's syntax in `line`, host certificates in `certificate`.

mod append;
mod certificate;
mod line;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

pub(super) use self::line::wildcard;
use self::line::{Line, Marker};
use super::options::HostKeyChecking;
use super::{ConnectError, ConnectErrorKind};

/// The lines of all known hosts files, indexed by host.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Arc<Entry>>,
    /// Lines that name hosts plainly, by each lower-case name.
    plain: HashMap<String, Vec<usize>>,
    /// Lines that must be tried: wildcards, negations, hashed names.
    tried: Vec<usize>,
    /// Where new keys are recorded.
    record: Option<PathBuf>,
    /// Keys of `RevokedHostKeys`, and the file.
    revoked: Option<(PathBuf, Vec<KeyData>)>,
    /// Keys accepted in this run.
    added: RwLock<Vec<Arc<Entry>>>,
    appending: tokio::sync::Mutex<()>,
    bad_lines: usize,
}

#[derive(Debug)]
struct Entry {
    line: Line,
    file: PathBuf,
    /// From 1; 0: recorded by this run.
    number: usize,
}

impl Entry {
    fn place(&self) -> String {
        match self.number {
            0 => format!("{} (recorded by this run)", self.file.display()),
            number => format!("{}:{number}", self.file.display()),
        }
    }
}

/// Where a host is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// As it is written for certificates and on port 22, lower case.
    host: String,
    port: u16,
    /// `host`, or `[host]:port`.
    written: String,
}

impl HostName {
    /// Names a host and port as known hosts files do.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let written = if port == 22 { host.clone() } else { format!("[{host}]:{port}") };
        Self { host, port, written }
    }
}

/// What the files say of one host.
#[derive(Debug)]
pub struct Known {
    name: HostName,
    /// Lines that match the name as written.
    lines: Vec<Arc<Entry>>,
    /// Lines that match the bare host, when the port is not 22: they can vouch, never contradict (as in ssh).
    bare: Vec<Arc<Entry>>,
    first_file: Option<PathBuf>,
}

/// What a host shows.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// A plain key.
    Key(&'a PublicKey),
    /// A certificate of its key.
    Certificate(&'a Certificate),
}

impl KnownHosts {
    /// Reads the files; one that does not exist is empty, one that cannot be read is an error, a bad line is passed over.
    pub fn load(files: &[PathBuf]) -> Result<Self, ConnectError> {
        let mut known = Self { record: files.first().cloned(), ..Self::default() };
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.read(file, &bytes),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(ConnectError {
                        kind: ConnectErrorKind::Local,
                        detail: format!("cannot read the known hosts in {}: {e}", file.display()),
                        hint: format!("Make {} readable, or name another file with known_hosts.", file.display()),
                    });
                }
            }
        }
        Ok(known)
    }

    /// Records no new keys: no file is the user's.
    pub fn record_nowhere(&mut self) {
        self.record = None;
    }

    /// Reads `RevokedHostKeys`: a list of public keys, none of which is trusted for any host.
    ///
    /// # Errors
    /// When it cannot be read: as for ssh, no host can be trusted then.
    pub fn revoke(&mut self, file: &Path) -> Result<(), ConnectError> {
        let failed = |why: &str| ConnectError {
            kind: ConnectErrorKind::Local,
            detail: format!("cannot read the revoked host keys in {}: {why}", file.display()),
            hint: "Make RevokedHostKeys name a readable list of public keys, one a line.".into(),
        };
        let bytes = std::fs::read(file).map_err(|e| failed(&e.to_string()))?;
        if bytes.starts_with(b"SSHKRL") {
            return Err(failed("binary revocation lists are not supported"));
        }
        let mut keys = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                let key = PublicKey::from_openssh(line).map_err(|_| failed("a line is no public key"))?;
                keys.push(key.key_data().clone());
            }
        }
        self.revoked = Some((file.to_path_buf(), keys));
        Ok(())
    }

    /// How many lines could not be understood.
    pub fn bad_lines(&self) -> usize {
        self.bad_lines
    }

    fn read(&mut self, file: &Path, bytes: &[u8]) {
        for (i, raw) in bytes.split(|b| *b == b'\n').enumerate() {
            let Ok(text) = std::str::from_utf8(raw) else {
                self.bad_lines += 1;
                continue;
            };
            match Line::parse(text) {
                Ok(None) => {}
                Ok(Some(line)) => self.push(Entry { line, file: file.to_path_buf(), number: i + 1 }),
                Err(_) => self.bad_lines += 1,
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        let at = self.entries.len();
        match entry.line.plain_names() {
            Some(names) => {
                for name in names {
                    self.plain.entry(name.to_owned()).or_default().push(at);
                }
            }
            None => self.tried.push(at),
        }
        self.entries.push(Arc::new(entry));
    }

    fn matching(&self, name: &str) -> Vec<Arc<Entry>> {
        let mut at: Vec<usize> = self.plain.get(name).cloned().unwrap_or_default();
        at.extend(self.tried.iter().filter(|i| self.entries.get(**i).is_some_and(|e| e.line.matches(name))));
        at.sort_unstable();
        at.dedup();
        let mut found: Vec<_> = at.into_iter().filter_map(|i| self.entries.get(i).cloned()).collect();
        let added = self.added.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.extend(added.iter().filter(|e| e.line.matches(name)).cloned());
        found
    }

    /// Finds the lines of a host.
    pub fn of(&self, host: &str, port: u16) -> Known {
        let name = HostName::new(host, port);
        let lines = self.matching(&name.written);
        let bare = if name.port == 22 { Vec::new() } else { self.matching(&name.host) };
        Known { lines, bare, first_file: self.record.clone(), name }
    }

    /// Judges what a host shows; with [`HostKeyChecking::AcceptNew`] the key of an unknown host is recorded and accepted.
    pub async fn check(
        &self,
        (host, port): (&str, u16),
        shown: Shown<'_>,
        checking: HostKeyChecking,
    ) -> Result<(), ConnectError> {
        let known = self.of(host, port);
        self.never(&known, shown)?;
        if !known.judge(shown)? {
            if checking == HostKeyChecking::Strict {
                return Err(known.unknown(shown.key()));
            }
            // Connections to one host share the answer: look again once it is this one's turn.
            let _turn = self.appending.lock().await;
            let known = self.of(host, port);
            if !known.judge(shown)? {
                self.record(known, shown.key()).await?;
            }
        }
        Ok(())
    }

    fn never(&self, known: &Known, shown: Shown<'_>) -> Result<(), ConnectError> {
        let Some((file, keys)) = &self.revoked else { return Ok(()) };
        let key = shown.key();
        let signer = match shown {
            Shown::Certificate(c) => Some(c.signature_key()),
            Shown::Key(_) => None,
        };
        if keys.iter().any(|k| k == key.key_data() || Some(k) == signer) {
            return Err(known.is_revoked(&key, &file.display().to_string()));
        }
        Ok(())
    }

    async fn record(&self, known: Known, key: PublicKey) -> Result<(), ConnectError> {
        let Some(file) = known.first_file.clone() else { return Err(known.unknown(key)) };
        let text =
            append::line(&known.name.written, &key).map_err(|why| append::error(&known.name.written, &file, &why))?;
        // The usual way to keep nothing.
        if file != Path::new("/dev/null") {
            append::append(&file, &text)
                .await
                .map_err(|e| append::error(&known.name.written, &file, &e.to_string()))?;
        }
        if let Ok(Some(line)) = Line::parse(&text) {
            let entry = Arc::new(Entry { line, file, number: 0 });
            self.added.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry);
        }
        Ok(())
    }
}

impl Shown<'_> {
    fn key(self) -> PublicKey {
        match self {
            Self::Key(key) => key.clone(),
            Self::Certificate(c) => PublicKey::new(c.public_key().clone(), ""),
        }
    }
}

impl Known {
    /// Orders host key algorithms so that those of known keys come first; SHA-1 is never among them.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys: Vec<Algorithm> = self.trusted().chain(self.bare_trusted()).map(|e| e.line.key.algorithm()).collect();
        let mut all = supported();
        // A stable sort keeps the order of preference within both halves.
        all.sort_by_key(|a| !keys.iter().any(|k| same_kind(k, a)));
        all
    }

    /// Host certificates to ask for: none, unless an authority is trusted for this host.
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

    /// Tells whether the host is known by what it shows; `false`: nothing is known of it. Anything else is an error.
    fn judge(&self, shown: Shown<'_>) -> Result<bool, ConnectError> {
        let key = shown.key();
        let mut signers = vec![key.key_data()];
        if let Shown::Certificate(c) = shown {
            signers.push(c.signature_key());
        }
        for signer in signers {
            if let Some(entry) = self.revoked(signer) {
                return Err(self.is_revoked(&key, &entry.place()));
            }
        }
        // The bare name is asked only where nothing is known of the port.
        let bare = self.bare_trusted().filter(|_| self.trusted().next().is_none());
        if self.trusted().chain(bare).any(|e| e.line.key.key_data() == key.key_data()) {
            return Ok(true);
        }
        if let Shown::Certificate(certificate) = shown {
            let trusted: Vec<_> = self.authorities().map(|e| e.line.key.fingerprint(HashAlg::Sha256)).collect();
            return match certificate::judge(certificate, &self.name.host, &trusted) {
                Ok(()) => Ok(true),
                Err(why) => Err(self.error(
                    format!("cannot trust the host certificate of {} ({}): {why}", self.name.written, describe(&key)),
                    "Have the server's certificate signed again, or record its plain key.".into(),
                )),
            };
        }
        if let Some(entry) = self.trusted().find(|e| same_kind(&e.line.key.algorithm(), &key.algorithm())) {
            return Err(self.changed(&key, entry, "another key of that type"));
        }
        if let Some(entry) = self.trusted().next() {
            return Err(self.changed(&key, entry, "keys of other types only"));
        }
        if let Some(entry) = self.authorities().next() {
            return Err(self.error(
                format!(
                    "cannot trust {}: it shows {} without a certificate, and {} trusts an authority",
                    self.name.written,
                    describe(&key),
                    entry.place()
                ),
                "Check that sshd there has HostCertificate set, or record its plain key.".into(),
            ));
        }
        Ok(false)
    }

    fn is_revoked(&self, key: &PublicKey, by: &str) -> ConnectError {
        self.error(
            format!("{} of {} is revoked by {by}", describe(key), self.name.written),
            "Do not connect until you know why: replace the server's host key, then record the new one.".into(),
        )
    }

    fn changed(&self, key: &PublicKey, entry: &Entry, what: &str) -> ConnectError {
        let recorded = describe(&entry.line.key);
        self.error(
            format!(
                "cannot trust {}: it shows {}, but {} holds {what}: {recorded}",
                self.name.written,
                describe(key),
                entry.place()
            ),
            format!(
                "If the server was reinstalled, run `ssh-keygen -R '{}' -f {}` and record the new key; \
                 if not, somebody may be between you and the server.",
                self.name.written,
                entry.file.display()
            ),
        )
    }

    fn unknown(&self, key: PublicKey) -> ConnectError {
        let port = if self.name.port == 22 { String::new() } else { format!("-p {} ", self.name.port) };
        let file = self.first_file.as_deref().unwrap_or(Path::new("~/.ssh/known_hosts")).display();
        self.error(
            format!("cannot trust {}: its key is not known: {}", self.name.written, describe(&key)),
            format!(
                "Compare the fingerprint, then run `ssh-keyscan {port}{} >> {file}`; \
                 or set host_key_checking = \"accept-new\".",
                self.name.host
            ),
        )
    }

    fn error(&self, detail: String, hint: String) -> ConnectError {
        ConnectError { kind: ConnectErrorKind::HostKey, detail, hint }
    }
}

/// Host key algorithms by preference; RFC 8332 retires ssh-rsa with SHA-1.
pub(super) fn supported() -> Vec<Algorithm> {
    russh::Preferred::DEFAULT.key.iter().filter(|a| !matches!(a, Algorithm::Rsa { hash: None })).cloned().collect()
}

fn same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || a == b
}

fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

#[cfg(test)]
mod tests;
