//! What Linux tells of the processes of this machine in `/proc`; elsewhere every answer is empty.
//!
//! Owns the reading of `/proc/PID`; it ends no process and judges none.

use std::collections::BTreeMap;

use nix::unistd::Pid;

/// Process numbers, each with its start: the system uses a number again.
pub type Known = BTreeMap<i32, u64>;

/// What the system says of a process that lives.
struct Stat {
    parent: i32,
    group: i32,
    session: i32,
    start: u64,
}

/// Tells when a process started, in clock ticks since the boot; `None`: it has ended.
pub fn start(pid: u32) -> Option<u64> {
    Some(stat(pid)?.start)
}

/// Tells whether a process that has been killed ends.
///
/// A machine that is short of memory may need seconds for it.
#[cfg(test)]
pub fn ends(pid: u32) -> bool {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while start(pid).is_some() && std::time::Instant::now() < until {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    start(pid).is_none()
}

/// Finds what descends from `known`, and every process whose environment holds `mark`.
///
/// A daemon, which made a session of its own, is left out, and so is the process group `but`.
pub fn descend(known: &Known, mark: &str, but: Option<Pid>) -> Known {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Known::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<(i32, Stat)> = numbers.filter_map(|pid| Some((i32::try_from(pid).ok()?, stat(pid)?))).collect();
    let here = nix::unistd::getsid(None).map_or(0, Pid::as_raw);
    // Not 0 for none: in a container a session and a group from outside of it have that number.
    let but = but.map(Pid::as_raw);
    let is_first = |pid: i32, stat: &Stat| {
        known.get(&pid) == Some(&stat.start) || stat.session == here && Some(stat.group) != but && is_marked(pid, mark)
    };
    let mut found: BTreeMap<i32, &Stat> =
        all.iter().filter(|(pid, stat)| is_first(*pid, stat)).map(|(pid, stat)| (*pid, stat)).collect();
    let mut before = 0;
    while found.len() > before {
        before = found.len();
        let next: Vec<_> = all.iter().filter(|(_, stat)| found.contains_key(&stat.parent)).collect();
        found.extend(next.into_iter().map(|(pid, stat)| (*pid, stat)));
    }
    let elsewhere = found.into_iter().filter(|(_, stat)| Some(stat.group) != but && stat.session == here);
    elsewhere.map(|(pid, stat)| (pid, stat.start)).collect()
}

/// Tells whether a process of this user was started with `mark` in its environment.
fn is_marked(pid: i32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
}

fn stat(pid: u32) -> Option<Stat> {
    // A program's name is not always UTF-8.
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
