//! Asks `ssh -G` about hosts: several at once, each once, within a limit.
//!
//! Used only where an ssh_config holds a line that only ssh can evaluate. ssh then runs what `Match exec` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::process::Command;

use super::error::{ConfigError, SshFault};
use super::files::Because;
use super::keywords::{Reading, known};
use super::origin::SettingOrigin;
use super::question::Question;
use super::says::Says;
use crate::ssh::short_command::{self, NoOutput};
use crate::ssh::sync::lock;
use crate::ssh::text::said;

/// Processes at once: each takes some 8 ms of one processor.
const AT_ONCE: usize = 8;
/// Limit on one answer, with the commands that `Match exec` runs.
const LIMIT: Duration = Duration::from_secs(15);

/// Values by keyword.
type Groups = BTreeMap<String, Vec<String>>;

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: Mutex<BTreeMap<Question, Says>>,
    /// What ssh answers without any configuration: no file sets these values.
    defaults: Mutex<Option<Groups>>,
}

/// The configuration that ssh is asked about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// The file for `ssh -F`.
    pub(super) named: Option<&'a Path>,
    pub(super) home: &'a Path,
    pub(super) because: &'a Because,
}

impl About<'_> {
    fn failed(&self, source: SshFault) -> ConfigError {
        let Because { at, keyword } = self.because;
        ConfigError::Unasked { keyword: keyword.clone(), at: at.clone(), source }
    }
}

impl Answers {
    /// Returns the answer about a host.
    pub(super) fn get(&self, question: &Question) -> Option<Says> {
        lock(&self.known).get(question).cloned()
    }

    /// Asks the questions that are new. The first failure ends it.
    pub(super) async fn ask(&self, questions: &[Question], about: &About<'_>) -> Result<(), ConfigError> {
        let new: BTreeSet<Question> = {
            let known = lock(&self.known);
            questions.iter().filter(|q| !known.contains_key(q)).cloned().collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let known = lock(&self.defaults).clone();
        let defaults = match known {
            Some(defaults) => defaults,
            None => {
                let any = Question { host: "default".into(), ..Question::default() };
                let defaults = grouped(&one(&any, &About { named: Some(Path::new("none")), ..*about }).await?);
                lock(&self.defaults).insert(defaults).clone()
            }
        };
        let mut answers = futures::stream::iter(new)
            .map(|question| async {
                let text = one(&question, about).await;
                (question, text)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((question, text)) = answers.next().await {
            let says = says(&grouped(&text?), &defaults);
            lock(&self.known).insert(question, says);
        }
        Ok(())
    }
}

/// Asks about one host.
async fn one(question: &Question, about: &About<'_>) -> Result<String, ConfigError> {
    let mut command = Command::new("ssh");
    command.arg("-G");
    if let Some(path) = about.named {
        command.arg("-F").arg(path);
    }
    if let Some(user) = &question.user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = question.port {
        command.arg("-p").arg(port.to_string());
    }
    // A host may look like an option.
    command.arg("--").arg(&question.host);
    command.env("HOME", about.home);
    let host = question.host.clone();
    let output = match short_command::output(command, LIMIT).await {
        Ok(output) => output,
        Err(NoOutput::NotStarted(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(about.failed(SshFault::NoSsh));
        }
        Err(NoOutput::NotStarted(e)) => return Err(about.failed(SshFault::NotStarted { host, source: e.into() })),
        Err(NoOutput::Silent) => return Err(about.failed(SshFault::Silent { host, limit: LIMIT.as_secs() })),
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = words.lines().filter(|l| !l.starts_with("Pseudo-terminal")).collect();
        return Err(about.failed(SshFault::Failed { host, said: said(&last.join("; ")) }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Groups the answer's lines by keyword.
fn grouped(text: &str) -> Groups {
    let mut groups: Groups = BTreeMap::new();
    for line in text.lines() {
        if let Some((keyword, value)) = line.split_once(' ') {
            groups.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
    }
    groups
}

/// Keeps the known keywords whose values differ from the defaults of ssh.
fn says(groups: &Groups, defaults: &Groups) -> Says {
    let mut says = Says::default();
    for (name, values) in groups {
        let Some(keyword) = known(name).filter(|_| defaults.get(name) != Some(values)) else { continue };
        for value in values {
            let words = match keyword.reading {
                Reading::Words => paths(value),
                Reading::Word | Reading::Every | Reading::Proxy | Reading::Rest => vec![value.clone()],
            };
            says.add(keyword, words, SettingOrigin::Asked);
        }
    }
    says
}

/// Splits a list of paths.
///
/// The answer has no quotes: a word that begins like no path belongs to the path before it.
fn paths(value: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for word in value.split(' ') {
        match paths.last_mut() {
            Some(last) if !word.starts_with(['/', '~', '$']) && word != "none" => {
                last.push(' ');
                last.push_str(word);
            }
            _ => paths.push(word.to_owned()),
        }
    }
    paths
}
