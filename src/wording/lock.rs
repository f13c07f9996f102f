//! The words for a lock that another run holds: its holder, its state, and what to do about it.
//!
//! It owns the wording alone; [`crate::lease`] judges the state.

use crate::lease::Held;
use crate::lease::Standing;
use crate::text::clean::clean;
use crate::text::units::long;

/// Says who holds the lock, since when and for what, and in which state it is.
pub fn locked(held: &Held) -> String {
    let get = |key: &str| held.owner.get(key).map(|v| clean(v)).filter(|v| !v.trim().is_empty());
    let frozen = matches!(held.standing, Some(Standing::Frozen { .. } | Standing::Expired));
    let done = if frozen { "frozen" } else { "locked" };
    let mut text = match (get("who"), get("host")) {
        (Some(who), Some(host)) => format!("{done} by {who}@{host}"),
        (Some(one), None) | (None, Some(one)) => format!("{done} by {one}"),
        (None, None) if frozen => "frozen".into(),
        (None, None) => "locked by another run".into(),
    };
    if let (Some(pid), false) = (get("pid"), frozen) {
        text.push_str(&format!(", process {pid}"));
    }
    text.extend(get("since").map(|since| format!(", since {since}")));
    if !frozen {
        text.extend(get("command").map(|command| format!(", running `{command}`")));
        text.extend(get("run").map(|run| format!(" (run {run})")));
        text.extend(held.phase.as_ref().map(|phase| format!(", in {}", clean(phase))));
    }
    text.push_str(&state(held));
    text
}

/// Says in which state a lock is, as the end of a sentence.
fn state(held: &Held) -> String {
    match &held.standing {
        Some(Standing::Frozen { reason, left }) => {
            let until = left.map_or("until `pitcrew unlock`".into(), |left| format!("for another {}", long(left)));
            format!(", {until}{}", after(": ", reason))
        }
        Some(Standing::Expired) => "; its time is over".into(),
        Some(Standing::Stuck { reason }) => format!("; that run has ended and keeps it{}", after(": ", reason)),
        Some(Standing::Dead { .. }) => "; that process has ended and left it behind".into(),
        Some(Standing::Silent { age, lease }) => {
            format!("; no sign of life for {}, and its lease is {}", long(*age), long(*lease))
        }
        Some(Standing::Unowned { age }) => {
            let age = age.map(|age| format!("; it is {} old", long(age))).unwrap_or_default();
            format!(", but the lock does not say whose it is{age}")
        }
        Some(Standing::AliveHere { .. }) => format!("; that process is alive on this machine{}", sign(held.age)),
        Some(Standing::Renewed { .. } | Standing::Unknown) | None => match held.age {
            Some(age) => format!("; last sign of life {} ago", long(age)),
            None => String::new(),
        },
    }
}

/// Says what to do about a held lock.
pub fn hint(held: &Held) -> String {
    const WAIT: &str = "wait for it, or run this again with --wait-lock 10m";
    let get = |key: &str| held.owner.get(key).map(|v| clean(v)).filter(|v| !v.trim().is_empty());
    match &held.standing {
        Some(Standing::Frozen { left: None, .. }) => "`pitcrew unlock` ends the freeze".into(),
        Some(Standing::Frozen { .. }) => "wait until then; `pitcrew unlock` ends it now".into(),
        Some(Standing::Expired) => "`pitcrew unlock` removes it, and so does the next deploy".into(),
        Some(Standing::Stuck { .. }) => {
            "look at what it names; `pitcrew recover` takes back its changes; once they are mended by hand, run `pitcrew unlock`"
                .into()
        }
        Some(Standing::Dead { .. }) => "run `pitcrew recover`: it takes back that run's changes and releases its lock".into(),
        Some(Standing::Silent { .. }) => match (get("pid"), get("host")) {
            (Some(pid), Some(host)) => format!(
                "that run is dead, or cut off from the server: if `ps -p {pid}` on {host} shows no pitcrew, run `pitcrew recover`"
            ),
            _ => "that run is dead, or cut off from the server: if it is dead, run `pitcrew recover`".into(),
        },
        Some(standing @ Standing::Unowned { .. }) if standing.is_left_behind() => {
            "its holder ended before it wrote its name: `pitcrew unlock` removes it".into()
        }
        Some(Standing::Unknown) => {
            "wait for it; if that run is dead, `pitcrew recover --force` takes back its changes".into()
        }
        _ => WAIT.into(),
    }
}

/// Returns a text behind a mark, or nothing for an empty text.
fn after(mark: &str, text: &str) -> String {
    let text = clean(text.trim());
    if text.is_empty() { String::new() } else { format!("{mark}{text}") }
}

/// Says when a lock was last renewed, as the end of a sentence.
fn sign(age: Option<u64>) -> String {
    age.map(|age| format!(", last sign of life {} ago", long(age))).unwrap_or_default()
}
