//! The text of HAProxy's Runtime API: commands out, answers in. Pure, and trusts no answer.
//!
//! Owns the words and the framing (HAProxy Management Guide, "Unix Socket commands"). [`super::rows`] reads the tables in
//! an answer; how text travels is [`super::client`]'s.

use std::fmt;

use super::quoted::quote;
pub use super::rows::{members, neighbours, sessions};

/// Longest name that is sent; HAProxy itself has no such limit.
const NAME_LIMIT: usize = 256;

/// A change to one server's state. All are idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerChange {
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

impl ServerChange {
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

/// Which process listens at a socket.
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

/// Writes the commands that end a server's sessions, of an answer to [`SHOW_SESSIONS`].
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

/// Asks for the state of the servers of all backends.
pub const SHOW_ALL: &str = "show servers state";

/// Asks for the counters of all servers (type 4): sessions, status.
///
/// Not of one backend: where a frontend has the same name, HAProxy takes the name for the frontend's.
pub const SHOW_STAT: &str = "show stat -1 4 -1";

/// Accepts what HAProxy accepts as the name of a proxy or server.
///
/// That is letters, digits and `-_.:` (`invalid_char`). Anything else cannot exist there, and could end or alter the command.
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

/// HAProxy's refusal of a change, with its first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// The backend has no such server.
    NoServer(String),
    /// There is no such backend.
    NoBackend(String),
    /// The socket's level does not allow the change.
    Denied(String),
    /// Any other text.
    Other(String),
}

impl ChangeRefusal {
    /// Reads the answer to a change: any text in it is a refusal.
    pub fn read(section: &str) -> Option<Self> {
        let text = section.trim();
        let quoted = quote(text);
        match text {
            "" => None,
            text if text.contains("No such server.") => Some(Self::NoServer(quoted)),
            text if text.contains("No such backend.") => Some(Self::NoBackend(quoted)),
            text if text.contains("Permission denied") => Some(Self::Denied(quoted)),
            _ => Some(Self::Other(quoted)),
        }
    }

    /// Says what to do next; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoServer(_) => {
                "the server is not in that backend (any more): compare `lb` in [[servers]] with haproxy.cfg"
            }
            Self::NoBackend(_) => {
                "the backend does not exist (any more): compare `backends` in [load_balancer] with haproxy.cfg"
            }
            Self::Denied(_) => LEVEL_HINT,
            Self::Other(_) => "",
        }
    }
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(quoted) | Self::NoBackend(quoted) | Self::Denied(quoted) | Self::Other(quoted) => {
                write!(f, "it refused: {quoted}")
            }
        }
    }
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

#[cfg(test)]
mod tests;
