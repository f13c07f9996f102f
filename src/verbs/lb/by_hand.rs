//! What the three verbs of the balancer share: servers, signals, and each server's end.

use std::sync::Mutex;

use serde::Serialize;

use crate::balancer::{Balancer, BalancerError};
use crate::cli::Global;
use crate::config::{self, Problem, Server};
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::event::{Cause, Failure};
use crate::facts::{Facts, TakenOut};
use crate::lease::LockFacts;
use crate::name::ServerName;
use crate::out;
use crate::script::{Owner, calls};
use crate::stack::Stack;
use crate::stack::reporters;
use crate::stack::survey::Execs;
use crate::sync::lock;
use crate::text::clean::clean;
use crate::verbs::ours;
use crate::wording::{cause, lock as held};
use crate::{lease, machine};

/// What became of a server.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Done {
    server: ServerName,
    ok: bool,
    /// What there is to say of it.
    detail: String,
    /// It is neither as it was nor as was asked for.
    #[serde(skip)]
    left: bool,
}

pub(super) struct ByHand<'a> {
    pub(super) global: &'a Global,
    pub(super) stack: &'a Stack,
    pub(super) balancer: &'a Balancer,
    pub(super) owner: &'a Owner,
    pub(super) stop: &'a Stop,
    /// Servers that were dealt with.
    pub(super) done: Mutex<Vec<Done>>,
    /// The one that is being dealt with.
    pub(super) at: Mutex<Option<ServerName>>,
}

impl ByHand<'_> {
    /// The stack's servers that are behind the balancer, of those wanted.
    pub(super) fn behind(&self, wanted: &[ServerName]) -> Vec<&Server> {
        self.stack.config.servers.iter().filter(|s| s.is_web() && wanted.contains(&s.name)).collect()
    }

    /// Finds the named servers and asks all; refuses where a run is at work on the stack.
    pub(super) async fn named(&self, names: &[String]) -> Result<(Vec<&Server>, Facts), Error> {
        let wanted = config::select::select(&self.stack.config.servers, names, &[]).map_err(unknown)?;
        let servers = self.behind(&wanted);
        if let Some(other) = wanted.iter().find(|w| !servers.iter().any(|s| s.name == **w)) {
            return Err(Error::usage(format!("{other} does not have the role \"web\", and is in no balancer")));
        }
        // Who cannot be reached may be the very reason; the lock is on every server of the stack.
        let facts = self.unless_asked(self.stack.servers(Execs::Single, &self.stop.soft)).await?;
        for (server, found) in &facts.servers {
            found.lock.as_ref().map_or(Ok(()), |lock| at_work(server, lock))?;
        }
        ours::refuse_others(&self.stack.config.app.name, &facts, servers.iter().map(|s| &s.name))?;
        if facts.servers.is_empty() && !facts.unreachable.is_empty() {
            out::notice("no server could be reached: whether a run is at work is not known");
        }
        Ok((servers, facts))
    }

    pub(super) async fn note(&self, server: &Server, record: Option<&TakenOut>) -> Result<Option<LockFacts>, Failure> {
        let call = calls::aside(&self.stack.site(), &record.map(TakenOut::line).unwrap_or_default());
        let answers = self.stack.ask(&server.name, call, &self.stop.hard).await?;
        if !answers.iter().any(|a| a.key == "lock") {
            return Ok(None);
        }
        Ok(Some(machine::lock_held(&answers)))
    }

    /// Waits for something that changes nothing, or for a signal.
    pub(super) async fn unless_asked<T>(&self, what: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            done = what => if self.stop.asked() { Err(interrupted()) } else { Ok(done) },
            () = self.stop.soft.cancelled() => Err(interrupted()),
        }
    }

    pub(super) async fn second_signal(&self) {
        self.stop.soft.cancelled().await;
        if let (Some(server), Some(signal)) = (lock(&self.at).clone(), self.stop.signal()) {
            let text =
                format!("{server}: interrupted by {signal}: it is left as it was found; once more stops at once");
            out::notice(&text);
        }
        self.stop.hard.cancelled().await;
    }

    /// Says what a second signal left.
    pub(super) fn cut_short(&self) -> u8 {
        if let Some(server) = lock(&self.at).clone() {
            let (status, restore) = (self.command("status", None), self.command("restore", Some(&server)));
            let detail = format!(
                "stopped at once: it may be out of its balancer, or in part: {status} shows it, {restore} puts it back"
            );
            out::notice(&format!("{server}: {detail}"));
            lock(&self.done).push(Done { server, ok: false, detail, left: true });
        }
        self.end(usize::MAX, 3)
    }

    /// A command to be run next, with the flags that pick this stack again.
    pub(super) fn command(&self, what: &str, server: Option<&ServerName>) -> String {
        let flags = Some(reporters::flags(self.global)).filter(|f| !f.is_empty()).map(|f| format!("{f} "));
        let server = server.map(|s| format!(" {s}")).unwrap_or_default();
        format!("`pitcrew {}lb {what}{server}`", flags.unwrap_or_default())
    }

    pub(super) fn begin(&self, server: &Server) {
        *lock(&self.at) = Some(server.name.clone());
    }

    pub(super) fn hear(&self, server: &Server, text: &str) {
        if !self.global.quiet && !self.global.json {
            out::notice(&format!("{}: {}", server.name, clean(&self.stack.redactor.text(text))));
        }
    }

    /// Says what became of a server. True: all went well.
    pub(super) fn said(&self, server: &Server, ended: Ended, detail: &str) -> bool {
        let ok = ended == Ended::Well;
        let detail = clean(&self.stack.redactor.text(detail));
        if !self.global.json && (!ok || !self.global.quiet) {
            out::notice(&format!("{}: {detail}", server.name));
        }
        lock(&self.done).push(Done { server: server.name.clone(), ok, detail, left: ended == Ended::Left });
        *lock(&self.at) = None;
        ok
    }

    /// Ends the verb: `asked` servers were named, and one that is as it was is exit code `bad`.
    pub(super) fn end(&self, asked: usize, bad: u8) -> u8 {
        let done = lock(&self.done);
        let good = done.iter().all(|d| d.ok);
        if self.global.json {
            let ok = good && done.len() == asked;
            out::result(&format!("{}\n", serde_json::json!({"ok": ok, "servers": *done})));
        }
        if done.iter().any(|d| d.left) {
            return 3;
        }
        match (good && done.len() == asked, self.stop.asked()) {
            (true, _) => 0,
            (false, true) => 130,
            (false, false) => bad,
        }
    }
}

/// How it ended for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As was asked.
    Well,
    /// It is as it was.
    Not,
    /// A person must look.
    Left,
}

/// Refuses where a run is at work.
pub(super) fn at_work(server: &ServerName, lock: &LockFacts) -> Result<(), Error> {
    if !lease::judge(lock).may_be_at_work() {
        return Ok(());
    }
    let told = held::locked(&lease::held(lock));
    Err(Error { kind: Kind::Locked, ..Error::usage(format!("{server} is {told}")) }
        .hint("a run puts its servers back itself; interrupt it with Ctrl-C, or wait for its end"))
}

/// Words servers that the stack does not have; the verb's own arguments named them, no flag.
fn unknown(problems: Vec<Problem>) -> Error {
    let what: Vec<&str> = problems.iter().map(|p| p.what.strip_prefix("--only: ").unwrap_or(&p.what)).collect();
    let mut hints: Vec<&str> = problems.iter().map(|p| p.hint.as_str()).collect();
    hints.dedup();
    hints.into_iter().fold(Error::usage(what.join("; ")), Error::hint)
}

fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") }
}

pub(super) fn told(error: &BalancerError) -> String {
    if error.is_stopped() {
        return "interrupted".to_owned();
    }
    let hint = error.hint();
    if hint.is_empty() { error.to_string() } else { format!("{error}; {hint}") }
}

pub(super) fn all_told(errors: &[BalancerError]) -> String {
    errors.iter().map(told).collect::<Vec<_>>().join("; also ")
}

/// All that is wrong with the balancers, as what ends the verb; unreachable where nothing else is.
pub(super) fn failed(errors: Vec<BalancerError>) -> Option<Error> {
    let unreachable = errors.iter().all(|e| e.is_unreachable());
    let mut hints: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for error in errors {
        let line = cause::reason(&Cause::from(error.clone()));
        if !lines.contains(&line) {
            lines.push(line);
        }
        let hint = clean(&error.hint());
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let text = lines.join("\n  ");
    let made = if unreachable { Error::unreachable(text) } else { Error::failed(text) };
    Some(hints.into_iter().fold(made, Error::hint))
}
