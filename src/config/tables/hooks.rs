//! `[[hooks]]`: commands around the steps of a run, and hooks that could never run.

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::config::bad::Bad;
use crate::config::key::{Form, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::values;
use crate::config::words::{alternatives, nearest, quoted};

const PLACES: [(&str, HookPlace); 3] = [("each", HookPlace::Each), ("one", HookPlace::One), ("here", HookPlace::Here)];

/// `[[hooks]]`.
pub const TABLE: Table = Table {
    name: "hooks",
    form: Form::Many(&[
        key("at", ValueKind::Text(hook_point)).required(),
        key("run", ValueKind::Text(values::command)).required(),
        key("on", ValueKind::Choice(&words(&PLACES))),
        key("halt", ValueKind::Boolean),
    ]),
};

/// `[[hooks]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `at`.
    pub at: HookPoint,
    /// `run`.
    pub run: String,
    /// `on`.
    pub on: HookPlace,
    /// `halt = true`: a failing hook fails the run.
    pub halt: bool,
    /// The line in the file, from 1.
    pub line: usize,
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// `before STEP`.
    Before(HookStep),
    /// `after STEP`.
    After(HookStep),
    /// `on success`.
    OnSuccess,
    /// `on failure`.
    OnFailure,
}

/// The steps that hooks can stand around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the word of the file")]
pub enum HookStep {
    Lock,
    Prepare,
    Migrate,
    Drain,
    Switch,
    Restore,
    Finish,
}

impl std::fmt::Display for HookPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |step: &HookStep| format!("{step:?}").to_lowercase();
        match self {
            Self::Before(step) => write!(f, "before {}", word(step)),
            Self::After(step) => write!(f, "after {}", word(step)),
            Self::OnSuccess => f.write_str("on success"),
            Self::OnFailure => f.write_str("on failure"),
        }
    }
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPlace {
    /// On each server of the step.
    Each,
    /// On the first server of the run.
    One,
    /// On the operator's machine.
    Here,
}

/// The steps that hooks can stand around, as they are written.
pub const HOOK_STEPS: [(&str, HookStep); 7] = [
    ("lock", HookStep::Lock),
    ("prepare", HookStep::Prepare),
    ("migrate", HookStep::Migrate),
    ("drain", HookStep::Drain),
    ("switch", HookStep::Switch),
    ("restore", HookStep::Restore),
    ("finish", HookStep::Finish),
];

/// Reads when a hook runs: `before STEP`, `after STEP`, `on success`, `on failure`.
pub fn parse_hook_point(text: &str) -> Result<HookPoint, Bad> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let names = HOOK_STEPS.map(|(name, _)| name);
    let all = || {
        format!(
            "write \"before STEP\" or \"after STEP\" with {}, \"on success\" or \"on failure\"",
            alternatives(&names)
        )
    };
    let unknown = |hint: String| Bad::new(format!("names no moment of a run: {}", quoted(text)), hint);
    let near = |word: &str| match nearest(word, names) {
        Some(near) => format!("did you mean `{} {near}`?", words.first().copied().unwrap_or_default()),
        None => all(),
    };
    match words.as_slice() {
        ["on", "success"] => Ok(HookPoint::OnSuccess),
        ["on", "failure"] => Ok(HookPoint::OnFailure),
        [side @ ("before" | "after"), step] => match HOOK_STEPS.iter().find(|(name, _)| name == step) {
            Some((_, step)) if *side == "before" => Ok(HookPoint::Before(*step)),
            Some((_, step)) => Ok(HookPoint::After(*step)),
            None => Err(unknown(near(step))),
        },
        _ => Err(unknown(all())),
    }
}

fn hook_point(text: &str) -> Result<(), Bad> {
    parse_hook_point(text).map(drop)
}

/// Resolves the hooks, in the file's order.
pub fn hooks(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for section in Section::many(merged, &TABLE) {
        let Some(written) = section.text("at") else { continue };
        let Ok(at) = parse_hook_point(written.value) else { continue };
        if let HookPoint::Before(step) | HookPoint::After(step) = at
            && let Some(table) = needs(step).filter(|table| !merged.contains_key(*table))
        {
            let what = format!("a hook at {} never runs: there is no [{table}]", quoted(written.value));
            problems.at(written.at, what, format!("add [{table}], or choose another moment"));
        }
        let Some(run) = section.text("run") else { continue };
        hooks.push(Hook {
            at,
            run: run.value.to_owned(),
            on: section.word("on", &PLACES).map_or(HookPlace::Each, |p| p.value),
            halt: section.boolean("halt").unwrap_or(true),
            line: problems.line_of(written.at),
        });
    }
    hooks
}

/// Names the table without which a step is in no plan.
fn needs(step: HookStep) -> Option<&'static str> {
    match step {
        HookStep::Migrate => Some("migrate"),
        HookStep::Drain | HookStep::Restore => Some("load_balancer"),
        HookStep::Lock | HookStep::Prepare | HookStep::Switch | HookStep::Finish => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_points() {
        assert_eq!(parse_hook_point("before switch"), Ok(HookPoint::Before(HookStep::Switch)));
        assert_eq!(parse_hook_point("after finish"), Ok(HookPoint::After(HookStep::Finish)));
        assert_eq!(parse_hook_point("on success"), Ok(HookPoint::OnSuccess));
        assert_eq!(parse_hook_point("on failure"), Ok(HookPoint::OnFailure));
        assert_eq!(parse_hook_point("before swtich").unwrap_err().hint, "did you mean `before switch`?");
        for text in ["", "switch", "before", "on switch", "before switch now", "before success", "Before switch"] {
            assert!(parse_hook_point(text).is_err(), "{text}");
        }
    }
}
