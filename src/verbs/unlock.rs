//! `pitcrew unlock`: removes the lock that a dead run left behind.

use tokio_util::sync::CancellationToken;

use super::out;
use super::stack::{self, Stack};
use crate::cli::{Global, Select};
use crate::error::Error;
use crate::facts::LockFacts;
use crate::lease;
use crate::name::RunId;
use crate::remote::calls;
use crate::report::{cause, held};

/// Removes the stack's lock from every server, and says whose it was.
///
/// A holder that is alive on this machine keeps it, unless `force`. With `run`, only that run's lock is removed.
///
/// # Errors
/// When a server cannot be reached or a lock cannot be removed.
pub async fn run(global: &Global, select: &Select, force: bool, run: Option<&str>) -> Result<u8, Error> {
    let stack = Stack::prepare(stack::read(global)?, global)?;
    let never = CancellationToken::new();
    let wanted = stack.select(select)?;
    let (mut facts, _) = stack.facts(&never).await;
    facts.servers.retain(|s, _| wanted.contains(s));
    facts.unreachable.retain(|s, _| wanted.contains(s));
    let mut worst = None;
    let mut released = 0;
    for (server, failure) in &facts.unreachable {
        out::notice(&format!("{server}: {}", cause::reason(&failure.cause)));
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
            let told = held::locked(&lease::held(lock));
            return Err(Error {
                kind: crate::error::Kind::Locked,
                ..Error::usage(format!("{server} is {told}, and that run is alive"))
            }
            .hint("interrupt that run (Ctrl-C, or kill -INT), and it takes back what it did")
            .hint("--force removes its lock all the same"));
        }
        match stack.ask(server, calls::unlock(&stack.site(), &RunId(holder)), &never).await {
            Ok(_) => {
                released += 1;
                if !global.quiet {
                    out::notice(&format!("{server}: unlocked; it was {}", held::locked(&lease::held(lock))));
                }
            }
            Err(failure) => {
                out::notice(&format!("{server}: {}", cause::lines(&failure).join("\n  ")));
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

/// Tells whether the run that holds the lock is a live process of this machine.
fn alive_here(lock: &LockFacts) -> bool {
    let here = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
    let pid = lock.owner.get("pid").and_then(|p| p.parse().ok()).map(nix::unistd::Pid::from_raw);
    lock.owner.get("host") == Some(&here)
        && pid.is_some_and(|p| p.as_raw() > 0 && nix::sys::signal::kill(p, None) != Err(nix::errno::Errno::ESRCH))
}
