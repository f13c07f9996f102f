//! Scripts that bring a release to a server and link it.

use super::site::Site;
use crate::config::Shared;
use crate::name::{ReleaseId, Revision, RunId};
use crate::script::call::Call;
use crate::script::kind::Script;

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

/// The release that a server makes of what it fetches.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// Its id.
    pub id: &'a ReleaseId,
    /// What it is made of.
    pub revision: &'a Revision,
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

/// Where a server downloads an archive.
#[derive(Debug, Clone, Copy)]
pub struct Linked<'a> {
    /// The URL.
    pub url: &'a str,
    /// What the archive must be.
    pub sha256: &'a str,
    /// Whether the URL must stay hidden from the server's other users.
    pub secret: bool,
}

/// Receives a gzipped tar after the head and makes it a release in state `prepared`.
///
/// [`Call::packed`] makes it another format, [`Call::wanting`] has what came out compared with what is wanted, and
/// [`Call::onto`] has it made from the cached tree.
///
/// Answers `modes lost` where the file system keeps no permissions, and `cached yes`.
/// Refuses with `release_exists`, `bad_payload`, `no_space`, `not_writable`, `lock_lost`, and leaves nothing behind.
pub fn transfer(site: &Site<'_>, run: &RunId, id: &ReleaseId, revision: &Revision) -> Call {
    let call = site.call(Script::Transfer).token(run).id(id).with("revision", &revision.0).with("payload", "yes");
    let empty = ["tree", "loose", "base", "keep", "kb", "gone", "size"];
    empty.into_iter().fold(call, |call, name| call.with(name, "")).packed(Format::Gzip)
}

/// Answers what the cached tree `tree` holds: `listing TEXT`, base64 of gzip, in pieces.
///
/// Refuses with `no_cache`.
pub fn listing(site: &Site<'_>, tree: &str) -> Call {
    site.call(Script::Listing).with("tree", tree)
}

/// Fetches a commit into the mirror and makes it a release in state `prepared`.
///
/// The login travels with the environment.
///
/// Answers `notice TEXT`. Refuses with `not_fetched`, `no_commit`, `git_host_key`, `git_denied`, `no_deploy_key`, `git_lfs`,
/// `submodules`, `repo_odd`, `not_unpacked` and as [`transfer`], and leaves nothing behind but the mirror.
pub fn fetch(site: &Site<'_>, run: &RunId, fresh: Fresh<'_>, from: &Mirrored<'_>) -> Call {
    let Fresh { id, revision } = fresh;
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

/// Downloads an archive and makes it a release in state `prepared`.
///
/// The URL travels with the environment.
///
/// `secret`: the URL must be in no process list of the server. Refuses with `not_downloaded`, `bad_checksum` and as
/// [`transfer`], and leaves nothing behind.
pub fn download(site: &Site<'_>, run: &RunId, fresh: Fresh<'_>, from: &Linked<'_>) -> Call {
    let Fresh { id, revision } = fresh;
    let secret = if from.secret { "yes" } else { "" };
    let call = site.call(Script::Download).token(run).id(id).with("revision", &revision.0);
    let mut call = call.with("sha256", from.sha256).with("secret", secret).env(site);
    call.env.push(("PITCREW_ARCHIVE_URL".to_owned(), from.url.to_owned()));
    call
}

/// Links shared directories and files into a release.
///
/// Refuses with `missing_files` (answers `missing_file`), `bad_path`, `no_release`, `no_space`, `not_writable`, `lock_lost`.
pub fn link(site: &Site<'_>, run: &RunId, id: &ReleaseId, shared: &Shared) -> Call {
    site.call(Script::Link).token(run).id(id).list("dirs", shared.dirs.clone()).list("files", shared.files.clone())
}

impl Call {
    /// Tells a [`transfer`] how its payload is compressed.
    #[must_use]
    pub fn packed(self, format: Format) -> Self {
        let word = match format {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        };
        self.with("format", word)
    }

    /// Makes a [`transfer`] compare what came out with this.
    #[must_use]
    pub fn wanting(self, wanted: &Wanted<'_>) -> Self {
        self.with("tree", wanted.tree)
            .with("loose", wanted.loose)
            .with("keep", if wanted.keep { "yes" } else { "no" })
            .with("kb", wanted.kb.to_string())
    }

    /// Makes a [`transfer`] start from the cached tree.
    ///
    /// The transfer then refuses also with `stale_base`, and the cache is gone.
    #[must_use]
    pub fn onto(self, base: &Base<'_>) -> Self {
        self.with("base", base.tree).with("gone", base.gone.to_string()).with("size", base.size.to_string())
    }
}
