//! Evaluates ssh_config files for one host, or has ssh evaluate them.

use std::path::{Path, PathBuf};

use super::ask::{About, Answers};
use super::error::{ConfigError, FileFault};
use super::files::{Because, File, Item, Place, Reader};
use super::keywords::{Reading, UNKNOWN, known, meant, takes_one_word};
use super::mistake::Mistake;
use super::origin::SettingOrigin;
use super::question::Question;
use super::says::Says;
use crate::ssh::wildcard::wildcard;

/// The files of an ssh_config.
#[derive(Debug)]
pub struct SshConfig {
    files: Vec<File>,
    /// The file for `ssh -F`.
    named: Option<PathBuf>,
    /// The user's home directory, for ssh.
    home: PathBuf,
    /// Set where only ssh can evaluate the files.
    ask: Option<Asking>,
}

/// The questions to ssh.
#[derive(Debug)]
struct Asking {
    because: Because,
    answers: Answers,
}

impl SshConfig {
    /// Reads the files that ssh would read: the user's and the system's, or the named one alone.
    ///
    /// # Errors
    /// When a file cannot be read or is malformed, when other users can write it, or when the named one is missing.
    pub fn load(named: Option<&Path>, home: &Path) -> Result<Self, ConfigError> {
        Self::load_from(named, home, Path::new("/etc/ssh/ssh_config"))
    }

    /// As [`SshConfig::load`], with another place of the system's file.
    pub(super) fn load_from(named: Option<&Path>, home: &Path, system: &Path) -> Result<Self, ConfigError> {
        let usual = home.join(".ssh/config");
        // Naming the usual file changes nothing.
        let named = named.filter(|path| **path != usual);
        let mut reader = Reader { home, because: None };
        let mut files = Vec::new();
        match named {
            Some(path) => {
                let file = reader.read(path, Place::Named)?;
                files.push(file.ok_or_else(|| ConfigError::file(path, FileFault::Missing))?);
            }
            None => {
                files.extend(reader.read(&usual, Place::User)?);
                files.extend(reader.read(system, Place::System)?);
            }
        }
        // ssh looks in the home directory of the password database, whatever HOME says.
        let of_record = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|u| u.dir);
        let elsewhere = of_record.is_some_and(|dir| dir != home) && usual.exists();
        let named = named.or_else(|| elsewhere.then_some(usual.as_path()));
        let ask = reader.because.map(|because| Asking { because, answers: Answers::default() });
        Ok(Self { files, named: named.map(Path::to_path_buf), home: home.to_path_buf(), ask })
    }

    /// Returns the line and keyword that only ssh can evaluate, if there is one.
    pub fn asks(&self) -> Option<(&SettingOrigin, &str)> {
        self.ask.as_ref().map(|a| (&a.because.at, a.because.keyword.as_str()))
    }

    /// Asks ssh about many hosts at once, where only ssh can evaluate the files.
    ///
    /// [`SshConfig::says`] returns the answers.
    ///
    /// # Errors
    /// When ssh cannot be started, or does not answer.
    pub async fn prepare(&self, questions: &[Question]) -> Result<(), ConfigError> {
        let Some(ask) = &self.ask else { return Ok(()) };
        let about = About { named: self.named.as_deref(), home: &self.home, because: &ask.because };
        ask.answers.ask(questions, &about).await
    }

    /// Tells what the files say of a host.
    ///
    /// # Errors
    /// When only ssh can evaluate the files, and it was not [asked](Self::prepare) about this host.
    pub fn says(&self, question: &Question) -> Result<Says, ConfigError> {
        let Some(ask) = &self.ask else {
            let mut says = Says::default();
            for file in &self.files {
                evaluate(file, &question.host, true, &mut says);
            }
            // What stands below it would be taken for something else: all of a block for another host, behind `Hots other`.
            for written in says.all(UNKNOWN) {
                let word = written.words.concat();
                if let Some(meant) = meant(&word) {
                    return Err(ConfigError::setting(&written.from, Mistake::Misspelt { written: word, meant }));
                }
            }
            return Ok(says);
        };
        ask.answers.get(question).ok_or_else(|| ConfigError::Unanswered { host: question.host.clone() })
    }
}

/// Adds what a file says of a host. `read`: whether the lines before its first `Host` are meant.
fn evaluate(file: &File, host: &str, read: bool, says: &mut Says) {
    let mut active = read;
    for (number, item) in &file.items {
        let from = || SettingOrigin::File(file.path.clone(), *number);
        match item {
            Item::Host(patterns) => active = read && matches(patterns, host),
            Item::Include(files) => files.iter().for_each(|f| evaluate(f, host, active, says)),
            Item::Set(line) => match known(&line.keyword) {
                Some(keyword) if active => {
                    let words = match keyword.reading {
                        Reading::Proxy | Reading::Rest => vec![line.rest.clone()],
                        Reading::Words => line.words.clone(),
                        Reading::Word | Reading::Every => line.words.first().cloned().into_iter().collect(),
                    };
                    says.add(keyword, words, from());
                }
                Some(_) => {}
                // ssh minds it for every host.
                None if takes_one_word(&line.keyword).is_none() => says.add_unknown(line, from()),
                None => {}
            },
        }
    }
}

/// Tells whether a host fits one of the patterns, and none behind a `!`.
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
