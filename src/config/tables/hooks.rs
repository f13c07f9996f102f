//! `[[hooks]]`: defaults, and hooks that could never run.

use toml::de::DeTable;

use super::word;
use crate::config::problem::Problems;
use crate::config::raw::Section;
use crate::config::words::quoted;
use crate::config::{Hook, HookPlace, HookPoint, HookStep, values};

/// Resolves the hooks, in the file's order.
pub fn hooks(merged: &DeTable<'_>, problems: &mut Problems<'_>) -> Vec<Hook> {
    let places = [("each", HookPlace::Each), ("one", HookPlace::One), ("here", HookPlace::Here)];
    let mut hooks = Vec::new();
    for section in Section::many(merged, "hooks") {
        let Some(written) = section.text("at") else { continue };
        let Ok(at) = values::parse_hook_point(written.value) else { continue };
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
            on: word(Some(&section), "on", &places).map_or(HookPlace::Each, |p| p.value),
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
