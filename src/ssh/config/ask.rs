//! Asks `ssh -G` what it makes of its configuration: several hosts at once, each once, within a limit.
//!
//! Used only where a configuration holds what ssh alone can evaluate. As ssh would, it runs what `Match exec` names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::process::Command;

use super::{Origin, Question, Reading, Says, honoured};
use crate::ssh::{ConnectError, ConnectErrorKind};

/// Processes at once: each takes some 8 ms of one processor.
const AT_ONCE: usize = 8;
/// Limit on one answer; what `Match exec` runs is in it.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest answer in bytes that is looked at.
const LONGEST: usize = 1 << 20;

/// What was answered so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: Mutex<BTreeMap<Question, Says>>,
    /// What ssh says without any configuration: that is nobody's wish.
    defaults: Mutex<Option<BTreeMap<String, Vec<String>>>>,
}

/// Whose configuration it is, and why ssh is asked about it.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// The file for `ssh -F`.
    pub(super) named: Option<&'a Path>,
    pub(super) home: &'a Path,
    /// The line that demands it, and its keyword.
    pub(super) because: &'a (Origin, String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    pub(super) fn get(&self, question: &Question) -> Option<Says> {
        lock(&self.known).get(question).cloned()
    }

    /// Asks what was not asked before; the first failure ends it. Blocks, on a thread of its own: whoever calls may stand
    /// in a runtime.
    pub(super) fn ask(&self, questions: &[Question], about: &About<'_>) -> Result<(), ConnectError> {
        let new: BTreeSet<Question> = {
            let known = lock(&self.known);
            questions.iter().filter(|q| !known.contains_key(q)).cloned().collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|e| failed(e.to_string(), about))?.block_on(self.all(new, about))
            });
            asking.join().unwrap_or_else(|_| Err(failed("it was given up".into(), about)))
        })
    }

    async fn all(&self, questions: BTreeSet<Question>, about: &About<'_>) -> Result<(), ConnectError> {
        let known = lock(&self.defaults).clone();
        let defaults = match known {
            Some(defaults) => defaults,
            None => {
                let nobody = Question { host: "default".into(), ..Question::default() };
                let defaults = grouped(&one(&nobody, &About { named: Some(Path::new("none")), ..*about }).await?);
                lock(&self.defaults).insert(defaults).clone()
            }
        };
        let mut answers = futures::stream::iter(questions)
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
async fn one(question: &Question, about: &About<'_>) -> Result<String, ConnectError> {
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
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let it = |what: String| failed(format!("`ssh -G {}` {what}", question.host), about);
    let output = match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(failed("there is no ssh on this machine".into(), about));
        }
        Ok(Err(e)) => return Err(it(format!("cannot be started: {e}"))),
        Err(_) => return Err(it(format!("does not answer within {} s", LIMIT.as_secs()))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().filter(|l| !l.starts_with("Pseudo-terminal")).collect();
        return Err(it(format!("failed: {}", crate::ssh::peer::said(&last.join("; ")))));
    }
    let bytes = output.stdout.get(..LONGEST).unwrap_or(&output.stdout);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn failed(what: String, about: &About<'_>) -> ConnectError {
    let (origin, keyword) = about.because;
    ConnectError {
        kind: ConnectErrorKind::Local,
        detail: format!("cannot evaluate {keyword} in {origin}, which is asked of ssh itself: {what}"),
        hint: "Install OpenSSH's client, or name a file without it with config_file in [ssh].".into(),
    }
}

/// Groups the answer's lines by keyword.
fn grouped(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((keyword, value)) = line.split_once(' ') {
            groups.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
    }
    groups
}

/// Keeps what is honoured and is not what ssh says anyway.
fn says(groups: &BTreeMap<String, Vec<String>>, defaults: &BTreeMap<String, Vec<String>>) -> Says {
    let mut says = Says::default();
    for (name, values) in groups {
        let Some(keyword) = honoured(name).filter(|_| defaults.get(name) != Some(values)) else { continue };
        for value in values {
            let words = match keyword.reading {
                Reading::Words => paths(value),
                Reading::Word | Reading::Every | Reading::Proxy => vec![value.clone()],
            };
            says.add(keyword, words, Origin::Asked);
        }
    }
    says
}

/// Splits a list of paths. The answer has no quotes: what begins like no path belongs to the one before.
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
