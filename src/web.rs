//! Web server templates: what a kind of web server needs to restart and how its restart is proven.
//!
//! Owns parsing a template and filling in a stack's parameters. It runs nothing: the snippets end up in the remote scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Strategy;

/// A web server template with a stack's parameters filled in.
#[derive(Debug, Clone)]
pub struct Web {
    /// The template's name, or its file's stem.
    pub name: String,
    /// The strategy that suits it.
    pub strategy: Strategy,
    /// Parameters by name, with the stack's values or the defaults; snippets see them as `$w_NAME`.
    pub parameters: BTreeMap<String, String>,
    /// Tools that must be on the server's PATH.
    pub tools: Vec<String>,
    /// The snippets, in POSIX sh.
    pub scripts: Scripts,
    /// How a restart is proven.
    pub proof: Proof,
}

/// A web server template, before a stack fills in its parameters.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name, or its file's stem.
    pub name: String,
    /// The strategy that suits it.
    pub strategy: Strategy,
    /// What can be said in `[web]`.
    pub parameters: BTreeMap<String, Parameter>,
    /// Tools that must be on the server's PATH.
    pub tools: Vec<String>,
    /// The snippets, in POSIX sh.
    pub scripts: Scripts,
    /// How a restart is proven.
    pub proof: Proof,
}

/// One thing that can be said in `[web]`.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its value when nothing is said.
    pub default: Option<String>,
    /// Whether something must be said.
    pub required: bool,
    /// What it takes.
    pub kind: ParameterKind,
    /// What it is for, in one line.
    pub about: String,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterKind {
    /// Any text.
    Text,
    /// A path, relative to `deploy_to` or absolute.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// One of these words.
    Choice(Vec<String>),
}

impl Template {
    /// Fills in what was given, and defaults for the rest; what is given must have been checked.
    pub fn fill(&self, given: &BTreeMap<String, String>) -> Web {
        let defaults = self.parameters.iter().filter_map(|(name, p)| Some((name.clone(), p.default.clone()?)));
        let mut parameters: BTreeMap<String, String> = defaults.collect();
        parameters.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
        Web {
            name: self.name.clone(),
            strategy: self.strategy,
            parameters,
            tools: self.tools.clone(),
            scripts: self.scripts.clone(),
            proof: self.proof.clone(),
        }
    }
}

/// The snippets of a template. All see `$root`, `$current`, `$release_dir` and the parameters, and run in `$current`.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    /// Prints the pids of the server's processes, one a line: masters are enough, their descendants are found.
    pub processes: String,
    /// Starts it; ends when it is started, with nothing left on its output.
    pub start: String,
    /// Restarts it while it runs.
    pub restart: String,
    /// Stops it: used to take back a first deploy.
    pub stop: String,
    /// Prints the last lines of its log, for a failing health check.
    pub log: String,
}

/// How a restart is proven.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Nothing to prove: files are served from `current`.
    pub none: bool,
    /// The old processes must be gone within this time.
    pub old_gone: Duration,
    /// The server starts its application at the next request: an empty process set is no failure before the health check.
    pub lazy: bool,
}
