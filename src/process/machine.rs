//! This machine: what it says of itself in a lock, and what it knows of the process that another lock names.
//!
//! It owns the reading of `/proc` on the operator's machine; what follows from it is judged in [`crate::lease`].

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::answer::Answer;
use crate::lease::{LockFacts, Process, Seen};

/// This machine's name.
pub fn host() -> String {
    nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default()
}

/// This very process; `None` without a `/proc`.
pub fn this_process() -> Option<Process> {
    let pid = std::process::id();
    let (boot, namespace) = place()?;
    Some(Process { boot, namespace, pid, start: start(pid)? })
}

/// Reads who holds a lock from a script's answers, and adds what this machine knows of that process.
pub fn lock_held(answers: &[Answer]) -> LockFacts {
    let mut lock = LockFacts::read(answers);
    lock.seen = look(&lock.owner);
    lock
}

/// Looks for the process that took a lock, by what its owner wrote.
pub fn look(owner: &BTreeMap<String, String>) -> Seen {
    let Some(process) = owner.get("process").and_then(|text| Process::parse(text)) else { return by_name(owner) };
    match place() {
        Some((boot, namespace)) if (&boot, &namespace) == (&process.boot, &process.namespace) => {
            if start(process.pid) == Some(process.start) { Seen::Alive } else { Seen::Ended }
        }
        // Another boot, another container, another machine: nothing here can tell.
        _ => Seen::Unknown,
    }
}

/// Without an identity there is only a name, which machines share, and a number, which processes use again.
fn by_name(owner: &BTreeMap<String, String>) -> Seen {
    let pid = owner.get("pid").and_then(|p| p.trim().parse().ok()).filter(|p| *p > 0);
    match pid {
        Some(pid) if owner.get("host") == Some(&host()) && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH) => {
            Seen::Perhaps
        }
        _ => Seen::Unknown,
    }
}

/// The boot, and the pid namespace of this process.
fn place() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned();
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    (plain(&boot) && plain(&namespace)).then_some((boot, namespace))
}

/// When a process started, in clock ticks since the boot; `None`: there is none, or nothing left of it but its status.
pub fn start(pid: u32) -> Option<u64> {
    Some(stat(pid)?.start)
}

/// Who descends from `known` (numbers and starts), is not in the process group `but`, and is in this process's session.
/// Empty where the system does not tell.
pub fn descend_elsewhere(but: i32, known: &BTreeMap<i32, u64>) -> BTreeMap<i32, u64> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<(i32, Stat)> = numbers.filter_map(|pid| Some((i32::try_from(pid).ok()?, stat(pid)?))).collect();
    let is_known = |pid: i32, stat: &Stat| known.get(&pid) == Some(&stat.start);
    let mut found: BTreeMap<i32, &Stat> =
        all.iter().filter(|(pid, stat)| is_known(*pid, stat)).map(|(pid, stat)| (*pid, stat)).collect();
    let mut before = 0;
    while found.len() > before {
        before = found.len();
        let next: Vec<_> = all.iter().filter(|(_, stat)| found.contains_key(&stat.parent)).collect();
        found.extend(next.into_iter().map(|(pid, stat)| (*pid, stat)));
    }
    let here = nix::unistd::getsid(None).map_or(0, Pid::as_raw);
    let elsewhere = found.into_iter().filter(|(_, stat)| stat.group != but && stat.session == here);
    elsewhere.map(|(pid, stat)| (pid, stat.start)).collect()
}

/// What the system says of a process that lives.
struct Stat {
    parent: i32,
    group: i32,
    session: i32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    // A name need not be text.
    let stat = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    // The second field is the program's name, which may hold blanks and brackets: counting begins behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(fields.first(), None | Some(&"Z" | &"X" | &"x")) {
        return None;
    }
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(process: &Process) -> BTreeMap<String, String> {
        BTreeMap::from([("process".to_owned(), process.to_string()), ("pid".to_owned(), process.pid.to_string())])
    }

    #[test]
    fn this_process_is_alive_and_another_of_its_number_is_not_it() {
        let Some(me) = this_process() else { return };
        assert_eq!(look(&owner(&me)), Seen::Alive);
        assert_eq!(look(&owner(&Process { start: me.start + 1, ..me.clone() })), Seen::Ended);
        assert_eq!(look(&owner(&Process { boot: "another".into(), ..me.clone() })), Seen::Unknown);
        assert_eq!(look(&owner(&Process { namespace: "pid:[1]".into(), ..me })), Seen::Unknown);
    }

    #[test]
    fn a_process_that_has_ended_is_known_to_have_ended() {
        let Some(me) = this_process() else { return };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        // Whether it is a zombie still or gone already: it has ended.
        child.wait().unwrap();
        assert_eq!(look(&owner(&Process { pid, start: u64::MAX, ..me })), Seen::Ended);
    }

    #[test]
    fn a_name_and_a_number_prove_nothing() {
        let here = |pid: &str| BTreeMap::from([("host".to_owned(), host()), ("pid".to_owned(), pid.to_owned())]);
        assert_eq!(look(&here(&std::process::id().to_string())), Seen::Perhaps);
        for pid in ["0", "-1", "x", ""] {
            assert_eq!(look(&here(pid)), Seen::Unknown, "{pid}");
        }
        assert_eq!(look(&BTreeMap::new()), Seen::Unknown);
    }
}
