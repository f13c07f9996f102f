//! The tables of HAProxy's Runtime API, `show servers state` and `show stat`.
//!
//! Pure, and trusts no answer. What a state means is [`super::member`]'s.

use std::collections::HashMap;

use super::member::BackendMember;
use super::quoted::{cut, quote};
use super::table::Neighbour;

/// Set in the configuration, and without a meaning of its own.
const CMAINT: u32 = 4;

/// Reads the servers of one backend from `show servers state` and `show stat`.
///
/// Columns are found by the names in the headers. A server that only one of the two knows came or went between them, and is left out.
pub fn members(backend: &str, state: &str, stat: &str) -> Result<Vec<BackendMember>, String> {
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
    // For comparison only: without them nothing is wrong.
    let place = |name: &str| header.iter().position(|h| *h == name);
    let (address, port) = (place("srv_addr"), place("srv_port"));
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
        members.push(BackendMember {
            name: text(srv).to_owned(),
            address: address.map(|at| cut(text(at))).unwrap_or_default(),
            port: port.and_then(|at| text(at).parse().ok()),
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

/// Reads the servers of all backends that are sent traffic from `show servers state`.
///
/// What cannot be read is left out: no drain depends on it.
pub fn neighbours(state: &str) -> Vec<Neighbour> {
    let mut lines = state.lines().skip(1);
    let header = lines.next().and_then(|l| l.strip_prefix("# ")).unwrap_or_default();
    let header: Vec<&str> = header.split_whitespace().collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let text = |name: &str| fields.get(column(name)?).copied();
        Some(Neighbour {
            backend: text("be_name")?.to_owned(),
            server: text("srv_name")?.to_owned(),
            address: text("srv_addr")?.to_owned(),
            port: text("srv_port").and_then(|port| port.parse().ok()),
            out: text("srv_admin_state")?.parse::<u32>().is_ok_and(|bits| bits & !CMAINT != 0),
        })
    };
    lines.filter_map(read).collect()
}

/// Reads how many sessions the servers of one backend have, by name, from `show stat`.
pub fn sessions(backend: &str, stat: &str) -> Result<HashMap<String, u64>, String> {
    Ok(counters(backend, stat)?.into_iter().map(|(name, member)| (name, member.sessions)).collect())
}

/// Reads `show stat`: the servers of one backend by name, with what that table knows of them.
fn counters(backend: &str, stat: &str) -> Result<HashMap<String, BackendMember>, String> {
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
    let at = |name: &str| header.iter().position(|h| h == name);
    let (changed, throttle, total) = (at("lastchg"), at("throttle"), at("stot"));
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
        let member = BackendMember {
            status: cut(text(status)),
            sessions,
            total: total.and_then(|at| record.get(at)?.parse().ok()),
            since: changed.and_then(|at| record.get(at)?.parse().ok()),
            throttle: throttle.and_then(|at| record.get(at)?.trim_end_matches('%').parse().ok()),
            backup: number(bck)?.unwrap_or(0) > 0,
            check_status: cut(text(check)),
            check_detail: cut([text(code), text(last)].join(" ").trim()),
            rise: number(rise)?,
            fall: number(fall)?,
            health: number(health)?,
            ..BackendMember::default()
        };
        found.insert(text(sv).to_owned(), member);
    }
    Ok(found)
}

/// Comma separated values as HAProxy writes them (`csv_enc`, RFC 4180).
///
/// A field is quoted where needed, and quotes are doubled.
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

#[cfg(test)]
mod tests;
