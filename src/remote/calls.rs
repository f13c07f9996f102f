//! What each remote script is given: one function a script, from typed values to a [`Call`].
//!
//! Owns the scripts' parameters. Codes with which scripts refuse stand at each function.

use std::time::Duration;

use super::{Call, Nonce, Owner, Param, Script};
use crate::config::Shared;
use crate::facts::{ORIGIN, ReleaseState, TakenOut};
use crate::name::{ReleaseId, Revision, RunId};
use crate::web::Web;

/// What all scripts of a stack share.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// `[app] deploy_to` as written; the server resolves it.
    pub deploy_to: &'a str,
    /// `[app] name`; user's commands see it as `PITCREW_APP`.
    pub app: &'a str,
    /// The web server.
    pub web: &'a Web,
    /// Environment and secrets of the user's commands.
    pub env: &'a [(String, String)],
}

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dir {
    /// In `current`.
    Current,
    /// In a release that need not be current.
    Release(ReleaseId),
    /// In `deploy_to` itself: there may be no release yet.
    Root,
}

/// What [`mark`] records; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Mark<'a> {
    /// A release's state. [`ReleaseState::Foreign`] cannot be written and is left out.
    pub state: Option<(&'a ReleaseId, ReleaseState)>,
    /// A line for `revisions.log`.
    pub line: Option<&'a str>,
    /// Whether the server was left behind.
    pub behind: Option<Behind<'a>>,
}

/// How the tar that [`transfer`] sends is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unpacked by tar itself: every server can.
    Gzip,
    /// Unpacked by `zstd`, for a quarter of the time.
    Zstd,
}

/// The tree that a [`transfer`] is to make.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The digest of its listing.
    pub tree: &'a str,
    /// The same without permissions.
    pub loose: &'a str,
    /// Whether it is to be cached on the server.
    pub keep: bool,
    /// How much the server's copy takes, in kilobytes.
    pub kb: u64,
}

/// What a [`transfer`] starts from, and how much it receives.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// The digest of the cached tree.
    pub tree: &'a str,
    /// How many bytes at the payload's beginning tell what is to be removed.
    pub gone: u64,
    /// Bytes of the whole payload.
    pub size: u64,
}

/// What a plan takes for granted about one server.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What `current` points to.
    pub current: Option<&'a ReleaseId>,
    /// The newest release.
    pub newest: Option<&'a ReleaseId>,
}

/// Whether a run left a server behind.
#[derive(Debug, Clone, Copy)]
pub enum Behind<'a> {
    /// This run did.
    By(&'a RunId),
    /// It caught up.
    No,
}

/// Asks for everything a plan depends on, and changes nothing; [`crate::facts::ServerFacts::read`] reads the answers.
pub fn probe(site: &Site<'_>, files: &[String]) -> Call {
    site.call(Script::Probe)
        .list("files", files.to_vec())
        .list("tools", site.web.tools.clone())
        .web(site, &["processes"])
}

/// Asks the probe how much room the release takes that runs; only where nobody knows the size of the next one.
pub fn measuring(probe: Call) -> Call {
    probe.with("measure", "yes")
}

/// Takes the lock; [`Call::planning`] and [`Call::expecting`] say more. Answers `taken yes|again|thawed`.
///
/// Refuses with `locked` (its answers are for [`crate::facts::LockFacts::read`]), `stale_facts`, `not_writable`, `no_space`;
/// a lock that it took it has released then.
pub fn lock(site: &Site<'_>, owner: &Owner) -> Call {
    locking(site, "take", &owner.run).with("owner", owner.lines())
}

/// Takes the lock to keep it without a run, for `time` or until somebody unlocks; otherwise as [`lock`].
pub fn freeze(site: &Site<'_>, owner: &Owner, reason: &str, time: Option<Duration>) -> Call {
    let reason = super::one_line(reason);
    let call = lock(site, owner).with("owner", format!("{}\nfreeze=yes\nreason={reason}", owner.lines()));
    match time {
        Some(time) => call.with("for", time.as_secs().to_string()),
        None => call,
    }
}

/// Renews a held lock, and says in it what the run does (`phase`, one line; empty: as before). Refuses with `lock_lost`.
pub fn renew(site: &Site<'_>, run: &RunId, phase: &str) -> Call {
    locking(site, "renew", run).with("phase", super::one_line(phase))
}

/// Says in a held lock why it is kept after the run has ended: `reason`, one line. Refuses with `lock_lost`.
pub fn keep(site: &Site<'_>, run: &RunId, reason: &str) -> Call {
    locking(site, "keep", run).with("reason", super::one_line(reason))
}

/// Asks who holds the lock, and nothing else: `lock free`, or answers for [`crate::facts::LockFacts::read`].
pub fn look(site: &Site<'_>) -> Call {
    locking(site, "look", &RunId(String::new()))
}

fn locking(site: &Site<'_>, mode: &str, run: &RunId) -> Call {
    let empty = ["owner", "plan", "for", "phase", "reason", "expect", "current", "newest"];
    let call = site.call(Script::Lock).token(run).with("mode", mode);
    empty.into_iter().fold(call, |call, name| call.with(name, ""))
}

/// Releases this run's lock. Refuses with `not_ours`; a lock that is gone already is no failure.
pub fn unlock(site: &Site<'_>, run: &RunId) -> Call {
    site.call(Script::Unlock).token(run)
}

/// Makes the lock that `from` left behind this run's own, and ends what `from` left running; the journal stays.
/// `origin` is the run whose work the journal tells of: `from` may have died in recovering it.
///
/// Answers `taken over`, or `lock free`. Refuses with `locked_anew`, `still_running`, `not_writable`, `no_space`.
pub fn takeover(site: &Site<'_>, owner: &Owner, from: &RunId, origin: &RunId) -> Call {
    let lines = format!("{}\n{ORIGIN}={}", owner.lines(), super::one_line(origin.as_str()));
    site.call(Script::Takeover).token(&owner.run).with("from", from.as_str()).with("owner", lines)
}

/// Writes a line into the journal before a server is taken out of its balancer. Refuses with `lock_lost`, `no_space`,
/// `not_writable`.
pub fn note(site: &Site<'_>, run: &RunId, words: &str) -> Call {
    site.call(Script::Note).token(run).with("words", super::one_line(words)).with("in", "no")
}

/// Notes who takes a server out of its balancer by hand; `None`: it has been put back. No lock is needed.
///
/// Answers who holds the lock, for [`crate::facts::LockFacts::read`], where somebody does. Refuses with `no_site`, `no_space`,
/// `not_writable`.
pub fn aside(site: &Site<'_>, by: Option<&TakenOut>) -> Call {
    site.call(Script::Aside).with("record", by.map(TakenOut::line).unwrap_or_default())
}

/// Receives a gzipped tar after the head and makes it a release in state `prepared`; [`Call::packed`] makes it another format,
/// [`Call::wanting`] has what came out compared with what is wanted, and [`Call::onto`] has it made from the cached tree.
///
/// Answers `modes lost` where the file system keeps no permissions, and `cached yes`.
/// Refuses with `release_exists`, `bad_payload`, `no_space`, `not_writable`, `lock_lost`, and leaves nothing behind.
pub fn transfer(site: &Site<'_>, run: &RunId, id: &ReleaseId, revision: &Revision) -> Call {
    let call = site.call(Script::Transfer).token(run).id(id).with("revision", &revision.0).with("payload", "yes");
    let empty = ["tree", "loose", "base", "keep", "kb", "gone", "size"];
    empty.into_iter().fold(call, |call, name| call.with(name, "")).packed(Format::Gzip)
}

/// Answers what the cached tree `tree` holds: `listing TEXT`, base64 of gzip, in pieces. Refuses with `no_cache`.
pub fn listing(site: &Site<'_>, tree: &str) -> Call {
    site.call(Script::Listing).with("tree", tree)
}

/// What a server fetches a commit from.
#[derive(Debug, Clone, Copy)]
pub struct Mirrored<'a> {
    /// The URL, without a password.
    pub url: &'a str,
    /// The scheme and host that may be told the login; empty: there is none.
    pub origin: &'a str,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// A path on the server; empty: ssh's usual keys, or a lent agent.
    pub deploy_key: &'a str,
    /// The git host's lines of a known_hosts file; empty: the server knows them.
    pub host_keys: &'a [String],
    /// Whether the operator's agent should be there.
    pub lent: bool,
}

/// Fetches a commit into the mirror and makes it a release in state `prepared`; the login travels with the environment.
///
/// Answers `notice TEXT`. Refuses with `not_fetched`, `no_commit`, `git_host_key`, `git_denied`, `no_deploy_key`, `git_lfs`,
/// `submodules`, `repo_odd`, `not_unpacked` and as [`transfer`], and leaves nothing behind but the mirror.
pub fn fetch(site: &Site<'_>, run: &RunId, id: &ReleaseId, revision: &Revision, from: &Mirrored<'_>) -> Call {
    let mut call = site
        .call(Script::Fetch)
        .token(run)
        .id(id)
        .with("revision", &revision.0)
        .with("repo", from.url)
        .with("origin", if from.login.is_some() { from.origin } else { "" })
        .with("deploy_key", from.deploy_key)
        .list("host_keys", from.host_keys.to_vec())
        .with("lent", if from.lent { "yes" } else { "" })
        .env(site);
    if let Some((user, password)) = from.login {
        let login = [("PITCREW_GIT_USER", user), ("PITCREW_GIT_PASSWORD", password)];
        call.env.extend(login.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    call
}

/// Downloads an archive and makes it a release in state `prepared`; the URL travels with the environment.
///
/// `secret`: the URL must be in no process list of the server. Refuses with `not_downloaded`, `bad_checksum` and as
/// [`transfer`], and leaves nothing behind.
pub fn download(site: &Site<'_>, run: &RunId, id: &ReleaseId, revision: &Revision, from: &Linked<'_>) -> Call {
    let secret = if from.secret { "yes" } else { "" };
    let call = site.call(Script::Download).token(run).id(id).with("revision", &revision.0);
    let mut call = call.with("sha256", from.sha256).with("secret", secret).env(site);
    call.env.push(("PITCREW_ARCHIVE_URL".to_owned(), from.url.to_owned()));
    call
}

/// Where a server downloads an archive.
#[derive(Debug, Clone, Copy)]
pub struct Linked<'a> {
    /// The URL.
    pub url: &'a str,
    /// What the archive must be.
    pub sha256: &'a str,
    /// Whether nobody else may see the URL.
    pub secret: bool,
}

/// Links shared directories and files into a release.
///
/// Refuses with `missing_files` (answers `missing_file`), `bad_path`, `no_release`, `no_space`, `not_writable`, `lock_lost`.
pub fn link(site: &Site<'_>, run: &RunId, id: &ReleaseId, shared: &Shared) -> Call {
    site.call(Script::Link).token(run).id(id).list("dirs", shared.dirs.clone()).list("files", shared.files.clone())
}

/// Runs a user's command. The script's exit status is the command's; answers `exit N`, before it `signal NAME` when a
/// signal ended it. Refuses with `no_release`, and with [`Call::under`] with `lock_lost`.
pub fn command(site: &Site<'_>, dir: Dir, run: &str) -> Call {
    users(site, Script::Command, &dir, run)
}

/// Runs a user's command that asks how `current` is, and changes nothing; the same otherwise.
pub fn check(site: &Site<'_>, run: &str) -> Call {
    users(site, Script::Check, &Dir::Current, run)
}

fn users(site: &Site<'_>, script: Script, dir: &Dir, run: &str) -> Call {
    let dir = match dir {
        Dir::Current => "",
        Dir::Release(id) => id.as_str(),
        Dir::Root => "/",
    };
    site.call(script).with("dir", dir).with("run", run).with("token", "").with("verb", "").env(site)
}

/// Points `current` from one release to another; `None` is no `current` at all. Already there is no failure.
///
/// Refuses with `current_changed`, `current_odd`, `no_release`, `not_switched`, `no_space`, `not_writable`, `lock_lost`.
pub fn switch(site: &Site<'_>, run: &RunId, from: Option<&ReleaseId>, to: Option<&ReleaseId>) -> Call {
    let text = |id: Option<&ReleaseId>| id.map(ReleaseId::as_str).unwrap_or_default().to_owned();
    site.call(Script::Switch).token(run).with("from", text(from)).with("to", text(to))
}

/// Restarts the web server, or starts it, and proves within `limit` that the release runs.
///
/// Answers `action start|restart`, `process PID RELEASE`, `proven N`. Refuses with `not_restarted`, `not_proven`, `no_proc`,
/// `current_changed`, `lock_lost`; the log's end is then on standard output.
pub fn restart(site: &Site<'_>, run: &RunId, id: &ReleaseId, limit: Duration) -> Call {
    site.call(Script::Restart)
        .token(run)
        .id(id)
        .proof(site)
        .with("limit", seconds(limit))
        .with("old_gone", seconds(site.web.proof.old_gone))
        .web(site, &["processes", "start", "restart", "log"])
}

/// Judges again what [`restart`] proved, without restarting: for after the health check. Refuses as it does.
pub fn prove(site: &Site<'_>, run: &RunId, id: &ReleaseId) -> Call {
    site.call(Script::Prove).token(run).id(id).proof(site).web(site, &["processes", "log"])
}

/// Stops the web server within `limit` and proves it. Refuses with `still_running`, `no_proc`, `lock_lost`.
pub fn stop(site: &Site<'_>, run: &RunId, limit: Duration) -> Call {
    site.call(Script::Stop)
        .token(run)
        .proof(site)
        .with("limit", seconds(limit))
        .web(site, &["processes", "stop", "log"])
}

/// Asks what became of another script of this run whose connection was lost; waits up to `limit` while it still runs.
///
/// Answers `became done`, `became fail CODE DETAIL`, `became exit STATUS`, `became begun` (it ended without saying how),
/// or `became never`. Refuses with `lock_lost`, `still_running`.
pub fn ask(lost: &Call, nonce: &Nonce, limit: Duration) -> Call {
    let copied = |name: &'static str| (name, Param::Text(lost.text_of(name).unwrap_or_default().to_owned()));
    let params = vec![copied("root"), copied("token")];
    let (first, second) = nonce.0.split_at(nonce.0.len() / 2);
    // One that reads a payload waits for ever: nobody sends the rest.
    let end = if lost.script == Script::Transfer { "yes" } else { "no" };
    Call { script: Script::Ask, params, snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
        .with("first", first)
        .with("second", second)
        .with("limit", seconds(limit))
        .with("end", end)
}

/// What a [`super::standing::Standing`] exec must know of the site. It is not to be executed by itself.
pub fn all_of(site: &Site<'_>) -> Call {
    let call = site.call(Script::Restart).web(site, &["processes", "start", "restart", "stop", "log"]);
    Call { env: Vec::new(), ..call }
}

/// Prints the end of the web server's log on standard output.
pub fn log(site: &Site<'_>) -> Call {
    site.call(Script::Log).web(site, &["log"])
}

/// Answers the last lines of `revisions.log`, one `line TEXT` each.
pub fn history(site: &Site<'_>) -> Call {
    site.call(Script::History)
}

/// Asks what a cloud machine knows of itself: answers `instance ID`, `address IP` (several), and `why TEXT` without the first.
///
/// `limit` is for each of at most two questions; `meta` is the metadata service's root, `dmi` the firmware's tag.
pub fn identity(meta: &str, dmi: &str, limit: Duration) -> Call {
    // It looks into no site; a directory must be given all the same.
    let params = vec![("root", Param::Text("/nonexistent".to_owned()))];
    Call { script: Script::Identity, params, snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
        .with("meta", meta)
        .with("dmi", dmi)
        .with("limit", seconds(limit))
}

/// Records what became of a release and of the server. Refuses with `no_space`, `not_writable`, `lock_lost`.
pub fn mark(site: &Site<'_>, run: &RunId, mark: &Mark<'_>) -> Call {
    site.call(Script::Mark).token(run).marking(mark)
}

/// Removes old releases but `keep` good ones, the current, the previous, those in use and `spare`.
///
/// With [`Call::marking`] it records first, as [`mark`] does and with its refusals: one round trip less; and answers
/// `moved WHERE` when `current` is not on that release any more.
/// Answers `removed ID` and `left ID why`. Refuses with `not_removed` (after all that could go has gone), `lock_lost`.
pub fn prune(site: &Site<'_>, run: &RunId, keep: usize, spare: &[ReleaseId]) -> Call {
    let spare = spare.iter().map(|id| id.as_str().to_owned()).collect();
    site.call(Script::Prune)
        .token(run)
        .with("keep", keep.to_string())
        .list("spare", spare)
        .with("mark", "no")
        .with("cache", "no")
}

/// Removes a prepared, failed or reverted release. Refuses with `in_use`, `not_removed`, `lock_lost`.
pub fn remove(site: &Site<'_>, run: &RunId, id: &ReleaseId) -> Call {
    site.call(Script::Remove).token(run).id(id)
}

/// Whole seconds, at least one: the scripts' clock has no fractions.
fn seconds(limit: Duration) -> String {
    limit.as_secs().max(1).to_string()
}

impl Site<'_> {
    fn call(&self, script: Script) -> Call {
        let root = ("root", Param::Text(self.deploy_to.to_owned()));
        Call { script, params: vec![root], snippets: Vec::new(), web: Vec::new(), env: Vec::new() }
    }
}

impl Call {
    /// Makes a [`command`] refuse with `lock_lost` unless the run holds the lock, and write `verb` into the journal first.
    #[must_use]
    pub fn under(self, run: &RunId, verb: &str) -> Self {
        self.with("token", run.as_str()).with("verb", verb)
    }

    /// Writes the plan into a [`lock`], before its owner: what `recover` needs to know. Opaque here.
    #[must_use]
    pub fn planning(self, plan: &str) -> Self {
        self.with("plan", plan.trim_end_matches('\n'))
    }

    /// Makes a [`lock`] refuse with `stale_facts` when the server is not as the plan takes for granted.
    #[must_use]
    pub fn expecting(self, expected: Expected<'_>) -> Self {
        let text = |id: Option<&ReleaseId>| id.map(ReleaseId::as_str).unwrap_or_default().to_owned();
        self.with("expect", "yes").with("current", text(expected.current)).with("newest", text(expected.newest))
    }

    /// Tells the script what time it is on the server, in seconds since the epoch, so that it need not ask.
    #[must_use]
    pub fn at(self, moment: Option<i64>) -> Self {
        match moment {
            Some(moment) => self.with("at", moment.to_string()),
            None => self,
        }
    }

    /// Tells a [`transfer`] how its payload is compressed.
    #[must_use]
    pub fn packed(self, format: Format) -> Self {
        let word = match format {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        };
        self.with("format", word)
    }

    /// Makes a [`probe`] look for these tools as well.
    #[must_use]
    pub fn needing(mut self, tools: &[&str]) -> Self {
        for (name, param) in &mut self.params {
            if let (&mut "tools", Param::List(list)) = (name, param) {
                list.extend(tools.iter().map(|t| (*t).to_owned()));
            }
        }
        self
    }

    /// Makes a [`transfer`] compare what came out with this.
    #[must_use]
    pub fn wanting(self, wanted: &Wanted<'_>) -> Self {
        self.with("tree", wanted.tree)
            .with("loose", wanted.loose)
            .with("keep", if wanted.keep { "yes" } else { "no" })
            .with("kb", wanted.kb.to_string())
    }

    /// Makes a [`transfer`] start from the cached tree; it refuses also with `stale_base` then, and the cache is gone.
    #[must_use]
    pub fn onto(self, base: &Base<'_>) -> Self {
        self.with("base", base.tree).with("gone", base.gone.to_string()).with("size", base.size.to_string())
    }

    /// Makes a [`note`] forget who once took the server out by hand: it was found in its balancer.
    #[must_use]
    pub fn found_in(self) -> Self {
        self.with("in", "yes")
    }

    /// Makes a [`prune`] leave the cached tree where it is.
    #[must_use]
    pub fn keeping_cache(self) -> Self {
        self.with("cache", "yes")
    }

    /// Makes a [`prune`] record first what has become of a release and of the server.
    #[must_use]
    pub fn marking(self, mark: &Mark<'_>) -> Self {
        let (id, state) = match mark.state {
            Some((id, state)) if state != ReleaseState::Foreign => (id.as_str(), state.word()),
            _ => ("", ""),
        };
        let behind = match mark.behind {
            None => "",
            Some(Behind::No) => "-",
            Some(Behind::By(run)) => run.as_str(),
        };
        let line = mark.line.unwrap_or_default().replace(['\n', '\r'], " ");
        self.with("mark", "yes").with("id", id).with("state", state).with("line", line).with("behind", behind)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.params.retain(|(n, _)| *n != name);
        self.params.push((name, Param::Text(value.into())));
        self
    }

    fn list(mut self, name: &'static str, values: Vec<String>) -> Self {
        self.params.push((name, Param::List(values)));
        self
    }

    fn token(self, run: &RunId) -> Self {
        self.with("token", run.as_str())
    }

    fn id(self, id: &ReleaseId) -> Self {
        self.with("id", id.as_str())
    }

    fn proof(self, site: &Site<'_>) -> Self {
        let yes = |on: bool| if on { "yes" } else { "no" };
        self.with("none", yes(site.web.proof.none)).with("lazy", yes(site.web.proof.lazy))
    }

    /// Only what runs a user's code gets the user's environment.
    fn env(mut self, site: &Site<'_>) -> Self {
        self.env = vec![("PITCREW_APP".to_owned(), site.app.to_owned())];
        self.env.extend_from_slice(site.env);
        self
    }

    fn web(self, site: &Site<'_>, names: &[&str]) -> Self {
        let mut call = self.env(site);
        let scripts = &site.web.scripts;
        for (name, short, snippet) in [
            ("web_processes", "processes", &scripts.processes),
            ("web_start", "start", &scripts.start),
            ("web_restart", "restart", &scripts.restart),
            ("web_stop", "stop", &scripts.stop),
            ("web_log", "log", &scripts.log),
        ] {
            if names.contains(&short) {
                call.snippets.push((name, snippet.clone()));
            }
        }
        call.web = site.web.parameters.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        call
    }
}
