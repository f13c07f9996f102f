//! `pitcrew lb status|drain|restore`: the balancer by hand, for what no deploy is about.
//!
//! Nothing here touches a server's releases or processes. A run's lock is respected, not taken: what is done here is done
//! in the balancer, and a run that begins meanwhile finds it there. Who takes a server out is noted on that server.

mod status;

use std::sync::Mutex;

use serde::Serialize;

use super::stack::{self, Stack};
use super::{out, rollout, taken};
use crate::balancer::{Admin, Balancer, BalancerError, Draining, MemberFacts, Snapshot};
use crate::cli::{Global, Lb};
use crate::config::{self, Server};
use crate::engine::Stop;
use crate::error::{Error, Kind};
use crate::event::{Cause, Failure, TakenBy};
use crate::facts::{self, Facts, LockFacts, TakenOut};
use crate::name::ServerName;
use crate::remote::{Owner, calls};
use crate::report::{Reporting, cause, clean::clean, held};
use crate::{lease, machine};

/// Carries out what is asked of the balancer.
///
/// # Errors
/// When there is none, when it cannot be reached, or when what is asked is refused.
pub async fn run(global: &Global, what: &Lb) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global)?;
    let Some(balancer) = stack.balancer.clone() else {
        return Err(Error::usage("there is no [load_balancer] in the configuration"));
    };
    let owner = stack::owner(rollout::command_line(), stack.config.timeouts.lease);
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
    async fn drain(&self, names: &[String], reason: Option<&str>) -> Result<u8, Error> {
        let (servers, facts) = self.named(names).await?;
        let lb_names: Vec<String> = servers.iter().map(|s| s.lb.clone()).collect();
        // Everything that is wrong is said before the first is taken out.
        let (_, errors) = self.unless_asked(self.balancer.survey(&lb_names)).await?;
        if let Some(error) = failed(errors) {
            return Err(error.hint("nobody was taken out: all balancers must be told"));
        }
        for server in &servers {
            // What could not be done for one is no reason to take out the next.
            if self.stop.asked() || !self.take_out(server, &facts, reason).await? {
                break;
            }
        }
        Ok(self.end(servers.len(), 1))
    }

    /// Takes one server out. False: it was not, and why has been said.
    async fn take_out(&self, server: &Server, facts: &Facts, reason: Option<&str>) -> Result<bool, Error> {
        self.begin(server);
        let own = facts.servers.get(&server.name);
        let found = match self.balancer.facts(std::slice::from_ref(&server.lb)).await {
            Ok(members) => Snapshot { members },
            Err(errors) => return Ok(self.said(server, Ended::Not, &all_told(&errors))),
        };
        if !found.was_in() {
            let by = own.and_then(taken::who).map(|by| format!(" (taken out {by})")).unwrap_or_default();
            return Ok(self.said(server, Ended::Well, &format!("was out already{by}, and is left as it is")));
        }
        let by = TakenBy {
            who: self.owner.who.clone(),
            host: self.owner.host.clone(),
            since: self.owner.since.clone(),
            reason: reason.map(str::to_owned),
        };
        let record = TakenOut { by, found: facts::before(own, &found.members) };
        self.note_out(server, &record).await?;
        let mut last = None;
        let mut on = |heard: Draining| {
            if last.as_ref() != Some(&heard) {
                match &heard {
                    Draining::Open(open) => self.hear(server, &format!("{open} connections open")),
                    Draining::Waiting(why) => self.hear(server, &format!("waits for others to be in service: {why}")),
                }
            }
            last = Some(heard);
        };
        match self.balancer.drain(&server.lb, &found, &mut on, &self.stop.soft).await {
            Ok(drained) => {
                let text = match drained.left {
                    Some(0) => "is out, and has no connections left".to_owned(),
                    Some(open) => format!("is out, with {open} connections left"),
                    None => "is out; how many connections are left is not known".to_owned(),
                };
                Ok(self.said(server, Ended::Well, &text))
            }
            Err(error) => Ok(self.not_taken_out(server, &found, own.and_then(|o| o.taken_out.as_ref()), &error).await),
        }
    }

    /// Says where a server is whose drain failed; always false.
    async fn not_taken_out(
        &self,
        server: &Server,
        found: &Snapshot,
        before: Option<&TakenOut>,
        error: &BalancerError,
    ) -> bool {
        let (now, unknown) = self.balancer.survey(std::slice::from_ref(&server.lb)).await;
        let was_in = found.members.iter().filter(|m| m.admin == Admin::Ready);
        let back = was_in.clone().all(|was| now.iter().any(|n| same(n, was) && n.admin == Admin::Ready));
        if back && unknown.is_empty() {
            let _ = self.note(server, before).await;
            return self.said(server, Ended::Not, &format!("{}; it is in its balancer as before", told(error)));
        }
        let text = format!("{}; it may be out: `pitcrew lb restore {}` puts it back", told(error), server.name);
        self.said(server, Ended::Left, &text)
    }

    async fn restore(&self, names: &[String], force: bool) -> Result<u8, Error> {
        let (servers, facts) = self.named(names).await?;
        let lb_names: Vec<String> = servers.iter().map(|s| s.lb.clone()).collect();
        for server in &servers {
            let taken = facts.servers.get(&server.name).and_then(|own| own.taken_out.as_ref());
            self.balancer.recall(taken.map(|t| t.found.as_slice()).unwrap_or_default());
        }
        let (members, errors) = self.unless_asked(self.balancer.survey(&lb_names)).await?;
        if let (true, Some(error)) = (members.is_empty(), failed(errors)) {
            return Err(error);
        }
        for server in &servers {
            if self.stop.asked() {
                break;
            }
            self.put_back(server, &facts, force).await;
        }
        Ok(self.end(servers.len(), 3))
    }

    /// Puts one server back as it was found by whoever took it out; in service, where nobody wrote that down.
    async fn put_back(&self, server: &Server, facts: &Facts, force: bool) -> bool {
        self.begin(server);
        if !force && let Err(why) = self.healthy(server).await {
            let text = format!("is not put back: {why}; --force puts it back all the same");
            return self.said(server, Ended::Not, &text);
        }
        let own = facts.servers.get(&server.name);
        let (now, mut errors) = self.balancer.survey(std::slice::from_ref(&server.lb)).await;
        let mut found = Snapshot { members: facts::before(own, &now) };
        let recorded = own.is_some_and(|own| own.taken_out.is_some());
        if !(recorded && found.was_in()) {
            found.members.iter_mut().for_each(|m| m.admin = Admin::Ready);
        }
        let stays: Vec<String> = found.members.iter().filter(|m| m.admin != Admin::Ready).map(place).collect();
        let in_service = |m: &MemberFacts| m.admin == Admin::Ready && m.in_service;
        let all_in = stays.is_empty() && now.iter().all(in_service) && !now.is_empty() && errors.is_empty();
        if !all_in && !found.members.is_empty() {
            let mut on = |text: String| self.hear(server, &text);
            if let Err(error) = self.balancer.restore(&server.lb, &found, &mut on, &self.stop.soft).await {
                // What could not be asked before could not be told now.
                errors.retain(|e| e.at != error.at);
                errors.insert(0, error);
            }
        }
        if !errors.is_empty() {
            return self.not_put_back(server, &now, &errors).await;
        }
        if let Err(failure) = self.note(server, None).await {
            let why = cause::reason(&failure.cause);
            self.hear(server, &format!("who took it out could not be removed from it: {why}"));
        }
        let text = match (all_in, stays.is_empty()) {
            (true, _) => "is in service".to_owned(),
            (false, true) => "is back in service".to_owned(),
            (false, false) => format!(
                "is back in service, but for {}, where it was out before; `pitcrew lb restore` once more puts it in there",
                stays.join(", ")
            ),
        };
        self.said(server, Ended::Well, &text)
    }

    /// Says where a server is whose way back failed; always false.
    async fn not_put_back(&self, server: &Server, was: &[MemberFacts], errors: &[BalancerError]) -> bool {
        if !self.stop.asked() {
            return self.said(server, Ended::Left, &all_told(errors));
        }
        let (now, unknown) = self.balancer.survey(std::slice::from_ref(&server.lb)).await;
        let as_before = now.iter().all(|n| was.iter().any(|w| same(w, n) && w.admin == n.admin));
        if as_before && unknown.is_empty() {
            return self.said(server, Ended::Not, "interrupted; it is out of its balancer as before");
        }
        self.said(server, Ended::Left, "interrupted on its way back; `pitcrew lb status` shows where it is")
    }

    /// The stack's servers that are behind the balancer, of those wanted.
    fn behind(&self, wanted: &[ServerName]) -> Vec<&Server> {
        self.stack.config.servers.iter().filter(|s| s.is_web() && wanted.contains(&s.name)).collect()
    }

    /// The servers that were named, and what all say; nobody else may be at work on the stack.
    async fn named(&self, names: &[String]) -> Result<(Vec<&Server>, Facts), Error> {
        let wanted = config::select::select(&self.stack.config.servers, names, &[])?;
        let servers = self.behind(&wanted);
        if let Some(other) = wanted.iter().find(|w| !servers.iter().any(|s| s.name == **w)) {
            return Err(Error::usage(format!("{other} does not have the role \"web\", and is in no balancer")));
        }
        // Who cannot be reached may be the very reason; the lock is on every server of the stack.
        let facts = self.unless_asked(self.stack.servers(&self.stop.soft)).await?;
        for (server, found) in &facts.servers {
            found.lock.as_ref().map_or(Ok(()), |lock| at_work(server, lock))?;
        }
        if facts.servers.is_empty() && !facts.unreachable.is_empty() {
            out::notice("no server could be reached: whether a run is at work is not known");
        }
        Ok((servers, facts))
    }

    /// Notes on the server who takes it out; a run may have begun since it was asked.
    async fn note_out(&self, server: &Server, record: &TakenOut) -> Result<(), Error> {
        match self.note(server, Some(record)).await {
            Ok(Some(lock)) => {
                let locked = at_work(&server.name, &lock);
                if locked.is_err() {
                    let _ = self.note(server, None).await;
                }
                locked
            }
            Ok(None) => Ok(()),
            Err(failure) => {
                // It may be taken out since nobody reaches it.
                let why = cause::reason(&failure.cause);
                out::notice(&format!("{}: `lb status` will not say who took it out: {}", server.name, clean(&why)));
                Ok(())
            }
        }
    }

    async fn note(&self, server: &Server, record: Option<&TakenOut>) -> Result<Option<LockFacts>, Failure> {
        let call = calls::aside(&self.stack.site(), record);
        let answers = self.stack.ask(&server.name, call, &self.stop.hard).await?;
        if !answers.iter().any(|a| a.key == "lock") {
            return Ok(None);
        }
        let mut lock = LockFacts::read(&answers);
        lock.seen = machine::look(&lock.owner);
        Ok(Some(lock))
    }

    /// Asks a server for its health, as a deploy would.
    async fn healthy(&self, server: &Server) -> Result<(), String> {
        let Some(health) = &self.stack.config.health else {
            out::notice(&format!("{}: there is no [health], so only the balancer judges it", server.name));
            return Ok(());
        };
        match super::status::asked(self.stack, server, health, &self.stop.soft).await {
            None => Err("it could not be asked for its health".to_owned()),
            Some(Ok(())) => Ok(()),
            Some(Err(_)) if self.stop.asked() => Err("interrupted".to_owned()),
            Some(Err(why)) => Err(format!("it fails its health check: {}", clean(&why))),
        }
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
            let detail = format!(
                "stopped at once: it may be out of its balancer, or in part: `pitcrew lb status` shows it, \
                 `pitcrew lb restore {server}` puts it back"
            );
            out::notice(&format!("{server}: {detail}"));
            lock(&self.done).push(Done { server, ok: false, detail, left: true });
        }
        self.end(usize::MAX, 3)
    }

    fn begin(&self, server: &Server) {
        *lock(&self.at) = Some(server.name.clone());
    }

    fn hear(&self, server: &Server, text: &str) {
        if !self.global.quiet && !self.global.json {
            out::notice(&format!("{}: {}", server.name, clean(text)));
        }
    }

    /// Says what became of a server. True: all went well.
    fn said(&self, server: &Server, ended: Ended, detail: &str) -> bool {
        let ok = ended == Ended::Well;
        let detail = clean(detail);
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

fn interrupted() -> Error {
    Error { kind: Kind::Interrupted, ..Error::failed("interrupted; nothing was changed") }
}

fn same(a: &MemberFacts, b: &MemberFacts) -> bool {
    (&a.at, &a.backend, &a.member) == (&b.at, &b.backend, &b.member)
}

fn place(member: &MemberFacts) -> String {
    let backend = if member.backend.is_empty() { String::new() } else { format!("{}/", member.backend) };
    format!("{backend}{} on {}", member.member, member.at)
}

/// A lock held by a thread that panicked still guards whole values here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn told(error: &BalancerError) -> String {
    if error.stopped {
        return "interrupted".to_owned();
    }
    if error.hint.is_empty() { error.to_string() } else { format!("{error}; {}", error.hint) }
}

fn all_told(errors: &[BalancerError]) -> String {
    errors.iter().map(told).collect::<Vec<_>>().join("; also ")
}

/// All that is wrong with the balancers, as what ends the verb; unreachable where nothing else is.
fn failed(errors: Vec<BalancerError>) -> Option<Error> {
    let unreachable = errors.iter().all(|e| e.unreachable);
    let mut hints: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for error in errors {
        let line = cause::reason(&Cause::from(error.clone()));
        if !lines.contains(&line) {
            lines.push(line);
        }
        let hint = clean(&error.hint);
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
