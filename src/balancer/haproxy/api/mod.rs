//! One HAProxy through its Data Plane API, the HTTP sidecar that HAProxy Technologies maintain beside it.
//!
//! It says the same commands to the same socket, so what they mean is the same; but it has no words for some of them, and
//! misreads some states. [`answers`] owns its paths and what it says, [`http`] how that travels.
//!
//! Of the sources of dataplaneapi (`handlers/runtime/servers`, `handlers/dataplane/stats`, v2.9 to v3.4) and client-native
//! (`runtime/servers.go`, `runtime/stats.go`): a server is changed without a version or a transaction, and only what the
//! body names and what differs from what was read before is set. There is nothing that ends sessions, and nothing that
//! silences an agent.

pub mod answers;
pub mod http;

use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use self::answers::{Deaf, Question};
use self::http::{Caller, Failed};
use super::member::Member;
use super::node::{Table, nearest};
use super::protocol::Change;
use super::{CALL_LIMIT, Patience, RETRY_FOR, RETRY_PAUSE};
use crate::balancer::{Admin, BalancerError};
use crate::config::{ApiUrl, ApiVersion};

pub use self::http::Access;

/// What an agent means for a member that is reached this way.
pub const AGENT: &str = "has an agent, whose next `ready` would end a drain, and the Data Plane API cannot silence it";
/// What sessions that are left mean.
const SESSIONS: &str = "has connections left, and the Data Plane API cannot end them";
/// What to do about either.
pub const SOCKET_HINT: &str = "write the address of HAProxy's socket in `at`: it can";

/// A Data Plane API.
pub struct Api {
    at: String,
    caller: Caller,
    limit: Duration,
    /// As written, or as found out once.
    version: OnceCell<ApiVersion>,
}

impl Api {
    /// Makes one; connects to nothing.
    pub fn new(url: &ApiUrl, access: &Access) -> Self {
        let version = OnceCell::new_with(url.version);
        Self { at: url.to_string(), caller: Caller::new(url, access), limit: CALL_LIMIT, version }
    }

    /// Shortens the limit on one call.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: limit.min(CALL_LIMIT), ..self }
    }

    /// Its address as configured.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Reads backends.
    pub async fn read(&self, backends: &[String], patience: Patience) -> Result<Table, BalancerError> {
        let version = self.version(patience).await?;
        let questions: Vec<Question> =
            backends.iter().flat_map(|b| [Question::servers(version, b), Question::stats(version, b)]).collect();
        let texts = self.ask(&questions, patience).await;
        let texts = match texts {
            Err(Failed::Refused(deaf)) if deaf.no_backend() => return Err(self.no_backend(version, backends).await),
            other => other.map_err(|e| self.told(None, e))?,
        };
        let mut table = Vec::new();
        for (backend, texts) in backends.iter().zip(texts.chunks_exact(2)) {
            let [servers, stats] = texts else { continue };
            let members = answers::members(backend, servers, stats).map_err(|e| self.error(None, e, ""))?;
            table.push((backend.clone(), members));
        }
        Ok(table)
    }

    /// Reads backends once, without patience.
    pub async fn inspect(&self, backends: &[String]) -> Result<Table, BalancerError> {
        self.read(backends, Patience::Once).await
    }

    /// Makes changes to `server`, in order. All are tried; the first refusal is the error. At one that there are no words
    /// for nothing more is sent.
    pub async fn change(&self, server: &str, changes: &[(Change, &str)]) -> Result<(), BalancerError> {
        let version = self.version(Patience::Retry).await?;
        let mut first = Ok(());
        for (change, backend) in changes {
            let member = Some(format!("{backend}/{server}"));
            let done = match Question::change(version, backend, server, *change) {
                Some(question) => {
                    self.ask(&[question], Patience::Retry).await.map(drop).map_err(|e| self.told(member, e))
                }
                // It never lost its say this way.
                None if *change == Change::EnableAgent => Ok(()),
                None => {
                    let cannot = if *change == Change::KillSessions { SESSIONS } else { AGENT };
                    return Err(self.error(member, format!("it {cannot}"), SOCKET_HINT));
                }
            };
            let done = match done {
                Ok(()) if *change == Change::Maint => self.is_in_maint(backend, server).await,
                done => done,
            };
            if first.is_ok() {
                first = done;
            }
        }
        first
    }

    /// Makes sure that a server is in maint: what the API takes for maint already it does not set.
    async fn is_in_maint(&self, backend: &str, server: &str) -> Result<(), BalancerError> {
        let table = self.read(&[backend.to_owned()], Patience::Retry).await?;
        let found = table.iter().flat_map(|(_, members)| members).find(|m| m.name == server);
        match found.filter(|m| m.admin() != Admin::Maint) {
            None => Ok(()),
            Some(Member { status, .. }) => Err(self.error(
                Some(format!("{backend}/{server}")),
                format!("the Data Plane API took `maint` and set nothing: it is {status}"),
                "it takes a server that is `disabled` in haproxy.cfg, and drained, for one in maint: write the address of \
                 HAProxy's socket in `at`, or take `disabled` out of its line",
            )),
        }
    }

    /// The version, as written or else as the API answers to it.
    async fn version(&self, patience: Patience) -> Result<ApiVersion, BalancerError> {
        let found = self.version.get_or_try_init(|| async {
            for version in [ApiVersion::V3, ApiVersion::V2] {
                match self.ask(&[Question::info(version)], patience).await {
                    Ok(_) => return Ok(version),
                    Err(Failed::Refused(deaf)) if deaf.status == 404 => {}
                    Err(e) => return Err(self.told(None, e)),
                }
            }
            let detail = "it answers to neither /v3/info nor /v2/info, as a Data Plane API would".to_owned();
            Err(self.error(None, detail, "is this its address, with whatever stands before /v3?"))
        });
        found.await.copied()
    }

    /// Asks over one connection, and again while the API, or HAProxy behind it, cannot be reached.
    async fn ask(&self, questions: &[Question], patience: Patience) -> Result<Vec<String>, Failed> {
        let began = Instant::now();
        loop {
            match self.caller.call(questions, self.limit).await {
                Ok(texts) => return Ok(texts),
                Err(e) if patience == Patience::Once || e.is_final() || began.elapsed() >= RETRY_FOR => return Err(e),
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn no_backend(&self, version: ApiVersion, backends: &[String]) -> BalancerError {
        let listed = self.ask(&[Question::backends(version)], Patience::Once).await;
        let names = listed.ok().and_then(|t| answers::backends(t.first()?)).unwrap_or_default();
        let missing = backends.iter().find(|b| !names.contains(b)).or(backends.first()).cloned().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = format!("{}; set `backends` in [load_balancer]", nearest(&missing, &names));
        let detail = format!("it has no backend {missing}");
        self.error(Some(missing), detail, &hint)
    }

    fn error(&self, member: Option<String>, detail: String, hint: &str) -> BalancerError {
        BalancerError::new(&self.at, member, detail, hint)
    }

    fn told(&self, member: Option<String>, failed: Failed) -> BalancerError {
        let unreachable = matches!(&failed, Failed::Unreachable(..)) || !failed.is_final();
        let (detail, hint) = match failed {
            Failed::Unreachable(detail, hint) => (detail, hint.to_owned()),
            Failed::Refused(deaf) => deaf.told(),
        };
        BalancerError { unreachable, ..self.error(member, detail, &hint) }
    }
}

/// Makes the refusal of an answer with this status.
pub fn refusal(status: u16, text: &str) -> Failed {
    Failed::Refused(Deaf::read(status, text))
}
