//! Which keys and certificates are offered, and in which order: the ones that were named first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};

use super::keys::{Keys, Stored};
use super::peer::said;
use super::settings::Settings;
use super::{ConnectError, ConnectErrorKind, Identity};

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

    /// Names the key for a person who is to touch it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } | Self::Certificate { path, .. } => path.display().to_string(),
            Self::Agent(identity) => format!("{} from the agent", said(identity.comment())),
        }
    }

    /// The algorithm of its key, where that is known.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::File { stored, .. } => stored.public().map(PublicKey::algorithm),
            Self::Agent(identity) => Some(identity.public_key().algorithm()),
            Self::Certificate { certificate, .. } => Some(certificate.public_key().algorithm()),
        }
    }
}

/// What is chosen from.
pub(super) struct Choosing<'a> {
    settings: &'a Settings,
    keys: &'a Keys,
    held: Vec<Option<AgentIdentity>>,
    offers: Vec<Offer>,
    /// What is not offered, and why.
    pub(super) skipped: Vec<String>,
}

impl<'a> Choosing<'a> {
    pub(super) fn new(settings: &'a Settings, keys: &'a Keys, held: Vec<AgentIdentity>, skipped: Vec<String>) -> Self {
        Self { settings, keys, held: held.into_iter().map(Some).collect(), offers: Vec::new(), skipped }
    }

    /// Orders what can be offered: named certificates, named keys, other keys of the agent, the usual files; each key's
    /// certificates before the key. A key that the agent holds is left to the agent, so that no passphrase is asked for.
    pub(super) async fn choose(mut self) -> Result<(Vec<Offer>, Vec<String>), ConnectError> {
        for path in &self.settings.certificates {
            match self.keys.certificate(path).await {
                Some(certificate) => self.certificate(path, certificate, None).await,
                None => self.skipped.push(format!("{} (there is no such file)", path.display())),
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
                self.skipped.push(format!("{left} of the agent's (IdentitiesOnly)"));
            }
        } else {
            let is_certificate = |i: &AgentIdentity| matches!(i, AgentIdentity::Certificate { .. });
            let (certificates, plain): (Vec<_>, Vec<_>) = others.into_iter().partition(is_certificate);
            self.offers.extend(certificates.into_iter().chain(plain).map(|i| Offer::Agent(Box::new(i))));
        }
        self.offers.extend(files);
        Ok((self.offers, self.skipped))
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
                self.skipped.push(format!("{} (encrypted, and BatchMode forbids to ask)", path.display()));
            }
            Stored::Ready(_) | Stored::Locked(_) => self.offers.push(Offer::File { path: path.clone(), stored }),
            Stored::Missing if identity.must => {
                return Err(ConnectError {
                    kind: ConnectErrorKind::Local,
                    detail: format!("cannot read the key {}: there is no such file", path.display()),
                    hint: "Correct identity_file, or leave it out to use the agent and the usual keys.".into(),
                });
            }
            Stored::Missing if identity.configured => {
                self.skipped.push(format!("{} (there is no such file)", path.display()));
            }
            Stored::Missing => {}
            Stored::PublicOnly(_) => {
                self.skipped.push(format!("{} (only its public half is there, and no agent holds it)", path.display()))
            }
            Stored::Unusable(why, _) => self.skipped.push(format!("{} ({why})", path.display())),
        }
        Ok(())
    }

    /// Takes what the agent holds of a key: its certificates first.
    fn take_held(&mut self, key: &KeyData) -> Vec<AgentIdentity> {
        let same = |i: &Option<AgentIdentity>| i.as_ref().is_some_and(|i| i.public_key().key_data() == key);
        let mut taken: Vec<_> = self.held.iter_mut().filter(|i| same(i)).filter_map(Option::take).collect();
        taken.sort_by_key(|i| matches!(i, AgentIdentity::PublicKey { .. }));
        taken
    }

    /// Offers a certificate, if there is a key for it and it is one for now.
    async fn certificate(
        &mut self,
        path: &Path,
        certificate: Result<Certificate, String>,
        known: Option<(&Path, &Stored)>,
    ) {
        let certificate = match certificate.and_then(|c| usable(&c).map(|()| c)) {
            Ok(certificate) => certificate,
            Err(why) => return self.skipped.push(format!("{} ({why})", path.display())),
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
                self.skipped.push(format!("{} (its key is encrypted, and BatchMode forbids to ask)", path.display()));
            }
            Some(signs) => {
                let certificate = Box::new(certificate);
                self.offers.push(Offer::Certificate { path: path.to_path_buf(), certificate, signs });
            }
            None => self.skipped.push(format!("{} (neither a key file nor the agent holds its key)", path.display())),
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

/// Where the certificate of a key lies: `id_rsa-cert.pub`.
fn beside(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push("-cert.pub");
    PathBuf::from(name)
}

/// Says why a certificate is of no use, where that can be told here.
fn usable(certificate: &Certificate) -> Result<(), String> {
    if certificate.cert_type() != CertType::User {
        return Err("it is a certificate for hosts".into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if certificate.valid_after() > now {
        return Err("its time has not come yet".into());
    }
    if certificate.valid_before() <= now {
        return Err("it has expired: have it signed again".into());
    }
    Ok(())
}
