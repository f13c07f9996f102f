//! What `[source]` resolves to.

use std::path::PathBuf;

/// `[source]`.
#[derive(Debug, Clone)]
pub struct Source {
    /// `kind`.
    pub kind: SourceKind,
    /// `path`, absolute or relative to [`crate::config::Config::base`].
    pub path: PathBuf,
    /// `ref`; default `HEAD`.
    pub reference: String,
    /// What servers fetch; there is one exactly when `kind` is [`SourceKind::Git`].
    pub repository: Option<Repository>,
    /// What is downloaded instead of read from `path`; only with [`SourceKind::Archive`].
    pub download: Option<Download>,
}

impl Source {
    /// A source that lies on this machine.
    pub fn local(kind: SourceKind, path: impl Into<PathBuf>) -> Self {
        Self { kind, path: path.into(), reference: "HEAD".to_owned(), repository: None, download: None }
    }

    /// Tells whether servers fetch the release themselves: its size is not known on this machine then.
    pub fn is_fetched(&self) -> bool {
        self.repository.is_some() || self.download.as_ref().is_some_and(|d| d.by == Fetcher::Servers)
    }

    /// Tools that servers need to come by the release themselves, as the probe knows them.
    pub fn tools(&self) -> Vec<&'static str> {
        if self.kind == SourceKind::Git {
            return vec!["git", "find"];
        }
        let Some(download) = self.download.as_ref().filter(|d| d.by == Fetcher::Servers) else { return Vec::new() };
        let (secret, ends) = match &download.from {
            Address::Secret(_) => (true, ""),
            Address::Written(Hidden(url)) => {
                let secret = url.starts_with("s3://") || may_be_secret(url);
                (secret, url.split('?').next().unwrap_or_default())
            }
        };
        let mut tools = vec![if secret { "curl or GNU wget" } else { "curl or wget" }, "sha256sum or shasum", "od"];
        if ends.ends_with(".zst") || ends.ends_with(".tzst") {
            tools.push("zstd");
        }
        tools
    }
}

/// Tells whether a URL may hold a secret: its query may be a signature, its login a password.
pub fn may_be_secret(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    url.contains('?') || host.is_some_and(|host| host.contains('@'))
}

/// Where a release's files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The tracked files of a git ref, or a plain directory.
    Push,
    /// A repository that every server fetches from.
    Git,
    /// A `.tar`, `.tar.gz`, `.tar.zst`, or a directory.
    Archive,
}

/// A repository that servers fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `repo`, without the password that it may have held.
    pub url: String,
    /// The user in `repo`, where it is a URL that has one.
    pub user: Option<String>,
    /// The password that stood in `repo`, or the name of the secret that is one.
    pub password: Option<Password>,
    /// `deploy_key`: a path on the servers.
    pub deploy_key: Option<String>,
    /// `host_keys`: the git host's lines of a known_hosts file; empty: the servers know them.
    pub host_keys: Vec<String>,
    /// `at_once`: how many servers fetch at the same time.
    pub at_once: usize,
}

impl Repository {
    /// Tells whether servers reach it over ssh: by a URL, or as scp writes it.
    pub fn is_over_ssh(&self) -> bool {
        match self.url.split_once("://") {
            Some((scheme, _)) => scheme == "ssh",
            None => !self.url.starts_with('/'),
        }
    }
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// It is written in the file.
    Written(Hidden),
    /// It is the value of this name in `[secrets]`.
    Secret(String),
}

/// An archive that is downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// `url` or `url_secret`.
    pub from: Address,
    /// `sha256`, in lower case; without it `pitcrew deploy SHA256` must say.
    pub sha256: Option<String>,
    /// `fetch`.
    pub by: Fetcher,
    /// `endpoint` of an S3-compatible store.
    pub endpoint: Option<String>,
    /// `region` of the bucket.
    pub region: Option<String>,
}

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `https://…`, `http://…` or `s3://BUCKET/KEY`; `{sha256}` stands for the checksum.
    Written(Hidden),
    /// The value of this name in `[secrets]`.
    Secret(String),
}

/// Who downloads an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetcher {
    /// This machine, once; it sends the release to the servers.
    Here,
    /// Each server.
    Servers,
}

/// A text that may hold a secret: it is in no debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden")
    }
}
