//! This machine: its names, its environment, and what it knows of the process that a lock names.
//!
//! It owns the reading of `/proc` on the operator's machine; what follows from it is judged in [`crate::lease`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, User};

use super::proc;
use crate::answer::Answer;
use crate::error::Error;
use crate::lease::{LockFacts, Process, Seen};

/// This machine's name.
pub fn host() -> String {
    nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Finds the operator's home directory: HOME, else what the system says.
///
/// # Errors
/// When there is none.
pub fn home() -> Result<PathBuf, Error> {
    let set = std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from);
    set.or_else(|| User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.dir))
        .ok_or_else(|| Error::usage("cannot tell the home directory").hint("set HOME"))
}

/// Finds the operator's login name.
pub fn local_user() -> String {
    let set = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok().filter(|u| !u.is_empty());
    set.or_else(|| User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.name))
        .unwrap_or_else(|| "unknown".into())
}

/// Returns the first of these environment variables that is set and not empty.
pub fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Returns this process's environment, without what is not UTF-8.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Expands `~/` and makes a path absolute from the directory `base`.
///
/// # Errors
/// When there is no home to expand `~` to.
pub fn expand(base: &Path, path: &Path) -> Result<PathBuf, Error> {
    match path.strip_prefix("~") {
        Ok(rest) => Ok(home()?.join(rest)),
        Err(_) => Ok(base.join(path)),
    }
}

/// This very process; `None` without a `/proc`.
pub fn this_process() -> Option<Process> {
    let pid = std::process::id();
    let (boot, namespace) = place()?;
    Some(Process { boot, namespace, pid, start: proc::start(pid)? })
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
            if proc::start(process.pid) == Some(process.start) { Seen::Alive } else { Seen::Ended }
        }
        // Another boot, another container, another machine: nothing here can tell.
        _ => Seen::Unknown,
    }
}

/// Looks by name and number alone: machines share names, and processes use numbers again.
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
