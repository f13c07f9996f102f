//! `[app]`: the stack's name, its directory, and how a rollout walks.

use toml::de::DeTable;

use crate::config::key::{Form, Table, ValueKind, key, words};
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::share::BatchSize;
use crate::config::values;
use crate::config::written::Found;
use crate::policy::{OnFailure, Prepare, Strategy};

/// Servers in a batch of a rolling run without a `batch`.
pub(crate) const BATCH: usize = 2;
/// Releases that are kept.
const KEEP_RELEASES: usize = 5;

const STRATEGIES: [(&str, Strategy); 3] =
    [("parallel", Strategy::Parallel), ("serial", Strategy::Serial), ("rolling", Strategy::Rolling)];
const PREPARES: [(&str, Prepare); 2] = [("in-turn", Prepare::InTurn), ("ahead", Prepare::Ahead)];
const ON_FAILURE: [(&str, OnFailure); 3] =
    [("revert", OnFailure::Revert), ("revert-all", OnFailure::RevertAll), ("hold", OnFailure::Hold)];

/// `[app]`.
pub const TABLE: Table = Table {
    name: "app",
    form: Form::One(&[
        key("name", ValueKind::Text(values::name)).required(),
        key("deploy_to", ValueKind::Text(values::deploy_to)).required(),
        key("web_server", ValueKind::Text(values::line)).required(),
        key("strategy", ValueKind::Choice(&words(&STRATEGIES))),
        key("batch", ValueKind::Batch),
        key("prepare", ValueKind::Choice(&words(&PREPARES))),
        key("on_failure", ValueKind::Choice(&words(&ON_FAILURE))),
        key("keep_releases", ValueKind::Whole { least: 1, most: 10_000 }),
    ]),
};

/// `[app]`.
#[derive(Debug, Clone)]
pub struct App {
    /// Names the stack; also the directory of its run logs.
    pub name: String,
    /// As written: absolute, `~/…`, or relative to the login user's home directory.
    pub deploy_to: String,
    /// `strategy`, when the file sets it.
    pub strategy: Option<Strategy>,
    /// `batch` for rolling runs; default two servers at a time.
    pub batch: Vec<BatchSize>,
    /// `prepare`.
    pub prepare: Prepare,
    /// `on_failure`.
    pub on_failure: OnFailure,
    /// `keep_releases`, at least 1.
    pub keep_releases: usize,
}

/// Reads the strategy as the file has it, and where.
pub fn strategy(merged: &DeTable<'_>) -> Option<Found<Strategy>> {
    Section::one(merged, &TABLE)?.word("strategy", &STRATEGIES)
}

/// Resolves the application; reports a `batch` that its strategy never uses.
pub fn app(merged: &DeTable<'_>, strategy: Option<Found<Strategy>>, problems: &mut Problems<'_>) -> Option<App> {
    let Some(section) = Section::one(merged, &TABLE) else {
        if !merged.contains_key("app") {
            problems.nowhere("there is no [app]", "add [app] with `name`, `deploy_to` and `web_server`");
        }
        return None;
    };
    let batch = section.batch("batch");
    if let (Some(Found { value: chosen @ (Strategy::Parallel | Strategy::Serial), .. }), Some(at)) =
        (strategy, section.wrote("batch"))
    {
        problems.at(
            at,
            format!("`batch` in {} has no meaning with strategy = \"{chosen}\"", section.title),
            "write strategy = \"rolling\"; or leave `strategy` out: `batch` then applies to runs with --rolling",
        );
    }
    let prepare = section.word("prepare", &PREPARES);
    let on_failure = section.word("on_failure", &ON_FAILURE);
    Some(App {
        name: section.text("name")?.value.to_owned(),
        deploy_to: section.text("deploy_to")?.value.to_owned(),
        strategy: strategy.map(|s| s.value),
        batch: batch.map_or_else(|| vec![BatchSize::Count(BATCH)], |b| b.value),
        prepare: prepare.map_or(Prepare::InTurn, |p| p.value),
        on_failure: on_failure.map_or(OnFailure::Revert, |p| p.value),
        keep_releases: section.whole("keep_releases").and_then(|n| n.value.try_into().ok()).unwrap_or(KEEP_RELEASES),
    })
}
