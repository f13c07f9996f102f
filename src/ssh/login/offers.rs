//! Chooses the keys and certificates to offer, and their order: the named ones come first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};

use crate::ssh::error::ConnectError;
use crate::ssh::key_fault::CertificateFault;
use crate::ssh::keys::{Keys, Stored};
use crate::ssh::not_accepted::{Skip, Skipped};
use crate::ssh::settings::{Identity, Settings};
use crate::ssh::text::said;

/// Something to offer.
pub(super) enum Offer {
    /// A key file.
    File { path: PathBuf, stored: Stored },
    /// A key or certificate that the agent holds.
    Agent(Box<AgentIdentity>),
    /// A certificate from a file.
    Certificate { path: PathBuf, certificate: Box<Certificate>, signs: Signs },
}

/// What signs for a certificate.
#[derive(Clone)]
pub(super) enum Signs {
    /// The key of a file.
    File(Arc<PrivateKey>),
    /// A key file whose passphrase is not known.
    Locked(PathBuf),
    /// The agent, with its plain key.
    Agent(PublicKey),
}

impl Offer {
    /// Names the key for messages.
    pub(super) fn describe(&self) -> String {
        let print = |key: &PublicKey| format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        match self {
            Self::File { path, stored } => match stored.public() {
                Some(key) => format!("{} ({})", path.display(), print(key)),
                None => path.display().to_string(),
            },
            Self::Agent(identity) => {
                let kind = if matches!(**identity, AgentIdentity::Certificate { .. }) { "certificate of " } else { "" };
                format!("{} from the agent ({kind}{})", said(identity.comment()), print(&identity.public_key()))
            }
            Self::Certificate { path, certificate, .. } => {
                let key = PublicKey::new(certificate.public_key().clone(), "");
                format!("{} (certificate {:?} of {})", path.display(), said(certificate.key_id()), print(&key))
            }
        }
    }

    /// Names the key for the person who is to touch it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } | Self::Certificate { path, .. } => path.display().to_string(),
            Self::Agent(identity) => format!("{} from the agent", said(identity.comment())),
        }
    }

    /// Returns the algorithm of its key, if it is known.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::File { stored, .. } => stored.public().map(PublicKey::algorithm),
            Self::Agent(identity) => Some(identity.public_key().algorithm()),
            Self::Certificate { certificate, .. } => Some(certificate.public_key().algorithm()),
        }
    }
}

/// What was chosen.
pub(super) struct Chosen {
    pub(super) offers: Vec<Offer>,
    pub(super) skipped: Vec<Skipped>,
}

/// Chooses from the settings, the key files, and what the agent holds.
pub(super) struct Choosing<'a> {
    settings: &'a Settings,
    keys: &'a Keys,
    held: Vec<Option<AgentIdentity>>,
    offers: Vec<Offer>,
    skipped: Vec<Skipped>,
}

impl<'a> Choosing<'a> {
    pub(super) fn new(settings: &'a Settings, keys: &'a Keys, held: Vec<AgentIdentity>) -> Self {
        let held = held.into_iter().map(Some).collect();
        Self { settings, keys, held, offers: Vec::new(), skipped: Vec::new() }
    }

    /// Orders the offers: named certificates, named keys, other keys of the agent, the usual files.
    ///
    /// A key's certificates come before the key. A key that the agent holds is left to the agent, so that no passphrase
    /// is asked for.
    pub(super) async fn choose(mut self) -> Result<Chosen, ConnectError> {
        for path in &self.settings.certificates {
            match self.keys.certificate(path).await {
                Some(certificate) => self.certificate(path, certificate, None).await,
                None => self.skip(path, Skip::Missing),
            }
        }
        for identity in self.settings.identities.iter().filter(|i| i.configured) {
            self.key(identity).await?;
        }
        let named = self.offers.len();
        for identity in self.settings.identities.iter().filter(|i| !i.configured) {
            self.key(identity).await?;
        }
        // The usual keys that the agent holds stand among the agent's, before its others.
        let usual = self.offers.split_off(named);
        let by_agent = |o: &Offer| matches!(o, Offer::Agent(_) | Offer::Certificate { signs: Signs::Agent(_), .. });
        let (with_agent, files): (Vec<_>, Vec<_>) = usual.into_iter().partition(by_agent);
        self.offers.extend(with_agent);
        let others: Vec<AgentIdentity> = self.held.into_iter().flatten().collect();
        if self.settings.identities_only {
            let left = others.len();
            if left > 0 {
                self.skipped.push(Skipped { what: format!("{left} of the agent's"), why: Skip::IdentitiesOnly });
            }
        } else {
            let is_certificate = |i: &AgentIdentity| matches!(i, AgentIdentity::Certificate { .. });
            let (certificates, plain): (Vec<_>, Vec<_>) = others.into_iter().partition(is_certificate);
            self.offers.extend(certificates.into_iter().chain(plain).map(|i| Offer::Agent(Box::new(i))));
        }
        self.offers.extend(files);
        Ok(Chosen { offers: self.offers, skipped: self.skipped })
    }

    fn skip(&mut self, path: &Path, why: Skip) {
        self.skipped.push(Skipped { what: path.display().to_string(), why });
    }

    async fn key(&mut self, identity: &Identity) -> Result<(), ConnectError> {
        let path = &identity.path;
        let stored = self.keys.get(path).await;
        let beside = beside(path);
        if let Some(certificate) = self.keys.certificate(&beside).await {
            self.certificate(&beside, certificate, Some((path, &stored))).await;
        }
        if let Some(public) = stored.public() {
            let held = self.take_held(public.key_data());
            if !held.is_empty() {
                self.offers.extend(held.into_iter().map(|i| Offer::Agent(Box::new(i))));
                return Ok(());
            }
        }
        match stored {
            Stored::Locked(_) if self.settings.batch => {
                self.skip(path, Skip::Encrypted);
            }
            Stored::Ready(_) | Stored::Locked(_) => self.offers.push(Offer::File { path: path.clone(), stored }),
            Stored::Missing if identity.must => return Err(ConnectError::NoKey(path.clone())),
            Stored::Missing if identity.configured => self.skip(path, Skip::Missing),
            Stored::Missing => {}
            Stored::PublicOnly(_) => self.skip(path, Skip::PublicHalf),
            Stored::Unusable(why, _) => self.skip(path, Skip::Key(why)),
        }
        Ok(())
    }

    /// Takes the agent's certificates of a key, and then the key itself.
    fn take_held(&mut self, key: &KeyData) -> Vec<AgentIdentity> {
        let same = |i: &Option<AgentIdentity>| i.as_ref().is_some_and(|i| i.public_key().key_data() == key);
        let mut taken: Vec<_> = self.held.iter_mut().filter(|i| same(i)).filter_map(Option::take).collect();
        taken.sort_by_key(|i| matches!(i, AgentIdentity::PublicKey { .. }));
        taken
    }

    /// Offers a certificate, if there is a key for it and it is valid now.
    async fn certificate(
        &mut self,
        path: &Path,
        certificate: Result<Certificate, CertificateFault>,
        known: Option<(&Path, &Stored)>,
    ) {
        let certificate = match certificate.and_then(|c| usable(&c).map(|()| c)) {
            Ok(certificate) => certificate,
            Err(why) => return self.skip(path, Skip::Certificate(why)),
        };
        // The agent offers its own copy.
        let copy =
            |i: &AgentIdentity| matches!(i, AgentIdentity::Certificate { certificate: c, .. } if *c == certificate);
        let twice = |o: &Offer| match o {
            Offer::Certificate { certificate: c, .. } => **c == certificate,
            Offer::Agent(i) => copy(i),
            Offer::File { .. } => false,
        };
        if self.held.iter().flatten().any(copy) || self.offers.iter().any(twice) {
            return;
        }
        let key = certificate.public_key();
        let held = self.held.iter().flatten().find_map(|i| match i {
            AgentIdentity::PublicKey { key: held, .. } if held.key_data() == key => Some(held.clone()),
            _ => None,
        });
        let signs = match held {
            Some(held) => Some(Signs::Agent(held)),
            None => match known {
                Some((path, stored)) => signs(path, stored, key),
                None => self.find(key).await,
            },
        };
        match signs {
            Some(Signs::Locked(_)) if self.settings.batch => {
                self.skip(path, Skip::KeyEncrypted);
            }
            Some(signs) => {
                let certificate = Box::new(certificate);
                self.offers.push(Offer::Certificate { path: path.to_path_buf(), certificate, signs });
            }
            None => self.skip(path, Skip::NoKey),
        }
    }

    async fn find(&self, key: &KeyData) -> Option<Signs> {
        for identity in &self.settings.identities {
            let stored = self.keys.get(&identity.path).await;
            if let Some(signs) = signs(&identity.path, &stored, key) {
                return Some(signs);
            }
        }
        None
    }
}

fn signs(path: &Path, stored: &Stored, key: &KeyData) -> Option<Signs> {
    if stored.public().is_none_or(|public| public.key_data() != key) {
        return None;
    }
    match stored {
        Stored::Ready(private) => Some(Signs::File(private.clone())),
        Stored::Locked(_) => Some(Signs::Locked(path.to_path_buf())),
        Stored::PublicOnly(_) | Stored::Missing | Stored::Unusable(..) => None,
    }
}

/// Returns the file of a key's certificate: `id_rsa-cert.pub`.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push("-cert.pub");
    PathBuf::from(name)
}

/// Checks the kind and the time of a certificate.
fn usable(certificate: &Certificate) -> Result<(), CertificateFault> {
    if certificate.cert_type() != CertType::User {
        return Err(CertificateFault::ForHosts);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if certificate.valid_after() > now {
        return Err(CertificateFault::NotYet);
    }
    if certificate.valid_before() <= now {
        return Err(CertificateFault::Expired);
    }
    Ok(())
}
