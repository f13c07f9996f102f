//! The words for warnings, and which of them break the silence of `-q`.

use super::cause;
use super::lock::locked;
use super::step::undo;
use crate::event::{Fate, Stuck, TakenBy, Warning};
use crate::name::ReleaseId;
use crate::text::clean::clean;
use crate::text::units::{as_seconds, count, days, long, names, seconds};

/// Says what a warning warns of.
pub fn sentence(warning: &Warning) -> String {
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
            format!("waited {} for the lock: it was {}", long(*waited), locked(held))
        }
        Warning::NotRenewed { seconds: silent, lease, failure } => format!(
            "the lock could not be renewed for {}; after {} others take this run for dead: {}",
            long(*silent),
            long(*lease),
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

fn signal_name(signal: &str) -> String {
    if signal == "INT" { "interrupted (INT)".into() } else { format!("interrupted ({})", clean(signal)) }
}
