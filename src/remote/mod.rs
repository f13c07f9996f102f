//! The shell that runs on servers: scripts, their parameters, how they are quoted, and what they answer.
//!
//! Every line of it lies in `templates/remote/*.sh`. This module assembles and parses; it sends nothing.

pub mod calls;
pub mod quote;

use crate::name::RunId;

/// The scripts, one file a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name of its file")]
pub enum Script {
    Probe,
    Lock,
    Unlock,
    Transfer,
    Link,
    Command,
    Switch,
    Restart,
    Prove,
    Stop,
    Log,
    Mark,
    Prune,
    Remove,
}

/// One remote script with its parameters: what one step executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub script: Script,
    /// Shell variables it sees as `$p_NAME`; a list arrives as quoted words for `eval "set -- $p_NAME"`.
    pub params: Vec<(&'static str, Param)>,
    /// Snippets of the web server template it needs, by name (`web_processes`, …), made functions.
    pub snippets: Vec<(&'static str, String)>,
    /// The template's parameters, `$w_NAME`.
    pub web: Vec<(String, String)>,
    /// Environment and secrets; they arrive on standard input.
    pub env: Vec<(String, String)>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// One word, whatever it holds.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// Marks the lines by which a script answers, so that no noise on its output can be taken for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub String);

/// A line by which a script answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its first word: `release`, `fail`, …
    pub key: String,
    /// The rest.
    pub value: String,
}

/// Who takes a lock; written into it as `key=value` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The token.
    pub run: RunId,
    /// Local user's name.
    pub who: String,
    /// Local host's name.
    pub host: String,
    /// Local process.
    pub pid: u32,
    /// Command line as people would type it.
    pub command: String,
    /// RFC 3339, UTC.
    pub since: String,
}
