//! `~/.ssh/config`, by the rules of ssh_config(5): what it says of one host, and in which line.
//!
//! Reading lies in `files`, one line's syntax in `line`, tokens in `tokens`. What only ssh itself can evaluate
//! (`Match`, canonical names) is asked of `ssh -G` by `ask`. What the values mean is decided by [`super::settings`].

mod ask;
mod files;
mod line;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use self::files::{File, Item, Place, Reader};
use super::known_hosts::wildcard;
use super::{ConnectError, ConnectErrorKind};

pub use self::tokens::{Environment, Local};
pub(crate) use self::tokens::{Takes, Tokens, tilde};

/// The files of an ssh_config.
#[derive(Debug)]
pub struct SshConfig {
    files: Vec<File>,
    /// The file that was named, for `ssh -F`.
    named: Option<PathBuf>,
    /// The user's home directory, for ssh.
    home: PathBuf,
    ask: Option<Asking>,
}

/// That ssh itself must be asked.
#[derive(Debug)]
struct Asking {
    /// Why: the first line that demands it, and its keyword.
    because: (Origin, String),
    answers: ask::Answers,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// pitcrew.toml, this key.
    Toml(&'static str),
    /// The address as it is written in pitcrew.toml, or in a `ProxyJump`.
    Address,
    /// A line of an ssh_config.
    File(PathBuf, usize),
    /// What `ssh -G` answered.
    Asked,
    /// Nobody said otherwise.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml(key) => write!(f, "[ssh] {key}"),
            Self::Address => f.write_str("its address"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Asked => f.write_str("ssh -G"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its words; commands are one.
    pub words: Vec<String>,
    /// Where it stands.
    pub from: Origin,
}

/// What is written for one host, by keyword in lower case. Most have one value, the first; some collect all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Says(pub BTreeMap<&'static str, Vec<Written>>);

impl Says {
    /// Finds the value of a keyword that has one.
    pub fn first(&self, keyword: &str) -> Option<&Written> {
        self.0.get(keyword)?.first()
    }

    /// Finds all values of a keyword that collects.
    pub fn all(&self, keyword: &str) -> &[Written] {
        self.0.get(keyword).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, keyword: &Keyword, words: Vec<String>, from: Origin) {
        if keyword.reading == Reading::Proxy && ["proxycommand", "proxyjump"].iter().any(|k| self.0.contains_key(k)) {
            return;
        }
        let values = self.0.entry(keyword.name).or_default();
        let again = values.iter().any(|v| v.words == words);
        if values.is_empty() || (keyword.reading == Reading::Every && !again) {
            values.push(Written { words, from });
        }
    }
}

/// How the values of a keyword are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// One word, the first wins.
    Word,
    /// All words of the line that comes first.
    Words,
    /// One word, and every line counts.
    Every,
    /// The rest of the line; whichever of the two keywords comes first wins.
    Proxy,
}

/// A keyword that is honoured.
#[derive(Debug)]
struct Keyword {
    name: &'static str,
    reading: Reading,
}

const fn keyword(name: &'static str, reading: Reading) -> Keyword {
    Keyword { name, reading }
}

/// The keywords that are honoured; all others are passed over.
const KEYWORDS: &[Keyword] = &[
    keyword("addressfamily", Reading::Word),
    keyword("batchmode", Reading::Word),
    keyword("bindaddress", Reading::Word),
    keyword("certificatefile", Reading::Every),
    keyword("ciphers", Reading::Word),
    keyword("connecttimeout", Reading::Word),
    keyword("forwardagent", Reading::Word),
    keyword("globalknownhostsfile", Reading::Words),
    keyword("hostkeyalgorithms", Reading::Word),
    keyword("hostkeyalias", Reading::Word),
    keyword("hostname", Reading::Word),
    keyword("identitiesonly", Reading::Word),
    keyword("identityagent", Reading::Word),
    keyword("identityfile", Reading::Every),
    keyword("kbdinteractiveauthentication", Reading::Word),
    keyword("kexalgorithms", Reading::Word),
    keyword("macs", Reading::Word),
    keyword("numberofpasswordprompts", Reading::Word),
    keyword("passwordauthentication", Reading::Word),
    keyword("port", Reading::Word),
    keyword("preferredauthentications", Reading::Word),
    keyword("proxycommand", Reading::Proxy),
    keyword("proxyjump", Reading::Proxy),
    keyword("proxyusefdpass", Reading::Word),
    keyword("pubkeyauthentication", Reading::Word),
    keyword("revokedhostkeys", Reading::Word),
    keyword("serveralivecountmax", Reading::Word),
    keyword("serveraliveinterval", Reading::Word),
    keyword("stricthostkeychecking", Reading::Word),
    keyword("user", Reading::Word),
    keyword("userknownhostsfile", Reading::Words),
];

/// Older names of keywords.
const ALIASES: &[(&str, &str)] = &[
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("dsaauthentication", "pubkeyauthentication"),
    ("identityfile2", "identityfile"),
    ("globalknownhostsfile2", "globalknownhostsfile"),
    ("userknownhostsfile2", "userknownhostsfile"),
];

fn honoured(name: &str) -> Option<&'static Keyword> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    KEYWORDS.iter().find(|k| k.name == name)
}

/// A host to be looked up, with what is known of it before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// As people write it.
    pub host: String,
    /// The user, where it is written elsewhere; it decides what `Match user` means.
    pub user: Option<String>,
    /// The port, where it is written elsewhere.
    pub port: Option<u16>,
}

impl SshConfig {
    /// Reads the files as ssh would: the user's and the system's, or the one that is named. A missing file is empty,
    /// unless it was named.
    ///
    /// # Errors
    /// When one cannot be read or understood, or others can write it.
    pub fn load(named: Option<&Path>, home: &Path) -> Result<Self, ConnectError> {
        Self::load_from(named, home, Path::new("/etc/ssh/ssh_config"))
    }

    fn load_from(named: Option<&Path>, home: &Path, system: &Path) -> Result<Self, ConnectError> {
        let usual = home.join(".ssh/config");
        // Naming the usual file changes nothing.
        let named = named.filter(|path| **path != usual);
        let mut reader = Reader { home, ask: None };
        let mut files = Vec::new();
        match named {
            Some(path) => files.push(reader.read(path, Place::Named)?.ok_or_else(|| ConnectError {
                kind: ConnectErrorKind::Local,
                detail: format!("cannot read {}: there is no such file", path.display()),
                hint: "Correct config_file in [ssh], or set it to false.".into(),
            })?),
            None => {
                files.extend(reader.read(&usual, Place::User)?);
                files.extend(reader.read(system, Place::System)?);
            }
        }
        // ssh looks in the home directory of the password database, whatever HOME says.
        let of_record = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.dir);
        let elsewhere = of_record.is_some_and(|dir| dir != home) && usual.exists();
        let named = named.or_else(|| elsewhere.then_some(usual.as_path()));
        let ask = reader.ask.map(|because| Asking { because, answers: ask::Answers::default() });
        Ok(Self { files, named: named.map(Path::to_path_buf), home: home.to_path_buf(), ask })
    }

    /// Tells whether ssh itself must be asked, and because of which line and keyword.
    pub fn asks(&self) -> Option<(&Origin, &str)> {
        self.ask.as_ref().map(|a| (&a.because.0, a.because.1.as_str()))
    }

    /// Asks ssh about many hosts at once, where it must be asked; [`SshConfig::says`] then finds the answers. Blocks.
    ///
    /// # Errors
    /// When ssh cannot be started, or does not answer.
    pub fn prepare(&self, questions: &[Question]) -> Result<(), ConnectError> {
        match &self.ask {
            Some(ask) => ask.answers.ask(questions, &self.asking(ask)),
            None => Ok(()),
        }
    }

    fn asking<'a>(&'a self, ask: &'a Asking) -> ask::About<'a> {
        ask::About { named: self.named.as_deref(), home: &self.home, because: &ask.because }
    }

    /// Tells what is written for a host. Blocks where ssh must be asked and was not [prepared](Self::prepare) for it.
    ///
    /// # Errors
    /// As [`SshConfig::prepare`].
    pub fn says(&self, question: &Question) -> Result<Says, ConnectError> {
        let Some(ask) = &self.ask else {
            let mut says = Says::default();
            for file in &self.files {
                evaluate(file, &question.host, &mut says);
            }
            return Ok(says);
        };
        ask.answers.ask(std::slice::from_ref(question), &self.asking(ask))?;
        ask.answers.get(question).ok_or_else(|| ConnectError {
            kind: ConnectErrorKind::Local,
            detail: format!("cannot tell what ssh's configuration says of {}", question.host),
            hint: format!("Run `ssh -G {}` to see.", question.host),
        })
    }
}

fn evaluate(file: &File, host: &str, says: &mut Says) {
    let mut active = true;
    for (number, item) in &file.items {
        match item {
            Item::Host(patterns) => active = matches(patterns, host),
            _ if !active => {}
            Item::Include(files) => files.iter().for_each(|f| evaluate(f, host, says)),
            Item::Set(line) => {
                let Some(keyword) = honoured(&line.keyword) else { continue };
                let words = match keyword.reading {
                    Reading::Proxy => vec![line.rest.clone()],
                    Reading::Words => line.words.clone(),
                    Reading::Word | Reading::Every => line.words.first().cloned().into_iter().collect(),
                };
                says.add(keyword, words, Origin::File(file.path.clone(), *number));
            }
        }
    }
}

/// Tells whether a host is meant: one pattern fits, and none behind a `!`.
fn matches(patterns: &[String], host: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if wildcard(not.as_bytes(), host.as_bytes()) => return false,
            Some(_) => {}
            None => found |= wildcard(pattern.as_bytes(), host.as_bytes()),
        }
    }
    found
}

/// Says what is wrong in a line.
pub(crate) fn wrong(at: &Origin, what: &str) -> ConnectError {
    ConnectError {
        kind: ConnectErrorKind::Local,
        detail: format!("cannot use {at}: {what}"),
        hint: "Correct it, or set config_file = false in [ssh] to do without.".into(),
    }
}

#[cfg(test)]
mod tests;
