//! Which release a rollback returns to.
//!
//! Pure.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::config::Server;
use crate::event::{Blocker, Cause, Refusal, StepName};
use crate::facts::{Facts, ServerFacts};
use crate::name::{ReleaseId, Revision, ServerName};
use crate::release::ReleaseState;
use crate::text::units::names;

/// Servers that a refusal names at most.
const NAMED: usize = 5;

/// A server of the run that could be asked.
type Known<'a> = (&'a ServerName, &'a ServerFacts);

/// Finds the release to return to.
///
/// It is the one that was asked for, or the newest good one that all servers hold. That one is older than the newest
/// current one. Where only some servers hold one, each of the others is a blocker.
pub(super) fn target(
    facts: &Facts,
    servers: &[&Server],
    asked: Option<&ReleaseId>,
    blockers: &mut Vec<Blocker>,
) -> (ReleaseId, Revision) {
    let known: Vec<Known<'_>> =
        servers.iter().filter_map(|s| facts.servers.get(&s.name).map(|f| (&s.name, f))).collect();
    if let Some(asked) = asked {
        return (asked.clone(), named(&known, asked, blockers));
    }
    if let Some(found) = held_by_most(&known) {
        let (with, without): (Vec<Known<'_>>, Vec<Known<'_>>) = known.iter().partition(|(_, f)| is_good(f, &found));
        let revision = with.iter().find_map(|(_, f)| f.releases.iter().find(|r| r.id == found)?.revision.clone());
        let revision = revision.unwrap_or_else(unknown);
        let lacks = lacking(&found, &with, &without, "");
        blockers.extend(without.iter().map(|(name, _)| refused(Some(name), Refusal::LacksRelease, lacks.clone())));
        return (found, revision);
    }
    if facts.unreachable.is_empty() || !known.is_empty() {
        let detail = "no release older than the current one is good on any server of the run".into();
        blockers.push(refused(None, Refusal::NoRollbackRelease, detail));
    }
    (ReleaseId::first(), unknown())
}

/// Looks at the release that was asked for, and returns its revision.
fn named(known: &[Known<'_>], asked: &ReleaseId, blockers: &mut Vec<Blocker>) -> Revision {
    let of = |f: &ServerFacts| f.releases.iter().find(|r| r.id == *asked).map(|r| (r.state, r.revision.clone()));
    let fits = |f: &ServerFacts| {
        let served = [ReleaseState::Good, ReleaseState::Foreign, ReleaseState::Reverted];
        of(f).is_some_and(|(state, _)| served.contains(&state))
    };
    let (with, without): (Vec<Known<'_>>, Vec<Known<'_>>) = known.iter().partition(|(_, f)| fits(f));
    blockers.extend(without.iter().map(|(name, f)| match of(f) {
        Some((state, _)) => refused(Some(name), Refusal::ReleaseNotGood, format!("{asked} is {state}")),
        None if with.is_empty() => {
            refused(Some(name), Refusal::ReleaseMissing, format!("{asked} is not on the server"))
        }
        None => refused(Some(name), Refusal::LacksRelease, lacking(asked, &with, &without, &format!(" {asked}"))),
    }));
    with.iter().find_map(|(_, f)| of(f)?.1).unwrap_or_else(unknown)
}

/// Finds the good release that most servers hold, of several the newest.
///
/// It is older than the newest current one, and of another revision where there is such a one: what was deployed twice is
/// not fled from by returning to the first time.
fn held_by_most(known: &[Known<'_>]) -> Option<ReleaseId> {
    let newest = known.iter().filter_map(|(_, f)| f.current.as_ref()).max()?;
    let older: BTreeSet<&ReleaseId> = known
        .iter()
        .flat_map(|(_, f)| f.releases.iter().map(|r| &r.id).filter(|id| *id < newest && is_good(f, id)))
        .collect();
    let holders = |id: &ReleaseId| known.iter().filter(|(_, f)| is_good(f, id)).count();
    let revision =
        |id: &ReleaseId| known.iter().find_map(|(_, f)| f.releases.iter().find(|r| r.id == *id)?.revision.clone());
    let fled = revision(newest);
    let same = |id: &ReleaseId| fled.is_some() && revision(id) == fled;
    older.into_iter().min_by_key(|id| (same(id), Reverse(holders(id)), Reverse(*id))).cloned()
}

fn unknown() -> Revision {
    Revision(String::new())
}

fn is_good(f: &ServerFacts, id: &ReleaseId) -> bool {
    f.releases.iter().any(|r| r.id == *id && matches!(r.state, ReleaseState::Good | ReleaseState::Foreign))
}

/// Says who holds the release, and how to return without those that do not.
///
/// `named` is how the release is asked for.
fn lacking(release: &ReleaseId, with: &[Known<'_>], without: &[Known<'_>], named: &str) -> String {
    let holders: Vec<&str> = with.iter().map(|(name, _)| name.as_str()).collect();
    let except: Vec<String> = without.iter().map(|(name, _)| format!(" --except {name}")).collect();
    format!(
        "{release}, which {} could return to with `pitcrew rollback{named}{}`",
        names(&holders, NAMED),
        except.concat()
    )
}

fn refused(server: Option<&ServerName>, code: Refusal, detail: String) -> Blocker {
    let failure = Cause::Refused { code, detail }.into();
    Blocker { server: server.cloned(), step: StepName::Switch, failure }
}
