//! The commands that a person should run next, exact enough to be pasted.
//!
//! It owns which command mends which end of a run; it judges nothing.

use super::server::ServerState;
use super::state::{FailedStep, State};
use crate::event::{Cause, Outcome, Refusal, RunVerb, ServerEnd, StepName, Stuck};
use crate::name::ServerName;
use crate::policy::HERE;
use crate::text::units::names;

/// Lists the commands for a run that ended like this, in the order in which to run them.
pub fn commands(state: &State, outcome: Outcome, ends: &[ServerEnd]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    match outcome {
        Outcome::Interrupted if state.rolled_out().any(ServerState::is_new) => {
            commands.extend(again(state, outcome));
        }
        // There is nothing to mend; the summary names the failure, or the holder of the lock.
        Outcome::Deployed | Outcome::Unchanged | Outcome::Reverted | Outcome::Interrupted | Outcome::Locked => {}
        Outcome::Unreachable => {
            commands.push("pitcrew check".into());
            commands.extend(without(state));
        }
        Outcome::Mixed | Outcome::Stuck => {
            commands.push("pitcrew check".into());
            if ends.iter().any(|e| e.stuck == Some(Stuck::CurrentMoved)) {
                commands.push("pitcrew status".into());
            }
            if ends.iter().any(|e| e.stuck == Some(Stuck::BalancerDiffers)) {
                commands.push("pitcrew lb status".into());
            }
            commands.extend(ready(state, ends));
            commands.extend(unlock(state, ends));
            let absent = ends.iter().filter(|e| e.stuck == Some(Stuck::NotInFile));
            let absent: Vec<&str> = absent.map(|e| e.server.as_str()).collect();
            if !absent.is_empty() {
                commands.push(format!("pitcrew recover    # when the file names {} again", names(&absent, 3)));
            }
            let missed = if state.recovers() { missed(state) } else { Vec::new() };
            if !missed.is_empty() {
                commands.retain(|c| c != RECOVERS);
                commands.push(when_reached(&missed));
            } else if ends.iter().any(|e| !matches!(e.stuck, Some(Stuck::LockKept | Stuck::BalancerDiffers))) {
                commands.extend(again(state, outcome));
            }
        }
    }
    let with_flags = |c: String| {
        if c.starts_with("pitcrew ") { c.replace("pitcrew ", &format!("pitcrew {}", state.flags)) } else { c }
    };
    commands.into_iter().map(with_flags).collect()
}

/// The command that takes back what a run left.
const RECOVERS: &str = "pitcrew recover";

/// Returns `recover` where changes must be taken back, else `unlock` for the locks still held.
fn unlock(state: &State, ends: &[ServerEnd]) -> Vec<String> {
    let held: Vec<&ServerName> = state.servers().iter().filter(|s| s.locked).map(|s| &s.name).collect();
    if held.is_empty() {
        return Vec::new();
    }
    // `unlock` would refuse here: `recover` needs what the lock says.
    let begun =
        |e: &ServerEnd| matches!(e.stuck, Some(Stuck::UndoFailed { .. } | Stuck::OutOfBalancer | Stuck::CutShort));
    // Without an earlier release there is nothing that a recovery could return to.
    let without_past = |e: &ServerEnd| {
        let cause = |f: &FailedStep| matches!(f.failure.cause, Cause::Refused { code: Refusal::NothingToServe, .. });
        state.failures.iter().any(|f| f.server == e.server && cause(f))
    };
    let stuck = || ends.iter().filter(|e| e.stuck.as_ref().is_some_and(|stuck| *stuck != Stuck::LockKept));
    if stuck().next().is_some() && stuck().all(without_past) {
        return vec!["pitcrew unlock".into()];
    }
    if state.recovers() || ends.iter().any(begun) {
        return vec![RECOVERS.into()];
    }
    // Lost halfway: its lock does not say why it is kept, so that `unlock` takes the run for dead and refuses.
    let halfway = |name: &ServerName| state.server(name).is_some_and(|s| !s.is_old() && !s.is_new());
    let lost = missed(state).into_iter().filter(|name| halfway(name)).collect::<Vec<_>>();
    if !lost.is_empty() {
        return vec![when_reached(&lost)];
    }
    let all = ends.iter().all(|e| held.contains(&&e.server));
    let only = |name: &&ServerName| format!(" --only {name}");
    let unlock = format!("pitcrew unlock{}", if all { String::new() } else { held.iter().map(only).collect() });
    if ends.iter().any(|e| e.stuck == Some(Stuck::Held)) {
        // A deploy over what is held would take it for the old release.
        return vec![
            format!("{RECOVERS}    # takes it back"),
            format!("{unlock}    # instead, once it is mended by hand"),
        ];
    }
    vec![unlock]
}

/// Returns the servers that could not be reached, or were lost.
fn missed(state: &State) -> Vec<&ServerName> {
    state.servers().iter().filter(|s| s.lost && s.name.as_str() != HERE).map(|s| &s.name).collect()
}

fn when_reached(servers: &[&ServerName]) -> String {
    format!("{RECOVERS}    # when {} can be reached", listed(servers))
}

fn listed(servers: &[&ServerName]) -> String {
    names(&servers.iter().map(|s| s.as_str()).collect::<Vec<_>>(), 3)
}

/// Returns the command that goes on without servers that could not be reached, where others could be.
fn without(state: &State) -> Option<String> {
    let missed = missed(state);
    let planned = state.planned.as_ref()?;
    if planned.verb == RunVerb::Recover {
        return (!missed.is_empty()).then(|| when_reached(&missed));
    }
    // A balancer or the source that is out of reach cannot be skipped.
    let only_servers = state.failures.iter().filter(|f| !f.is_consequence()).all(|f| missed.contains(&&f.server));
    let some = state.rolled_out().any(|s| !s.lost);
    (only_servers && some)
        .then(|| format!("pitcrew {} --skip-unreachable    # leaves {} behind", planned.verb, listed(&missed)))
}

/// Returns the command that brings all servers to one release.
fn again(state: &State, outcome: Outcome) -> Vec<String> {
    let rolled_back = state.planned.as_ref().is_some_and(|p| p.verb == RunVerb::Rollback);
    if rolled_back {
        // Named: a rollback without a release looks for one that is older still.
        let release = state.planned.as_ref().map(|p| p.release.as_str()).unwrap_or_default();
        return vec![format!("pitcrew rollback {release}")];
    }
    let first = !state.planned.as_ref().is_some_and(|p| p.previous.iter().any(|(_, release)| release.is_some()));
    let all_new = state.rolled_out().all(ServerState::is_new);
    match outcome {
        // The release stands and a step after it failed: there is nothing to repeat.
        Outcome::Stuck if all_new => Vec::new(),
        _ if first => vec!["pitcrew deploy".into()],
        _ => vec!["pitcrew deploy    # or, to return to the old release: pitcrew rollback".into()],
    }
}

/// Returns commands that put members back by hand where only the balancer failed.
///
/// Their servers are proven good.
fn ready(state: &State, ends: &[ServerEnd]) -> Vec<String> {
    let out = |name: &ServerName| {
        ends.iter().any(|e| e.server == *name && e.stuck.is_some() && e.in_balancer != Some(true))
            && state.server(name).is_some_and(|s| !s.switch.stands() && !s.restart.stands() || is_proven(state, name))
    };
    let mut commands = Vec::new();
    for failed in state.failures.iter().filter(|f| out(&f.server)) {
        if let Cause::Balancer { at, member: Some(member), .. } = &failed.failure.cause {
            let by_hand = set_ready(at, member).or_else(|| through_api(at, &failed.server));
            commands.extend(by_hand.filter(|c| !commands.contains(c)));
        }
    }
    commands
}

/// Tells whether nothing but putting a server back failed on it: then its last check was good.
fn is_proven(state: &State, name: &ServerName) -> bool {
    let mut failures = state.failures.iter().filter(|f| f.server == *name).peekable();
    failures.peek().is_some()
        && failures.all(|f| match f.place {
            Some(_) => f.step == StepName::Restore,
            None => f.step == StepName::Drain,
        })
}

/// Returns a shell line for HAProxy's runtime API; `at` is the address as configured.
///
/// Management guide, "set server".
fn set_ready(at: &str, member: &str) -> Option<String> {
    // A person pastes this into a shell, so it holds nothing but names and paths, although both are configured.
    let plain = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "/._-@:[]".contains(c));
    // Without its backend it names no member.
    if !plain(at) || !plain(member) || !member.contains('/') {
        return None;
    }
    let say = format!("echo 'set server {member} state ready'");
    if let Some(path) = at.strip_prefix("unix://") {
        return Some(format!("{say} | socat stdio unix-connect:{path}"));
    }
    if let Some(address) = at.strip_prefix("tcp://") {
        return Some(format!("{say} | socat stdio tcp:{address}"));
    }
    let (host, path) = at.strip_prefix("ssh://")?.split_once('/')?;
    let (host, port) = match host.rsplit_once(':') {
        Some((h, p)) if !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) => (h, format!("-p {p} ")),
        _ => (host, String::new()),
    };
    let host = host.replace(['[', ']'], "");
    Some(format!("{say} | ssh {port}{host} socat stdio unix-connect:/{path}"))
}

/// Returns pitcrew's own command for a Data Plane API, since that wants a login.
fn through_api(at: &str, server: &ServerName) -> Option<String> {
    let http = at.starts_with("https://") || at.starts_with("http://");
    http.then(|| format!("pitcrew lb restore {server}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_data_plane_api_pitcrew_itself_puts_back() {
        let server = ServerName("web1".into());
        for at in ["https://lb1:5555", "http://lb1/v2"] {
            assert_eq!(set_ready(at, "shop/web1"), None);
            assert_eq!(through_api(at, &server).as_deref(), Some("pitcrew lb restore web1"));
        }
        assert_eq!(through_api("elb", &server), None);
    }

    #[test]
    fn a_member_is_put_back_by_hand_wherever_its_balancer_listens() {
        for (at, command) in [
            (
                "ssh://ops@lb1:2222/run/haproxy/admin.sock",
                "echo 'set server shop/web1 state ready' | ssh -p 2222 ops@lb1 socat stdio unix-connect:/run/haproxy/admin.sock",
            ),
            (
                "ssh://[::1]:22/run/h.sock",
                "echo 'set server shop/web1 state ready' | ssh -p 22 ::1 socat stdio unix-connect:/run/h.sock",
            ),
            ("unix:///run/h.sock", "echo 'set server shop/web1 state ready' | socat stdio unix-connect:/run/h.sock"),
            ("tcp://127.0.0.1:9999", "echo 'set server shop/web1 state ready' | socat stdio tcp:127.0.0.1:9999"),
        ] {
            assert_eq!(set_ready(at, "shop/web1").as_deref(), Some(command));
        }
    }

    #[test]
    fn nothing_that_a_shell_would_act_on_is_offered() {
        assert_eq!(set_ready("unix:///run/h.sock", "shop/web1';reboot;'"), None);
        assert_eq!(set_ready("unix:///run/$(id).sock", "shop/web1"), None);
    }
}
