//! What a caller asks of one HAProxy through its Data Plane API.
//!
//! It says the same commands to the same socket, so what they mean is the same; but it has no words for some of them, and
//! misreads some states. [`answers`] owns its paths and what it says, [`http`] how that travels.
//!
//! Of the sources of dataplaneapi (`handlers/runtime/servers`, `handlers/dataplane/stats`, v2.9 to v3.4) and client-native
//! (`runtime/servers.go`, `runtime/stats.go`): a server is changed without a version or a transaction, and only what the
//! body names and what differs from what was read before is set. There is nothing that ends sessions, and nothing that
//! silences an agent. That HAProxy cannot be reached and that it knows no such backend look the same in a list of servers,
//! an empty one (v2) or a 404 (v3); the statistics tell which it is, and so are asked first.

use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::answers::{self, ApiQuestion, Deaf};
use super::fault::ApiFault;
use super::http::{Answer, ApiAccess, Caller};
use crate::balancer::error::{BalancerError, BalancerFault};
use crate::balancer::facts::Admin;
use crate::balancer::haproxy::fault::HaproxyFault;
use crate::balancer::haproxy::limits::{CALL_LIMIT, RETRY_FOR, RETRY_PAUSE, Tries};
use crate::balancer::haproxy::member::BackendMember;
use crate::balancer::haproxy::protocol::ServerChange;
use crate::balancer::haproxy::table::{Neighbour, Table};
use crate::config::{ApiUrl, ApiVersion};

/// Says why a member cannot be taken out and put back this way, if it cannot.
pub fn hindrance(member: &BackendMember) -> Option<ApiFault> {
    if member.misread {
        return Some(ApiFault::Misread(member.check_detail.clone()));
    }
    member.agent_enabled().then_some(ApiFault::Agent)
}

/// A Data Plane API.
pub struct Api {
    at: String,
    caller: Caller,
    limit: Duration,
    /// As written, or as found out once.
    version: OnceCell<ApiVersion>,
}

impl Api {
    /// Makes the way to one API; connects to nothing.
    pub fn new(url: &ApiUrl, access: &ApiAccess) -> Self {
        let version = OnceCell::new_with(url.version);
        Self { at: url.to_string(), caller: Caller::new(url, access), limit: CALL_LIMIT, version }
    }

    /// Shortens the limit on one call.
    pub fn limit(&mut self, limit: Duration) {
        self.limit = limit.min(CALL_LIMIT);
    }

    /// Returns the address, as configured.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Reads backends.
    pub async fn read(&self, backends: &[String], tries: Tries) -> Result<Table, BalancerError> {
        let version = self.version(tries).await?;
        let questions: Vec<ApiQuestion> =
            backends.iter().flat_map(|b| [ApiQuestion::stats(version, b), ApiQuestion::servers(version, b)]).collect();
        let began = Instant::now();
        loop {
            let error = match self.look(version, backends, &questions, tries).await? {
                Ok(table) => return Ok(table),
                Err(error) => error,
            };
            if tries == Tries::Once || began.elapsed() >= RETRY_FOR {
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads backends; the inner error may pass.
    async fn look(
        &self,
        version: ApiVersion,
        backends: &[String],
        questions: &[ApiQuestion],
        tries: Tries,
    ) -> Result<Result<Table, BalancerError>, BalancerError> {
        let answers = self.ask(questions, tries, None).await?;
        let mut table = Vec::new();
        for (backend, answers) in backends.iter().zip(answers.chunks_exact(2)) {
            let [stats, servers] = answers else { continue };
            let stats = stats.as_ref().map_err(|deaf| self.deaf(None, deaf))?;
            let servers = match servers {
                Ok(servers) => servers.as_str(),
                Err(deaf) if deaf.no_data() => "[]",
                Err(deaf) => return Err(self.deaf(None, deaf)),
            };
            let members = answers::members(backend, servers, stats).map_err(|e| self.senseless(e))?;
            if members.is_empty() {
                return self.no_servers(version, backend).await.map(Err);
            }
            table.push((backend.clone(), members));
        }
        Ok(Ok(table))
    }

    /// Reads backends and their neighbours, with one try.
    pub async fn inspect(&self, backends: &[String]) -> Result<(Table, Vec<Neighbour>), BalancerError> {
        let table = self.read(backends, Tries::Once).await?;
        let version = self.version(Tries::Once).await?;
        let all = self.one(ApiQuestion::all_servers(version), Tries::Once, None).await;
        // No drain depends on it.
        Ok((table, all.map(|text| answers::neighbours(&text)).unwrap_or_default()))
    }

    /// Makes changes to `server`, in order, and returns the first refusal.
    ///
    /// All are tried, up to one that the API cannot express.
    pub async fn change(&self, server: &str, changes: &[(ServerChange, &str)]) -> Result<(), BalancerError> {
        let version = self.version(Tries::Retry).await?;
        let mut first = Ok(());
        for (change, backend) in changes {
            let member = Some(format!("{backend}/{server}"));
            let done = match ApiQuestion::change(version, backend, server, *change) {
                Some(question) => self.one(question, Tries::Retry, member).await.map(drop),
                // The API cannot disable an agent, so it is enabled.
                None if *change == ServerChange::EnableAgent => Ok(()),
                None => {
                    let cannot =
                        if *change == ServerChange::KillSessions { ApiFault::Sessions } else { ApiFault::Agent };
                    return Err(self.error(member, cannot));
                }
            };
            let done = match done {
                Ok(()) if *change == ServerChange::Maint => self.is_in_maint(backend, server).await,
                done => done,
            };
            if first.is_ok() {
                first = done;
            }
        }
        first
    }

    /// Makes sure that a server is in maint: the API does not set what it takes for maint already.
    async fn is_in_maint(&self, backend: &str, server: &str) -> Result<(), BalancerError> {
        let table = self.read(&[backend.to_owned()], Tries::Retry).await?;
        let found = table.iter().flat_map(|(_, members)| members).find(|m| m.name == server);
        match found.filter(|m| m.admin() != Admin::Maint) {
            None => Ok(()),
            Some(BackendMember { status, .. }) => {
                Err(self.error(Some(format!("{backend}/{server}")), ApiFault::NotInMaint(status.clone())))
            }
        }
    }

    /// The version, as written or else as the API answers to it.
    async fn version(&self, tries: Tries) -> Result<ApiVersion, BalancerError> {
        let found = self.version.get_or_try_init(|| async {
            for version in [ApiVersion::V3, ApiVersion::V2] {
                let answers = self.ask(&[ApiQuestion::info(version)], tries, None).await?;
                match answers.first() {
                    Some(Err(deaf)) if deaf.status == 404 => {}
                    Some(Err(deaf)) => return Err(self.deaf(None, deaf)),
                    _ => return Ok(version),
                }
            }
            Err(self.error(None, ApiFault::NotAnApi))
        });
        found.await.copied()
    }

    /// Asks, and asks again while the API, or HAProxy behind it, cannot be reached.
    ///
    /// An error is about `member`.
    async fn ask(
        &self,
        questions: &[ApiQuestion],
        tries: Tries,
        member: Option<String>,
    ) -> Result<Vec<Answer>, BalancerError> {
        let began = Instant::now();
        loop {
            let asked = self.caller.call(questions, self.limit).await;
            let over = match &asked {
                Ok(answers) => !answers.iter().any(|a| a.as_ref().is_err_and(Deaf::may_pass)),
                Err(_) => false,
            };
            if over || tries == Tries::Once || began.elapsed() >= RETRY_FOR {
                return asked.map_err(|failed| self.error(member, ApiFault::Call(failed)));
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks one thing, which must be answered with success.
    async fn one(&self, question: ApiQuestion, tries: Tries, member: Option<String>) -> Result<String, BalancerError> {
        let answers = self.ask(&[question], tries, member.clone()).await?;
        match answers.into_iter().next() {
            Some(Ok(text)) => Ok(text),
            Some(Err(deaf)) => Err(self.deaf(member, &deaf)),
            None => Err(self.error(member, ApiFault::Senseless("it answered nothing".to_owned()))),
        }
    }

    /// Finds out why a backend has no servers; `Ok`: that may pass.
    async fn no_servers(&self, version: ApiVersion, backend: &str) -> Result<BalancerError, BalancerError> {
        let listed = self.one(ApiQuestion::backends(version), Tries::Once, None).await?;
        let names = answers::backends(&listed).map_err(|e| self.senseless(e))?;
        let member = Some(backend.to_owned());
        if names.iter().any(|name| name == backend) {
            return Ok(self.error(member, ApiFault::NoServers(backend.to_owned())));
        }
        Err(self.error(member, HaproxyFault::NoBackend { backend: backend.to_owned(), names }))
    }

    fn error(&self, member: Option<String>, fault: impl BalancerFault) -> BalancerError {
        BalancerError::new(&self.at, member, fault)
    }

    fn senseless(&self, what: String) -> BalancerError {
        self.error(None, ApiFault::Senseless(what))
    }

    fn deaf(&self, member: Option<String>, deaf: &Deaf) -> BalancerError {
        self.error(member, ApiFault::Deaf(deaf.clone()))
    }
}
