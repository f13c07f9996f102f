//! What is true before a run: answers of the read-only probe, one value per server.
//!
//! Pure: it parses what `remote/probe.sh` printed and knows nothing of how the answers travelled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::balancer::{Admin, MemberFacts, Snapshot};
use crate::event::{TakenBy, Writers};
use crate::lease::LockFacts;
use crate::name::{ReleaseId, Revision, ServerName};
use crate::release::{Adopted, ReleaseState};

/// All that was asked before deciding.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Every server that answered.
    pub servers: BTreeMap<ServerName, ServerFacts>,
    /// Every server that did not, and why.
    pub unreachable: BTreeMap<ServerName, crate::event::Failure>,
    /// What the balancers say of the members this stack drains.
    pub members: Vec<MemberFacts>,
}

/// Ends the mark of a server that a run left behind and out of its balancer.
pub const DRAINED: &str = " drained";

/// What a server keeps of having been taken out of its balancer by hand.
///
/// It is one line of JSON in `.pitcrew/drained`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TakenOut {
    /// By whom.
    #[serde(flatten)]
    pub by: TakenBy,
    /// How it was found in its balancers: what putting it back restores.
    #[serde(default)]
    pub found: Vec<MemberFacts>,
}

impl TakenOut {
    /// Writes it as one line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// How a server stood in its balancers before pitcrew took it out.
///
/// That is `now`, but where the server is out because of pitcrew. A place with no record stays as it is now.
pub fn before(own: Option<&ServerFacts>, now: &[MemberFacts]) -> Vec<MemberFacts> {
    let recorded = own.and_then(|own| own.taken_out.as_ref()).map(|taken| taken.found.as_slice()).unwrap_or_default();
    let was = |now: &MemberFacts| match recorded.iter().find(|r| r.is_there(now)) {
        _ if now.admin == Admin::Ready => now.clone(),
        Some(recorded) => recorded.clone(),
        None => own.map_or_else(|| now.clone(), |own| own.before_left(now)),
    };
    let gone = recorded.iter().filter(|r| !now.iter().any(|n| n.is_there(r)));
    now.iter().map(was).chain(gone.cloned()).collect()
}

/// What one server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `deploy_to` as an absolute path.
    pub root: String,
    /// The stack that the directory belongs to, as its `.pitcrew/stack` says.
    pub stack: Option<String>,
    /// Addresses that are the server's: its own, and what its name in the file resolves to here.
    pub addresses: Vec<IpAddr>,
    /// What tells this directory from every other: the machine's boot, the file system, the inode.
    pub place: Option<String>,
    /// Login user.
    pub user: String,
    /// Seconds since the epoch by the server's clock.
    pub time: i64,
    /// Seconds by which that clock is ahead of this machine's, where it was compared.
    pub ahead: Option<i64>,
    /// What `current` points to, when it is a release.
    pub current: Option<ReleaseId>,
    /// What `current` is when it is something else: a link elsewhere, a directory.
    pub current_odd: Option<String>,
    /// The directory of another tool that `current` points to; a run makes a release of it.
    pub adopts: Option<Adopted>,
    /// Where `current` points to when that is the place of a release that is not there any more.
    pub current_gone: Option<String>,
    /// Releases found, oldest first.
    pub releases: Vec<ReleaseFacts>,
    /// The lock, if one is held.
    pub lock: Option<LockFacts>,
    /// Free kilobytes where releases go.
    pub free_kb: Option<u64>,
    /// Free inodes there.
    pub free_inodes: Option<u64>,
    /// Kilobytes that the current release takes, if cheap to know.
    pub current_kb: Option<u64>,
    /// Why nothing can be written there; `None`: it can.
    pub not_writable: Option<String>,
    /// Linked files that do not exist in `shared/`.
    pub missing_files: Vec<String>,
    /// Tools that are not on the PATH.
    pub missing_tools: Vec<String>,
    /// Processes of the web server that run.
    pub processes: Vec<ProcessFacts>,
    /// What listens on the port of the health check, where no process of the web server is found.
    pub listener: Option<PortHolder>,
    /// The last revision that could not be built or migrated there, and its release.
    pub unbuilt: Option<(Revision, ReleaseId)>,
    /// What could not be removed, or cannot be, from `deploy_to`.
    pub left: Vec<String>,
    /// Directories that others than the login and root may write in.
    pub exposed: Vec<Exposed>,
    /// Files of `[shared]` that hold secrets, as their names tell, and that every user there may read.
    pub readable: Vec<String>,
    /// What the web server's template tells of a restart there.
    pub web: Vec<WebFact>,
    /// An earlier run left this server behind: that run's id.
    pub behind: Option<String>,
    /// An operator took it out of its balancer by hand, and has not put it back with `pitcrew lb restore`.
    pub taken_out: Option<TakenOut>,
    /// The release before the current one: what pruning spares.
    pub previous: Option<ReleaseId>,
    /// Entries of `releases/` that are no releases: pitcrew leaves them alone.
    pub unknown: u64,
    /// The lock's journal, oldest line first.
    ///
    /// A line holds seconds since the epoch, the script, and what it was about to change.
    pub journal: Vec<String>,
    /// How the run that left the server drained had found it in its balancers.
    pub found: Vec<MemberFacts>,
    /// There is no `/proc`, so no restart can be proven.
    pub no_proc: bool,
    /// It can unpack zstd; otherwise releases are sent with gzip.
    pub zstd: bool,
    /// The tree that was pushed last, where it is kept.
    pub cache: Option<CacheFacts>,
}

/// A tree that a server keeps: what the next one is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFacts {
    /// The digest of its listing.
    pub tree: String,
    /// Kilobytes that it takes; 0 when that was not written down.
    pub kb: u64,
}

/// A release directory on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// Its name.
    pub id: ReleaseId,
    /// The first line of its REVISION file.
    pub revision: Option<Revision>,
    /// What pitcrew wrote of it.
    pub state: ReleaseState,
}

/// A directory that others than the login and root may write in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its place below `deploy_to`; `.`: that itself.
    pub path: String,
    /// Who may.
    pub to: Writers,
}

impl Exposed {
    /// Reads what the probe says: `everyone PLACE`, or the owner's number and the place.
    pub fn read(value: &str) -> Option<Self> {
        let (to, path) = value.split_once(' ')?;
        let to = if to == "everyone" { Writers::Everyone } else { Writers::Owner(to.parse().ok()?) };
        Some(Self { path: one_line(path), to })
    }
}

/// A process of the web server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessFacts {
    /// Its pid.
    pub pid: u32,
    /// The release that it comes from; `None`: from another place, or from one that the login may not see.
    pub release: Option<ReleaseId>,
    /// The user whose process it is, where the login may not look into it.
    pub hidden: Option<String>,
    /// It works outside the releases, so that this does not tell what it has loaded.
    pub outside: bool,
}

/// What listens on the port of the health check, where no process of the web server is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortHolder {
    /// The port.
    pub port: u16,
    /// The user whose process it is.
    pub user: String,
    /// The process; `None`: the login may not look into it.
    pub pid: Option<u32>,
    /// Its name.
    pub name: String,
    /// The release that it works in.
    pub release: Option<ReleaseId>,
    /// It works in a release that was removed.
    pub removed: bool,
}

impl PortHolder {
    /// Reads what the probe says: `PORT USER`, and `PID PLACE NAME` where the login may look.
    pub fn read(value: &str) -> Option<Self> {
        let mut words = value.splitn(5, ' ');
        let port = words.next()?.parse().ok()?;
        let user = one_line(words.next()?);
        let pid = words.next().and_then(|pid| pid.parse().ok());
        let place = words.next().unwrap_or_default();
        let name = one_line(words.next().unwrap_or_default());
        Some(Self { port, user, pid, name, release: ReleaseId::parse(place), removed: place == "deleted" })
    }
}

/// What a web server's template tells of a restart on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebFact {
    /// What follows from it.
    pub kind: WebFactKind,
    /// What was seen, as a fragment.
    pub why: String,
}

/// What follows from a fact about the web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebFactKind {
    /// A restart stops answering for a while.
    Interrupts,
    /// A restart cannot work.
    Refuses,
    /// A restart cannot work unless the run itself makes what is missing.
    Lacks,
    /// It should be read.
    Warns,
}

impl WebFact {
    /// Reads a fact as a template says it; `None`: of a kind that is not known here.
    pub fn read(value: &str) -> Option<Self> {
        let (word, why) = value.split_once(' ')?;
        let kind = match word {
            "interrupts" => WebFactKind::Interrupts,
            "refuses" => WebFactKind::Refuses,
            "lacks" => WebFactKind::Lacks,
            "warns" => WebFactKind::Warns,
            _ => return None,
        };
        Some(Self { kind, why: one_line(why) })
    }
}

impl std::fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Makes one line of a value that is one line on the server.
///
/// No value may print lines of a listing in the server's name.
fn one_line(value: &str) -> String {
    value.replace('\n', " ")
}

impl ServerFacts {
    /// Tells whether an earlier run of pitcrew took the server out of its balancer and never put it back.
    pub fn was_left_drained(&self) -> bool {
        self.behind.as_deref().is_some_and(|b| b.ends_with(DRAINED))
    }

    /// How a place stood before a run that took the server out and never put it back.
    ///
    /// It stood as that run found it, or ready, where that is not known. It stands as it is now, where there was no such
    /// run, or where an operator has put it back since.
    pub fn before_left(&self, now: &MemberFacts) -> MemberFacts {
        if !self.was_left_drained() {
            return now.clone();
        }
        // Whatever speaks for it was silenced by that run; it is not known to have been down.
        let ready = || MemberFacts { admin: Admin::Ready, agent: true, in_service: true, ..now.clone() };
        let was = self.found.iter().find(|was| was.is_there(now)).cloned().unwrap_or_else(ready);
        if now.admin == Admin::Ready { MemberFacts { agent: was.agent, ..now.clone() } } else { was }
    }

    /// What the web server's template tells of one kind.
    pub fn told(&self, kind: WebFactKind) -> impl Iterator<Item = &str> {
        self.web.iter().filter(move |fact| fact.kind == kind).map(|fact| fact.why.as_str())
    }

    /// Reads the probe's answers.
    ///
    /// It refuses what is contradictory or cut short, with a fragment that says why. It passes over unknown answers.
    pub fn read(answers: &[Answer]) -> Result<Self, String> {
        if let Some(refusal) = Answer::refusal(answers) {
            return Err(format!("the probe refused: {} ({})", refusal.detail, refusal.code));
        }
        let mut facts = Self::default();
        let mut time = None;
        for answer in answers {
            facts.take(answer, &mut time)?;
        }
        if !Answer::is_done(answers) {
            return Err("the probe ended before it had answered everything".to_owned());
        }
        facts.time = time.ok_or("the probe did not say what time it is there")?;
        if !facts.root.starts_with('/') {
            return Err("the probe did not say where deploy_to is".to_owned());
        }
        facts.adopt();
        facts.releases.sort_by(|a, b| a.id.cmp(&b.id));
        facts.releases.dedup_by(|a, b| a.id == b.id);
        Ok(facts)
    }

    /// Takes the directory that another tool's `current` points to for the release that a run makes of it.
    fn adopt(&mut self) {
        let taken = |id: &ReleaseId| self.releases.iter().any(|r| r.id == *id);
        self.adopts = self.adopts.take().filter(|adopted| self.current_odd.is_some() && !taken(&adopted.id));
        if let Some(Adopted { id, revision, .. }) = self.adopts.clone() {
            self.current_odd = None;
            self.current = Some(id.clone());
            self.releases.push(ReleaseFacts { id, revision, state: ReleaseState::Foreign });
        }
    }

    fn take(&mut self, answer: &Answer, time: &mut Option<i64>) -> Result<(), String> {
        let value = answer.value.as_str();
        match answer.key.as_str() {
            "root" => self.root = one_line(value),
            "stack" => self.stack = Some(one_line(value)),
            // What is no address is passed over: it tells of no other server.
            "address" => self.addresses.extend(value.trim().parse::<IpAddr>().map(|ip| ip.to_canonical())),
            "place" => self.place = Some(one_line(value)),
            "user" => self.user = one_line(value),
            "time" => *time = Some(number(answer)?),
            "current" => self.current = Some(release(answer, value)?),
            "odd" => self.current_odd = Some(value.to_owned()),
            "adopts" => {
                let (name, revision) = value.split_once(' ').unwrap_or((value, ""));
                let (name, id) = (one_line(name), ReleaseId::of_name(name));
                let revision = Some(one_line(revision.trim())).filter(|r| !r.is_empty()).map(Revision);
                self.adopts = Some(Adopted { name, id, revision });
            }
            "gone" => self.current_gone = Some(one_line(value)),
            // Written by hand or by a later version: worth nothing, and no reason to refuse a deploy.
            "previous" => self.previous = ReleaseId::parse(value),
            "behind" => self.behind = Some(one_line(value)),
            "drained" => self.taken_out = serde_json::from_str(value).ok(),
            "unknown" => self.unknown = number(answer)?,
            "release" => {
                let mut words = value.splitn(3, ' ');
                let id = release(answer, words.next().unwrap_or_default())?;
                let state = ReleaseState::parse(words.next().unwrap_or_default());
                let revision = words.next().map(str::trim).filter(|r| !r.is_empty()).map(|r| Revision(one_line(r)));
                self.releases.push(ReleaseFacts { id, revision, state });
            }
            "lock" => {
                self.lock.get_or_insert_default();
            }
            "owner" | "age" | "phase" | "doing" | "stuck" | "left" | "plan" => {
                self.lock.get_or_insert_default().take(answer).map_err(|()| strange(answer))?;
            }
            "journal" => self.journal.push(value.to_owned()),
            "found" if self.found.is_empty() => {
                let drain =
                    value.split_once(" drain ").and_then(|(_, found)| serde_json::from_str::<Snapshot>(found).ok());
                self.found = drain.map(|found| found.members).unwrap_or_default();
            }
            "free_kb" => self.free_kb = Some(number(answer)?),
            "free_inodes" => self.free_inodes = Some(number(answer)?),
            "current_kb" => self.current_kb = Some(number(answer)?),
            "not_writable" => self.not_writable = Some(value.to_owned()),
            "missing_file" => self.missing_files.push(value.to_owned()),
            "missing_tool" => self.missing_tools.push(value.to_owned()),
            "process" => {
                let mut words = value.splitn(3, ' ');
                let pid = words.next().unwrap_or_default().parse().map_err(|_| strange(answer))?;
                let place = words.next().unwrap_or_default();
                let hidden = (place == "hidden").then(|| one_line(words.next().unwrap_or_default()));
                let (release, outside) = (ReleaseId::parse(place), place == "-");
                self.processes.push(ProcessFacts { pid, release, hidden, outside });
            }
            "listens" => self.listener = PortHolder::read(value),
            // Written by hand or by a later version: worth nothing.
            "unbuilt" => {
                let words = value.split_once(' ');
                self.unbuilt = words.and_then(|(id, of)| Some((Revision(one_line(of)), ReleaseId::parse(id)?)));
            }
            "leftover" => self.left.push(one_line(value)),
            "exposed" => self.exposed.extend(Exposed::read(value)),
            "readable" => self.readable.push(one_line(value)),
            "fact" => self.web.extend(WebFact::read(value)),
            "no_proc" => self.no_proc = true,
            "zstd" => self.zstd = true,
            // What cannot be read is no cache: it is made anew.
            "cache" => {
                let (tree, kb) = value.split_once(' ').unwrap_or((value, ""));
                let fit = tree.len() == 64 && tree.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                self.cache = fit.then(|| CacheFacts { tree: tree.to_owned(), kb: kb.trim().parse().unwrap_or(0) });
            }
            _ => {}
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(answer: &Answer) -> Result<T, String> {
    answer.value.trim().parse().map_err(|_| strange(answer))
}

fn release(answer: &Answer, id: &str) -> Result<ReleaseId, String> {
    ReleaseId::parse(id).ok_or_else(|| strange(answer))
}

fn strange(answer: &Answer) -> String {
    let value: String = answer.value.chars().take(80).collect();
    format!("cannot read the probe's answer {:?}: {value:?}", answer.key)
}

#[cfg(test)]
mod tests;
