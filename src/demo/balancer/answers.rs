//! The runtime API's commands and the exact text of its answers, as measured on HAProxy 2.6.12. Pure.

use std::fmt::Write;

use super::members::{CheckResult, Member, Members};
use super::options::{BalancerOptions, Level};
use crate::demo::admin::Admin;

/// What it answers to `show version`.
const VERSION: &str = "2.6.12-pitcrew-demo";
/// The proxies' numbers, as a configuration of one frontend and one backend gives them.
const FRONTEND_ID: &str = "2";
const BACKEND_ID: &str = "3";

/// The first line of `show stat`.
const COLUMNS: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,\
    weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,\
    rate_lim,rate_max,check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,\
    hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,req_tot,cli_abrt,srv_abrt,comp_in,comp_out,\
    comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,agent_code,\
    agent_duration,check_desc,agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,\
    agent_health,addr,cookie,mode,algo,conn_rate,conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,\
    connect,reuse,cache_lookups,cache_hits,srv_icur,src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,\
    eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight,agg_server_status,\
    agg_server_check_status,agg_check_status,-,ssl_sess,ssl_reused_sess,ssl_failed_handshake,\
    h2_headers_rcvd,h2_data_rcvd,h2_settings_rcvd,h2_rst_stream_rcvd,h2_goaway_rcvd,\
    h2_detected_conn_protocol_errors,h2_detected_strm_protocol_errors,h2_rst_stream_resp,h2_goaway_resp,\
    h2_open_connections,h2_backend_open_streams,h2_total_connections,h2_backend_total_streams,\
    h1_open_connections,h1_open_streams,h1_total_connections,h1_total_streams,h1_bytes_in,h1_bytes_out,\
    h1_spliced_bytes_in,h1_spliced_bytes_out,";

/// The second line of `show servers state`.
const STATE_COLUMNS: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
    srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
    srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port \
    srv_check_addr srv_agent_addr srv_agent_port";

const USAGE_SET: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | \
    check-addr | check-port | fqdn | health | ssl | state | weight";

/// Executes the commands of a line, separated by `;` and up to `quit`, and returns all their answers.
pub(super) fn execute(members: &mut Members, options: &BalancerOptions, line: &str) -> String {
    let commands = line.split(';').map(str::trim).take_while(|command| *command != "quit");
    commands.map(|command| one(members, options, command)).collect()
}

/// Every answer ends with an empty line; a command that has nothing to say answers just that.
fn one(members: &mut Members, options: &BalancerOptions, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let answer = match *words.as_slice() {
        ["show", "version", ..] => VERSION.to_owned(),
        ["show", "info", ..] => info(members),
        ["show", "stat"] => stat(members, options, &Filter { proxy: "-1", kinds: -1, server: "-1" }),
        ["show", "stat", proxy, kind, server] => {
            stat(members, options, &Filter { proxy, kinds: kind.parse().unwrap_or(-1), server })
        }
        ["show", "stat", proxy] => stat(members, options, &Filter { proxy, kinds: -1, server: "-1" }),
        ["show", "servers", "state"] => servers_state(members, options),
        ["show", "servers", "state", backend] if backend == options.backend => servers_state(members, options),
        ["show", "servers", "state", ..] => "Can't find backend.".to_owned(),
        ["get", "weight", name, ..] => addressed(members, options, name, |_, _| "1 (initial 1)".to_owned()),
        ["set", "server", ..]
        | ["shutdown", "sessions", "server", ..]
        | ["enable" | "disable", "health" | "agent" | "server", ..] => {
            if options.level == Level::Operator {
                "Permission denied".to_owned()
            } else {
                change(members, options, &words)
            }
        }
        _ => unknown(),
    };
    if answer.is_empty() { "\n".to_owned() } else { format!("{}\n\n", answer.trim_end_matches('\n')) }
}

fn change(members: &mut Members, options: &BalancerOptions, words: &[&str]) -> String {
    match *words {
        ["set", "server", name, "state", state] => {
            let admin = match state {
                "ready" => Admin::Ready,
                "drain" => Admin::Drain,
                "maint" => Admin::Maint,
                _ => {
                    return addressed(members, options, name, |_, _| {
                        "'set server <srv> state' expects 'ready', 'drain' and 'maint'.".to_owned()
                    });
                }
            };
            addressed(members, options, name, |members, index| {
                members.set(index, admin);
                String::new()
            })
        }
        ["set", "server", name, ..] => addressed(members, options, name, |_, _| USAGE_SET.to_owned()),
        ["enable", "server", name] => addressed(members, options, name, |members, index| {
            members.set(index, Admin::Ready);
            String::new()
        }),
        ["disable", "server", name] => addressed(members, options, name, |members, index| {
            members.set(index, Admin::Maint);
            String::new()
        }),
        ["enable", "agent", name] => addressed(members, options, name, |_, _| {
            "Agent was not configured on this server, cannot enable.".to_owned()
        }),
        ["disable", "agent", name] => addressed(members, options, name, |_, _| String::new()),
        [word @ ("enable" | "disable"), "health", name] => addressed(members, options, name, |members, index| {
            members.enable_checks(index, word == "enable");
            String::new()
        }),
        ["shutdown", "sessions", "server", name] => addressed(members, options, name, |members, index| {
            members.shut_down_sessions(index);
            String::new()
        }),
        ["set", "server"] => "Require 'backend/server'.".to_owned(),
        _ => unknown(),
    }
}

/// Finds the `backend/server` that a command is about.
fn addressed(
    members: &mut Members,
    options: &BalancerOptions,
    name: &str,
    answer: impl FnOnce(&mut Members, usize) -> String,
) -> String {
    let Some((backend, server)) = name.split_once('/') else { return "Require 'backend/server'.".to_owned() };
    if backend != options.backend {
        return "No such backend.".to_owned();
    }
    match members.find(server) {
        Some(index) => answer(members, index),
        None => "No such server.".to_owned(),
    }
}

fn unknown() -> String {
    "Unknown command, but maybe one of the following ones is a better match:\n  \
     set server <bk>/<srv> [opts]            : change a server's state, weight, address or ssl\n  \
     help [<command>]                        : list matching or all commands\n  \
     prompt                                  : toggle interactive mode with prompt\n  \
     quit                                    : disconnect"
        .to_owned()
}

fn info(members: &Members) -> String {
    let up = members.since_began().as_secs();
    format!(
        "Name: HAProxy\nVersion: {VERSION}\nNbthread: 1\nNbproc: 1\nProcess_num: 1\nPid: {}\n\
         Uptime: 0d 0h{:02}m{:02}s\nUptime_sec: {up}\nStopping: 0\nnode: pitcrew-demo",
        std::process::id(),
        up / 60,
        up % 60
    )
}

/// What `show stat` is asked for.
struct Filter<'a> {
    /// A proxy's name or number.
    proxy: &'a str,
    /// A mask: 1 frontends, 2 backends, 4 servers.
    kinds: i32,
    /// A server's name or number; -1 is everything.
    server: &'a str,
}

/// Filters as HAProxy does.
fn stat(members: &Members, options: &BalancerOptions, filter: &Filter<'_>) -> String {
    let Filter { proxy, kinds, server } = *filter;
    let frontend = format!("{}-in", options.backend);
    let is_backend = proxy == options.backend || proxy == BACKEND_ID;
    let is_frontend = proxy == frontend || proxy == FRONTEND_ID;
    let all = proxy == "-1";
    if !(all || is_backend || is_frontend) {
        return "No such proxy.".to_owned();
    }
    let mut out = format!("{COLUMNS}\n");
    if kinds & 1 != 0 && (all || is_frontend) && server == "-1" {
        row(
            &mut out,
            &[
                ("pxname", frontend),
                ("svname", "FRONTEND".to_owned()),
                ("status", "OPEN".to_owned()),
                ("pid", "1".to_owned()),
                ("iid", FRONTEND_ID.to_owned()),
                ("sid", "0".to_owned()),
                ("type", "0".to_owned()),
                ("mode", "http".to_owned()),
            ],
        );
    }
    if !(all || is_backend) {
        return out;
    }
    for (index, member) in members.list.iter().enumerate().filter(|(_, member)| !member.removed) {
        let number = (index + 1).to_string();
        if kinds & 4 != 0 && (server == "-1" || server == number || server == member.name) {
            row(&mut out, &server_row(member, options, number));
        }
    }
    if kinds & 2 != 0 && server == "-1" {
        let active = members.list.iter().filter(|member| member.in_service()).count();
        let sessions: usize = members.list.iter().map(|member| member.streams.len()).sum();
        let status = if active > 0 { "UP" } else { "DOWN" };
        row(
            &mut out,
            &[
                ("pxname", options.backend.clone()),
                ("svname", "BACKEND".to_owned()),
                ("qcur", "0".to_owned()),
                ("scur", sessions.to_string()),
                ("status", status.to_owned()),
                ("weight", active.to_string()),
                ("act", active.to_string()),
                ("bck", "0".to_owned()),
                ("pid", "1".to_owned()),
                ("iid", BACKEND_ID.to_owned()),
                ("sid", "0".to_owned()),
                ("type", "1".to_owned()),
                ("mode", "http".to_owned()),
                ("algo", "roundrobin".to_owned()),
            ],
        );
    }
    out
}

fn server_row(member: &Member, options: &BalancerOptions, number: String) -> Vec<(&'static str, String)> {
    let mut values = vec![
        ("pxname", options.backend.clone()),
        ("svname", member.name.clone()),
        ("qcur", "0".to_owned()),
        ("qmax", "0".to_owned()),
        ("scur", member.streams.len().to_string()),
        ("stot", member.requests.to_string()),
        ("econ", member.failed.to_string()),
        ("status", member.status()),
        ("weight", "1".to_owned()),
        ("act", "1".to_owned()),
        ("bck", "0".to_owned()),
        ("lastchg", member.changed.elapsed().as_secs().to_string()),
        ("pid", "1".to_owned()),
        ("iid", BACKEND_ID.to_owned()),
        ("sid", number),
        ("lbtot", member.requests.to_string()),
        ("type", "2".to_owned()),
        ("addr", member.at.to_string()),
        ("mode", "http".to_owned()),
        ("srv_icur", "0".to_owned()),
        ("used_conn_cur", member.streams.len().to_string()),
        ("uweight", "1".to_owned()),
    ];
    // In maintenance, and without checks, these columns are empty.
    let shown = member.check.as_ref().filter(|check| check.enabled && member.admin != Admin::Maint);
    if let Some(check) = shown {
        let (status, code, last, description) = words_of(check.last);
        values.extend([
            ("chkfail", check.failures.to_string()),
            ("chkdown", check.downs.to_string()),
            ("check_status", status.to_owned()),
            ("check_code", code),
            ("check_duration", if check.last == CheckResult::None { String::new() } else { "0".to_owned() }),
            ("last_chk", last.to_owned()),
            ("check_desc", description.to_owned()),
            ("check_rise", check.rise.to_string()),
            ("check_fall", check.fall.to_string()),
            ("check_health", check.health.to_string()),
        ]);
    }
    values
}

fn row(out: &mut String, values: &[(&str, String)]) {
    for column in COLUMNS.trim_start_matches("# ").trim_end_matches(',').split(',') {
        let value = match values.iter().find(|(name, _)| *name == column) {
            Some((_, value)) => value.as_str(),
            None if column == "-" => "-",
            None => "",
        };
        let _ = write!(out, "{value},");
    }
    out.push('\n');
}

fn servers_state(members: &Members, options: &BalancerOptions) -> String {
    let mut out = format!("1\n{STATE_COLUMNS}\n");
    for (index, member) in members.list.iter().enumerate().filter(|(_, member)| !member.removed) {
        // Bits of srv_admin_state: forced maintenance 1, forced drain 8; printed in decimal.
        let admin = match member.admin {
            Admin::Ready => 0,
            Admin::Maint => 1,
            Admin::Drain => 8,
        };
        // Bits of srv_check_state: configured 2, enabled 4, paused 8.
        let (status, result, health, state) = match &member.check {
            Some(check) => {
                let (status, result) = numbers_of(check.last);
                let paused = if member.admin == Admin::Maint { 8 } else { 0 };
                (status, result, check.health, 2 + if check.enabled { 4 + paused } else { 0 })
            }
            None => (1, 0, 0, 0),
        };
        let _ = writeln!(
            out,
            "{BACKEND_ID} {} {} {} {} {} {admin} 1 1 {} {status} {result} {health} {state} 0 0 0 - {} - 0 0 - - 0",
            options.backend,
            index + 1,
            member.name,
            member.at.ip(),
            if member.running { 2 } else { 0 },
            member.changed.elapsed().as_secs(),
            member.at.port(),
        );
    }
    out
}

/// Returns check_status, check_code, last_chk and check_desc.
fn words_of(result: CheckResult) -> (&'static str, String, &'static str, &'static str) {
    match result {
        CheckResult::None => ("INI", String::new(), "", "Initializing"),
        CheckResult::Good(code) => ("L7OK", code.to_string(), "", "Layer7 check passed"),
        CheckResult::Bad(code) => ("L7STS", code.to_string(), "", "Layer7 wrong status"),
        CheckResult::Refused => ("L4CON", String::new(), "Connection refused", "Layer4 connection problem"),
        CheckResult::ConnectTimeout => ("L4TOUT", String::new(), "", "Layer4 timeout"),
        CheckResult::AnswerTimeout => ("L7TOUT", String::new(), "", "Layer7 timeout"),
        CheckResult::Invalid => ("L7RSP", String::new(), "", "Layer7 invalid response"),
    }
}

/// Returns srv_check_status (`HCHK_STATUS_*` of HAProxy's check-t.h) and srv_check_result.
fn numbers_of(result: CheckResult) -> (u8, u8) {
    match result {
        CheckResult::None => (1, 0),
        CheckResult::Good(_) => (15, 3),
        CheckResult::Bad(_) => (17, 2),
        CheckResult::Refused => (8, 2),
        CheckResult::ConnectTimeout => (7, 2),
        CheckResult::AnswerTimeout => (12, 2),
        CheckResult::Invalid => (13, 2),
    }
}
