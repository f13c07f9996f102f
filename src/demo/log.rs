//! The fleet's own account of what happened, in one order over all servers and balancers.
//!
//! Tests assert order and barriers from it; it is written before the client hears of the thing. It decides nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::admin::Admin;
use super::held::held;

/// A list of records that grows at its end, shared by all parts of a fleet.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    kept: Mutex<Kept>,
    grown: watch::Sender<u64>,
}

/// What has not been forgotten.
#[derive(Debug, Default)]
struct Kept {
    /// How many are forgotten: the number of the first that is kept.
    forgotten: u64,
    records: Vec<Record>,
}

impl Kept {
    fn next(&self) -> u64 {
        self.forgotten + self.records.len() as u64
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Counts from 0 over the whole fleet.
    pub seq: u64,
    /// Since the fleet began.
    pub at: Duration,
    /// The server or balancer, as the fleet names it (`s1`, `lb1`).
    pub server: String,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A client is authenticated.
    Connected {
        /// Counts the server's connections.
        connection: u64,
    },
    /// A connection ended, by either side.
    Disconnected {
        /// As in [`Kind::Connected`].
        connection: u64,
    },
    /// A command was asked for.
    Exec {
        /// Counts the server's commands.
        exec: u64,
        /// As the client sent it.
        command: String,
        /// The remote script, by [`step_of`].
        step: Option<String>,
    },
    /// A command is over.
    ExecEnd {
        /// As in [`Kind::Exec`].
        exec: u64,
        /// As in [`Kind::Exec`].
        step: Option<String>,
        /// How.
        end: End,
    },
    /// The client sent a signal to a command.
    Signal {
        /// As in [`Kind::Exec`].
        exec: u64,
        /// Without SIG.
        signal: String,
    },
    /// A forwarded connection was asked for: `tcp:PORT` or `unix:PATH`.
    Stream {
        /// Where to.
        to: String,
    },
    /// A member of a balancer changed.
    Member {
        /// `backend/member`.
        member: String,
        /// Its administrative state.
        admin: Admin,
        /// The balancer's checks see it up.
        up: bool,
    },
    /// A balancer's runtime API was asked.
    Command {
        /// The command line.
        command: String,
    },
    /// A fault was injected.
    Fault {
        /// The point's label.
        label: String,
        /// The fault.
        fault: super::Fault,
    },
}

/// How a command ended on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(i32),
    /// By this signal, without SIG.
    Signal(String),
    /// It was never started.
    NotRun(String),
}

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), kept: Mutex::default(), grown: watch::channel(0).0 }))
    }
}

impl Log {
    /// Appends a record and returns its number.
    pub fn add(&self, server: &str, kind: Kind) -> u64 {
        let mut kept = held(&self.0.kept);
        let seq = kept.next();
        kept.records.push(Record { seq, at: self.0.began.elapsed(), server: server.to_owned(), kind });
        drop(kept);
        self.0.grown.send_modify(|count| *count = (*count).max(seq + 1));
        seq
    }

    /// Returns all records so far.
    pub fn records(&self) -> Vec<Record> {
        held(&self.0.kept).records.clone()
    }

    /// Returns the records from number `seq` on.
    pub fn since(&self, seq: u64) -> Vec<Record> {
        held(&self.0.kept).records.iter().skip_while(|record| record.seq < seq).cloned().collect()
    }

    /// Returns the number the next record will have.
    pub fn mark(&self) -> u64 {
        held(&self.0.kept).next()
    }

    /// Drops all records so far; numbers go on.
    ///
    /// Commands are long, and a fleet may live for thousands of deploys.
    pub fn forget(&self) {
        let mut kept = held(&self.0.kept);
        kept.forgotten = kept.next();
        kept.records.clear();
    }

    /// Waits for the first record, past ones included, that fits; `None` after `limit`.
    pub async fn wait_for(&self, limit: Duration, fits: impl Fn(&Record) -> bool) -> Option<Record> {
        let mut grown = self.0.grown.subscribe();
        let search = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = held(&self.0.kept).records.iter().find(|record| fits(record)).cloned() {
                    return Some(found);
                }
                grown.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, search).await.ok().flatten()
    }

    /// Returns `(server, start, end)` of every run of a remote script, by the records' numbers.
    pub fn runs_of(&self, wanted: &str) -> Vec<(String, u64, Option<u64>)> {
        let kept = held(&self.0.kept);
        let records = &kept.records;
        let ended = |server: &str, number: u64| {
            records
                .iter()
                .find(|r| r.server == server && matches!(&r.kind, Kind::ExecEnd { exec, .. } if *exec == number))
        };
        records
            .iter()
            .filter_map(|record| match &record.kind {
                Kind::Exec { exec, step: Some(step), .. } if step == wanted => {
                    Some((record.server.clone(), record.seq, ended(&record.server, *exec).map(|end| end.seq)))
                }
                _ => None,
            })
            .collect()
    }
}

/// Tells which remote script a command line runs: the word `pitcrew-STEP` that stands in it by itself.
pub fn step_of(command: &str) -> Option<&str> {
    let apart = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';');
    command.split(apart).rev().find_map(|word| {
        let step = word.strip_prefix("pitcrew-")?;
        (!step.is_empty() && step.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')).then_some(step)
    })
}

/// Undoes the escapes that `printf %b` would, so that an encoded command can be read by people.
pub fn decoded(command: &str) -> String {
    let mut out = Vec::with_capacity(command.len());
    let mut bytes = command.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => {
                let mut value = 0_u32;
                for _ in 0..3 {
                    let Some(digit) = bytes.next_if(|b| (b'0'..=b'7').contains(b)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                out.push((value & 0xff) as u8);
            }
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'\\') => out.push(b'\\'),
            Some(other) => out.extend([b'\\', other]),
            None => out.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_word_that_stands_by_itself() {
        for (command, step) in [
            (r#"sh -c 'eval "$(printf %b "$0")"' 'a\012' pitcrew-switch"#, Some("switch")),
            ("sh -c 'true' 'pitcrew-lock'", Some("lock")),
            ("ls /tmp/pitcrew-demo", None),
            ("pitcrew-", None),
            ("echo pitcrew-Switch", None),
            ("true", None),
        ] {
            assert_eq!(step_of(command), step, "{command}");
        }
    }

    #[test]
    fn escapes_of_printf_are_undone() {
        assert_eq!(decoded(r"a\012b\\c\047d\n\0e"), "a\nb\\c'd\n\0e");
        assert_eq!(decoded(r"end\"), r"end\");
    }

    #[tokio::test]
    async fn waiting_sees_past_and_future_records_and_ends() {
        tokio::time::pause();
        let log = Log::default();
        log.add("s1", Kind::Stream { to: "tcp:1".to_owned() });
        assert!(log.wait_for(Duration::from_secs(1), |r| r.server == "s1").await.is_some());
        assert!(log.wait_for(Duration::from_secs(1), |r| r.server == "s2").await.is_none());
        let later = log.clone();
        tokio::spawn(async move { later.add("s2", Kind::Connected { connection: 0 }) });
        assert_eq!(log.wait_for(Duration::from_secs(1), |r| r.server == "s2").await.map(|r| r.seq), Some(1));
    }
}
