//! Configurations as files: `configs/valid/*.toml` resolve to the `.txt` beside them, `configs/invalid/*.toml` are
//! refused with it. `UPDATE=1` rewrites the `.txt` files; a first line `# profile: NAME` chooses a profile.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its own files has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pitcrew::config::problem::render_all;
use pitcrew::config::select::select;
use pitcrew::config::{self, Config, Input, Problem, Strategy, hosts, parse_batch};
use pitcrew::web::{Parameter, ParameterKind, Proof, Scripts, Template};
use proptest::prelude::*;

/// Two web server templates of the tests' own, so that cases do not change with the real ones.
fn template(name: &str) -> Result<Template, Vec<Problem>> {
    let parameter = |kind: ParameterKind, default: Option<&str>, about: &str| Parameter {
        default: default.map(str::to_owned),
        required: default.is_none(),
        kind,
        about: about.to_owned(),
    };
    let (strategy, parameters) = match name {
        "unicorn" => (
            Strategy::Parallel,
            vec![
                (
                    "pid_file",
                    parameter(ParameterKind::Path, Some("shared/tmp/pids/unicorn.pid"), "the master's pid file"),
                ),
                ("start", parameter(ParameterKind::Text, None, "starts it as a daemon")),
                ("workers", parameter(ParameterKind::Integer, Some("4"), "")),
                ("preload", parameter(ParameterKind::Boolean, Some("true"), "")),
                ("signal", parameter(ParameterKind::Choice(vec!["USR2".into(), "HUP".into()]), Some("USR2"), "")),
            ],
        ),
        "passenger" => {
            (Strategy::Serial, vec![("restart_file", parameter(ParameterKind::Path, Some("tmp/restart.txt"), ""))])
        }
        _ => {
            let what = format!("there is no web server template `{name}`");
            return Err(vec![Problem::of_flag(what, "known templates: passenger, unicorn")]);
        }
    };
    Ok(Template {
        about: String::new(),
        name: name.to_owned(),
        strategy,
        parameters: parameters.into_iter().map(|(name, p)| (name.to_owned(), p)).collect(),
        tools: Vec::new(),
        scripts: Scripts::default(),
        proof: Proof { none: false, old_gone: Duration::from_secs(60), lazy: false },
    })
}

fn load(text: &str, profile: Option<&str>) -> Result<Config, Vec<Problem>> {
    let file = Path::new("pitcrew.toml");
    config::load(&Input { text, file, base: PathBuf::from("/home/me/shop"), profile, template: &template })
}

/// Shows a configuration without what templates bring along.
fn show(config: &Config) -> String {
    let Config {
        app,
        web,
        source,
        ssh,
        servers,
        balancer,
        health,
        build,
        build_on,
        migrate,
        shared,
        env,
        secrets,
        hooks,
        timeouts,
        ..
    } = config;
    let mut out =
        format!("app: {app:#?}\nweb: {} {:#?}\nsource: {source:#?}\nssh: {ssh:#?}\n", web.name, web.parameters);
    for server in servers {
        writeln!(out, "server: {server:?}").unwrap();
    }
    write!(
        out,
        "balancer: {balancer:#?}\nhealth: {health:#?}\nbuild: {build_on:?} {build:#?}\nmigrate: {migrate:#?}\n"
    )
    .unwrap();
    write!(out, "shared: {shared:#?}\nenv: {env:#?}\nsecrets: {secrets:#?}\nhooks: {hooks:#?}\n").unwrap();
    writeln!(out, "timeouts: {timeouts:#?}").unwrap();
    out
}

fn cases(kind: &str) -> BTreeMap<PathBuf, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(kind);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = files.map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    let cases: BTreeMap<_, _> = paths.map(|p| (p.clone(), std::fs::read_to_string(p).unwrap())).collect();
    assert!(!cases.is_empty(), "no cases in {}", dir.display());
    cases
}

/// Holds every case of a kind against the file beside it; `outcome` gives what was wanted, or what came instead.
fn run(kind: &str, outcome: impl Fn(Result<Config, Vec<Problem>>) -> Result<String, String>) {
    let mut failures = String::new();
    for (path, text) in cases(kind) {
        let profile = text.lines().next().and_then(|l| l.strip_prefix("# profile: "));
        let expected = path.with_extension("txt");
        let actual = match outcome(load(&text, profile)) {
            Ok(actual) => actual,
            Err(instead) => {
                writeln!(failures, "{}: {instead}\n", path.display()).unwrap();
                continue;
            }
        };
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &actual).unwrap();
            continue;
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        if wanted != actual {
            writeln!(failures, "{}: wanted\n{wanted}\ngot\n{actual}\n", path.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}UPDATE=1 rewrites the files.");
}

#[test]
fn valid() {
    run("valid", |result| match result {
        Ok(config) => Ok(show(&config)),
        Err(problems) => Err(format!("refused\n{}", render_all(&problems))),
    });
}

#[test]
fn invalid() {
    run("invalid", |result| match result {
        Ok(_) => Err("accepted".to_owned()),
        Err(problems) => Ok(format!("{}\n", render_all(&problems))),
    });
}

/// A case without its file, or a file without its case, would never be noticed otherwise.
#[test]
fn every_expectation_has_its_case() {
    for kind in ["valid", "invalid"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(kind);
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let other = if path.extension().is_some_and(|e| e == "txt") { "toml" } else { "txt" };
            assert!(path.with_extension(other).exists(), "{} stands alone", path.display());
        }
    }
}

#[test]
fn every_problem_is_placed_and_says_what_to_do() {
    for (path, text) in cases("invalid") {
        let profile = text.lines().next().and_then(|l| l.strip_prefix("# profile: "));
        for problem in load(&text, profile).err().unwrap_or_default() {
            let line = text.trim_start_matches('\u{feff}').lines().nth(problem.line.wrapping_sub(1));
            if problem.line > 0 {
                assert_eq!(line.unwrap_or_default(), problem.text, "{}: {problem:?}", path.display());
                assert!(problem.column <= problem.text.chars().count() + 1, "{}: {problem:?}", path.display());
            }
            assert!(!problem.what.is_empty(), "{}: {problem:?}", path.display());
        }
    }
}

#[test]
fn every_word_of_a_choice_has_its_own_meaning() {
    let base = "[app]\nname = \"shop\"\ndeploy_to = \"/srv/shop\"\nweb_server = \"passenger\"\n[[servers]]\nhost = \"web[1-3]\"\n";
    let at = "kind = \"haproxy\"\nat = \"tcp://lb:1\"\nbackends = \"shop\"\n";
    for (table, needs, key, words) in [
        ("app", "", "strategy", &["parallel", "serial", "rolling"][..]),
        ("app", "", "prepare", &["in-turn", "ahead"]),
        ("app", "", "on_failure", &["revert", "revert-all", "hold"]),
        ("source", "path = \"x\"\n", "kind", &["push", "archive"]),
        ("ssh", "", "host_key_checking", &["strict", "accept-new"]),
        ("load_balancer", at, "on_drain_timeout", &["proceed", "kill", "fail"]),
        ("health", "", "scheme", &["http", "https"]),
        ("migrate", "run = \"x\"\n", "when", &["always", "asked"]),
        ("hooks", "at = \"on success\"\nrun = \"x\"\n", "on", &["each", "one", "here"]),
    ] {
        let mut shown: Vec<String> = Vec::new();
        for word in words {
            let text = match table {
                "app" => base.replacen("[app]\n", &format!("[app]\n{key} = \"{word}\"\n"), 1),
                "hooks" => format!("{base}[[hooks]]\n{needs}{key} = \"{word}\"\n"),
                _ => format!("{base}[{table}]\n{needs}{key} = \"{word}\"\n"),
            };
            let config = load(&text, None).unwrap_or_else(|p| panic!("{}", render_all(&p)));
            shown.push(show(&config));
        }
        shown.sort();
        shown.dedup();
        assert_eq!(shown.len(), words.len(), "[{table}] {key}: two words mean the same");
    }
}

/// Valid and invalid cases together: what hostile edits start from.
fn corpus() -> Vec<String> {
    cases("valid").into_values().chain(cases("invalid").into_values()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC*|[\\x00-\\x7f]*|([a-z_]{1,9}(\\.[a-z]{1,3}){0,3} = [\\[\\]{}\"'0-9a-z%,.\\-]*\n|\\[{1,2}[a-z_]{1,9}\\]{1,2}\n)*") {
        if let Err(problems) = load(&text, Some("staging")) {
            render_all(&problems);
        }
    }

    #[test]
    fn no_edit_of_a_real_file_panics(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[\\[\\]{}\"'=#%@:,.\\-\n\\x00\\x1bé0-9a-z]{0,6}"), 1..6),
    ) {
        let corpus = corpus();
        let mut text: Vec<char> = which.get(&corpus).chars().collect();
        for (at, length, insert) in edits {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        for profile in [None, Some("staging")] {
            if let Err(problems) = load(&text, profile) {
                prop_assert!(!problems.is_empty());
                for problem in &problems {
                    let shown = problem.render();
                    prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
                }
            }
        }
    }

    #[test]
    fn no_flag_panics(text in "\\PC*|[\\[\\]0-9a-c,\\-*@:%.]*") {
        let servers = load(&cases("valid").into_values().next().unwrap_or_default(), None).map(|c| c.servers).unwrap_or_default();
        let words = [text.clone()];
        if let Err(problems) = select(&servers, &words, &words) {
            prop_assert!(!problems.is_empty());
        }
        let _ = parse_batch(&text);
        if let Ok(spec) = hosts::parse(&text) {
            prop_assert!(!spec.hosts.is_empty() && spec.hosts.len() <= 100_000);
        }
    }
}
