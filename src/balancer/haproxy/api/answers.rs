//! What is asked of a Data Plane API, and what its answers mean. Pure, and suspicious of all it reads.
//!
//! Paths and fields are those of dataplaneapi's own specification (`specification/`, models `runtime_server`,
//! `native_stats`, `error`), v2.9 and v3.0 to v3.4.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::member::{Member, bits};
use super::super::protocol::Change;
use crate::config::ApiVersion;
use crate::text::one_line;

/// Longest text of the API's that is shown.
const SHOWN: usize = 200;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// After the address: `/v3/…`.
    pub path: String,
    /// What is put there; `None`: it is only read.
    pub body: Option<&'static str>,
}

impl Question {
    /// Asks what it is; every version has it.
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

    /// Asks for the backends.
    pub fn backends(version: ApiVersion) -> Self {
        Self { path: format!("/{version}/services/haproxy/stats/native?type=backend"), body: None }
    }

    /// Changes a server; `None`: there are no words for it. A field that is not named is left alone.
    pub fn change(version: ApiVersion, backend: &str, server: &str, change: Change) -> Option<Self> {
        let path = match version {
            ApiVersion::V2 => format!("/v2/services/haproxy/runtime/servers/{server}?backend={backend}"),
            ApiVersion::V3 => format!("/v3/services/haproxy/runtime/backends/{backend}/servers/{server}"),
        };
        let body = match change {
            Change::Drain => r#"{"admin_state":"drain"}"#,
            Change::Maint => r#"{"admin_state":"maint"}"#,
            Change::Ready => r#"{"admin_state":"ready"}"#,
            Change::HealthDown => r#"{"operational_state":"down"}"#,
            Change::KillSessions | Change::DisableAgent | Change::EnableAgent => return None,
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

    /// Tells whether HAProxy said nothing of what was asked for: it is not there, or HAProxy is not.
    pub fn no_data(&self) -> bool {
        self.status == 404 && self.message.starts_with("no data for")
    }

    /// Tells whether asking again would help: HAProxy behind the API may be on its way back.
    pub fn may_pass(&self) -> bool {
        self.no_data() || matches!(self.status, 429 | 500..=599) && !self.refused_by_haproxy()
    }

    /// Tells whether HAProxy itself refused a command: its texts come with a severity, as in `[3] No such server.`.
    fn refused_by_haproxy(&self) -> bool {
        ["[0] ", "[1] ", "[2] ", "[3] "].iter().any(|severity| self.message.contains(severity))
    }

    /// Says what happened, and what to do.
    pub fn told(&self) -> (String, String) {
        let Self { status, message } = self;
        match status {
            401 | 403 => (
                format!("it refuses the login: {status} {message}"),
                "compare `user` and `password` in [load_balancer] with the userlist of the Data Plane API".to_owned(),
            ),
            404 => (
                format!("it does not know what it was asked for: 404 {message}"),
                "compare `at`, `backends` and `lb` with haproxy.cfg; is haproxy running?".to_owned(),
            ),
            300..=399 => (
                format!("it sends elsewhere: {status} {message}"),
                "write the address where the Data Plane API itself answers in `at`".to_owned(),
            ),
            _ if message.contains("Permission denied") => {
                (format!("HAProxy refused: {message}"), super::super::protocol::LEVEL_HINT.to_owned())
            }
            500..=599 if self.may_pass() => (
                format!("it answered {status}: {message}"),
                "is haproxy running, and is its socket the one that the Data Plane API speaks to?".to_owned(),
            ),
            _ => (format!("it answered {status}: {message}"), String::new()),
        }
    }
}

/// v2 lists what several processes of HAProxy say; v3 knows of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `runtime_server`. Before 3.3 it has the first three fields only.
#[derive(Deserialize)]
struct Server {
    name: String,
    #[serde(default)]
    admin_state: String,
    #[serde(default)]
    operational_state: String,
    check_state: Option<u32>,
    agent_state: Option<u32>,
}

/// `native_stats`.
#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    error: String,
    stats: Option<Vec<Stat>>,
}

#[derive(Deserialize)]
struct Stat {
    name: Option<String>,
    backend_name: Option<String>,
    #[serde(default, rename = "type")]
    kind: String,
    stats: Option<Counters>,
}

/// `native_stat_stats`: the columns of `show stat`; empty ones are left out.
#[derive(Deserialize, Default)]
struct Counters {
    status: Option<String>,
    scur: Option<u64>,
    qcur: Option<u64>,
    bck: Option<u64>,
    weight: Option<u32>,
    lastchg: Option<u64>,
    tracked: Option<String>,
    check_status: Option<String>,
    check_code: Option<i64>,
    last_chk: Option<String>,
    check_rise: Option<u64>,
    check_fall: Option<u64>,
    check_health: Option<u64>,
    agent_status: Option<String>,
}

/// Reads the servers of one backend from both answers.
///
/// # Errors
/// When they make no sense, or the statistics leave a server out: nothing could be told of its sessions.
pub fn members(backend: &str, servers: &str, stats: &str) -> Result<Vec<Member>, String> {
    let servers: Vec<Option<Server>> =
        serde_json::from_str(servers).map_err(|e| senseless("the servers", servers, &e))?;
    let mut counters: HashMap<String, Counters> = HashMap::new();
    for stats in all_stats(stats)? {
        for stat in stats.into_iter().filter(|s| s.kind == "server" && s.backend_name.as_deref() == Some(backend)) {
            let (Some(name), Some(more)) = (stat.name, stat.stats) else { continue };
            // The first process is the one that is steered; the connections of all count.
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

fn all_stats(text: &str) -> Result<Vec<Vec<Stat>>, String> {
    let all: OneOrMany<Stats> = serde_json::from_str(text).map_err(|e| senseless("the statistics", text, &e))?;
    let all = all.all();
    match all.iter().find(|s| !s.error.is_empty()) {
        Some(failed) => Err(format!("it cannot read the statistics: {}", cut(&failed.error))),
        None => Ok(all.into_iter().map(|s| s.stats.unwrap_or_default()).collect()),
    }
}

fn member(server: Server, counters: Counters) -> Result<Member, String> {
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
    // In maint nothing is said of checks; they are there until the opposite is seen.
    let shows_checks = status.starts_with("MAINT") || !check_status.is_empty();
    // Its reader of `show stat` knows no quotes: after a comma in the text of a check, every column is its neighbour's.
    let last = counters.last_chk.unwrap_or_default();
    let misread = last.starts_with('"');
    let agent = !misread && counters.agent_status.is_some_and(|a| !a.is_empty());
    let told = |column: Option<u64>| column.filter(|_| !misread);
    let code = counters.check_code.map(|c| c.to_string()).unwrap_or_default();
    Ok(Member {
        name: server.name,
        bits,
        op_state,
        weight: counters.weight.unwrap_or(0),
        check_state: server.check_state.unwrap_or(if shows_checks { 6 } else { 0 }),
        agent_state: server.agent_state.unwrap_or(if agent { 6 } else { 0 }),
        status,
        sessions: counters.scur.unwrap_or(0).saturating_add(counters.qcur.unwrap_or(0)),
        backup: counters.bck.unwrap_or(0) > 0,
        since: counters.lastchg,
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balancer::Admin;

    const V2: &str = r#"[{"address":"127.0.0.1","admin_state":"ready","id":"1","name":"web1","operational_state":"up","port":80},
        {"address":"127.0.0.1","admin_state":"drain","id":"2","name":"web2","operational_state":"down","port":80},null]"#;
    const STATS: &str = r#"{"runtimeAPI":"/run/h.sock","stats":[
        {"backend_name":"shop","name":"web1","type":"server","stats":{"status":"UP","scur":2,"qcur":1,"bck":0,"weight":1,"lastchg":7,
            "check_status":"L7OK","check_code":200,"check_rise":2,"check_fall":3,"check_health":4,"last_chk":"OK"}},
        {"backend_name":"shop","name":"web2","type":"server","stats":{"status":"DOWN","scur":0,"weight":1,"bck":1,"agent_status":"L4CON"}},
        {"backend_name":"other","name":"web1","type":"server","stats":{"status":"MAINT","scur":9}}]}"#;

    fn one(admin: &str, more: &str, stats: &str) -> Member {
        let servers = format!(r#"[{{"name":"a","admin_state":"{admin}","operational_state":"up"{more}}}]"#);
        let stats = format!(r#"{{"stats":[{{"backend_name":"b","name":"a","type":"server","stats":{{{stats}}}}}]}}"#);
        members("b", &servers, &stats).unwrap().remove(0)
    }

    #[test]
    fn both_answers_make_a_member() {
        for stats in [STATS.to_owned(), format!("[{STATS}]")] {
            let found = members("shop", V2, &stats).unwrap();
            assert_eq!(found.len(), 2);
            let web1 = &found[0];
            assert_eq!((web1.admin(), web1.sessions, web1.since, web1.backup), (Admin::Ready, 3, Some(7), false));
            assert!(web1.in_service() && web1.checked() && web1.is_back() && !web1.agent_enabled());
            assert_eq!(web1.standing(), "UP, last check L7OK 200 OK");
            let web2 = &found[1];
            assert_eq!((web2.admin(), web2.sessions, web2.backup), (Admin::Drain, 0, true));
            assert!(web2.set_drain() && !web2.in_service() && web2.agent_enabled());
        }
    }

    #[test]
    fn connections_of_all_processes_count() {
        let found = members("shop", V2, &format!("[{STATS},{STATS}]")).unwrap();
        assert_eq!(found[0].sessions, 5, "the queue is the first one's");
    }

    #[test]
    fn maint_is_what_haproxy_calls_so() {
        let tracked = r#""status":"DRAIN","tracked":"other/o1""#;
        assert!(one("maint", "", tracked).held_out() && one("maint", "", tracked).admin() == Admin::Drain);
        assert_eq!(one("maint", "", r#""status":"DRAIN""#).admin(), Admin::Drain);
        assert!(one("maint", "", r#""status":"DRAIN""#).set_drain());
        assert!(one("maint", "", r#""status":"MAINT""#).set_maint());
        assert!(one("drain", "", r#""status":"MAINT (via other/o1)""#).held_out());
        assert!(one("maint", "", r#""status":"MAINT (resolution)""#).held_out());
        assert_eq!(one("ready", "", r#""status":"UP 1/3""#).admin(), Admin::Ready);
    }

    #[test]
    fn checks_are_told_from_what_is_said_of_them() {
        assert!(one("maint", "", r#""status":"MAINT""#).checked(), "nothing is known in maint");
        assert!(!one("drain", "", r#""status":"no check""#).checked());
        assert!(one("drain", "", r#""status":"DRAIN","check_status":"* L7OK""#).checked());
        assert!(!one("maint", r#","check_state":0"#, r#""status":"MAINT""#).checked(), "it says so itself");
        assert!(one("ready", r#","agent_state":6"#, r#""status":"UP""#).agent_enabled());
    }

    #[test]
    fn what_stands_behind_a_comma_is_not_believed() {
        let shifted = r#""status":"UP","scur":1,"check_status":"L7OK","last_chk":"\"OK","agent_status":"5","check_fall":2,"check_health":3"#;
        let member = one("ready", "", shifted);
        assert!(member.misread && !member.agent_enabled() && !member.full_health());
        assert_eq!((member.sessions, member.fall, member.health), (1, None, None));
    }

    #[test]
    fn what_makes_no_sense_is_shown() {
        let error = members("shop", "<html>", STATS).unwrap_err();
        assert!(error.contains("the servers") && error.contains("`<html>`"), "{error}");
        assert!(members("shop", V2, "{\"error\":\"no\\u0007t now\"}").unwrap_err().ends_with("statistics: not now"));
        let left = members("shop", V2, "{\"stats\":[]}").unwrap_err();
        assert_eq!(left, "its statistics leave shop/web1 out");
        let odd = V2.replace("\"ready\"", "\"odd\"");
        assert!(members("shop", &odd, STATS).unwrap_err().contains("\"odd\""));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let told = |status, text: &str| Deaf::read(status, text).told();
        let (detail, hint) = told(401, r#"{"code":401,"message":"missing or invalid authorization"}"#);
        assert_eq!(detail, "it refuses the login: 401 missing or invalid authorization");
        assert!(hint.contains("`user` and `password`"));
        let gone = Deaf::read(404, r#"{"code":404,"message":"no data for shop/web9: not found"}"#);
        assert!(gone.no_data() && gone.may_pass(), "HAProxy may be away");
        let away = Deaf::read(500, r#"[{"error":"dial unix /run/h.sock: connect: connection refused"}]"#);
        assert!(away.may_pass() && away.told().0.contains("connection refused"));
        let denied = Deaf::read(
            500,
            r#"{"code":500,"message":"/run/h.sock [3] Permission denied [set server a/b state drain]"}"#,
        );
        assert!(!denied.may_pass() && denied.told().1.contains("level admin"));
        assert!(!Deaf::read(404, "not here").may_pass() && Deaf::read(429, "").may_pass());
    }

    #[test]
    fn paths_are_those_of_each_version() {
        let path = |version| Question::change(version, "shop", "web1", Change::Drain).unwrap().path;
        assert_eq!(path(ApiVersion::V2), "/v2/services/haproxy/runtime/servers/web1?backend=shop");
        assert_eq!(path(ApiVersion::V3), "/v3/services/haproxy/runtime/backends/shop/servers/web1");
        for change in [Change::KillSessions, Change::DisableAgent, Change::EnableAgent] {
            assert_eq!(Question::change(ApiVersion::V3, "shop", "web1", change), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(a in ".{0,200}", b in ".{0,200}") {
            let _ = members("shop", &a, STATS);
            let _ = members("shop", V2, &b);
            let _ = Deaf::read(500, &a).told();
            let _ = backends(&b);
        }
    }
}
