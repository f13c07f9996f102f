//! Authentication: keys and certificates first, then what only a person can answer; and what is said when nothing helped.
//!
//! Which keys are offered in which order lies in `offers`, reading them in `keys`, signing in `signing`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Interactive};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

pub use super::keys::Keys;
use super::keys::Stored;
use super::offers::{Choosing, Offer, Signs};
use super::peer::{End, Peer, said};
use super::settings::Method;
use super::signing::{Agent, ByAgent, FromFile, Nobody, Patience, Unsigned};
use super::{ConnectError, ConnectErrorKind, Shared, Target};

/// sshd ends the connection at six failures (`MaxAuthTries`).
const OFFERS: usize = 5;
/// Limit on reaching the agent and listing its keys.
const AGENT_LIMIT: Duration = Duration::from_secs(5);
/// Most rounds of questions: a server could ask for ever.
const ROUNDS: usize = 10;
/// Most questions of one round.
const QUESTIONS: usize = 10;

/// How authentication went.
pub(super) enum Outcome {
    Accepted,
    /// The server would accept this key, or might: its passphrase is needed first.
    Locked(PathBuf),
    Failed(ConnectError),
    /// The server did not answer within this limit.
    Silent(Duration),
}

/// The destination as people type it.
pub(super) fn place(target: &Target) -> String {
    format!("{}@{}:{}", target.user, target.host, target.port)
}

/// Tries what may help until something does. The handshake's permit is given back where a person is waited for.
pub(super) async fn authenticate(
    handle: &mut Handle<Peer>,
    end: &End,
    target: &Target,
    shared: &Shared,
    permit: SemaphorePermit<'_>,
) -> Outcome {
    let limit = target.settings.connect_timeout;
    let patience = Patience::new(limit);
    let notes = Notes::default();
    let permit = Some(permit);
    let login = Login { handle, end, target, shared, patience: &patience, notes, methods: None, permit };
    tokio::select! {
        outcome = login.run() => outcome,
        () = patience.over() => Outcome::Silent(limit),
    }
}

/// One attempt to log in.
struct Login<'a> {
    handle: &'a mut Handle<Peer>,
    end: &'a End,
    target: &'a Target,
    shared: &'a Shared,
    patience: &'a Patience,
    notes: Notes,
    /// What the server would accept next, once it has said so.
    methods: Option<MethodSet>,
    permit: Option<SemaphorePermit<'a>>,
}

/// How one way to log in ended.
enum Went {
    Done(Outcome),
    /// Something was accepted, and more is demanded.
    Further,
    No,
}

impl Login<'_> {
    async fn run(mut self) -> Outcome {
        let mut keys = None;
        let mut left = self.target.settings.methods.clone();
        // After each part that is accepted, what was not helpful before may be demanded.
        loop {
            let mut further = false;
            for method in left.clone() {
                let kind = kind(method);
                if self.methods.as_ref().is_some_and(|m| !m.contains(&kind)) || self.end.get().is_some() {
                    continue;
                }
                let went = match method {
                    Method::PublicKey => self.keys(&mut keys).await,
                    Method::Interactive => self.interactive().await,
                    Method::Password => self.password().await,
                };
                match went {
                    Went::Done(outcome) => return outcome,
                    Went::Further => {
                        // Keys that are left may be the second part.
                        if method != Method::PublicKey {
                            left.retain(|m| *m != method);
                        }
                        further = true;
                        break;
                    }
                    Went::No => {}
                }
            }
            if !further || left.is_empty() {
                return Outcome::Failed(self.failure());
            }
        }
    }

    fn failure(&self) -> ConnectError {
        self.notes.failure(self.target, self.end, self.methods.as_ref())
    }

    /// Takes an answer of the server in.
    fn answered(&mut self, result: AuthResult) -> Went {
        match result {
            AuthResult::Success => Went::Done(Outcome::Accepted),
            AuthResult::Failure { remaining_methods, partial_success } => {
                // The library says so too when the connection is gone.
                if !remaining_methods.is_empty() || self.methods.is_none() {
                    self.methods = Some(remaining_methods);
                }
                self.notes.partial |= partial_success;
                if partial_success { Went::Further } else { Went::No }
            }
        }
    }

    /// Offers keys; `started` holds those not offered yet.
    async fn keys(&mut self, started: &mut Option<Started>) -> Went {
        let first = started.is_none();
        let mut going = match started.take() {
            Some(going) => going,
            None => match self.start().await {
                Ok(going) => going,
                Err(e) => return Went::Done(Outcome::Failed(e)),
            },
        };
        if first && going.offers.len() == 0 && self.methods.is_none() {
            // Learns what the server would accept; some, which know their users by other means, accept this.
            return match self.handle.authenticate_none(&self.target.user).await {
                Ok(result) => self.answered(result),
                Err(_) => Went::No,
            };
        }
        let went = self.offer(&mut going).await;
        *started = Some(going);
        went
    }

    async fn start(&mut self) -> Result<Started, ConnectError> {
        let settings = &self.target.settings;
        let mut skipped = Vec::new();
        let (agent, held) = match &settings.agent {
            Some(path) => match timeout(AGENT_LIMIT, list(path, self.handle)).await {
                Ok(Ok((agent, held))) => (Some(agent), held),
                Ok(Err(e)) => {
                    skipped.push(format!("the agent at {} ({e})", path.display()));
                    (None, Vec::new())
                }
                Err(_) => {
                    let limit = AGENT_LIMIT.as_secs();
                    skipped.push(format!("the agent at {} (no answer within {limit} s)", path.display()));
                    (None, Vec::new())
                }
            },
            None => (None, Vec::new()),
        };
        let choosing = Choosing::new(settings, &self.shared.keys, held, skipped);
        let (offers, skipped) = choosing.choose().await?;
        self.notes.skipped = skipped;
        Ok(Started { offers: offers.into_iter(), agent, rsa: None, count: 0 })
    }

    async fn offer(&mut self, going: &mut Started) -> Went {
        for offer in going.offers.by_ref() {
            if going.count >= OFFERS {
                self.notes.skipped.push(format!("{} (servers allow no more than {OFFERS})", offer.describe()));
                continue;
            }
            let hash = match rsa_hash(&offer, self.handle, &mut going.rsa).await {
                Ok(hash) => hash,
                Err(why) => {
                    self.notes.skipped.push(format!("{} ({why})", offer.describe()));
                    continue;
                }
            };
            match self.sign_in(&offer, hash, going.agent.as_mut()).await {
                Ok(AuthResult::Success) => return Went::Done(Outcome::Accepted),
                Ok(result) => {
                    going.count += 1;
                    self.notes.offered.push(offer.describe());
                    if let further @ Went::Further = self.answered(result) {
                        return further;
                    }
                    if self.methods.as_ref().is_some_and(|m| !m.contains(&MethodKind::PublicKey)) {
                        return Went::No;
                    }
                }
                Err(Unsigned::Locked) => {
                    if let Some(path) = locked(&offer) {
                        return Went::Done(Outcome::Locked(path.to_path_buf()));
                    }
                }
                // An agent may hold a key and yet not sign with it: the next one may do. The query for it has counted.
                Err(Unsigned::Failed(why)) => {
                    going.count += 1;
                    self.notes.skipped.push(format!("{} ({why})", offer.describe()));
                }
                Err(Unsigned::Gone) => return Went::No,
            }
            if self.end.get().is_some() {
                return Went::No;
            }
        }
        Went::No
    }

    async fn sign_in(
        &mut self,
        offer: &Offer,
        hash: Option<HashAlg>,
        agent: Option<&mut Agent>,
    ) -> Result<AuthResult, Unsigned> {
        let user = &self.target.user;
        let by_agent = |key| {
            let agent = agent.ok_or_else(|| Unsigned::Failed("the agent is gone".into()))?;
            let name = offer.name();
            Ok::<_, Unsigned>(ByAgent { agent, key, name, shared: self.shared, patience: self.patience, end: self.end })
        };
        match offer {
            Offer::File { stored: Stored::Ready(key), .. } => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                let result = self.handle.authenticate_publickey(user, key).await;
                result.map_err(|e| Unsigned::Failed(e.to_string()))
            }
            // The server is asked whether it would accept the key before a person is asked to unlock it.
            Offer::File { stored, .. } => match stored.public().cloned() {
                Some(public) => self.handle.authenticate_publickey_with(user, public, hash, &mut Nobody).await,
                None => Err(Unsigned::Locked),
            },
            Offer::Agent(identity) => match &**identity {
                AgentIdentity::PublicKey { key, .. } => {
                    let mut signer = by_agent(None)?;
                    self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut signer).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    let mut signer = by_agent(None)?;
                    self.handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut signer).await
                }
            },
            Offer::Certificate { certificate, signs, .. } => {
                let certificate = (**certificate).clone();
                match signs {
                    Signs::File(key) => {
                        let mut signer = FromFile(key.clone());
                        self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
                    }
                    Signs::Locked(_) => {
                        self.handle.authenticate_certificate_with(user, certificate, hash, &mut Nobody).await
                    }
                    Signs::Agent(key) => {
                        let mut signer = by_agent(Some(key.clone()))?;
                        self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await
                    }
                }
            }
        }
    }

    /// Answers what the server asks.
    async fn interactive(&mut self) -> Went {
        for _ in 0..self.target.settings.prompts {
            if !self.somebody("keyboard-interactive") {
                return Went::No;
            }
            self.notes.offered("answers to its questions");
            let mut typed = Vec::new();
            let mut response = self.handle.authenticate_keyboard_interactive_start(&self.target.user, None).await;
            let mut rounds = 0;
            let result = loop {
                match response {
                    Ok(Interactive::InfoRequest { name, instructions, prompts })
                        if rounds < ROUNDS && prompts.len() <= QUESTIONS =>
                    {
                        rounds += 1;
                        let mut said_first = said(&format!("{name} {instructions}"));
                        let mut answers = Vec::new();
                        for prompt in prompts {
                            let question = said(&format!("{} {}", std::mem::take(&mut said_first), prompt.prompt));
                            let Some(answer) = self.ask(&question, prompt.echo, rounds == 1).await else {
                                self.notes.skipped.push("its questions (nobody answered)".into());
                                return Went::No;
                            };
                            typed.push((prompt.echo, answer.clone()));
                            answers.push(answer);
                        }
                        response = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                    }
                    Ok(Interactive::InfoRequest { .. }) => {
                        self.notes.skipped.push("its questions (too many)".into());
                        return Went::No;
                    }
                    Ok(Interactive::Success) => break AuthResult::Success,
                    Ok(Interactive::Failure { remaining_methods, partial_success }) => {
                        break AuthResult::Failure { remaining_methods, partial_success };
                    }
                    Err(_) => return Went::No,
                }
            };
            // One hidden answer is a password: it serves when the connection is made again.
            let password = match typed.as_slice() {
                [(false, answer)] if !matches!(result, AuthResult::Failure { partial_success: false, .. }) => {
                    Some(answer)
                }
                _ => None,
            };
            self.shared.keys.answered(&place(self.target), password.cloned()).await;
            let went = self.answered(result);
            let still = self.methods.as_ref().is_some_and(|m| m.contains(&MethodKind::KeyboardInteractive));
            if !matches!(went, Went::No) || !still || typed.is_empty() || self.end.get().is_some() {
                return went;
            }
        }
        Went::No
    }

    async fn password(&mut self) -> Went {
        for _ in 0..self.target.settings.prompts {
            if !self.somebody("password") {
                return Went::No;
            }
            self.notes.offered("a password");
            let Some(password) = self.ask("Password:", false, true).await else {
                self.notes.skipped.push("a password (nobody typed one)".into());
                return Went::No;
            };
            let Ok(result) = self.handle.authenticate_password(&self.target.user, password.clone()).await else {
                return Went::No;
            };
            let good = !matches!(result, AuthResult::Failure { partial_success: false, .. });
            self.shared.keys.answered(&place(self.target), good.then_some(password)).await;
            let went = self.answered(result);
            let still = self.methods.as_ref().is_some_and(|m| m.contains(&MethodKind::Password));
            if !matches!(went, Went::No) || !still || self.end.get().is_some() {
                return went;
            }
        }
        Went::No
    }

    fn somebody(&mut self, method: &str) -> bool {
        let somebody = self.shared.ask.anybody();
        if !somebody {
            self.notes.skipped.push(format!("{method} (there is no terminal to ask at)"));
        }
        somebody
    }

    /// Asks the person, or remembers what was accepted before.
    async fn ask(&mut self, question: &str, echo: bool, remember: bool) -> Option<String> {
        let place = place(self.target);
        if remember
            && !echo
            && let Some(answer) = self.shared.keys.answer(&place).await
        {
            // Once: if it no longer helps, the person is asked.
            self.shared.keys.answered(&place, None).await;
            return Some(answer);
        }
        self.permit = None;
        let _turn = self.patience.turn(self.shared, self.end).await?;
        let (ask, question) = (self.shared.ask.clone(), format!("({place}) {question} "));
        let typing = tokio::task::spawn_blocking(move || ask.answer(&question, echo));
        tokio::select! {
            answer = self.patience.person(typing) => answer?.ok()?,
            _ = self.end.wait() => None,
        }
    }
}

fn kind(method: Method) -> MethodKind {
    match method {
        Method::PublicKey => MethodKind::PublicKey,
        Method::Interactive => MethodKind::KeyboardInteractive,
        Method::Password => MethodKind::Password,
    }
}

/// The key file that must be unlocked for an offer.
fn locked(offer: &Offer) -> Option<&Path> {
    match offer {
        Offer::File { path, .. } => Some(path),
        Offer::Certificate { signs: Signs::Locked(path), .. } => Some(path),
        Offer::Certificate { .. } | Offer::Agent(_) => None,
    }
}

/// Keys that are being offered.
struct Started {
    offers: std::vec::IntoIter<Offer>,
    agent: Option<Agent>,
    rsa: Option<Option<Option<HashAlg>>>,
    count: usize,
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

/// The hash for an RSA key: SHA-1, which the library takes by default, is refused by sshd since 8.8.
async fn rsa_hash(
    offer: &Offer,
    handle: &Handle<Peer>,
    known: &mut Option<Option<Option<HashAlg>>>,
) -> Result<Option<HashAlg>, String> {
    if !matches!(offer.algorithm(), Some(Algorithm::Rsa { .. })) {
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

/// What was tried, for the message.
#[derive(Default)]
struct Notes {
    offered: Vec<String>,
    skipped: Vec<String>,
    partial: bool,
}

impl Notes {
    fn offered(&mut self, what: &str) {
        if !self.offered.iter().any(|o| o == what) {
            self.offered.push(what.to_owned());
        }
    }

    fn failure(&self, target: &Target, end: &End, methods: Option<&MethodSet>) -> ConnectError {
        let place = place(target);
        let mut detail = match (self.offered.is_empty(), self.partial) {
            (true, _) => format!("cannot log in as {place}: there was nothing to offer"),
            (false, false) => format!("cannot log in as {place}: refused {}", self.offered.join(", ")),
            (false, true) => {
                format!(
                    "cannot log in as {place}: a part was accepted, but more is demanded; offered {}",
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
                "Allow PubkeyAuthentication for this user on the server; passwords are asked for at a terminal only."
                    .into()
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
