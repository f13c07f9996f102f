//! Authentication: which keys are offered in which order, and what is said when none was accepted.
//!
//! Reading key files lies in `keys`. Only public keys: no password is ever sent.

use std::path::PathBuf;
use std::time::Duration;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet, Signer};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub use super::keys::Keys;
use super::keys::Stored;
use super::peer::{End, Peer, said};
use super::{ConnectError, ConnectErrorKind, Identity, Shared, Target};

/// sshd ends the connection at six failures (`MaxAuthTries`).
const OFFERS: usize = 5;
/// Limit on reaching the agent and listing its keys.
const AGENT_LIMIT: Duration = Duration::from_secs(5);

/// How authentication went.
pub(super) enum Outcome {
    Accepted,
    /// The server would accept this key, or might: its passphrase is needed first.
    Locked(PathBuf),
    Failed(ConnectError),
}

type Agent = AgentClient<UnixStream>;

/// Something to offer.
enum Offer {
    File { path: PathBuf, stored: Stored },
    Agent(Box<AgentIdentity>),
}

fn held_by_agent(identity: AgentIdentity) -> Offer {
    Offer::Agent(Box::new(identity))
}

impl Offer {
    /// Names the key for messages.
    fn describe(&self) -> String {
        let print = |key: &PublicKey| format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        match self {
            Self::File { path, stored } => match stored.public() {
                Some(key) => format!("{} ({})", path.display(), print(key)),
                None => path.display().to_string(),
            },
            Self::Agent(identity) => {
                format!("{} from the agent ({})", said(identity.comment()), print(&identity.public_key()))
            }
        }
    }
}

/// The destination as people type it.
pub(super) fn place(target: &Target) -> String {
    format!("{}@{}:{}", target.user, target.host, target.port)
}

/// Offers keys until one is accepted. Takes as long as the server does: the caller sets the limit.
pub(super) async fn authenticate(handle: &mut Handle<Peer>, end: &End, target: &Target, shared: &Shared) -> Outcome {
    let mut notes = Notes::default();
    let (mut agent, held) = match &shared.agent {
        Some(path) => match timeout(AGENT_LIMIT, list(path, handle)).await {
            Ok(Ok((agent, held))) => (Some(agent), held),
            Ok(Err(e)) => {
                notes.skipped.push(format!("the agent at {} ({e})", path.display()));
                (None, Vec::new())
            }
            Err(_) => {
                let limit = AGENT_LIMIT.as_secs();
                notes.skipped.push(format!("the agent at {} (no answer within {limit} s)", path.display()));
                (None, Vec::new())
            }
        },
        None => (None, Vec::new()),
    };
    let offers = match choose(shared, held, &mut notes).await {
        Ok(offers) => offers,
        Err(e) => return Outcome::Failed(e),
    };
    if offers.is_empty() {
        // Learns what the server would accept; some, which know their users by other means, accept this.
        return match handle.authenticate_none(&target.user).await {
            Ok(AuthResult::Success) => Outcome::Accepted,
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                Outcome::Failed(notes.failure(target, end, Some(&remaining_methods)))
            }
            Err(_) => Outcome::Failed(notes.failure(target, end, None)),
        };
    }
    let mut rsa = None;
    let mut methods = None;
    for (i, offer) in offers.iter().enumerate() {
        if i >= OFFERS {
            notes.skipped.push(format!("{} (servers allow no more than {OFFERS})", offer.describe()));
            continue;
        }
        let hash = match rsa_hash(offer, handle, &mut rsa).await {
            Ok(hash) => hash,
            Err(why) => {
                notes.skipped.push(format!("{} ({why})", offer.describe()));
                continue;
            }
        };
        let result = match offer {
            Offer::File { path, stored: Stored::Ready(key) } => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                let result = handle.authenticate_publickey(&target.user, key).await;
                result.map_err(|e| format!("{}: {e}", path.display()))
            }
            // The server is asked whether it would accept the key before a person is asked to unlock it.
            Offer::File { path, stored } => {
                let Some(public) = stored.public().cloned() else { return Outcome::Locked(path.clone()) };
                match handle.authenticate_publickey_with(&target.user, public, hash, &mut LockedSigner).await {
                    Ok(result) => Ok(result),
                    Err(Unsigned::Locked) => return Outcome::Locked(path.clone()),
                    Err(Unsigned::Gone) => return Outcome::Failed(notes.failure(target, end, methods.as_ref())),
                }
            }
            Offer::Agent(identity) => match agent.as_mut() {
                Some(agent) => sign_in(handle, &target.user, identity, (hash, agent)).await,
                None => continue,
            },
        };
        match result {
            Ok(AuthResult::Success) => return Outcome::Accepted,
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                notes.offered.push(offer.describe());
                notes.partial |= partial_success;
                let keys = remaining_methods.contains(&MethodKind::PublicKey);
                methods = Some(remaining_methods);
                if !keys || end.get().is_some() {
                    break;
                }
            }
            // An agent may hold a key and yet not sign with it: the next one may do.
            Err(why) => notes.skipped.push(format!("{} ({why})", offer.describe())),
        }
        if end.get().is_some() {
            break;
        }
    }
    Outcome::Failed(notes.failure(target, end, methods.as_ref()))
}

/// Connects to the agent and lists its keys; one connection serves one authentication.
async fn list(path: &PathBuf, handle: &Handle<Peer>) -> Result<(Agent, Vec<AgentIdentity>), russh::keys::Error> {
    let mut agent = AgentClient::connect_uds(path).await?;
    if let Some(binding) = handle.agent_session_binding() {
        // Keys that are bound to destinations need it; agents that do not know it refuse, and serve other keys all the same.
        let _ = agent.bind_session(binding, false).await;
    }
    let held = agent.request_identities().await?;
    Ok((agent, held))
}

async fn sign_in(
    handle: &mut Handle<Peer>,
    user: &str,
    identity: &AgentIdentity,
    (hash, agent): (Option<HashAlg>, &mut Agent),
) -> Result<AuthResult, String> {
    let result = match identity {
        AgentIdentity::PublicKey { key, .. } => {
            handle.authenticate_publickey_with(user, key.clone(), hash, agent).await
        }
        AgentIdentity::Certificate { certificate, .. } => {
            handle.authenticate_certificate_with(user, certificate.clone(), hash, agent).await
        }
    };
    result.map_err(|e| format!("the agent did not sign: {e}"))
}

/// Orders what can be offered: configured files, other keys of the agent, the usual files. A key that the agent holds is
/// left to the agent, so that no passphrase is asked for.
async fn choose(shared: &Shared, held: Vec<AgentIdentity>, notes: &mut Notes) -> Result<Vec<Offer>, ConnectError> {
    let mut held: Vec<Option<AgentIdentity>> = held.into_iter().map(Some).collect();
    let mut offers = Vec::new();
    for identity in shared.identities.iter().filter(|i| i.configured) {
        add(&mut offers, identity, shared, (&mut held, notes)).await?;
    }
    let mut usual = Vec::new();
    for identity in shared.identities.iter().filter(|i| !i.configured) {
        add(&mut usual, identity, shared, (&mut held, notes)).await?;
    }
    // The usual keys that the agent holds stand among the agent's.
    let (with_agent, files): (Vec<_>, Vec<_>) = usual.into_iter().partition(|o| matches!(o, Offer::Agent(_)));
    offers.extend(with_agent);
    offers.extend(held.into_iter().flatten().map(held_by_agent));
    offers.extend(files);
    Ok(offers)
}

async fn add(
    offers: &mut Vec<Offer>,
    identity: &Identity,
    shared: &Shared,
    (held, notes): (&mut [Option<AgentIdentity>], &mut Notes),
) -> Result<(), ConnectError> {
    let path = &identity.path;
    let stored = shared.keys.get(path).await;
    if let Some(public) = stored.public() {
        let same =
            |i: &Option<AgentIdentity>| i.as_ref().is_some_and(|i| i.public_key().key_data() == public.key_data());
        let before = offers.len();
        // Certificates of the key count as the key.
        offers.extend(held.iter_mut().filter(|i| same(i)).filter_map(Option::take).map(held_by_agent));
        if offers.len() > before {
            return Ok(());
        }
    }
    match stored {
        Stored::Ready(_) | Stored::Locked(_) => offers.push(Offer::File { path: path.clone(), stored }),
        Stored::Missing if identity.configured => {
            return Err(ConnectError {
                kind: ConnectErrorKind::Local,
                detail: format!("cannot read the key {}: there is no such file", path.display()),
                hint: "Correct identity_file, or leave it out to use the agent and the usual keys.".into(),
            });
        }
        Stored::Missing => {}
        Stored::PublicOnly(_) => {
            notes.skipped.push(format!("{} (only its public half is there, and no agent holds it)", path.display()));
        }
        Stored::Unusable(why, _) => notes.skipped.push(format!("{} ({why})", path.display())),
    }
    Ok(())
}

/// The hash for an RSA key: SHA-1, which the library takes by default, is refused by sshd since 8.8.
async fn rsa_hash(
    offer: &Offer,
    handle: &Handle<Peer>,
    known: &mut Option<Option<Option<HashAlg>>>,
) -> Result<Option<HashAlg>, String> {
    let algorithm = match offer {
        Offer::File { stored, .. } => stored.public().map(PublicKey::algorithm),
        Offer::Agent(identity) => Some(identity.public_key().algorithm()),
    };
    if !matches!(algorithm, Some(Algorithm::Rsa { .. })) {
        return Ok(None);
    }
    // Asked once: it waits a second for a server that does not say.
    let supported = match known {
        Some(supported) => *supported,
        None => *known.insert(handle.best_supported_rsa_hash().await.unwrap_or(None)),
    };
    match supported {
        Some(Some(hash)) => Ok(Some(hash)),
        None => Ok(Some(HashAlg::Sha512)),
        Some(None) => Err("the server accepts RSA keys with SHA-1 only".into()),
    }
}

/// A key whose passphrase is not known: reaching it means that the server would accept the key.
struct LockedSigner;

enum Unsigned {
    Locked,
    Gone,
}

impl From<russh::SendError> for Unsigned {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

impl Signer for LockedSigner {
    type Error = Unsigned;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, _: Vec<u8>) -> Result<Vec<u8>, Unsigned> {
        Err(Unsigned::Locked)
    }
}

/// What was tried, for the message.
#[derive(Default)]
struct Notes {
    offered: Vec<String>,
    skipped: Vec<String>,
    partial: bool,
}

impl Notes {
    fn failure(&self, target: &Target, end: &End, methods: Option<&MethodSet>) -> ConnectError {
        let place = place(target);
        let mut detail = match (self.offered.is_empty(), self.partial) {
            (true, _) => format!("cannot log in as {place}: there was no key to offer"),
            (false, false) => format!("cannot log in as {place}: refused {}", self.offered.join(", ")),
            (false, true) => {
                format!(
                    "cannot log in as {place}: a key was accepted, but more is demanded; offered {}",
                    self.offered.join(", ")
                )
            }
        };
        if !self.skipped.is_empty() {
            detail.push_str(&format!("; not offered: {}", self.skipped.join(", ")));
        }
        let methods: Vec<&str> = methods.into_iter().flat_map(|m| m.iter()).map(<&str>::from).collect();
        if !methods.is_empty() {
            detail.push_str(&format!("; the server accepts {}", methods.join(", ")));
        }
        if let Some(why) = end.get() {
            detail.push_str(&format!("; {why}"));
        }
        let keys = methods.is_empty() || methods.contains(&"publickey");
        let hint = match (keys, self.offered.is_empty()) {
            (false, _) => {
                "pitcrew logs in with keys only: allow PubkeyAuthentication for this user on the server.".into()
            }
            (true, true) => "Name a key with identity_file, or load one into the agent with ssh-add.".into(),
            (true, false) => format!(
                "Add one of these keys to {}'s authorized_keys on {}, or set the right user or identity_file.",
                target.user, target.host
            ),
        };
        ConnectError { kind: ConnectErrorKind::Auth, detail, hint }
    }
}
