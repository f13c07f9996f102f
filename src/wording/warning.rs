//! The wording of single things: durations, the strategy, warnings, steps and outcomes.
//!
//! All wording lies here, in `cause` (why something failed) and in `summary` (how a run ended). Nothing here decides.

pub use super::cause;
pub use super::clean::{clean, clean_lines, cut};
use super::held;
pub use super::scrub::Redactor;
use crate::config::Strategy;
use crate::event::{
    Cause, DecidedBy, Fate, Outcome, Planned, Progress, Sent, ServerEnd, StepName, Stuck, TakenBy, Warning,
};
use crate::name::ReleaseId;
use crate::outcome::state::{Failed, HERE, State};

/// Says how long something took: `0.02s`, `42s`, `3m 05s`, `1h 02m`.
pub fn seconds(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    if seconds < 9.995 {
        return format!("{seconds:.2}s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, positive and rounded")]
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Says how many bytes: `812 B`, `3.4 MB`.
pub fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let exact = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", exact / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", exact / 1e6),
        _ => format!("{:.1} GB", exact / 1e9),
    }
}

/// Says what a transfer sent: `3 files, 4.1 kB of 1.3 MB`.
pub fn sent(sent: Sent) -> String {
    let Sent { bytes: done, whole, files, removed } = sent;
    match (files, removed.unwrap_or(0)) {
        (None, _) => bytes(done),
        (Some(_), _) if done == 0 => format!("nothing of {}", bytes(whole)),
        (Some(files), 0) => format!("{}, {} of {}", count(files as usize, "file"), bytes(done), bytes(whole)),
        (Some(files), removed) => {
            format!("{}, {removed} removed, {} of {}", count(files as usize, "file"), bytes(done), bytes(whole))
        }
    }
}

/// Counts things: `1 server`, `3 servers`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Says an age: `5 days`, below two days as [`seconds`] does.
fn days(age: u64) -> String {
    if age < 2 * 86_400 { seconds(as_seconds(age)) } else { count(usize::try_from(age / 86_400).unwrap_or(0), "day") }
}

/// Lists names, at most `most` of them: `web1, web2 and 3 more`.
pub fn names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most.max(1)).map(AsRef::as_ref).collect();
    let left = names.len() - shown.len();
    if left == 0 { shown.join(", ") } else { format!("{} and {left} more", shown.join(", ")) }
}

/// Says which strategy, and who decided it: `parallel (unicorn's default)`, `serial (--serial)`, `serial (pitcrew.toml)`.
pub fn strategy(strategy: Strategy, by: DecidedBy, web_server: &str) -> String {
    match by {
        DecidedBy::Template => format!("{strategy} ({web_server}'s default)"),
        DecidedBy::File => format!("{strategy} (pitcrew.toml)"),
        DecidedBy::Flag => format!("{strategy} (--{strategy})"),
    }
}

/// Says what a run will do, in one line.
pub fn planned(planned: &Planned) -> String {
    let servers = planned.batches.iter().map(Vec::len).sum();
    let to = if planned.verb == "rollback" { "to" } else { "release" };
    // Of a source that cannot be used nobody knows one.
    let revision = match planned.revision.short() {
        "" => String::new(),
        short => format!(" ({short})"),
    };
    format!("{}: {} {to} {}{revision} on {}", planned.app, planned.verb, planned.release, count(servers, "server"))
}

/// Says what taking a step back does; the events name the step.
pub fn undo(step: StepName) -> &'static str {
    match step {
        StepName::Lock => "unlock",
        StepName::Transfer | StepName::Link | StepName::Build => "remove the prepared release",
        StepName::Drain => "put back into the balancer",
        StepName::Switch => "switch back",
        StepName::Restart => "restart on the old release",
        StepName::Check => "prove the old release",
        StepName::Restore => "take out of the balancer again",
        StepName::Connect | StepName::Migrate | StepName::Prune | StepName::Unlock | StepName::Hook => "take back",
    }
}

/// Says how far a step is.
pub fn progress(progress: Progress) -> String {
    match progress {
        Progress::Bytes { done, total } => format!("{} of {}", bytes(done), bytes(total)),
        Progress::Sessions { open } => format!("{open} connection{} left", if open == 1 { "" } else { "s" }),
        Progress::Attempts { good, needed, asked } => {
            format!("{good} of {needed} good answers in a row, asked {}", count(asked as usize, "time"))
        }
    }
}

/// Says what a warning warns of.
pub fn warning(warning: &Warning) -> String {
    match warning {
        Warning::SerialAdvised => "this run carries migrations: --serial is advised for them".into(),
        Warning::StaysInTraffic => {
            "there is no [load_balancer]: servers stay in traffic while they are switched and restarted".into()
        }
        Warning::NoHealthCheck => {
            "there is no [health]: nothing but the list of processes proves the new release".into()
        }
        Warning::Quiet { step, seconds: silent, last_line } if last_line.trim().is_empty() => {
            format!("{step} has printed nothing for {}", seconds(as_seconds(*silent)))
        }
        Warning::Quiet { step, seconds: silent, last_line } => {
            format!(
                "{step} has printed nothing for {}; its last line: {}",
                seconds(as_seconds(*silent)),
                clean(last_line)
            )
        }
        Warning::DrainIncomplete { open, waited } => format!(
            "{} still open after {} of draining",
            count(usize::try_from(*open).unwrap_or(usize::MAX), "connection"),
            seconds(*waited)
        ),
        Warning::WaitsForBalancer { seconds: all, batches } => format!(
            "waiting for the balancer to follow takes {} in all, for {}",
            seconds(as_seconds(*all)),
            if *batches == 1 { "1 batch".to_owned() } else { format!("{batches} batches") }
        ),
        Warning::BalancerDiffers { member, was, now } => {
            format!("{} was {} in its balancer before the run, and is now: {}", clean(member), clean(was), clean(now))
        }
        Warning::FoundOut { member, state, by, .. } => {
            let by = by.as_ref().map(|by| format!("; taken out {}", taken_by(by))).unwrap_or_default();
            format!("{} was {} before the run came to it, and is left so{by}", clean(member), clean(state))
        }
        Warning::CurrentMoved { current } => {
            format!("somebody has moved `current` since its turn: it is {} now", clean(current))
        }
        Warning::CurrentGone { on, target } => {
            format!("`current` on {on} points to {}, which is not there any more; it is made anew", clean(target))
        }
        Warning::ClockSkew { of, seconds: skew } => format!(
            "the clock of {of} is {} {} this machine's",
            seconds(as_seconds(skew.unsigned_abs())),
            if *skew >= 0 { "ahead of" } else { "behind" }
        ),
        Warning::Hook { command, failure } => {
            format!("hook `{}` failed: {}", clean(command), cause::reason(&failure.cause))
        }
        Warning::Prune { failure } => format!("old releases could not be removed: {}", cause::reason(&failure.cause)),
        Warning::OutputDropped { lines } => {
            format!("{lines} lines of output were left out: they came faster than they could be shown")
        }
        Warning::Waited { seconds: waited, held } => {
            format!("waited {} for the lock: it was {}", held::long(*waited), held::locked(held))
        }
        Warning::NotRenewed { seconds: silent, lease, failure } => format!(
            "the lock could not be renewed for {}; after {} others take this run for dead: {}",
            held::long(*silent),
            held::long(*lease),
            cause::reason(&failure.cause)
        ),
        Warning::LockLost { detail } => {
            format!("the lock is gone, and nothing more is done here: {}", clean(detail))
        }
        Warning::Interrupted { signal, again: true } => {
            format!("{}, again: stopping at once; what is left is said at the end", signal_name(signal))
        }
        Warning::Interrupted { signal, again: false } => {
            format!("{}: taking back what is in flight; once more stops at once", signal_name(signal))
        }
        Warning::Stuck { stuck: why } => format!("needs a person: {}", stuck(why)),
        Warning::ReturnsTo { release, seconds: age, who, migrated } => {
            let age = age.map(|age| format!(", {} old", days(age))).unwrap_or_default();
            let who = who.as_ref().map(|who| format!(", deployed by {}", clean(who))).unwrap_or_default();
            let migrated: Vec<&str> = migrated.iter().map(ReleaseId::as_str).collect();
            let since = match migrated.as_slice() {
                [] => String::new(),
                all => format!("; migrations have run since, with {}: they are not undone", names(all, 3)),
            };
            format!("release {release}{age}{who}{since}")
        }
        Warning::Lost { step, detail } => {
            format!("the connection was lost during {step} ({}); asking the server what became of it", clean(detail))
        }
        Warning::Found { step, fate } => match fate {
            Fate::Done => format!("{step} had ended well: going on"),
            Fate::Failed => format!("{step} had ended, and failed"),
            Fate::Unfinished => format!("{step} had begun and never ended"),
            Fate::Again => format!("{step} is run again"),
        },
        Warning::Note { text } => clean(text),
    }
}

/// Tells whether a warning is worth breaking the silence of `-q`: what is so on every run is not.
pub fn needs_reading(warning: &Warning) -> bool {
    match warning {
        Warning::FoundOut { .. }
        | Warning::BalancerDiffers { .. }
        | Warning::CurrentMoved { .. }
        | Warning::CurrentGone { .. }
        | Warning::ClockSkew { .. }
        | Warning::Hook { .. }
        | Warning::Prune { .. }
        | Warning::NotRenewed { .. }
        | Warning::LockLost { .. }
        | Warning::Stuck { .. }
        | Warning::Note { .. }
        | Warning::Lost { .. }
        | Warning::Found { .. }
        | Warning::Interrupted { .. } => true,
        Warning::SerialAdvised
        | Warning::StaysInTraffic
        | Warning::NoHealthCheck
        | Warning::WaitsForBalancer { .. }
        | Warning::Quiet { .. }
        | Warning::Waited { .. }
        | Warning::ReturnsTo { .. }
        | Warning::DrainIncomplete { .. }
        | Warning::OutputDropped { .. } => false,
    }
}

/// Says who took a server out by hand, as the end of "taken out …".
pub fn taken_by(by: &TakenBy) -> String {
    let whose = match (by.who.trim(), by.host.trim()) {
        ("", "") => "somebody".to_owned(),
        (one, "") | ("", one) => clean(one),
        (who, host) => format!("{}@{}", clean(who), clean(host)),
    };
    let since = Some(clean(by.since.trim())).filter(|s| !s.is_empty()).map(|s| format!(" at {s}")).unwrap_or_default();
    let reason = by.reason.as_deref().map(|r| clean(r.trim())).filter(|r| !r.is_empty());
    format!("by hand by {whose}{since}{}", reason.map(|r| format!(": {r}")).unwrap_or_default())
}

/// Says why a server needs a person.
pub fn stuck(stuck: &Stuck) -> String {
    match stuck {
        Stuck::Held => "held as it failed".into(),
        Stuck::UndoFailed { step } => format!("could not {}", undo(*step)),
        Stuck::OutOfBalancer => "out of its balancer".into(),
        Stuck::BalancerDiffers => "not in its balancer as before".into(),
        Stuck::CurrentMoved => "`current` was moved by somebody else".into(),
        Stuck::LockKept => "its lock is kept".into(),
        Stuck::Unreachable => "could not be reached".into(),
        Stuck::CutShort => "cut short".into(),
    }
}

/// Says how a run ended, in one sentence.
pub fn outcome(state: &State) -> String {
    let Some(finished) = &state.finished else { return "the run has not ended".into() };
    let app = state.planned.as_ref().map_or("pitcrew", |p| p.app.as_str());
    let took = seconds(finished.seconds);
    let touched = state.rolled_out().any(crate::outcome::server::Server::touched);
    let text = match finished.outcome {
        Outcome::Deployed if state.recovers() => format!("recovered in {took}; every server serves the new release"),
        Outcome::Reverted if state.recovers() && finished.exit_code == 0 => {
            format!("recovered in {took}; every server is on its old release")
        }
        Outcome::Mixed if state.recovers() => {
            format!("recovered in {took}; what was in flight was taken back, and servers are on different releases")
        }
        Outcome::Unchanged if state.recovers() => format!("recovered in {took}; nothing had been switched"),
        Outcome::Deployed => match &state.planned {
            Some(p) => {
                let done = if p.verb == "rollback" { "rolled back to" } else { "deployed" };
                let on = count(finished.servers.len(), "server");
                format!("{done} {} ({}) on {on} in {took}", p.release, p.revision.short())
            }
            None => format!("deployed in {took}"),
        },
        Outcome::Unchanged => "nothing to do".into(),
        Outcome::Reverted if touched => format!("failed after {took}; every server is back on its old release"),
        Outcome::Reverted => format!("failed after {took}; nothing was switched"),
        Outcome::Mixed => format!("servers are on different releases, after {took}"),
        Outcome::Stuck => {
            let of = |locked: bool| {
                let wanted = move |s: &&ServerEnd| s.stuck.as_ref().is_some_and(|w| (*w == Stuck::LockKept) == locked);
                finished.servers.iter().filter(wanted).map(|s| s.server.as_str()).collect::<Vec<_>>()
            };
            // A lock that is kept for the sake of others is no trouble of its own.
            let stuck = if of(false).is_empty() { of(true) } else { of(false) };
            match stuck.as_slice() {
                [] => format!("the release stands, but a step after it failed; {took}"),
                [one] => format!("{one} needs a person, after {took}"),
                many => format!("{} servers need a person, after {took}: {}", many.len(), names(many, 8)),
            }
        }
        Outcome::Locked if state.is_frozen() => "deploys are frozen; nothing was changed".into(),
        Outcome::Locked => "locked by another run; nothing was changed".into(),
        Outcome::Unreachable => {
            let mut whom: Vec<String> = state.failures.iter().filter(|f| !f.is_consequence()).map(unreached).collect();
            whom.dedup();
            let whom: Vec<&str> = whom.iter().map(String::as_str).collect();
            format!("could not reach {}; nothing was changed", names(&whom, 8))
        }
        Outcome::Interrupted if touched => {
            let kept = state.rolled_out().filter(|s| s.is_new()).count();
            match kept {
                0 => format!("interrupted after {took}; everything was taken back"),
                n => format!(
                    "interrupted after {took}; what was in flight was taken back, and {n} of {} keep the new release",
                    count(state.rolled_out().count(), "server")
                ),
            }
        }
        Outcome::Interrupted if state.rolled_out().all(|s| s.busy == 0.0) => {
            format!("interrupted after {took}; nothing was changed")
        }
        Outcome::Interrupted => format!("interrupted after {took}; nothing was switched"),
    };
    format!("{}: {text}", clean(app))
}

/// Who it was that could not be reached: on this machine, a balancer or the source.
fn unreached(failed: &Failed) -> String {
    match &failed.failure.cause {
        Cause::Balancer { at, .. } => format!("the balancer {}", clean(at)),
        _ if failed.server.as_str() == HERE => "the source".to_owned(),
        _ => failed.server.0.clone(),
    }
}

fn signal_name(signal: &str) -> String {
    if signal == "INT" { "interrupted (INT)".into() } else { format!("interrupted ({})", clean(signal)) }
}

#[expect(clippy::cast_precision_loss, reason = "a duration in whole seconds, shown to the minute")]
fn as_seconds(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_durations() {
        for (given, shown) in [
            (0.0, "0.00s"),
            (0.024, "0.02s"),
            (9.99, "9.99s"),
            (9.999, "10s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (185.0, "3m 05s"),
            (3599.9, "1h 00m"),
            (3720.0, "1h 02m"),
            (-1.0, "0.00s"),
            (f64::NAN, "0.00s"),
        ] {
            assert_eq!(seconds(given), shown, "{given}");
        }
    }

    #[test]
    fn sizes_and_lists() {
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(3_400_000), "3.4 MB");
        assert_eq!(names(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(names(&["a", "b"], 2), "a, b");
        assert_eq!(count(1, "server"), "1 server");
    }
}
