//! Key files and certificates: each is read once a run, and unlocked by one question.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Certificate, PrivateKey, PublicKey};
use tokio::sync::Mutex;

use super::ask::Ask;
use super::key_fault::{CertificateFault, KeyFault};
use super::short_scalar;

/// Attempts at a passphrase.
const TRIES: usize = 3;

/// A certificate, or what is wrong with it; `None`: the file does not exist.
type Read = Option<Result<Certificate, CertificateFault>>;

/// The keys, certificates and answers of a run so far.
#[derive(Default)]
pub struct Keys {
    files: Mutex<HashMap<PathBuf, Stored>>,
    certificates: Mutex<HashMap<PathBuf, Read>>,
    /// The answers that a server accepted, by its place: a later connection does not ask again.
    answers: Mutex<HashMap<String, String>>,
}

/// The state of a key file.
#[derive(Clone)]
pub(super) enum Stored {
    /// It can sign.
    Ready(Arc<PrivateKey>),
    /// It is encrypted. The public half is here if it can be read without the passphrase.
    Locked(Option<PublicKey>),
    /// Only `FILE.pub` is there, or the file is a public key: an agent may hold the other half.
    PublicOnly(PublicKey),
    /// The file does not exist.
    Missing,
    /// It cannot be used, for this reason. The public half is here if it can be read.
    Unusable(KeyFault, Option<PublicKey>),
}

impl Stored {
    /// Returns the public half, if it is known.
    pub(super) fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Ready(key) => Some(key.public_key()),
            Self::Locked(public) | Self::Unusable(_, public) => public.as_ref(),
            Self::PublicOnly(public) => Some(public),
            Self::Missing => None,
        }
    }
}

impl Keys {
    /// Reads a key file, or remembers it.
    pub(super) async fn get(&self, path: &Path) -> Stored {
        let mut files = self.files.lock().await;
        if let Some(stored) = files.get(path) {
            return stored.clone();
        }
        let owned = path.to_path_buf();
        let stored = tokio::task::spawn_blocking(move || read(&owned))
            .await
            .unwrap_or_else(|e| Stored::Unusable(KeyFault::Io(e.into()), None));
        files.insert(path.to_path_buf(), stored.clone());
        stored
    }

    /// Reads a certificate, or remembers it; `None`: the file does not exist.
    pub(super) async fn certificate(&self, path: &Path) -> Read {
        let mut known = self.certificates.lock().await;
        if let Some(known) = known.get(path) {
            return known.clone();
        }
        let owned = path.to_path_buf();
        let read = tokio::task::spawn_blocking(move || match std::fs::read_to_string(&owned) {
            Ok(text) => {
                Some(Certificate::from_openssh(text.trim()).map_err(|e| CertificateFault::Malformed(e.to_string())))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some(Err(CertificateFault::Io(e.into()))),
        });
        let read = read.await.unwrap_or_else(|e| Some(Err(CertificateFault::Io(e.into()))));
        known.insert(path.to_path_buf(), read.clone());
        read
    }

    /// Returns the answer that a place accepted before.
    pub(super) async fn answer(&self, place: &str) -> Option<String> {
        self.answers.lock().await.get(place).cloned()
    }

    /// Remembers the answer that a place accepted; `None` forgets it.
    pub(super) async fn answered(&self, place: &str, answer: Option<String>) {
        let mut answers = self.answers.lock().await;
        match answer {
            Some(answer) => drop(answers.insert(place.to_owned(), answer)),
            None => drop(answers.remove(place)),
        }
    }

    /// Asks for the passphrase of a locked key.
    ///
    /// Without the right answer the key is unusable for the rest of the run.
    ///
    /// `person` is held while the person is asked.
    pub(super) async fn unlock(&self, path: &Path, ask: Arc<dyn Ask>, person: &Mutex<()>) {
        let _one = person.lock().await;
        let Stored::Locked(public) = self.get(path).await else { return };
        let owned = path.to_path_buf();
        let unlocked = tokio::task::spawn_blocking(move || {
            for _ in 0..TRIES {
                let Some(passphrase) = ask.passphrase(&owned) else {
                    return Err(KeyFault::NoPassphrase);
                };
                match russh::keys::load_secret_key(&owned, Some(&passphrase)) {
                    Ok(key) => return Ok(Arc::new(key)),
                    Err(russh::keys::Error::IO(e)) => return Err(KeyFault::Io(e.into())),
                    Err(_) => {
                        let text = std::fs::read_to_string(&owned).unwrap_or_default();
                        if let Some(key) = short_scalar::read(&text, Some(&passphrase)) {
                            return Ok(Arc::new(key));
                        }
                    }
                }
            }
            Err(KeyFault::WrongPassphrase)
        });
        let stored = match unlocked.await {
            Ok(Ok(key)) => Stored::Ready(key),
            Ok(Err(why)) => Stored::Unusable(why, public),
            Err(e) => Stored::Unusable(KeyFault::Io(e.into()), public),
        };
        self.files.lock().await.insert(path.to_path_buf(), stored);
    }
}

fn read(path: &Path) -> Stored {
    let beside = || {
        let mut name = path.as_os_str().to_owned();
        name.push(".pub");
        russh::keys::load_public_key(PathBuf::from(name)).ok()
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return beside().map_or(Stored::Missing, Stored::PublicOnly),
        Err(e) => return Stored::Unusable(KeyFault::Io(e.into()), beside()),
    };
    if !text.contains("PRIVATE KEY")
        && let Ok(public) = russh::keys::load_public_key(path)
    {
        return Stored::PublicOnly(public);
    }
    // As ssh does, pitcrew refuses a key that others can read, where its owner could prevent that.
    if let Ok(meta) = std::fs::metadata(path)
        && meta.mode() & 0o077 != 0
        && meta.uid() == nix::unistd::geteuid().as_raw()
    {
        let why = KeyFault::Exposed { path: path.to_path_buf(), mode: meta.mode() & 0o7777 };
        return Stored::Unusable(why, beside());
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => Stored::Ready(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            // The OpenSSH format keeps the public half in the clear.
            let inside = PrivateKey::from_openssh(&text).ok().map(|key| key.public_key().clone());
            Stored::Locked(inside.or_else(beside))
        }
        // Encrypted PKCS#8 is reported as malformed, not as encrypted.
        Err(_) if text.contains("BEGIN ENCRYPTED PRIVATE KEY") => Stored::Locked(beside()),
        Err(e) => match short_scalar::read(&text, None) {
            Some(key) => Stored::Ready(Arc::new(key)),
            None => Stored::Unusable(KeyFault::Malformed(e.to_string()), beside()),
        },
    }
}
