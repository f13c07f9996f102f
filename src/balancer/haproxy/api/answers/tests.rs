//! Answers of the API's, and hostile text in their place.

use proptest::prelude::*;

use super::*;
use crate::balancer::facts::Admin;

const V2: &str = r#"[{"address":"127.0.0.1","admin_state":"ready","id":"1","name":"web1","operational_state":"up","port":80},
    {"address":"127.0.0.1","admin_state":"drain","id":"2","name":"web2","operational_state":"down","port":80},null]"#;
const STATS: &str = r#"{"runtimeAPI":"/run/h.sock","stats":[
    {"backend_name":"shop","name":"web1","type":"server","stats":{"status":"UP","scur":2,"qcur":1,"bck":0,"weight":1,"lastchg":7,
        "check_status":"L7OK","check_code":200,"check_rise":2,"check_fall":3,"check_health":4,"last_chk":"OK"}},
    {"backend_name":"shop","name":"web2","type":"server","stats":{"status":"DOWN","scur":0,"weight":1,"bck":1,"agent_status":"L4CON"}},
    {"backend_name":"other","name":"web1","type":"server","stats":{"status":"MAINT","scur":9}}]}"#;

fn one(admin: &str, more: &str, stats: &str) -> BackendMember {
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
    let login = Deaf::read(401, r#"{"code":401,"message":"missing or invalid authorization"}"#);
    assert_eq!(login.to_string(), "it refuses the login: 401 missing or invalid authorization");
    assert!(login.hint().contains("`user` and `password`"));
    let gone = Deaf::read(404, r#"{"code":404,"message":"no data for shop/web9: not found"}"#);
    assert!(gone.no_data() && gone.may_pass(), "HAProxy may be away");
    let away = Deaf::read(500, r#"[{"error":"dial unix /run/h.sock: connect: connection refused"}]"#);
    assert!(away.may_pass() && away.to_string().contains("connection refused"));
    let denied =
        Deaf::read(500, r#"{"code":500,"message":"/run/h.sock [3] Permission denied [set server a/b state drain]"}"#);
    assert!(!denied.may_pass() && denied.hint().contains("level admin"));
    assert!(!Deaf::read(404, "not here").may_pass() && Deaf::read(429, "").may_pass());
}

#[test]
fn paths_are_those_of_each_version() {
    let path = |version| ApiQuestion::change(version, "shop", "web1", ServerChange::Drain).unwrap().path;
    assert_eq!(path(ApiVersion::V2), "/v2/services/haproxy/runtime/servers/web1?backend=shop");
    assert_eq!(path(ApiVersion::V3), "/v3/services/haproxy/runtime/backends/shop/servers/web1");
    for change in [ServerChange::KillSessions, ServerChange::DisableAgent, ServerChange::EnableAgent] {
        assert_eq!(ApiQuestion::change(ApiVersion::V3, "shop", "web1", change), None);
    }
}

proptest! {
    #[test]
    fn hostile_text_never_panics(a in ".{0,200}", b in ".{0,200}") {
        let _ = members("shop", &a, STATS);
        let _ = members("shop", V2, &b);
        let _ = Deaf::read(500, &a).to_string();
        let _ = backends(&b);
    }
}
