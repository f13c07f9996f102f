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
    /// The health check demands an answer that names its release: that proves what processes do not tell.
    pub answer_named: bool,
}

/// The snippets of a template.
///
/// All see `$root`, `$current`, `$release_dir` and the parameters, and run in `$current`.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    /// Prints the pids of the server's processes, one a line.
    ///
    /// Masters are enough: their descendants are found.
    pub processes: String,
    /// Starts it; ends when it is started, with nothing left on its output.
    pub start: String,
    /// Restarts it while it runs.
    pub restart: String,
    /// Stops it: used to take back a first deploy.
    pub stop: String,
    /// Prints the last lines of its log, for a failing health check.
    pub log: String,
    /// Prints what a plan should know of a restart here, one fact a line; changes nothing.
    ///
    /// A line is a word and a fragment: `interrupts`, `refuses`, `lacks` or `warns`, as in [`crate::facts::WebFactKind`].
    pub facts: String,
}

/// How a restart is proven.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Nothing to prove: files are served from `current`.
    pub none: bool,
    /// The old processes must be gone within this time.
    pub old_gone: Duration,
    /// The server starts its application at the next request.
    ///
    /// An empty process set is no failure before the health check.
    pub lazy: bool,
}

/// A web server template as its file says.
#[derive(Debug, Clone)]
pub struct Template {
    /// `name`: what `[app] web_server` calls it; a file without it is called by its stem.
    pub name: String,
    /// `about`: one sentence.
    pub about: String,
    /// `strategy` that suits it.
    pub strategy: Strategy,
    /// `tools` that must be on the server's PATH.
    pub tools: Vec<String>,
    /// `[parameters.NAME]`: keys of a stack's `[web]`.
    pub parameters: BTreeMap<String, Parameter>,
    /// `[scripts]`.
    pub scripts: Scripts,
    /// `[proof]`.
    pub proof: Proof,
}

/// A parameter of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// `default`.
    pub default: Option<String>,
    /// `required`: the stack must give it.
    pub required: bool,
    /// `kind`, with `choices`.
    pub kind: ParameterKind,
    /// `about`: one sentence for the commented configuration file.
    pub about: String,
}

/// What a parameter's value must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterKind {
    /// Anything.
    Text,
    /// A path, absolute or relative to `deploy_to`; snippets see it absolute.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A number without sign.
    Integer,
    /// One of these.
    Choice(Vec<String>),
}

/// What is wrong with a template's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// Line from 1; 0 when no line is to blame.
    pub line: usize,
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to do, as a sentence; may be empty.
    pub hint: String,
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        /// The templates that come with pitcrew: name and file.
        const BUILTIN: &[(&str, &str)] = &[$(($name, include_str!(concat!("../templates/web/", $name, ".toml")))),*];
    };
}
builtin!("gunicorn", "passenger", "passenger-enterprise", "puma", "static", "systemd", "thin", "unicorn");

/// Lists the templates that come with pitcrew, in alphabetical order.
pub fn builtin_names() -> Vec<&'static str> {
    BUILTIN.iter().map(|(name, _)| *name).collect()
}

impl ParameterKind {
    /// Tells what is wrong with a value, as a fragment; `None`: nothing.
    pub fn objection(&self, value: &str) -> Option<String> {
        match self {
            Self::Boolean if value != "true" && value != "false" => Some("must be true or false".to_owned()),
            Self::Integer if value.is_empty() || value.len() > 9 || !value.bytes().all(|b| b.is_ascii_digit()) => {
                Some("must be a whole number".to_owned())
            }
            Self::Choice(choices) if !choices.iter().any(|c| c == value) => {
                Some(format!("must be one of {}", choices.join(", ")))
            }
            _ if value.contains('\0') => Some("cannot hold a NUL byte".to_owned()),
            Self::Path if value.contains('\n') => Some("cannot hold a line break".to_owned()),
            _ => None,
        }
    }
}

impl Template {
    /// Finds a template that comes with pitcrew.
    pub fn builtin(name: &str) -> Option<Self> {
        let (name, text) = BUILTIN.iter().find(|(n, _)| *n == name)?;
        // A test parses them all.
        Self::parse(name, text).ok()
    }

    /// Parses a template's file; `name` is what it is called when it does not say so.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let raw: raw::Template = toml::from_str(text).map_err(|e| TemplateError {
            line: e.span().map_or(0, |span| line_at(text, span.start)),
            what: e.message().trim().to_owned(),
            hint: String::new(),
        })?;
        let Some(strategy) = strategy(raw.strategy.get_ref()) else {
            return Err(TemplateError {
                line: line_at(text, raw.strategy.span().start),
                what: format!("unknown strategy `{}`", raw.strategy.get_ref()),
                hint: "Use parallel, serial or rolling.".to_owned(),
            });
        };
        let mut parameters = BTreeMap::new();
        for (key, parameter) in raw.parameters {
            let line = line_at(text, key.span().start);
            let key = key.into_inner();
            let parameter = parameter.resolve(&key).map_err(|(what, hint)| TemplateError { line, what, hint })?;
            parameters.insert(key, parameter);
        }
        let at_scripts = raw.scripts.as_ref().map_or(0, |s| line_at(text, s.span().start));
        let scripts = raw.scripts.map(toml::Spanned::into_inner).unwrap_or_default();
        let old_gone = match &raw.proof.old_gone {
            None => OLD_GONE,
            Some(written) => duration(written.get_ref()).ok_or_else(|| TemplateError {
                line: line_at(text, written.span().start),
                what: format!("cannot read `{}` as a duration", written.get_ref()),
                hint: "Write it like \"90s\" or \"2m\".".to_owned(),
            })?,
        };
        let template = Self {
            name: raw.name.unwrap_or_else(|| name.to_owned()),
            about: raw.about,
            strategy,
            tools: raw.tools,
            parameters,
            scripts: Scripts {
                processes: scripts.processes,
                start: scripts.start,
                restart: scripts.restart,
                stop: scripts.stop,
                log: scripts.log,
                facts: scripts.facts,
            },
            proof: Proof { none: raw.proof.none, old_gone, lazy: raw.proof.lazy },
        };
        template.check_scripts(at_scripts)?;
        Ok(template)
    }

    fn check_scripts(&self, line: usize) -> Result<(), TemplateError> {
        if self.proof.none {
            return Ok(());
        }
        let Scripts { processes, start, restart, stop, .. } = &self.scripts;
        for (key, script) in [("processes", processes), ("start", start), ("restart", restart), ("stop", stop)] {
            if script.trim().is_empty() {
                return Err(TemplateError {
                    line,
                    what: format!("[scripts] lacks `{key}`"),
                    hint: "A template without processes says `none = true` in [proof].".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Says what is wrong with a stack's `[web]`: pairs of a key and a fragment.
    ///
    /// The key of a wrong value stands in `[web]`; that of a missing one does not.
    pub fn objections(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (key, value) in given {
            match self.parameters.get(key) {
                None => found.push((key.clone(), format!("the web server `{}` has no parameter `{key}`", self.name))),
                Some(p) => found.extend(p.kind.objection(value).map(|what| (key.clone(), format!("`{key}` {what}")))),
            }
        }
        for (key, _) in self.parameters.iter().filter(|(key, p)| p.required && !given.contains_key(*key)) {
            found.push((key.clone(), format!("the web server `{}` needs `{key}`", self.name)));
        }
        found
    }

    /// Fills in a stack's parameters; what it does not give has its default, or is empty.
    ///
    /// Keys that the template does not know are left out: [`Template::objections`] names them.
    pub fn fill(&self, given: &BTreeMap<String, String>) -> Web {
        let mut parameters = BTreeMap::new();
        for (key, parameter) in &self.parameters {
            let value = given.get(key).or(parameter.default.as_ref()).cloned().unwrap_or_default();
            parameters.insert(key.clone(), value);
        }
        // `deploy_to` is only resolved on the server, so paths become absolute there.
        let paths: Vec<&str> = self
            .parameters
            .iter()
            .filter(|(_, p)| p.kind == ParameterKind::Path)
            .map(|(key, _)| key.as_str())
            .collect();
        let snippet = |text: &String| match (text.trim().is_empty(), paths.is_empty()) {
            (true, _) => String::new(),
            (false, true) => text.clone(),
            (false, false) => format!("paths {}\n{text}", paths.join(" ")),
        };
        Web {
            name: self.name.clone(),
            strategy: self.strategy,
            parameters,
            tools: self.tools.clone(),
            scripts: Scripts {
                processes: snippet(&self.scripts.processes),
                start: snippet(&self.scripts.start),
                restart: snippet(&self.scripts.restart),
                stop: snippet(&self.scripts.stop),
                log: snippet(&self.scripts.log),
                facts: snippet(&self.scripts.facts),
            },
            proof: self.proof.clone(),
            answer_named: false,
        }
    }
}

/// How long old processes may take to finish their requests, unless the template says otherwise.
const OLD_GONE: Duration = Duration::from_secs(60);

fn strategy(word: &str) -> Option<Strategy> {
    [Strategy::Parallel, Strategy::Serial, Strategy::Rolling].into_iter().find(|s| s.to_string() == word)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Reads `90s`, `2m` or `1h`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(u64::from(number) * factor))
}

/// The file 1:1.
mod raw {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use toml::Spanned;

    use super::ParameterKind;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Template {
        pub name: Option<String>,
        #[serde(default)]
        pub about: String,
        pub strategy: Spanned<String>,
        #[serde(default)]
        pub tools: Vec<String>,
        #[serde(default)]
        pub parameters: BTreeMap<Spanned<String>, Parameter>,
        pub scripts: Option<Spanned<Scripts>>,
        #[serde(default)]
        pub proof: Proof,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Parameter {
        pub default: Option<Value>,
        #[serde(default)]
        pub required: bool,
        pub kind: Option<String>,
        pub choices: Option<Vec<String>>,
        #[serde(default)]
        pub about: String,
    }

    /// `default = 60` reads better than `default = "60"`.
    #[derive(Deserialize)]
    #[serde(untagged)]
    pub enum Value {
        Text(String),
        Boolean(bool),
        Integer(i64),
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct Scripts {
        pub processes: String,
        pub start: String,
        pub restart: String,
        pub stop: String,
        pub log: String,
        pub facts: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct Proof {
        pub none: bool,
        pub old_gone: Option<Spanned<String>>,
        pub lazy: bool,
    }

    impl Parameter {
        /// Checks the parameter; the error is what is wrong and a hint.
        pub fn resolve(self, name: &str) -> Result<super::Parameter, (String, String)> {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(plain) {
                let hint = "Use small letters, digits and underscores: snippets see it as a shell variable.".to_owned();
                return Err((format!("`{name}` cannot name a parameter"), hint));
            }
            let kind = match (self.kind.as_deref(), self.choices) {
                (None | Some("choice"), Some(choices)) if !choices.is_empty() => ParameterKind::Choice(choices),
                (Some("choice"), _) => {
                    return Err((format!("the choice `{name}` has no `choices`"), "List its values.".to_owned()));
                }
                (_, Some(_)) => {
                    return Err((
                        format!("`{name}` has `choices` but is no choice"),
                        "Set kind = \"choice\".".to_owned(),
                    ));
                }
                (None | Some("text"), None) => ParameterKind::Text,
                (Some("path"), None) => ParameterKind::Path,
                (Some("boolean"), None) => ParameterKind::Boolean,
                (Some("integer"), None) => ParameterKind::Integer,
                (Some(other), None) => {
                    let hint = "Use text, path, boolean, integer or choice.".to_owned();
                    return Err((format!("unknown kind `{other}` of `{name}`"), hint));
                }
            };
            let default = self.default.map(|value| match value {
                Value::Text(text) => text,
                Value::Boolean(on) => on.to_string(),
                Value::Integer(number) => number.to_string(),
            });
            if let Some(objection) = default.as_deref().and_then(|d| kind.objection(d)) {
                return Err((format!("the default of `{name}` {objection}"), String::new()));
            }
            if self.required && default.is_some() {
                let hint = "Remove one of the two.".to_owned();
                return Err((format!("`{name}` is required and has a default"), hint));
            }
            Ok(super::Parameter { default, required: self.required, kind, about: self.about })
        }
    }
}

#[cfg(test)]
mod tests;
