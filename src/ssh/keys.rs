//! Key files and certificates: read once a run, unlocked once, by asking.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{Certificate, PrivateKey, PublicKey};
use tokio::sync::Mutex;

use super::{Shared, short_scalar};

/// How often a passphrase may be typed wrongly.
const TRIES: usize = 3;

/// Keys read so far.
#[derive(Default)]
pub struct Keys {
    files: Mutex<HashMap<PathBuf, Stored>>,
    certificates: Mutex<HashMap<PathBuf, Option<Result<Certificate, String>>>>,
    /// What was typed and accepted, by the place that asked: it connects again without asking.
    answers: Mutex<HashMap<String, String>>,
}

/// What is known of a key file.
#[derive(Clone)]
pub(super) enum Stored {
    /// It can sign.
    Ready(Arc<PrivateKey>),
    /// It is encrypted; its public half, where that can be read without the passphrase.
    Locked(Option<PublicKey>),
    /// Only `FILE.pub` is there, or the file is a public key: an agent may hold the other half.
    PublicOnly(PublicKey),
    /// There is no such file.
    Missing,
    /// It cannot be used, for this reason; its public half.
    Unusable(String, Option<PublicKey>),
}

impl Stored {
    /// The public half, as far as it is known.
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
            .unwrap_or_else(|e| Stored::Unusable(e.to_string(), None));
        files.insert(path.to_path_buf(), stored.clone());
        stored
    }

    /// Reads a certificate, or remembers it; `None`: there is no such file.
    pub(super) async fn certificate(&self, path: &Path) -> Option<Result<Certificate, String>> {
        let mut known = self.certificates.lock().await;
        if let Some(known) = known.get(path) {
            return known.clone();
        }
        let owned = path.to_path_buf();
        let read = tokio::task::spawn_blocking(move || match std::fs::read_to_string(&owned) {
            Ok(text) => Some(Certificate::from_openssh(text.trim()).map_err(|e| format!("not a certificate: {e}"))),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some(Err(e.to_string())),
        });
        let read = read.await.unwrap_or_else(|e| Some(Err(e.to_string())));
        known.insert(path.to_path_buf(), read.clone());
        read
    }

    /// What was accepted at a place before.
    pub(super) async fn answer(&self, place: &str) -> Option<String> {
        self.answers.lock().await.get(place).cloned()
    }

    /// Remembers what was accepted at a place, or that it no longer is.
    pub(super) async fn answered(&self, place: &str, answer: Option<String>) {
        let mut answers = self.answers.lock().await;
        match answer {
            Some(answer) => drop(answers.insert(place.to_owned(), answer)),
            None => drop(answers.remove(place)),
        }
    }

    /// Asks for the passphrase of a locked key. Nobody answers, or wrongly: the key is unusable for the rest of the run.
    pub(super) async fn unlock(&self, path: &Path, shared: &Shared) {
        let _one = shared.person.lock().await;
        let Stored::Locked(public) = self.get(path).await else { return };
        let (owned, ask) = (path.to_path_buf(), shared.ask.clone());
        let unlocked = tokio::task::spawn_blocking(move || {
            for _ in 0..TRIES {
                let Some(passphrase) = ask.passphrase(&owned) else {
                    return Err("encrypted, and no passphrase was given".to_owned());
                };
                match russh::keys::load_secret_key(&owned, Some(&passphrase)) {
                    Ok(key) => return Ok(Arc::new(key)),
                    Err(russh::keys::Error::IO(e)) => return Err(e.to_string()),
                    Err(_) => {}
                }
            }
            Err("encrypted, and the passphrase was wrong".to_owned())
        });
        let stored = match unlocked.await {
            Ok(Ok(key)) => Stored::Ready(key),
            Ok(Err(why)) => Stored::Unusable(why, public),
            Err(e) => Stored::Unusable(e.to_string(), public),
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
        Err(e) => return Stored::Unusable(e.to_string(), beside()),
    };
    if !text.contains("PRIVATE KEY")
        && let Ok(public) = russh::keys::load_public_key(path)
    {
        return Stored::PublicOnly(public);
    }
    // As ssh does: a key that others can read is refused, where its owner could have prevented it.
    if let Ok(meta) = std::fs::metadata(path)
        && meta.mode() & 0o077 != 0
        && meta.uid() == nix::unistd::geteuid().as_raw()
    {
        let why = format!("others can read it (mode {:04o}): run chmod 600 {}", meta.mode() & 0o7777, path.display());
        return Stored::Unusable(why, beside());
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => Stored::Ready(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            // The OpenSSH format keeps the public half in the clear.
            let inside = PrivateKey::from_openssh(&text).ok().map(|key| key.public_key().clone());
            Stored::Locked(inside.or_else(beside))
        }
        // PKCS#8 does not say that it is encrypted, it only fails.
        Err(_) if text.contains("BEGIN ENCRYPTED PRIVATE KEY") => Stored::Locked(beside()),
        Err(e) => match short_scalar::read(&text) {
            Some(key) => Stored::Ready(Arc::new(key)),
            None => Stored::Unusable(format!("not a usable private key: {e}"), beside()),
        },
    }
}
