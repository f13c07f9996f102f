//! The public key method: offers keys and certificates, one after another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::MethodKind;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKeyWithHashAlg, PublicKey};
use tokio::time::timeout;

use super::conversation::{Conversation, Outcome, Went};
use super::offers::{Choosing, Chosen, Offer, Signs};
use super::signing::{Agent, ByAgent, FromFile, NoKey, Unsigned};
use crate::ssh::error::ConnectError;
use crate::ssh::keys::Stored;
use crate::ssh::not_accepted::{SignFault, Skip};
use crate::ssh::peer::Peer;

/// Most offers: sshd ends the connection at six failures (`MaxAuthTries`).
const OFFERS: usize = 5;
/// Limit on reaching the agent and listing its keys.
const AGENT_LIMIT: Duration = Duration::from_secs(5);

/// The keys that are being offered.
pub(super) struct PublicKeys {
    offers: std::vec::IntoIter<Offer>,
    agent: Option<Agent>,
    rsa: RsaHash,
    /// The number of offers so far.
    count: usize,
}

/// The hash that the server accepts for RSA keys.
enum RsaHash {
    /// The server was not asked.
    Unasked,
    /// The server does not say.
    Unsaid,
    /// This one.
    Best(HashAlg),
    /// None but SHA-1.
    Sha1Only,
}

/// Offers the keys; `started` holds those that were not offered yet.
pub(super) async fn offer(conversation: &mut Conversation<'_>, started: &mut Option<PublicKeys>) -> Went {
    let first = started.is_none();
    let mut keys = match started.take() {
        Some(keys) => keys,
        None => match start(conversation).await {
            Ok(keys) => keys,
            Err(e) => return Went::Done(Outcome::Failed(e)),
        },
    };
    if first && keys.offers.len() == 0 && !conversation.knows_methods() {
        // Asks which methods the server accepts; some servers know their users by other means and accept this.
        let user = conversation.target.user.clone();
        return match conversation.handle.authenticate_none(&user).await {
            Ok(result) => conversation.answered(result),
            Err(_) => Went::No,
        };
    }
    let went = keys.offer(conversation).await;
    *started = Some(keys);
    went
}

async fn start(conversation: &mut Conversation<'_>) -> Result<PublicKeys, ConnectError> {
    let settings = conversation.target.settings.clone();
    let mut agent = None;
    let mut held = Vec::new();
    if let Some(path) = &settings.agent {
        let name = format!("the agent at {}", path.display());
        match timeout(AGENT_LIMIT, list(path, conversation.handle)).await {
            Ok(Ok(reached)) => (agent, held) = (Some(reached.agent), reached.held),
            Ok(Err(e)) => conversation.skip(name, Skip::Agent(e.to_string())),
            Err(_) => conversation.skip(name, Skip::AgentSilent(AGENT_LIMIT)),
        }
    }
    let choosing = Choosing::new(&settings, &conversation.commons.keys, held);
    let Chosen { offers, skipped } = choosing.choose().await?;
    conversation.skipped.extend(skipped);
    Ok(PublicKeys { offers: offers.into_iter(), agent, rsa: RsaHash::Unasked, count: 0 })
}

impl PublicKeys {
    async fn offer(&mut self, conversation: &mut Conversation<'_>) -> Went {
        while let Some(offer) = self.offers.next() {
            if self.count >= OFFERS {
                conversation.skip(offer.describe(), Skip::TooMany(OFFERS));
                continue;
            }
            let Ok(hash) = self.hash(&offer, conversation.handle).await else {
                conversation.skip(offer.describe(), Skip::Sha1);
                continue;
            };
            match sign_in(conversation, &offer, hash, self.agent.as_mut()).await {
                Ok(AuthResult::Success) => return Went::Done(Outcome::Accepted),
                Ok(result) => {
                    self.count += 1;
                    conversation.offered(offer.describe());
                    if let further @ Went::Further = conversation.answered(result) {
                        return further;
                    }
                    if conversation.refuses(MethodKind::PublicKey) {
                        return Went::No;
                    }
                }
                Err(Unsigned::Locked) => {
                    if let Some(path) = locked(&offer) {
                        return Went::Done(Outcome::Locked(path.to_path_buf()));
                    }
                }
                // An agent may hold a key and not sign with it; the next key may do. The query for this one has counted.
                Err(Unsigned::Failed(why)) => {
                    self.count += 1;
                    conversation.skip(offer.describe(), Skip::Sign(why));
                }
                Err(Unsigned::Gone) => return Went::No,
            }
            if conversation.is_over() {
                return Went::No;
            }
        }
        Went::No
    }

    /// Returns the hash for an offer; an error: the server accepts RSA keys with SHA-1 only.
    ///
    /// The library takes SHA-1 by default, which sshd refuses since 8.8.
    async fn hash(&mut self, offer: &Offer, handle: &Handle<Peer>) -> Result<Option<HashAlg>, Sha1Only> {
        if !matches!(offer.algorithm(), Some(Algorithm::Rsa { .. })) {
            return Ok(None);
        }
        // Asked once: the library waits a second for a server that does not say.
        if matches!(self.rsa, RsaHash::Unasked) {
            self.rsa = match handle.best_supported_rsa_hash().await {
                Ok(Some(Some(hash))) => RsaHash::Best(hash),
                Ok(Some(None)) => RsaHash::Sha1Only,
                Ok(None) | Err(_) => RsaHash::Unsaid,
            };
        }
        match self.rsa {
            RsaHash::Best(hash) => Ok(Some(hash)),
            RsaHash::Unasked | RsaHash::Unsaid => Ok(Some(HashAlg::Sha512)),
            RsaHash::Sha1Only => Err(Sha1Only),
        }
    }
}

/// The server accepts RSA keys with SHA-1 only.
struct Sha1Only;

/// Offers one key.
async fn sign_in(
    conversation: &mut Conversation<'_>,
    offer: &Offer,
    hash: Option<HashAlg>,
    agent: Option<&mut Agent>,
) -> Result<AuthResult, Unsigned> {
    let user = &conversation.target.user;
    let handle = &mut *conversation.handle;
    let (patience, end, commons) = (conversation.patience, conversation.end, conversation.commons);
    let by_agent = |key: Option<PublicKey>| {
        let agent = agent.ok_or(Unsigned::Failed(SignFault::NoAgent))?;
        Ok::<_, Unsigned>(ByAgent { agent, key, name: offer.name(), commons, patience, end })
    };
    match offer {
        Offer::File { stored: Stored::Ready(key), .. } => {
            let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
            let result = handle.authenticate_publickey(user, key).await;
            result.map_err(|e| Unsigned::Failed(SignFault::Library(e.to_string())))
        }
        // The server is asked whether it would accept the key before a person is asked to unlock it.
        Offer::File { stored, .. } => match stored.public().cloned() {
            Some(public) => handle.authenticate_publickey_with(user, public, hash, &mut NoKey).await,
            None => Err(Unsigned::Locked),
        },
        Offer::Agent(identity) => {
            let mut signer = by_agent(None)?;
            match &**identity {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key.clone(), hash, &mut signer).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut signer).await
                }
            }
        }
        Offer::Certificate { certificate, signs, .. } => {
            let certificate = Certificate::clone(certificate);
            match signs {
                Signs::File(key) => {
                    let mut signer = FromFile(key.clone());
                    handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
                }
                Signs::Locked(_) => handle.authenticate_certificate_with(user, certificate, hash, &mut NoKey).await,
                Signs::Agent(key) => {
                    let mut signer = by_agent(Some(key.clone()))?;
                    handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
                }
            }
        }
    }
}

/// Returns the key file that must be unlocked for an offer.
fn locked(offer: &Offer) -> Option<&Path> {
    match offer {
        Offer::File { path, .. } => Some(path),
        Offer::Certificate { signs: Signs::Locked(path), .. } => Some(path),
        Offer::Certificate { .. } | Offer::Agent(_) => None,
    }
}

/// The agent, and what it holds.
struct Reached {
    agent: Agent,
    held: Vec<AgentIdentity>,
}

/// Connects to the agent and lists its keys; one connection serves one authentication.
async fn list(path: &PathBuf, handle: &Handle<Peer>) -> Result<Reached, russh::keys::Error> {
    let mut agent = AgentClient::connect_uds(path).await?;
    if let Some(binding) = handle.agent_session_binding() {
        // Keys that are bound to destinations need it. An agent that does not know it refuses, and serves other keys all
        // the same.
        let _ = agent.bind_session(binding, false).await;
    }
    let held = agent.request_identities().await?;
    Ok(Reached { agent, held })
}
