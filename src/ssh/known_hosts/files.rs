//! The known hosts files: read once, looked up by host, and extended by new keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::append;
use super::entry::{Entry, describe};
use super::error::{KnownHostsError, NotRecorded, Revocations};
use super::judging::{KnownHost, Shown};
use super::line::{self, Line};
use super::told::Whom;
use crate::ssh::options::HostKeyChecking;

/// The lines of all known hosts files, indexed by host.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Arc<Entry>>,
    /// Indexes of the lines that name hosts plainly, by each name in lower case.
    plain: HashMap<String, Vec<usize>>,
    /// Indexes of the lines that must be tried: wildcards, negations, hashed names.
    tried: Vec<usize>,
    /// The file that records new keys.
    record: Option<PathBuf>,
    /// Whether new keys are recorded under hashed names.
    hashed: bool,
    /// The file of `RevokedHostKeys`, and its keys.
    revoked: Option<(PathBuf, Vec<KeyData>)>,
    /// Keys that were accepted in this run.
    added: RwLock<Vec<Arc<Entry>>>,
    appending: tokio::sync::Mutex<()>,
    bad_lines: usize,
}

impl KnownHosts {
    /// Reads the files. A missing file is empty, and a malformed line is passed over.
    ///
    /// # Errors
    /// When a file exists and cannot be read.
    pub fn load(files: &[PathBuf]) -> Result<Self, KnownHostsError> {
        let mut known = Self { record: files.first().cloned(), ..Self::default() };
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.read(file, &bytes),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(KnownHostsError::Unreadable { file: file.clone(), source: e.into() }),
            }
        }
        Ok(known)
    }

    /// Records no new keys: none of the files is the user's.
    pub fn record_nowhere(&mut self) {
        self.record = None;
    }

    /// Records new keys under hashed names (`HashKnownHosts`).
    pub fn record_hashed(&mut self) {
        self.hashed = true;
    }

    /// Reads `RevokedHostKeys`: a list of public keys, none of which is trusted for any host.
    ///
    /// # Errors
    /// When it cannot be read: as for ssh, no host can be trusted then.
    pub fn revoke(&mut self, file: &Path) -> Result<(), KnownHostsError> {
        let failed = |source| KnownHostsError::Revocations { file: file.to_path_buf(), source };
        let bytes = std::fs::read(file).map_err(|e| failed(Revocations::Io(e.into())))?;
        if bytes.starts_with(b"SSHKRL") {
            return Err(failed(Revocations::Binary));
        }
        let mut keys = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                let key = PublicKey::from_openssh(line).map_err(|_| failed(Revocations::Line))?;
                keys.push(key.key_data().clone());
            }
        }
        self.revoked = Some((file.to_path_buf(), keys));
        Ok(())
    }

    /// Returns the number of malformed lines.
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
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        found.extend(added.iter().filter(|e| e.line.matches(name)).cloned());
        found
    }

    /// Finds the lines of a host.
    pub fn of(&self, whom: Whom<'_>) -> KnownHost {
        let name = whom.name();
        let both = |name: &str| self.matching(name).into_iter().chain(whom.told.matching(name)).collect();
        let lines = both(&name.written);
        let bare = if name.port == 22 { Vec::new() } else { both(&name.host) };
        KnownHost { lines, bare, first_file: self.record.clone(), name }
    }

    /// Judges what a host shows.
    ///
    /// [`HostKeyChecking::AcceptNew`] records and accepts the key of an unknown host.
    ///
    /// # Errors
    /// When the host cannot be trusted, or its new key cannot be recorded.
    pub async fn check(
        &self,
        whom: Whom<'_>,
        shown: Shown<'_>,
        checking: HostKeyChecking,
    ) -> Result<(), KnownHostsError> {
        let known = self.of(whom);
        self.never(&known, shown)?;
        if !known.judge(shown)? {
            if checking == HostKeyChecking::Strict {
                return Err(known.unknown(&shown.key()));
            }
            // Connections to one host share the answer: look again once the lock is held.
            let _turn = self.appending.lock().await;
            let known = self.of(whom);
            if !known.judge(shown)? {
                self.record(known, shown.key()).await?;
            }
        }
        Ok(())
    }

    /// Refuses a key of `RevokedHostKeys`.
    fn never(&self, known: &KnownHost, shown: Shown<'_>) -> Result<(), KnownHostsError> {
        let Some((file, keys)) = &self.revoked else { return Ok(()) };
        let key = shown.key();
        let signer = match shown {
            Shown::Certificate(c) => Some(c.signature_key()),
            Shown::Key(_) => None,
        };
        if keys.iter().any(|k| k == key.key_data() || Some(k) == signer) {
            let (host, by) = (known.name.written.clone(), file.display().to_string());
            return Err(KnownHostsError::Revoked { host, key: describe(&key), by });
        }
        Ok(())
    }

    async fn record(&self, known: KnownHost, key: PublicKey) -> Result<(), KnownHostsError> {
        let Some(file) = known.first_file.clone() else { return Err(known.unknown(&key)) };
        let host = &known.name.written;
        let failed = |source| KnownHostsError::NotRecorded { host: host.clone(), file: file.clone(), source };
        let mut text = append::line(host, &key).map_err(failed)?;
        if self.hashed {
            text = text.replacen(host, &line::hashed(host, &rand::random()), 1);
        }
        // The usual way to keep nothing.
        if file != Path::new("/dev/null") {
            append::append(&file, &text).await.map_err(|e| failed(NotRecorded::Io(e.into())))?;
        }
        if let Ok(Some(line)) = Line::parse(&text) {
            let entry = Arc::new(Entry { line, file, number: 0 });
            self.added.write().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        Ok(())
    }
}
