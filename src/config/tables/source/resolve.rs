//! The kinds of `[source]`, and the keys that each of them takes.

use std::path::PathBuf;

use toml::de::DeTable;

use super::checks;
use super::login::parted;
use super::types::{Address, Download, Fetcher, Hidden, Password, Repository, Source, SourceKind};
use crate::config::key::{Form, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::tables::secrets;
use crate::config::values;
use crate::config::words::quoted;
use crate::config::written::Found;

/// How many servers fetch from a repository at the same time: git hosts limit connections.
const AT_ONCE: usize = 10;
/// Keys about a repository.
const OF_GIT: [&str; 5] = ["repo", "password", "deploy_key", "host_keys", "at_once"];
/// Keys about an archive that is downloaded.
const OF_DOWNLOADS: [&str; 6] = ["url", "url_secret", "sha256", "fetch", "endpoint", "region"];

const KINDS: [(&str, SourceKind); 3] =
    [("push", SourceKind::Push), ("git", SourceKind::Git), ("archive", SourceKind::Archive)];
const FETCHERS: [(&str, Fetcher); 2] = [("here", Fetcher::Here), ("servers", Fetcher::Servers)];

/// `[source]`.
pub const TABLE: Table = Table {
    name: "source",
    form: Form::One(&[
        key("kind", ValueKind::Choice(&words(&KINDS))),
        key("path", ValueKind::Text(values::line)),
        key("ref", ValueKind::Text(checks::git_ref)),
        key("repo", ValueKind::Text(checks::repository)),
        key("password", ValueKind::Text(values::variable)),
        key("deploy_key", ValueKind::Text(values::line)),
        key("host_keys", ValueKind::Texts(checks::host_key)),
        key("at_once", ValueKind::Whole { least: 1, most: 10_000 }),
        key("url", ValueKind::Text(checks::archive_url)),
        key("url_secret", ValueKind::Text(values::variable)),
        key("sha256", ValueKind::Text(checks::sha256)),
        key("fetch", ValueKind::Choice(&words(&FETCHERS))),
        key("endpoint", ValueKind::Text(checks::endpoint)),
        key("region", ValueKind::Text(values::line)),
    ]),
};

/// Resolves the source; `None` when it has been refused.
pub fn source(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Option<Source> {
    let Some(section) = Section::one(merged, &TABLE) else {
        return Some(Source::local(SourceKind::Push, "."));
    };
    let kind = match section.wrote("kind") {
        Some(_) => section.word("kind", &KINDS)?.value,
        None => SourceKind::Push,
    };
    let path = section.text("path");
    if let Some(path) = path
        && path.value.contains("://")
    {
        let what = format!("`path` in {} is a local path, not a URL", section.title);
        problems.at(path.at, what, "write kind = \"archive\" with `url` and `sha256`");
    }
    let secrets = Section::one(merged, &secrets::TABLE);
    let mut all = Reading { section: &section, secrets: secrets.as_ref(), problems };
    let (repository, download) = match kind {
        SourceKind::Push => {
            all.out_of_place(&OF_GIT, "kind = \"push\"", "write kind = \"git\", and the servers fetch it");
            all.out_of_place(&OF_DOWNLOADS, "kind = \"push\"", "write kind = \"archive\"");
            (None, None)
        }
        SourceKind::Git => {
            let hint = "the servers fetch `repo`, and the whole of it is released";
            all.out_of_place(&["path"], "kind = \"git\"", hint);
            all.out_of_place(&OF_DOWNLOADS, "kind = \"git\"", "write kind = \"archive\"");
            (Some(all.repository()?), None)
        }
        SourceKind::Archive => {
            all.out_of_place(&["ref"], "kind = \"archive\"", "an archive has no branches; leave `ref` out");
            all.out_of_place(&OF_GIT, "kind = \"archive\"", "write kind = \"git\", and the servers fetch it");
            (None, all.download()?)
        }
    };
    let local = Source::local(kind, path.map_or_else(|| PathBuf::from("."), |p| PathBuf::from(p.value)));
    let reference = section.text("ref").map_or(local.reference, |r| r.value.to_owned());
    Some(Source { reference, repository, download, ..local })
}

struct Reading<'a, 'p, 't> {
    section: &'a Section<'a>,
    secrets: Option<&'a Section<'a>>,
    problems: &'p mut Problems<'t>,
}

impl<'a> Reading<'a, '_, '_> {
    /// Reports keys that mean nothing beside what else is written.
    fn out_of_place(&mut self, keys: &[&str], beside: &str, hint: &str) {
        for (key, at) in keys.iter().filter_map(|key| Some((key, self.section.wrote(key)?))) {
            let what = format!("`{key}` in {} has no meaning with {beside}", self.section.title);
            self.problems.at(at, what, hint);
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.section.text(key).map(|t| t.value.to_owned())
    }

    fn missing(&mut self, key: &str, beside: &str, hint: &str) {
        self.problems.at(self.section.at, format!("`{key}` is missing in {} {beside}", self.section.title), hint);
    }

    /// Reads the name of a secret, which must be one.
    fn secret(&mut self, key: &str) -> Option<Found<&'a str>> {
        let named = self.section.text(key)?;
        if self.secrets.is_none_or(|s| s.wrote(named.value).is_none()) {
            let what = format!("{} in {} is none of the [secrets]", quoted(named.value), self.section.title);
            let hint = format!("`{key}` names one; add for example {} = {{ env = \"…\" }} to [secrets]", named.value);
            self.problems.at(named.at, what, hint);
        }
        Some(named)
    }

    fn repository(&mut self) -> Option<Repository> {
        let secret = self.secret("password").map(|s| s.value.to_owned());
        if self.section.wrote("repo").is_none() {
            self.missing(
                "repo",
                "with kind = \"git\"",
                "name what the servers fetch: repo = \"git@github.com:acme/shop.git\"",
            );
        }
        let written = self.section.text("repo")?;
        let (url, user, embedded) = parted(written.value);
        if embedded.is_some() && secret.is_some() {
            let what = format!("`repo` in {} holds a password, and `password` names another", self.section.title);
            self.problems.at(written.at, what, "take it out of `repo`");
        }
        if secret.is_some() && !url.starts_with("https://") && !url.starts_with("http://") {
            let what = format!("`password` in {} has no meaning for this `repo`", self.section.title);
            self.problems.at(
                written.at,
                what,
                "passwords are for https://; ssh uses `deploy_key` or a forwarded agent",
            );
        }
        let keys = self.section.texts("host_keys").unwrap_or_default();
        Some(Repository {
            url,
            user,
            password: secret.map(Password::Secret).or(embedded.map(|p| Password::Written(Hidden(p)))),
            deploy_key: self.text("deploy_key"),
            host_keys: keys.iter().map(|k| k.value.to_owned()).collect(),
            at_once: self.section.whole("at_once").and_then(|n| n.value.try_into().ok()).unwrap_or(AT_ONCE),
        })
    }

    /// The download; the inner `None`: a local path.
    fn download(&mut self) -> Option<Option<Download>> {
        let of_a_download = ["url", "url_secret"].iter().find_map(|key| self.section.wrote(key));
        let path = self.section.wrote("path");
        let Some(at) = of_a_download else {
            self.out_of_place(&OF_DOWNLOADS[2..], "`path`", "it is for archives that `url` names");
            if path.is_none() {
                let hint = "name a .tar, .tar.gz or .tar.zst file, or a directory; or a `url`";
                self.missing("path", "with kind = \"archive\"", hint);
            }
            return Some(None);
        };
        if path.is_some() {
            self.problems.at(at, format!("both a path and a URL are in {}", self.section.title), "keep one of the two");
        }
        if self.section.wrote("url").is_some() {
            self.out_of_place(&["url_secret"], "`url`", "keep one of the two");
        }
        let secret = self.secret("url_secret").map(|s| Address::Secret(s.value.to_owned()));
        let written = self.section.text("url").map(|u| u.value);
        let sha256 = self.text("sha256").map(|s| s.to_ascii_lowercase());
        let named_by_it = written.is_some_and(|url| url.contains(checks::SHA256));
        if self.section.wrote("sha256").is_none() && !named_by_it {
            let hint = "what is downloaded is released only when it is what was built: sha256sum FILE prints it";
            self.missing("sha256", "beside `url`", hint);
        }
        if written.is_some_and(|url| !url.starts_with("s3://")) {
            self.out_of_place(&["endpoint", "region"], "a `url` that is not s3://", "leave it out");
        }
        Some(Some(Download {
            from: written.map(|u| Address::Written(Hidden(u.to_owned()))).or(secret)?,
            sha256,
            by: self.section.word("fetch", &FETCHERS).map_or(Fetcher::Here, |f| f.value),
            endpoint: self.text("endpoint"),
            region: self.text("region"),
        }))
    }
}
