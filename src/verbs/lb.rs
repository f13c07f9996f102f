//! `pitcrew lb status|drain|restore`: the balancer by hand, for what no deploy is about.
//!
//! Nothing here touches a server's releases or processes. A run's lock is respected, not taken: what is done here is done
//! in the balancer, and a run that begins meanwhile finds it there. Who takes a server out is noted on that server.

mod drain;
mod restore;
mod status;

use std::sync::Mutex;

use serde::Serialize;

use super::out;
use crate::balancer::{Balancer, BalancerError};
use crate::cli::{Global, Lb};
use crate::config::{self, Problem, Server};
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::event::{Cause, Failure};
use crate::facts::{Facts, LockFacts, TakenOut};
use crate::name::ServerName;
use crate::remote::{Owner, calls};
use crate::report::{Reporting, cause, clean::clean, held};
use crate::stack::reporters;
use crate::stack::survey::Execs;
use crate::stack::{self, Stack};
use crate::{lease, machine};

/// Carries out what is asked of the balancer.
///
/// # Errors
/// When there is none, when it cannot be reached, or when what is asked is refused.
pub async fn run(global: &Global, what: &Lb) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global).await?;
    let Some(balancer) = stack.balancer.clone() else {
        return Err(Error::usage("there is no [load_balancer] in the configuration"));
    };
    let owner = stack::owner(stack::command_line(), stack.config.timeouts.lease);
    let stop = Stop::default();
    // Nobody reports, but a signal must find somebody who takes back what is half done.
    let reporting = Reporting::start(owner.run.clone(), Vec::new());
    stop.listen(&reporting.emitter()).map_err(|e| Error::failed(format!("cannot listen for signals: {e}")))?;
    let by_hand = ByHand {
        global,
        stack: &stack,
        balancer: &balancer,
        owner: &owner,
        stop: &stop,
        done: Mutex::default(),
        at: Mutex::default(),
    };
    let work = async {
        match what {
            Lb::Status { select } => by_hand.status(select).await,
            Lb::Drain { servers, reason } => by_hand.drain(servers, reason.as_deref()).await,
            Lb::Restore { servers, force } => by_hand.restore(servers, *force).await,
        }
    };
    let end = tokio::select! {
        end = work => end,
        () = by_hand.second_signal() => Ok(by_hand.cut_short()),
    };
    tokio::select! {
        () = stack.close() => {}
        () = stop.hard.cancelled() => {}
    }
    end
}

/// What became of a server.
#[derive(Debug, Clone, Serialize)]
struct Done {
    server: ServerName,
    ok: bool,
    /// What there is to say of it.
    detail: String,
    /// It is neither as it was nor as was asked for.
    #[serde(skip)]
    left: bool,
}

struct ByHand<'a> {
    global: &'a Global,
    stack: &'a Stack,
    balancer: &'a Balancer,
    owner: &'a Owner,
    stop: &'a Stop,
    /// Servers that were dealt with.
    done: Mutex<Vec<Done>>,
    /// The one that is being dealt with.
    at: Mutex<Option<ServerName>>,
}

impl ByHand<'_> {
    /// The stack's servers that are behind the balancer, of those wanted.
    fn behind(&self, wanted: &[ServerName]) -> Vec<&Server> {
        self.stack.config.servers.iter().filter(|s| s.is_web() && wanted.contains(&s.name)).collect()
    }

    /// The servers that were named, and what all say; nobody else may be at work on the stack.
    async fn named(&self, names: &[String]) -> Result<(Vec<&Server>, Facts), Error> {
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
        if facts.servers.is_empty() && !facts.unreachable.is_empty() {
            out::notice("no server could be reached: whether a run is at work is not known");
        }
        Ok((servers, facts))
    }

    async fn note(&self, server: &Server, record: Option<&TakenOut>) -> Result<Option<LockFacts>, Failure> {
        let call = calls::aside(&self.stack.site(), &record.map(TakenOut::line).unwrap_or_default());
        let answers = self.stack.ask(&server.name, call, &self.stop.hard).await?;
        if !answers.iter().any(|a| a.key == "lock") {
            return Ok(None);
        }
        Ok(Some(machine::lock_held(&answers)))
    }

    /// Waits for something that changes nothing, or for a signal.
    async fn unless_asked<T>(&self, what: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            done = what => if self.stop.asked() { Err(interrupted()) } else { Ok(done) },
            () = self.stop.soft.cancelled() => Err(interrupted()),
        }
    }

    async fn second_signal(&self) {
        self.stop.soft.cancelled().await;
        if let (Some(server), Some(signal)) = (lock(&self.at).clone(), self.stop.signal()) {
            let text =
                format!("{server}: interrupted by {signal}: it is left as it was found; once more stops at once");
            out::notice(&text);
        }
        self.stop.hard.cancelled().await;
    }

    /// Says what a second signal left.
    fn cut_short(&self) -> u8 {
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
    fn command(&self, what: &str, server: Option<&ServerName>) -> String {
        let flags = Some(reporters::flags(self.global)).filter(|f| !f.is_empty()).map(|f| format!("{f} "));
        let server = server.map(|s| format!(" {s}")).unwrap_or_default();
        format!("`pitcrew {}lb {what}{server}`", flags.unwrap_or_default())
    }

    fn begin(&self, server: &Server) {
        *lock(&self.at) = Some(server.name.clone());
    }

    fn hear(&self, server: &Server, text: &str) {
        if !self.global.quiet && !self.global.json {
            out::notice(&format!("{}: {}", server.name, clean(&self.stack.redactor.text(text))));
        }
    }

    /// Says what became of a server. True: all went well.
    fn said(&self, server: &Server, ended: Ended, detail: &str) -> bool {
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
    fn end(&self, asked: usize, bad: u8) -> u8 {
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
enum Ended {
    /// As was asked.
    Well,
    /// It is as it was.
    Not,
    /// A person must look.
    Left,
}

/// Refuses where a run is at work.
fn at_work(server: &ServerName, lock: &LockFacts) -> Result<(), Error> {
    if !lease::judge(lock).may_be_at_work() {
        return Ok(());
    }
    let told = held::locked(&lease::held(lock));
    Err(Error { kind: Kind::Locked, ..Error::usage(format!("{server} is {told}")) }
        .hint("a run puts its servers back itself; interrupt it with Ctrl-C, or wait for its end"))
}

/// Servers that nobody knows; no flag named them.
fn unknown(problems: Vec<Problem>) -> Error {
    let what: Vec<&str> = problems.iter().map(|p| p.what.strip_prefix("--only: ").unwrap_or(&p.what)).collect();
    let mut hints: Vec<&str> = problems.iter().map(|p| p.hint.as_str()).collect();
    hints.dedup();
    hints.into_iter().fold(Error::usage(what.join("; ")), Error::hint)
}

fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") }
}

/// A lock held by a thread that panicked still guards whole values here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn told(error: &BalancerError) -> String {
    if error.is_stopped() {
        return "interrupted".to_owned();
    }
    let hint = error.hint();
    if hint.is_empty() { error.to_string() } else { format!("{error}; {hint}") }
}

fn all_told(errors: &[BalancerError]) -> String {
    errors.iter().map(told).collect::<Vec<_>>().join("; also ")
}

/// All that is wrong with the balancers, as what ends the verb; unreachable where nothing else is.
fn failed(errors: Vec<BalancerError>) -> Option<Error> {
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
