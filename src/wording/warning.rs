//! The words for warnings, and which warnings break the silence of `-q`.

use super::cause::reason;
use super::finding;
use super::lock::locked;
use super::step::undo;
use crate::event::{Failure, Fate, Flight, StepName, Stuck, TakenBy, Warning};
use crate::name::{ReleaseId, Revision, ServerName};
use crate::text::clean::clean;
use crate::text::units::{as_seconds, bytes, count, days, long, names, seconds};

/// Servers left out of a run that are named at most.
const LEFT_OUT: usize = 5;

/// Says why `--if-changed` leaves a revision alone, and how to deploy it all the same.
fn fled(revision: &Revision, release: &ReleaseId, on: &ServerName, how: Flight) -> String {
    let how = match how {
        Flight::Failed => "failed there",
        Flight::RolledBack => "was rolled back from",
        Flight::Unbuilt => "could not be built or migrated",
    };
    let short = revision.short();
    format!(
        "{short} is left alone: release {release} of it {how} ({on}); `pitcrew deploy {short}` deploys it all the same"
    )
}

/// Says what a warning warns of.
pub fn sentence(warning: &Warning) -> String {
    match warning {
        Warning::SerialAdvised => "this run carries migrations: --serial is advised for them".into(),
        Warning::StaysOn { servers, release } => stays_on(servers, release),
        Warning::Finding(found) => finding::sentence(found),
        Warning::StaysInTraffic => STAYS_IN_TRAFFIC.into(),
        Warning::NoHealthCheck => NO_HEALTH_CHECK.into(),
        Warning::ReleaseKept { release, why } => format!("old release {release} stays: {}", clean(why)),
        Warning::Fled { revision, release, on, how } => fled(revision, release, on, *how),
        Warning::Quiet { step, seconds: silent, last_line } => {
            format!("{step} has printed nothing for {}{}", whole(*silent), last(last_line))
        }
        Warning::DrainIncomplete { open, waited } => drain_incomplete(*open, *waited),
        Warning::WaitsForBalancer { seconds: all, batches } => waits_for_balancer(*all, *batches),
        Warning::BalancerDiffers { member, was, now } => {
            format!("{} was {} in its balancer before the run, and is now: {}", clean(member), clean(was), clean(now))
        }
        Warning::FoundOut { member, state, by, .. } => {
            let by = by.as_ref().map(|by| format!("; taken out {}", taken_by(by))).unwrap_or_default();
            format!("{} was {} before the run came to it, and is left so{by}", clean(member), clean(state))
        }
        Warning::CurrentMoved { current } => {
            format!("`current` was moved from outside the run after its server's turn: it is {} now", clean(current))
        }
        Warning::CurrentGone { on, target } => {
            format!("`current` on {on} points to {}, which is not there any more; it is made anew", clean(target))
        }
        Warning::ClockSkew { of, seconds } => clock_skew(of, *seconds),
        Warning::Hook { command, failure } => format!("hook `{}` failed: {}", clean(command), reason(&failure.cause)),
        Warning::Prune { failure } => with(UNFINISHED, &reason(&failure.cause)),
        Warning::OutputDropped { lines } => {
            format!("{lines} lines of output were left out: they came faster than they could be shown")
        }
        Warning::OutputLeftOut { step, lines, bytes } => left_out(*step, *lines, *bytes),
        Warning::Waited { seconds: waited, held } => {
            format!("waited {} for the lock: it was {}", long(*waited), locked(held))
        }
        Warning::NotRenewed { seconds: silent, lease, failure } => {
            let (silent, lease, why) = (long(*silent), long(*lease), reason(&failure.cause));
            format!("the lock could not be renewed for {silent}; after {lease} others take this run for dead: {why}")
        }
        Warning::LockLost { detail } => with("the lock is gone, and nothing more is done here", detail),
        Warning::Interrupted { signal, again } => interrupted(signal, *again),
        Warning::Stuck { stuck: why } => format!("needs a person: {}", stuck(why)),
        Warning::ReturnsTo { release, seconds, who, migrated } => {
            format!("release {release}{}{}{}", age(*seconds), deployed_by(who.as_deref()), migrations(migrated))
        }
        Warning::Lost { step, detail } => {
            format!("the connection was lost during {step} ({}); asking the server what became of it", clean(detail))
        }
        Warning::Found { step, fate } => format!("{step} {}", became(*fate)),
        Warning::DrainWaits { detail } => with("the drain waits for others to be in service", detail),
        Warning::DrainUncounted { waited } => {
            format!("still drained after {}; the balancer does not count its open connections", seconds(*waited))
        }
        Warning::DrainedAgain => "a reload or another hand put it back into its balancer; it is drained again".into(),
        Warning::NotCompared { detail } => with("the balancer could not be asked how it stands after the run", detail),
        Warning::NotLocked { .. } | Warning::LeftUnlocked { .. } | Warning::StillLocked { .. } => unlocked(warning),
        Warning::LockKept { servers } => format!("the lock is kept, since a person must look at {}", all(servers)),
        Warning::LockUnmarked { detail } => with("its lock does not say why it is kept", detail),
        Warning::TreeUnusable { detail } => {
            with("the whole release is sent, since its cached tree cannot be used", detail)
        }
        Warning::ModesLost => "its file system does not keep the permissions that the release was sent with".into(),
        Warning::MayNotFit { of, free_kb, root, current_kb } => may_not_fit(of, *free_kb, root, *current_kb),
        Warning::WouldSend { what } => format!("would be sent: {}", clean(what)),
        Warning::WaitedForMembers { seconds } => format!("waited {} for members to be in service", long(*seconds)),
        Warning::BalancerUnusable { detail } => format!("{}; this run drains no server, so it goes on", clean(detail)),
        Warning::StrangeAddress { .. } | Warning::AlsoSentTo { .. } | Warning::InSomeBackends { .. } => member(warning),
        Warning::NotHealthy { release, failure } => not_healthy(release, failure),
        Warning::Absent { .. } => absent(warning),
        Warning::NoAgent { detail } => no_agent(detail),
        Warning::NotMasked { names } => not_masked(names),
        Warning::PlanDiffers { on, undecided } => plan_differs(on, *undecided),
        Warning::NoLog { detail } => with("there is no log of this run", detail),
        Warning::LogBroken { directory, detail } => with(&format!("cannot write the run's log in {directory}"), detail),
        Warning::Note { text } => clean(text),
    }
}

const UNFINISHED: &str = "how the run ended could not be noted, or old releases could not be removed";
const NO_HEALTH_CHECK: &str = "there is no [health]: nothing but the list of processes proves the new release";
const STAYS_IN_TRAFFIC: &str =
    "there is no [load_balancer]: servers stay in traffic while they are switched and restarted";

fn with(what: &str, detail: &str) -> String {
    format!("{}: {}", clean(what), clean(detail))
}

fn all(servers: &[ServerName]) -> String {
    servers.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ")
}

fn interrupted(signal: &str, again: bool) -> String {
    let what = match again {
        true => ", again: stopping at once; the end says what was not taken back",
        false => ": taking back what is in flight; once more stops at once",
    };
    format!("interrupted ({}){what}", clean(signal))
}

fn may_not_fit(server: &ServerName, free: u64, root: &str, taken: u64) -> String {
    let free = format!("{server}: {free} KB are free in {}", clean(root));
    format!("{free}, and the release that runs takes {taken} KB: the next may not fit")
}

/// Says which servers a run leaves out, and on which release.
fn stays_on(servers: &[ServerName], release: &ReleaseId) -> String {
    let verb = if servers.len() == 1 { "stays" } else { "stay" };
    let left: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
    format!("this run leaves out {}, which {verb} on release {release}", clean(&names(&left, LEFT_OUT)))
}

/// Says why a lock is not this run's.
fn unlocked(warning: &Warning) -> String {
    let listed = |servers: &[ServerName]| {
        let servers: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
        clean(&names(&servers, LEFT_OUT))
    };
    match warning {
        Warning::NotLocked { servers } => format!(
            "this run leaves out {}, which could not be asked and is not locked: `pitcrew check` says why",
            listed(servers)
        ),
        Warning::LeftUnlocked { of, why } => format!("{of} is left out, and is not locked: {}", clean(why)),
        Warning::StillLocked { servers } => format!(
            "{} still names another holder of its lock, however often that is taken over: leave it out of the file, and look \
             who writes there",
            listed(servers)
        ),
        _ => String::new(),
    }
}

/// Says what a person should know of a server's places in its balancer.
fn member(warning: &Warning) -> String {
    match warning {
        Warning::StrangeAddress { of, member, address, own } => format!(
            "{} is {}, which is none of {of}'s addresses ({}): if it is another host, correct `lb` in [[servers]] or \
             haproxy.cfg; if addresses are translated, set check_addresses = false in [load_balancer]",
            clean(member),
            clean(address),
            clean(own)
        ),
        Warning::AlsoSentTo { of, at, places } => format!(
            "{of} also gets traffic as {} on {}, where no run drains it: add the backend to `backends` in \
             [load_balancer], or the name to `lb` in [[servers]]",
            clean(&places.join(", ")),
            clean(at)
        ),
        Warning::InSomeBackends { of, at, has, lacks } => format!(
            "{of} is in {} on {}, and not in {}: it is drained where it is",
            clean(&has.join(", ")),
            clean(at),
            clean(&lacks.join(", "))
        ),
        _ => String::new(),
    }
}

fn drain_incomplete(open: u64, waited: f64) -> String {
    let open = count(usize::try_from(open).unwrap_or(usize::MAX), "connection");
    format!("{open} still open after {} of draining", seconds(waited))
}

fn waits_for_balancer(all: u64, batches: usize) -> String {
    let batches = if batches == 1 { "1 batch".to_owned() } else { format!("{batches} batches") };
    format!("waiting for the balancer to follow takes {} in all, for {batches}", whole(all))
}

fn not_healthy(release: &ReleaseId, failure: &Failure) -> String {
    format!("release {release} fails its health check: {}", reason(&failure.cause))
}

/// Says that a server of a dead run is not in the file, and what is to be done about it.
fn absent(warning: &Warning) -> String {
    let Warning::Absent { run, command, at, now, out } = warning else { return String::new() };
    let here = match now {
        Some(now) => format!("the file has {} under that name now", clean(now)),
        None => "the file does not name it".to_owned(),
    };
    let out: String = out.iter().map(|out| format!("; its balancer has it out: {}", clean(out))).collect();
    let began = match command.trim() {
        "" => String::new(),
        command => format!(" (it began as `{}`)", clean(command)),
    };
    format!(
        "at {}, it is a server of run {run}{began}, and {here}: it is not recovered, and may be locked and half \
         switched{out}. Write it into [[servers]] again, or name that run's file or profile, and run `pitcrew \
         recover`; if it is gone for good, nothing is to be done there",
        clean(at)
    )
}

fn no_agent(detail: &str) -> String {
    format!(
        "the agent is to be lent to the servers, and none runs here ({}): they fetch with the keys that they have. \
         Start one (`eval $(ssh-agent)`, `ssh-add`), or set deploy_key in [source]",
        clean(detail)
    )
}

fn clock_skew(of: &ServerName, skew: i64) -> String {
    let side = if skew >= 0 { "ahead of" } else { "behind" };
    format!("the clock of {of} is {} {side} this machine's", whole(skew.unsigned_abs()))
}

fn left_out(step: StepName, lines: u64, size: u64) -> String {
    format!("{step} printed so much that {lines} lines of it ({}) were left out here", bytes(size))
}

fn plan_differs(on: &[ServerName], undecided: bool) -> String {
    let on: Vec<&str> = on.iter().map(ServerName::as_str).collect();
    let on = names(&on, LEFT_OUT);
    if undecided {
        return format!("{on} keep plans of the dead run that differ, none of them on most: nothing is taken back");
    }
    format!("the dead run's plan was changed on {on}: what the other servers have of it is followed")
}

fn not_masked(secrets: &[String]) -> String {
    let said = match secrets.len() {
        1 => "is too short to be masked: output and logs may show it",
        _ => "are too short to be masked: output and logs may show them",
    };
    format!("{} of [secrets] {said}", names(secrets, LEFT_OUT))
}

fn last(line: &str) -> String {
    if line.trim().is_empty() { String::new() } else { format!("; its last line: {}", clean(line)) }
}

fn age(seconds: Option<u64>) -> String {
    seconds.map(|age| format!(", {} old", days(age))).unwrap_or_default()
}

fn deployed_by(who: Option<&str>) -> String {
    who.map(|who| format!(", deployed by {}", clean(who))).unwrap_or_default()
}

fn migrations(migrated: &[ReleaseId]) -> String {
    let releases: Vec<&str> = migrated.iter().map(ReleaseId::as_str).collect();
    if releases.is_empty() {
        return String::new();
    }
    format!("; migrations have run since, with {}: they are not undone", names(&releases, 3))
}

fn became(fate: Fate) -> &'static str {
    match fate {
        Fate::Done => "had ended well: going on",
        Fate::Failed => "had ended, and failed",
        Fate::Unfinished => "had begun and never ended",
        Fate::Again => "is run again",
    }
}

/// Spells a duration of whole seconds as other durations are.
fn whole(duration: u64) -> String {
    seconds(as_seconds(duration))
}

/// Tells whether `-q` shows a warning; it hides those that come with every run.
pub fn needs_reading(warning: &Warning) -> bool {
    match warning {
        Warning::Finding(found) => found.needs_reading(),
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
        | Warning::DrainWaits { .. }
        | Warning::DrainUncounted { .. }
        | Warning::DrainedAgain
        | Warning::NotCompared { .. }
        | Warning::LockKept { .. }
        | Warning::StillLocked { .. }
        | Warning::LockUnmarked { .. }
        | Warning::TreeUnusable { .. }
        | Warning::ModesLost
        | Warning::MayNotFit { .. }
        | Warning::WouldSend { .. }
        | Warning::WaitedForMembers { .. }
        | Warning::BalancerUnusable { .. }
        | Warning::StrangeAddress { .. }
        | Warning::AlsoSentTo { .. }
        | Warning::NotHealthy { .. }
        | Warning::Absent { .. }
        | Warning::NoAgent { .. }
        | Warning::NotMasked { .. }
        | Warning::PlanDiffers { .. }
        | Warning::NoLog { .. }
        | Warning::LogBroken { .. }
        | Warning::Note { .. }
        | Warning::Lost { .. }
        | Warning::Found { .. }
        | Warning::Interrupted { .. } => true,
        Warning::SerialAdvised
        | Warning::StaysOn { .. }
        | Warning::NotLocked { .. }
        | Warning::LeftUnlocked { .. }
        | Warning::StaysInTraffic
        | Warning::NoHealthCheck
        | Warning::InSomeBackends { .. }
        | Warning::WaitsForBalancer { .. }
        | Warning::Fled { .. }
        | Warning::ReleaseKept { .. }
        | Warning::Quiet { .. }
        | Warning::Waited { .. }
        | Warning::ReturnsTo { .. }
        | Warning::DrainIncomplete { .. }
        | Warning::OutputDropped { .. }
        | Warning::OutputLeftOut { .. } => false,
    }
}

/// Says who took a server out by hand, as the end of "taken out".
pub fn taken_by(by: &TakenBy) -> String {
    let who = match (by.who.trim(), by.host.trim()) {
        ("", "") => String::new(),
        (one, "") | ("", one) => format!(" by {}", clean(one)),
        (who, host) => format!(" by {}@{}", clean(who), clean(host)),
    };
    let since = Some(clean(by.since.trim())).filter(|s| !s.is_empty()).map(|s| format!(" at {s}")).unwrap_or_default();
    let reason = by.reason.as_deref().map(|r| clean(r.trim())).filter(|r| !r.is_empty());
    format!("by hand{who}{since}{}", reason.map(|r| format!(": {r}")).unwrap_or_default())
}

/// Says why a server needs a person.
pub fn stuck(stuck: &Stuck) -> String {
    match stuck {
        Stuck::Held => "held as it failed".into(),
        Stuck::UndoFailed { step } => format!("could not {}", undo(*step)),
        Stuck::OutOfBalancer => "out of its balancer".into(),
        Stuck::BalancerDiffers => "not in its balancer as before".into(),
        Stuck::CurrentMoved => "`current` was moved from outside the run".into(),
        Stuck::LockKept => "its lock is kept".into(),
        Stuck::Unreachable => "could not be reached".into(),
        Stuck::NotInFile => "not in the file, so it was not recovered".into(),
        Stuck::CutShort => "cut short".into(),
    }
}
