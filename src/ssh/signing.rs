//! What signs when a server accepts a key: a file's key, the agent, or nobody yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::Signer;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::peer::End;

/// How long a person has: to touch, to confirm, to type. sshd itself waits 120 s (`LoginGraceTime`).
pub(super) const PERSON: Duration = Duration::from_secs(60);

/// The connection to an agent.
pub(super) type Agent = AgentClient<UnixStream>;

/// The limit on authentication, which does not run while a person is waited for.
pub(super) struct Patience {
    limit: Duration,
    until: Mutex<Instant>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: Mutex::new(Instant::now() + limit) }
    }

    fn set(&self, left: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + left;
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has run out.
    pub(super) async fn over(&self) {
        loop {
            let until = self.until();
            sleep_until(until).await;
            if self.until() <= Instant::now() {
                return;
            }
        }
    }

    /// Waits for a person, who has a limit of their own; then the limit begins anew. `None`: there was no answer.
    pub(super) async fn person<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        self.set(PERSON + self.limit);
        let answer = timeout(PERSON, answer).await.ok();
        self.set(self.limit);
        answer
    }

    /// Waits for one's turn, as long as the server waits.
    pub(super) async fn turn<'a>(&self, shared: &'a Shared, end: &End) -> Option<tokio::sync::MutexGuard<'a, ()>> {
        self.set(2 * PERSON + self.limit);
        let turn = tokio::select! {
            turn = timeout(2 * PERSON, shared.person.lock()) => turn.ok(),
            _ = end.wait() => None,
        };
        self.set(self.limit);
        turn
    }
}

/// Why nothing was signed.
pub(super) enum Unsigned {
    /// The server would accept the key, whose passphrase is not known.
    Locked,
    /// The connection is gone.
    Gone,
    /// For this reason; the next key may do.
    Failed(String),
}

impl From<russh::SendError> for Unsigned {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

/// A key whose passphrase is not known: reaching it means that the server would accept the key.
pub(super) struct Nobody;

impl Signer for Nobody {
    type Error = Unsigned;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, _: Vec<u8>) -> Result<Vec<u8>, Unsigned> {
        Err(Unsigned::Locked)
    }
}

/// A key that was read from a file.
///
/// The library signs with such keys itself, but for certificates of RSA keys it would use SHA-1, which sshd refuses.
pub(super) struct FromFile(pub(super) Arc<PrivateKey>);

impl Signer for FromFile {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            other => other.try_sign(&data),
        };
        let failed = |e: &dyn std::fmt::Display| Unsigned::Failed(format!("it cannot sign: {e}"));
        let signature = signature.map_err(|e| failed(&e))?;
        signature.encode_prefixed(&mut data).map_err(|e| failed(&e))?;
        Ok(data)
    }
}

/// The agent, with its own limit.
pub(super) struct ByAgent<'a> {
    pub(super) agent: &'a mut Agent,
    /// The plain key that signs for a certificate from a file.
    pub(super) key: Option<PublicKey>,
    /// The key, as people know it.
    pub(super) name: String,
    pub(super) shared: &'a Shared,
    pub(super) patience: &'a Patience,
    pub(super) end: &'a End,
}

impl Signer for ByAgent<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let plain = self.key.clone().map(AgentIdentity::from);
        let identity = plain.as_ref().unwrap_or(identity);
        let touch = matches!(identity.public_key().algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
        let _turn = match touch {
            true => {
                let failed = || Unsigned::Failed("other keys were waited for too long".into());
                let turn = self.patience.turn(self.shared, self.end).await.ok_or_else(failed)?;
                self.shared.ask.touch(&self.name);
                Some(turn)
            }
            false => None,
        };
        let signing = self.agent.sign_request(identity, hash, data);
        let signed = tokio::select! {
            signed = self.patience.person(signing) => signed,
            _ = self.end.wait() => return Err(Unsigned::Gone),
        };
        match signed {
            Some(Ok(data)) => Ok(data),
            Some(Err(e)) => Err(Unsigned::Failed(format!("the agent did not sign: {e}"))),
            None => {
                let what = if touch { "it was not touched" } else { "the agent did not sign" };
                Err(Unsigned::Failed(format!("{what} within {} s", PERSON.as_secs())))
            }
        }
    }
}
