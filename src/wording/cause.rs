//! The words for causes: why a step failed, and what to do about it.
//!
//! It owns the words for every cause but the codes of refusals, which are `refusal`'s.

use super::{lock, refusal};
use crate::event::{Cause, Failure, Unhealthy};
use crate::name::ServerName;
use crate::text::clean::{clean, clean_lines, cut};
use crate::text::units::seconds;

/// Says in one line why something failed.
pub fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Exit { status: 126 } => "exit status 126: not executable".into(),
        Cause::Exit { status: 127 } => "exit status 127: command not found".into(),
        Cause::Exit { status } => format!("exit status {status}"),
        Cause::Signal { signal } => format!("ended by signal {}", clean(signal)),
        Cause::NoStatus => "it ended with status 0 before its end was reached: something on the server ended it".into(),
        Cause::Lost { detail } => with("the connection was lost", detail),
        Cause::Connect { detail, .. } if detail.starts_with("cannot ") => clean(detail),
        Cause::Connect { detail, .. } => with("cannot connect", detail),
        Cause::TimedOut { limit } => format!("ran longer than {} and was ended", seconds(*limit)),
        Cause::Refused { code, detail } => with(&refusal::sentence(code, detail), detail),
        Cause::Locked(held) => lock::locked(held),
        Cause::Unhealthy(unhealthy) => unhealthy_line(unhealthy),
        Cause::Balancer { at, member, detail, .. } => {
            let member = member.as_ref().map(|m| format!(", {}", clean(m))).unwrap_or_default();
            format!("balancer {}{member}: {}", clean(at), clean(detail))
        }
        Cause::Local { detail } => with("on this machine", detail),
        Cause::Source { detail, .. } => clean(detail),
        Cause::Interrupted => "the run was interrupted".into(),
        Cause::Abandoned => "given up because another server failed".into(),
    }
}

/// Tells whether two servers fail for one cause: what is said of them differs in their own names alone.
pub fn is_one(one: (&ServerName, &Failure), other: (&ServerName, &Failure)) -> bool {
    let bare = |(server, failure): (&ServerName, &Failure)| match &failure.cause {
        Cause::Connect { detail, hint } => Some([detail, hint].map(|text| text.replace(server.as_str(), "\0"))),
        _ => None,
    };
    one.1 == other.1 || (bare(one).is_some() && bare(one) == bare(other))
}

/// Says what to do about a cause, where that is known.
pub fn hint(cause: &Cause) -> Option<String> {
    let text = match cause {
        Cause::Exit { status: 127 } => {
            "commands run in a shell without your login profile: give the full path, or set PATH in [env]".into()
        }
        Cause::Exit { status: 137 } => OUT_OF_MEMORY.into(),
        Cause::Signal { signal } if signal == "KILL" => OUT_OF_MEMORY.into(),
        Cause::TimedOut { .. } => "raise the limit in [timeouts], if it may take so long".into(),
        Cause::Connect { hint, .. } | Cause::Balancer { hint, .. } | Cause::Source { hint, .. } => clean(hint),
        Cause::Refused { code, detail } => refusal::hint(code, detail).into(),
        Cause::Locked(held) => lock::hint(held),
        Cause::Unhealthy(unhealthy) => unhealthy_hint(unhealthy)?.into(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

const OUT_OF_MEMORY: &str = "the kernel may have killed it because memory ran out: see `dmesg` on the server";

/// Says all that is known of a failure, for use below a line that names the server and the step.
pub fn lines(failure: &Failure) -> Vec<String> {
    let mut lines = vec![reason(&failure.cause)];
    if let Some(command) = &failure.command {
        let mut command = clean_lines(command).into_iter();
        lines.extend(command.next().map(|first| format!("command: {first}")));
        lines.extend(command.map(|more| format!("         {more}")));
    }
    if let Cause::Unhealthy(unhealthy) = &failure.cause {
        lines.extend(dossier(unhealthy));
    }
    if !failure.tail.is_empty() {
        lines.push("last lines:".into());
        lines.extend(failure.tail.iter().map(|line| format!("  | {}", cut(&clean(line), TAIL_WIDTH))));
    }
    lines.extend(hint(&failure.cause).map(|hint| format!("hint: {hint}")));
    lines
}

fn unhealthy_line(u: &Unhealthy) -> String {
    let asked = clean(&u.asked);
    let times = if u.attempts == 1 { "once".to_owned() } else { format!("{} times", u.attempts) };
    match (&u.error, u.status) {
        (Some(error), Some(status)) => {
            format!("not healthy: asked {asked} {times}, last answer {status}: {}", clean(error))
        }
        (Some(error), None) => format!("not healthy: asked {asked} {times}, no answer: {}", clean(error)),
        (None, Some(status)) => format!("not healthy: asked {asked} {times}, last answer {status}"),
        (None, None) => format!("not healthy: asked {asked} {times}"),
    }
}

fn unhealthy_hint(u: &Unhealthy) -> Option<&'static str> {
    match u.status? {
        300..=399 => Some(
            "a redirect: set `path`, `host` or `scheme` in [health] to what the application answers by itself, or add 300-399 to `accept`",
        ),
        400 | 403 | 421 => Some("the application may refuse the Host header: set `host` in [health]"),
        404 => Some("set `path` in [health] to one that the application answers"),
        _ => None,
    }
}

/// Shows what the last answer of a health check held.
fn dossier(u: &Unhealthy) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(u.location.as_ref().map(|to| format!("location: {}", clean(to))));
    if !u.body.trim().is_empty() {
        lines.push("body:".into());
        lines.extend(clean_lines(&u.body).iter().take(BODY_LINES).map(|line| format!("  | {}", cut(line, BODY_WIDTH))));
    }
    lines
}

/// Characters of one of the last lines that are shown.
const TAIL_WIDTH: usize = 500;
/// The most lines of a body that are shown.
const BODY_LINES: usize = 12;
/// The most bytes of each of these lines.
const BODY_WIDTH: usize = 200;

fn with(what: &str, detail: &str) -> String {
    let detail = clean(detail.trim());
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
