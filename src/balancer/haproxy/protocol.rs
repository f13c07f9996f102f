//! The text of HAProxy's Runtime API: commands out, answers in.
//!
//! Owns the words and the framing (HAProxy Management Guide, "Unix Socket commands"); pure, and suspicious of all it
//! reads. What a state means is [`super::member`]'s; how text travels is [`super::client`]'s.

use std::collections::HashMap;

use super::member::Member;
use crate::text::one_line;

/// Longest name that is sent; HAProxy itself has no such limit.
const NAME_LIMIT: usize = 256;

/// A change to one server's state. All are idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// No new traffic but from clients that are pinned to it; checks go on.
    Drain,
    /// No traffic at all; checks pause.
    Maint,
    /// Traffic, as far as checks allow it.
    Ready,
    /// Ends its sessions.
    KillSessions,
    /// Counts as failing its checks until it passes `rise` of them again.
    HealthDown,
    /// Its agent has no more say.
    DisableAgent,
    /// Its agent has its say again.
    EnableAgent,
}

impl Change {
    /// Writes the command for one server; names must have passed [`name`].
    pub fn command(self, backend: &str, server: &str) -> String {
        match self {
            Self::Drain => format!("set server {backend}/{server} state drain"),
            Self::Maint => format!("set server {backend}/{server} state maint"),
            Self::Ready => format!("set server {backend}/{server} state ready"),
            Self::KillSessions => format!("shutdown sessions server {backend}/{server}"),
            Self::HealthDown => format!("set server {backend}/{server} health down"),
            Self::DisableAgent => format!("disable agent {backend}/{server}"),
            Self::EnableAgent => format!("enable agent {backend}/{server}"),
        }
    }
}

/// Who listens at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The process that serves.
    Worker,
    /// Its master (`haproxy -W -S …`), which passes commands on.
    Master,
    /// The same, for a worker with this process id that a reload left to its last connections.
    Old(u32),
}

/// Writes commands as one line. `quit` ends the connection after them, which a master would leave open.
///
/// `@1` is the current worker, `@!PID` any (Management Guide, "Master CLI").
pub fn line(commands: &[String], listener: Listener) -> String {
    let before = match listener {
        Listener::Worker => String::new(),
        Listener::Master => "@1 ".to_owned(),
        Listener::Old(pid) => format!("@!{pid} "),
    };
    let commands: String = commands.iter().map(|c| format!("{before}{c};")).collect();
    format!("{commands}quit\n")
}

/// Tells whether a command was not known; then its answer lists what is.
pub fn is_unknown(section: &str) -> bool {
    section.starts_with("Unknown command")
}

/// Asks a master for its processes; a worker does not know the question.
pub const SHOW_PROC: &str = "show proc";

/// Tells whether a master answered [`SHOW_PROC`].
pub fn is_master(section: &str) -> bool {
    section.starts_with("#<PID>") && section.contains("# workers")
}

/// Reads which workers have been replaced and still run from what a master answered to [`SHOW_PROC`].
pub fn old_workers(section: &str) -> Vec<u32> {
    let old = section.lines().skip_while(|l| l.trim() != "# old workers").skip(1).take_while(|l| !l.starts_with('#'));
    old.filter_map(|l| l.split_whitespace().next()?.parse().ok()).collect()
}

/// Tells whether an answer says that there is no such worker any more.
pub fn worker_is_gone(answer: &str) -> bool {
    answer.contains("Can't find the target PID")
}

/// Asks for all sessions of a process.
pub const SHOW_SESSIONS: &str = "show sess";

/// Finds the sessions with a server in what was answered to [`SHOW_SESSIONS`], and writes the commands that end them.
///
/// A worker that was replaced knows its servers no more (`Proxy is disabled.`), but each of its sessions.
pub fn end_sessions(section: &str, backend: &str, server: &str) -> Vec<String> {
    let (be, srv) = (format!("be={backend}"), format!("srv={server}"));
    let with = section.lines().filter(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == be) && words.next() == Some(srv.as_str())
    });
    let ids = with
        .filter_map(|line| line.split_once(':'))
        .map(|(id, _)| id)
        .filter(|id| id.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())));
    ids.map(|id| format!("shutdown session {id}")).collect()
}

/// Asks for the level that the socket grants: `user`, `operator`, `admin`.
pub const SHOW_LEVEL: &str = "show cli level";

/// Asks for the names of the backends.
pub const SHOW_BACKENDS: &str = "show backend";

/// Asks for the state of a backend's servers: administrative state, checks.
pub fn show_state(backend: &str) -> String {
    format!("show servers state {backend}")
}

/// Asks for the counters of a backend's servers (type 4): sessions, status.
pub fn show_stat(backend: &str) -> String {
    format!("show stat {backend} 4 -1")
}

/// Accepts what HAProxy accepts as the name of a proxy or server (`invalid_char`: letters, digits, `-_.:`).
///
/// Anything else cannot exist there, and could end or alter the command.
pub fn name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("an empty name".to_owned());
    }
    if text.len() > NAME_LIMIT {
        return Err(format!("a name longer than {NAME_LIMIT} characters"));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.:".contains(*c)) {
        Some(bad) => Err(format!("the character {bad:?} in {text:?}, which no HAProxy name can have")),
        None => Ok(()),
    }
}

/// Splits an answer into one section per command; each ends with an empty line.
///
/// The error is a fragment: the answer broke off, or is not one.
pub fn sections(answer: &str, commands: usize) -> Result<Vec<&str>, String> {
    let mut sections = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in answer.split_inclusive('\n') {
        let end = at + line.len();
        if line == "\n" {
            sections.push(answer.get(start..at).unwrap_or_default());
            start = end;
        }
        at = end;
    }
    let rest = answer.get(start..).unwrap_or_default();
    if sections.len() == commands && rest.trim().is_empty() {
        return Ok(sections);
    }
    Err(match answer.trim() {
        "" => "it closed the connection without an answer".to_owned(),
        _ if sections.len() < commands => format!("its answer broke off after {}", quote(answer)),
        _ => format!("it gave an answer that makes no sense: {}", quote(answer)),
    })
}

/// Reads the answer to a change: any text in it is an error, and is returned with what to do about it.
pub fn refusal(section: &str) -> Option<(String, String)> {
    let text = section.trim();
    if text.is_empty() {
        return None;
    }
    let hint = if text.contains("No such server.") {
        "the server is not in that backend (any more): compare `lb` in [[servers]] with haproxy.cfg"
    } else if text.contains("No such backend.") {
        "the backend does not exist (any more): compare `backends` in [load_balancer] with haproxy.cfg"
    } else if text.contains("Permission denied") {
        LEVEL_HINT
    } else {
        ""
    };
    Some((format!("it refused: {}", quote(text)), hint.to_owned()))
}

/// What to do about a socket that grants too little.
pub const LEVEL_HINT: &str =
    "in haproxy.cfg, give the `stats socket` line `level admin`; a master's socket, -S PATH,level,admin";

/// Tells whether a section says that there is no such backend.
pub fn no_backend(section: &str) -> bool {
    let text = section.trim();
    text.contains("Can't find backend.") || text.contains("No such proxy.")
}

/// Reads `show backend`.
pub fn backends(section: &str) -> Vec<String> {
    section.lines().filter(|l| !l.starts_with('#') && name(l).is_ok()).map(str::to_owned).collect()
}

/// Reads the servers of one backend from `show servers state` and `show stat`, by the names in their headers.
///
/// A server that only one of the two knows came or went between them, and is left out.
pub fn members(backend: &str, state: &str, stat: &str) -> Result<Vec<Member>, String> {
    let counters = counters(backend, stat)?;
    let mut lines = state.lines();
    if lines.next().map(str::trim) != Some("1") {
        return Err(format!("`show servers state` has a format that is not known: {}", quote(state)));
    }
    let header: Vec<&str> =
        lines.next().and_then(|l| l.strip_prefix("# ")).unwrap_or_default().split_whitespace().collect();
    let column = |name: &str| {
        header.iter().position(|h| *h == name).ok_or_else(|| format!("`show servers state` has no column {name}"))
    };
    let (be, srv) = (column("be_name")?, column("srv_name")?);
    let (op, admin, weight) = (column("srv_op_state")?, column("srv_admin_state")?, column("srv_uweight")?);
    let (check, agent) = (column("srv_check_state")?, column("srv_agent_state")?);
    let mut members = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let text = |at: usize| fields.get(at).copied().unwrap_or_default();
        // Printed in decimal, whatever the manual says of hexadecimal.
        let number = |at: usize| {
            text(at).parse::<u32>().map_err(|_| format!("`show servers state` has {:?} for a number", cut(text(at))))
        };
        if text(be) != backend {
            continue;
        }
        let Some(counters) = counters.get(text(srv)) else { continue };
        members.push(Member {
            name: text(srv).to_owned(),
            bits: number(admin)?,
            op_state: number(op)?,
            weight: number(weight)?,
            check_state: number(check)?,
            agent_state: number(agent)?,
            ..counters.clone()
        });
    }
    Ok(members)
}

/// Reads how many sessions the servers of one backend have, by name, from `show stat`.
pub fn sessions(backend: &str, stat: &str) -> Result<HashMap<String, u64>, String> {
    Ok(counters(backend, stat)?.into_iter().map(|(name, member)| (name, member.sessions)).collect())
}

/// Reads `show stat`: the servers of one backend by name, with what that table knows of them.
fn counters(backend: &str, stat: &str) -> Result<HashMap<String, Member>, String> {
    let mut records = Csv { rest: stat.strip_prefix("# ").unwrap_or(stat) };
    let header = records.next().unwrap_or_default();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h == name)
            .ok_or_else(|| format!("`show stat` has no column {name}: {}", quote(stat)))
    };
    let (px, sv, kind, status) = (column("pxname")?, column("svname")?, column("type")?, column("status")?);
    let (scur, qcur, bck) = (column("scur")?, column("qcur")?, column("bck")?);
    let (rise, fall, health) = (column("check_rise")?, column("check_fall")?, column("check_health")?);
    let (check, code, last) = (column("check_status")?, column("check_code")?, column("last_chk")?);
    // For people only: without it nothing is wrong.
    let changed = header.iter().position(|h| h == "lastchg");
    let mut found = HashMap::new();
    for record in records {
        let text = |at: usize| record.get(at).map(String::as_str).unwrap_or_default();
        let number = |at: usize| match text(at) {
            "" => Ok(None),
            digits => {
                digits.parse::<u64>().map(Some).map_err(|_| format!("`show stat` has {:?} for a number", cut(digits)))
            }
        };
        if text(px) != backend || text(kind) != "2" {
            continue;
        }
        let sessions = number(scur)?.unwrap_or(0).saturating_add(number(qcur)?.unwrap_or(0));
        let member = Member {
            status: cut(text(status)),
            sessions,
            since: changed.and_then(|at| record.get(at)?.parse().ok()),
            backup: number(bck)?.unwrap_or(0) > 0,
            check_status: cut(text(check)),
            check_detail: cut([text(code), text(last)].join(" ").trim()),
            rise: number(rise)?,
            fall: number(fall)?,
            health: number(health)?,
            ..Member::default()
        };
        found.insert(text(sv).to_owned(), member);
    }
    Ok(found)
}

/// Comma separated values as HAProxy writes them (`csv_enc`, RFC 4180): quoted where needed, quotes doubled.
struct Csv<'a> {
    rest: &'a str,
}

impl Iterator for Csv<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut record, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if quoted && chars.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => record.push(std::mem::take(&mut field)),
                '\n' if !quoted => {
                    record.push(field);
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Some(record);
                }
                _ => field.push(c),
            }
        }
        record.push(field);
        self.rest = "";
        Some(record)
    }
}

/// Cuts text from outside to a length fit for a message, without control characters.
fn cut(text: &str) -> String {
    one_line(text, 120)
}

/// Shows the first line of an answer in a message.
fn quote(text: &str) -> String {
    format!("`{}`", cut(text.trim().lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balancer::Admin;

    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
        3 web 1 w1 127.0.0.1 2 8 1 1 0 15 3 4 6 0 0 0 - 28081 - 0 0 - - 0\n\
        3 web 4 w4 127.0.0.1 2 0 1 1 2 1 0 2 0 0 0 0 - 28084 - 0 0 - - 0\n\
        3 web 5 w5 127.0.0.1 0 0 1 1 1 8 2 0 6 22 0 0 - 28085 - 0 0 - - 28999\n";
    const HEADER: &str = "# pxname,svname,qcur,scur,status,weight,act,bck,type,check_status,check_code,last_chk,check_rise,check_fall,check_health,\n";

    fn stat(rows: &str) -> String {
        format!("{HEADER}{rows}")
    }

    #[test]
    fn reads_the_servers_of_a_backend() {
        let stat = stat(
            "web,w1,1,2,DRAIN,1,1,0,2,L7OK,200,\"said \"\"hi\"\", and left\",2,3,4,\nweb,w4,0,0,no check,1,0,1,2,,,,,,,\n\
             web,BACKEND,9,9,UP,1,1,0,1,,,,,,,\nother,w4,7,7,UP,1,1,0,2,,,,,,,\nweb,new,0,0,UP,1,1,0,2,,,,,,,\n",
        );
        let members = members("web", STATE, &stat).unwrap();
        assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["w1", "w4"]);
        let w1 = &members[0];
        assert_eq!((w1.admin(), w1.sessions, w1.backup), (Admin::Drain, 3, false));
        assert_eq!(w1.check_detail, "200 said \"hi\", and left");
        assert!(w1.checked() && w1.full_health());
        let w4 = &members[1];
        assert_eq!((w4.admin(), w4.sessions, w4.backup, w4.checked()), (Admin::Ready, 0, true, false));
    }

    #[test]
    fn columns_are_found_by_name() {
        let stat = "# type,svname,pxname,check_health,check_fall,check_rise,last_chk,check_code,check_status,bck,status,scur,qcur\n\
                    2,w5,web,0,3,2,Connection refused,,L4CON,0,DOWN,1,0\n";
        let members = members("web", STATE, stat).unwrap();
        assert_eq!((members.len(), members[0].status.as_str(), members[0].sessions), (1, "DOWN", 1));
        assert!(members[0].agent_enabled());
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = members("web", STATE, "# pxname,svname\n").unwrap_err();
        assert!(error.contains("no column type"), "{error}");
        let error = members("web", "2\n# be_name\n", &stat("")).unwrap_err();
        assert!(error.contains("format"), "{error}");
    }

    #[test]
    fn an_answer_has_one_section_per_command() {
        assert_eq!(sections("\n", 1).unwrap(), [""]);
        assert_eq!(sections("No such server.\n\n\nadmin\n\n", 3).unwrap(), ["No such server.\n", "", "admin\n"]);
        assert!(sections("", 1).unwrap_err().contains("without an answer"));
        assert!(sections("1\n# be_id", 1).unwrap_err().contains("broke off"));
        assert!(sections("\n\n", 1).unwrap_err().contains("without an answer"));
        assert!(sections("a\n\nb\n\n", 1).unwrap_err().contains("no sense"));
    }

    #[test]
    fn any_text_after_a_change_is_a_refusal() {
        assert_eq!(refusal(""), None);
        assert_eq!(refusal("\n"), None);
        for (text, hint) in [
            ("No such server.\n", "`lb`"),
            ("[3]:No such backend.\n", "`backends`"),
            ("Permission denied\n", "level admin"),
        ] {
            let (what, how) = refusal(text).unwrap();
            assert!(what.contains(text.trim()) && how.contains(hint), "{what} / {how}");
        }
        assert_eq!(refusal("Unknown command, but\nmany more").unwrap().0, "it refused: `Unknown command, but`");
    }

    #[test]
    fn only_names_that_haproxy_can_have_are_sent() {
        for good in ["web1", "a-b_c.d:e", "::1", "10.0.0.1"] {
            assert_eq!(name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a;b", "a/b", "a\nb", "a\0b", "é", "#1", "a\\b", "<<", &"x".repeat(257)] {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert_eq!(Change::Maint.command("shop", "web1"), "set server shop/web1 state maint");
        assert_eq!(Change::KillSessions.command("shop", "web1"), "shutdown sessions server shop/web1");
    }

    #[test]
    fn workers_that_were_replaced_are_listed() {
        let text = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
                    13025           master          2 [failed: 0]   0d00h00m53s     2.6.12\n\
                    # workers\n13805           worker          0               0d00h00m00s     2.6.12\n\
                    # old workers\n13028           worker          1               0d00h00m40s     2.6.12\n\
                    13011           worker          2               0d00h00m53s     2.6.12\n# programs\n";
        assert!(is_master(text));
        assert_eq!(old_workers(text), [13028, 13011]);
        assert_eq!(old_workers("# workers\n7 worker\n# programs\n"), [0; 0]);
        assert_eq!(line(&["a".into(), "b".into()], Listener::Old(7)), "@!7 a;@!7 b;quit\n");
    }

    #[test]
    fn sessions_with_a_server_are_ended_one_by_one() {
        let text = "0x55d5539a3ad0: proto=unix_stream src=unix:1 fe=f be=shop srv=web1 ts=00 epoch=0 age=5s\n\
                    0x7fe54c039e60: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n\
                    0x1: proto=tcpv4 fe=f be=shop srv=web10 ts=00\n0x2: fe=f be=other srv=web1 ts=00\nodd;quit: be=shop srv=web1\n";
        assert_eq!(end_sessions(text, "shop", "web1"), ["shutdown session 0x55d5539a3ad0"]);
    }

    #[test]
    fn backends_are_listed() {
        assert_eq!(backends("# name\nweb\nother\n"), ["web", "other"]);
        assert!(backends("Permission denied\n").is_empty());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(state in ".{0,400}", stat in ".{0,400}", count in 0usize..5) {
            let _ = sections(&state, count);
            let _ = refusal(&state);
            let _ = members("web", &state, &stat);
            let _ = members("web", &format!("{STATE}{state}"), &format!("{HEADER}{stat}"));
            let _ = name(&state);
        }

        #[test]
        fn hostile_rows_never_panic(fields in proptest::collection::vec("(web|w1|2|[0-9]{1,30}|[\"#,;é\n-]{0,4})", 0..60)) {
            let _ = members("web", &format!("{STATE}{}", fields.join(" ")), &format!("{HEADER}{}", fields.join(",")));
        }

        #[test]
        fn a_csv_field_survives(field in "[ -~\n\"]{0,40}") {
            let text = format!("a,\"{}\",b\nnext", field.replace('"', "\"\""));
            let mut records = Csv { rest: &text };
            prop_assert_eq!(records.next().unwrap(), vec!["a".to_owned(), field, "b".to_owned()]);
            prop_assert_eq!(records.next().unwrap(), vec!["next".to_owned()]);
        }
    }
}
