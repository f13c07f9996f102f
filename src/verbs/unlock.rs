//! `pitcrew unlock`: removes the lock that a dead run left behind.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::out;
use super::stack::{self, Stack};
use crate::cli::Global;
use crate::engine::remote::{Ear, Execution, execute};
use crate::engine::step::SHORT;
use crate::error::Error;
use crate::facts::LockFacts;
use crate::name::{RunId, ServerName};
use crate::remote::calls;
use crate::report::text;

/// Removes the stack's lock from every server, and says whose it was.
///
/// A holder that is alive on this machine keeps it, unless `force`. With `run`, only that run's lock is removed.
///
/// # Errors
/// When a server cannot be reached or a lock cannot be removed.
pub async fn run(global: &Global, force: bool, run: Option<&str>) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global)?;
    let never = CancellationToken::new();
    let (facts, _) = stack.facts(&never).await;
    let mut worst = None;
    let mut released = 0;
    for (server, failure) in &facts.unreachable {
        out::notice(&format!("{server}: {}", text::cause(&failure.cause)));
        worst = Some(Error::unreachable("not every server could be reached").hint("run it again when they are back"));
    }
    for (server, found) in &facts.servers {
        let Some(lock) = &found.lock else { continue };
        let holder = lock.owner.get("run").cloned().unwrap_or_default();
        if run.is_some_and(|r| r != holder) {
            continue;
        }
        if !force && alive_here(lock) {
            stack.close().await;
            let told = text::lock_owner(lock);
            return Err(Error { kind: crate::error::Kind::Locked, ..Error::usage(format!("{server} is locked by a run that is alive: {told}")) }
                .hint("interrupt that run (Ctrl-C, or kill -INT), and it takes back what it did")
                .hint("--force removes its lock all the same"));
        }
        match remove(&stack, server, &RunId(holder), &never).await {
            Ok(()) => {
                released += 1;
                if !global.quiet {
                    out::notice(&format!("{server}: unlocked; it was held by {}", text::lock_owner(lock)));
                }
            }
            Err(what) => {
                out::notice(&format!("{server}: {what}"));
                worst = Some(Error::failed("not every lock could be removed"));
            }
        }
    }
    if released == 0 && worst.is_none() && !global.quiet {
        out::notice("no server is locked");
    }
    stack.close().await;
    worst.map_or(Ok(0), Err)
}

async fn remove(
    stack: &Stack,
    server: &ServerName,
    run: &RunId,
    stop: &CancellationToken,
) -> Result<(), String> {
    let Some(link) = stack.links.get(server) else { return Ok(()) };
    let execution = Execution {
        call: calls::unlock(&stack.site(), run),
        payload: None,
        limit: Some(SHORT),
        quiet: Duration::ZERO,
        command: None,
        stop,
    };
    let ear = Ear { emitter: None, redactor: &stack.redactor };
    execute(link, execution, ear).await.map(drop).map_err(|f| text::failure(&f).join("\n  "))
}

/// Tells whether the run that holds the lock is a live process of this machine.
fn alive_here(lock: &LockFacts) -> bool {
    let here = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
    let pid = lock.owner.get("pid").and_then(|p| p.parse().ok()).map(nix::unistd::Pid::from_raw);
    lock.owner.get("host") == Some(&here)
        && pid.is_some_and(|p| p.as_raw() > 0 && nix::sys::signal::kill(p, None) != Err(nix::errno::Errno::ESRCH))
}
