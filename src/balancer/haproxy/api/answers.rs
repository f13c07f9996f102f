//! What is asked of a Data Plane API, and what its answers mean. Pure, and trusts no answer.
//!
//! Paths and fields are those of dataplaneapi's own specification (`specification/`, models `runtime_server`,
//! `native_stats`, `error`), v2.9 and v3.0 to v3.4.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;

use super::json::{Counters, NativeStat, NativeStats, OneOrMany, RuntimeServer};
use crate::balancer::haproxy::member::{BackendMember, bits};
use crate::balancer::haproxy::protocol::{self, ServerChange};
use crate::balancer::haproxy::table::Neighbour;
use crate::config::ApiVersion;
use crate::text::one_line;

/// Longest text of the API's that is shown.
const SHOWN: usize = 200;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiQuestion {
    /// After the address: `/v3/…`.
    pub path: String,
    /// What is put there; `None`: it is only read.
    pub body: Option<&'static str>,
}

impl ApiQuestion {
    /// Asks what the API is; every version has the answer.
    pub fn info(version: ApiVersion) -> Self {
        Self { path: format!("/{version}/info"), body: None }
    }

    /// Asks for the state of a backend's servers.
    pub fn servers(version: ApiVersion, backend: &str) -> Self {
        let path = match version {
            ApiVersion::V2 => format!("/v2/services/haproxy/runtime/servers?backend={backend}"),
            ApiVersion::V3 => format!("/v3/services/haproxy/runtime/backends/{backend}/servers"),
        };
        Self { path, body: None }
    }

    /// Asks for the counters of a backend's servers.
    pub fn stats(version: ApiVersion, backend: &str) -> Self {
        Self { path: format!("/{version}/services/haproxy/stats/native?type=server&parent={backend}"), body: None }
    }

    /// Asks for the counters of the servers of all backends.
    pub fn all_servers(version: ApiVersion) -> Self {
        Self { path: format!("/{version}/services/haproxy/stats/native?type=server"), body: None }
    }

    /// Asks for the backends.
    pub fn backends(version: ApiVersion) -> Self {
        Self { path: format!("/{version}/services/haproxy/stats/native?type=backend"), body: None }
    }

    /// Changes a server; `None`: the API has no such change. A field that is not named is left alone.
    pub fn change(version: ApiVersion, backend: &str, server: &str, change: ServerChange) -> Option<Self> {
        let path = match version {
            ApiVersion::V2 => format!("/v2/services/haproxy/runtime/servers/{server}?backend={backend}"),
            ApiVersion::V3 => format!("/v3/services/haproxy/runtime/backends/{backend}/servers/{server}"),
        };
        let body = match change {
            ServerChange::Drain => r#"{"admin_state":"drain"}"#,
            ServerChange::Maint => r#"{"admin_state":"maint"}"#,
            ServerChange::Ready => r#"{"admin_state":"ready"}"#,
            ServerChange::HealthDown => r#"{"operational_state":"down"}"#,
            ServerChange::KillSessions | ServerChange::DisableAgent | ServerChange::EnableAgent => return None,
        };
        Some(Self { path, body: Some(body) })
    }
}

/// An answer with a status other than 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deaf {
    /// Its status.
    pub status: u16,
    /// What it says.
    pub message: String,
}

impl Deaf {
    /// Reads one: `{"code":…,"message":…}`, or what went wrong with the statistics, or text.
    pub fn read(status: u16, text: &str) -> Self {
        #[derive(Deserialize)]
        struct Error {
            #[serde(alias = "error")]
            message: String,
        }
        let error: Option<OneOrMany<Error>> = serde_json::from_str(text).ok();
        let said: Vec<String> = error.map(OneOrMany::all).unwrap_or_default().into_iter().map(|e| e.message).collect();
        let said = if said.is_empty() { text.to_owned() } else { said.join("; ") };
        Self { status, message: cut(&said) }
    }

    /// Tells whether HAProxy has no such thing, or does not answer itself.
    pub fn no_data(&self) -> bool {
        self.status == 404 && self.message.starts_with("no data for")
    }

    /// Tells whether another try may help: HAProxy behind the API may be on its way back.
    pub fn may_pass(&self) -> bool {
        self.no_data() || matches!(self.status, 429 | 500..=599) && !self.refused_by_haproxy()
    }

    /// Tells whether HAProxy itself refused a command.
    ///
    /// Its texts come with a severity, as in `[3] No such server.`.
    fn refused_by_haproxy(&self) -> bool {
        ["[0] ", "[1] ", "[2] ", "[3] "].iter().any(|severity| self.message.contains(severity))
    }

    /// Says what to do next; may be empty.
    pub fn hint(&self) -> &'static str {
        match self.status {
            401 | 403 => "compare `user` and `password` in [load_balancer] with the userlist of the Data Plane API",
            404 => "compare `at`, `backends` and `lb` with haproxy.cfg; is haproxy running?",
            300..=399 => "write the address where the Data Plane API itself answers in `at`",
            _ if self.denies() => protocol::LEVEL_HINT,
            500..=599 if self.may_pass() => {
                "is haproxy running, and is its socket the one that the Data Plane API speaks to?"
            }
            _ => "",
        }
    }

    /// Tells whether HAProxy's socket does not grant the level that a command needs.
    fn denies(&self) -> bool {
        self.message.contains("Permission denied")
    }
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, message } = self;
        match status {
            401 | 403 => write!(f, "it refuses the login: {status} {message}"),
            404 => write!(f, "it does not know what it was asked for: 404 {message}"),
            300..=399 => write!(f, "it sends elsewhere: {status} {message}"),
            _ if self.denies() => write!(f, "HAProxy refused: {message}"),
            _ => write!(f, "it answered {status}: {message}"),
        }
    }
}

/// Reads the servers of one backend from both answers.
///
/// # Errors
/// When they cannot be read, or the statistics leave a server out, so that its sessions are not known.
pub fn members(backend: &str, servers: &str, stats: &str) -> Result<Vec<BackendMember>, String> {
    let servers: Vec<Option<RuntimeServer>> =
        serde_json::from_str(servers).map_err(|e| senseless("the servers", servers, &e))?;
    let mut counters: HashMap<String, Counters> = HashMap::new();
    for stats in all_stats(stats)? {
        for stat in stats.into_iter().filter(|s| s.kind == "server" && s.backend_name.as_deref() == Some(backend)) {
            let (Some(name), Some(more)) = (stat.name, stat.stats) else { continue };
            // Changes go to the first process; the connections of all count.
            match counters.get_mut(&name) {
                Some(first) => first.scur = Some(first.scur.unwrap_or(0).saturating_add(more.scur.unwrap_or(0))),
                None => drop(counters.insert(name, more)),
            }
        }
    }
    let mut members = Vec::new();
    for server in servers.into_iter().flatten() {
        let Some(counters) = counters.remove(&server.name) else {
            return Err(format!("its statistics leave {backend}/{} out", cut(&server.name)));
        };
        members.push(member(server, counters)?);
    }
    Ok(members)
}

/// Reads the names of the backends.
///
/// # Errors
/// When it makes no sense.
pub fn backends(stats: &str) -> Result<Vec<String>, String> {
    let stats = all_stats(stats)?;
    Ok(stats.into_iter().flatten().filter(|s| s.kind == "backend").filter_map(|s| s.name).collect())
}

/// Reads the servers of all backends that are sent traffic.
///
/// What cannot be read is left out: no drain depends on it.
pub fn neighbours(stats: &str) -> Vec<Neighbour> {
    let stats = all_stats(stats).unwrap_or_default().into_iter().flatten().filter(|s| s.kind == "server");
    let read = |stat: NativeStat| {
        let counters = stat.stats?;
        let addr = counters.addr?;
        let (address, port) = match addr.parse::<SocketAddr>() {
            Ok(socket) => (socket.ip().to_string(), Some(socket.port())),
            Err(_) => (addr, None),
        };
        let status = counters.status.unwrap_or_default();
        let out = status.starts_with("MAINT") || status.starts_with("DRAIN");
        Some(Neighbour { backend: stat.backend_name?, server: stat.name?, address, port, out })
    };
    stats.filter_map(read).collect()
}

fn all_stats(text: &str) -> Result<Vec<Vec<NativeStat>>, String> {
    let all: OneOrMany<NativeStats> = serde_json::from_str(text).map_err(|e| senseless("the statistics", text, &e))?;
    let all = all.all();
    match all.iter().find(|s| !s.error.is_empty()) {
        Some(failed) => Err(format!("it cannot read the statistics: {}", cut(&failed.error))),
        None => Ok(all.into_iter().map(|s| s.stats.unwrap_or_default()).collect()),
    }
}

fn member(server: RuntimeServer, counters: Counters) -> Result<BackendMember, String> {
    let status = cut(&counters.status.unwrap_or_default());
    let op_state = match server.operational_state.as_str() {
        "up" => 2,
        "down" => 0,
        "stopping" => 3,
        other => return Err(format!("it gives {} the operational state {:?}", cut(&server.name), cut(other))),
    };
    let drained = match server.admin_state.as_str() {
        "ready" => false,
        "drain" | "maint" => true,
        other => return Err(format!("it gives {} the administrative state {:?}", cut(&server.name), cut(other))),
    };
    // client-native takes the decimal bits of HAProxy for hexadecimal (`misc/bits.go`): 16, drained with the server that
    // it tracks, and 12, drained though `disabled` in the file, become "maint". HAProxy's own status tells a maint apart.
    let bits = if status.starts_with("MAINT") {
        match () {
            () if status.starts_with("MAINT (via") => bits::IMAINT,
            () if status.starts_with("MAINT (resolution") => bits::RMAINT,
            () => bits::FMAINT,
        }
    } else if server.admin_state == "maint" && counters.tracked.is_some_and(|t| !t.is_empty()) {
        bits::IDRAIN
    } else if drained {
        bits::FDRAIN
    } else {
        0
    };
    let check_status = cut(&counters.check_status.unwrap_or_default());
    // In maint the API says nothing of checks: a server has them until the opposite is seen.
    let shows_checks = status.starts_with("MAINT") || !check_status.is_empty();
    // The API's reader of `show stat` knows no quotes: after a comma in a check's text, columns shift by one.
    let last = counters.last_chk.unwrap_or_default();
    let misread = last.starts_with('"');
    let agent = !misread && counters.agent_status.is_some_and(|a| !a.is_empty());
    let told = |column: Option<u64>| column.filter(|_| !misread);
    let code = counters.check_code.map(|c| c.to_string()).unwrap_or_default();
    Ok(BackendMember {
        name: server.name,
        address: server.address.map(|address| cut(&address)).unwrap_or_default(),
        port: server.port.and_then(|port| u16::try_from(port).ok()),
        bits,
        op_state,
        weight: counters.weight.unwrap_or(0),
        check_state: server.check_state.unwrap_or(if shows_checks { 6 } else { 0 }),
        agent_state: server.agent_state.unwrap_or(if agent { 6 } else { 0 }),
        status,
        sessions: counters.scur.unwrap_or(0).saturating_add(counters.qcur.unwrap_or(0)),
        total: counters.stot,
        backup: counters.bck.unwrap_or(0) > 0,
        since: counters.lastchg,
        throttle: None,
        check_status,
        check_detail: cut([code.as_str(), last.as_str()].join(" ").trim()),
        misread,
        rise: told(counters.check_rise),
        fall: told(counters.check_fall),
        health: told(counters.check_health),
    })
}

fn senseless(what: &str, text: &str, error: &serde_json::Error) -> String {
    let begin: String = cut(text.trim()).chars().take(60).collect();
    format!("what it says of {what} makes no sense ({error}): `{begin}`")
}

/// Cuts text from outside to a length fit for a message, without control characters.
fn cut(text: &str) -> String {
    one_line(text, SHOWN)
}

#[cfg(test)]
mod tests;
