//! Signs when a server accepts a key: with the key of a file, by the agent, or not yet.

use std::sync::Arc;

use russh::Signer;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;

use super::patience::{PERSON, Patience};
use crate::ssh::commons::Commons;
use crate::ssh::end::End;
use crate::ssh::not_accepted::SignFault;

/// The connection to an agent.
pub(super) type Agent = AgentClient<UnixStream>;

/// Why nothing was signed.
pub(super) enum Unsigned {
    /// The server would accept the key, and its passphrase is not known.
    Locked,
    /// The connection is gone.
    Gone,
    /// Signing failed; the next key may do.
    Failed(SignFault),
}

impl From<russh::SendError> for Unsigned {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

/// Signs for a key whose passphrase is not known.
///
/// The server asks for a signature only if it would accept the key.
pub(super) struct NoKey;

impl Signer for NoKey {
    type Error = Unsigned;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, _: Vec<u8>) -> Result<Vec<u8>, Unsigned> {
        Err(Unsigned::Locked)
    }
}

/// Signs with a key from a file.
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
        let failed = |e: &dyn std::fmt::Display| Unsigned::Failed(SignFault::Key(e.to_string()));
        let signature = signature.map_err(|e| failed(&e))?;
        signature.encode_prefixed(&mut data).map_err(|e| failed(&e))?;
        Ok(data)
    }
}

/// Signs by the agent, within a limit of its own.
pub(super) struct ByAgent<'a> {
    pub(super) agent: &'a mut Agent,
    /// The plain key that signs for a certificate from a file.
    pub(super) key: Option<PublicKey>,
    /// The key's name for the person.
    pub(super) name: String,
    pub(super) commons: &'a Commons,
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
                let failed = || Unsigned::Failed(SignFault::NoTurn);
                let turn = self.patience.turn(&self.commons.person, self.end).await.ok_or_else(failed)?;
                self.commons.ask.touch(&self.name);
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
            Some(Err(e)) => Err(Unsigned::Failed(SignFault::Agent(e.to_string()))),
            None if touch => Err(Unsigned::Failed(SignFault::Untouched(PERSON))),
            None => Err(Unsigned::Failed(SignFault::AgentSilent(PERSON))),
        }
    }
}
