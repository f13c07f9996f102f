//! How the house is built, held by tests: imports run one way, what decides is pure, one name is one thing.
//!
//! Each rule is shown to fail as well: it is given the crate with one line more that breaks it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rules;
mod tree;

use std::path::Path;
use std::sync::LazyLock;

use tree::Tree;

static HOUSE: LazyLock<Tree> = LazyLock::new(Tree::of_this_crate);

#[track_caller]
fn holds(rule: fn(&Tree) -> Vec<String>) {
    let broken = rule(&HOUSE);
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
}

/// Asks that a rule complains about one line more, and about nothing else that it did not complain of before.
#[track_caller]
fn fails(rule: fn(&Tree) -> Vec<String>, file: &str, line: &str, said: &str) {
    let before = rule(&HOUSE);
    let more: Vec<String> = rule(&HOUSE.with(file, line)).into_iter().filter(|c| !before.contains(c)).collect();
    assert!(more.iter().any(|c| c.contains(said)), "`{line}` in {file}: {more:?}");
}

#[test]
fn every_file_stands_on_a_floor() {
    holds(rules::homeless);
    let mut tree = HOUSE.clone();
    tree.add("attic/old.rs", "//! Old.");
    assert_eq!(rules::homeless(&tree), ["attic/old.rs stands on no floor"]);
}

#[test]
fn imports_run_downwards() {
    holds(rules::upwards);
    fails(rules::upwards, "plan/build.rs", "use crate::engine::run;", "plan/build.rs (floor");
    fails(rules::upwards, "report/lines.rs", "use crate::{name::RunId, engine::{Stop, run}};", "imports engine/");
    fails(rules::upwards, "ssh/wire.rs", "fn f(x: crate::event::Event) {}", "imports event/");
    // What a re-export names is what is imported.
    let mut tree = HOUSE.with("name.rs", "pub use crate::plan::Plan;");
    tree = tree.with("lease.rs", "use crate::name::Plan;");
    assert!(rules::upwards(&tree).iter().any(|c| c.contains("lease.rs") && c.contains("imports plan/")));
}

#[test]
fn no_files_import_each_other_in_a_loop() {
    holds(rules::loops);
    fails(rules::loops, "script/kind.rs", "use super::call::Call;", "script/call.rs -> script/kind.rs");
    fails(rules::loops, "script/quote.rs", "use crate::script::kept::{self, Kept as Other};", "script/quote.rs");
}

#[test]
fn what_decides_names_no_network_clock_environment_or_file() {
    holds(rules::impure);
    fails(rules::impure, "plan/build.rs", "fn f() { std::fs::read(p); }", "std::fs");
    fails(rules::impure, "config/mod.rs", "use tokio::time;", "tokio");
}

#[test]
fn processes_are_started_in_one_room() {
    holds(rules::processes);
    fails(rules::processes, "facts.rs", "fn f() { Command::new(git); }", "Command::new");
}

#[test]
fn the_environment_is_read_at_the_edges() {
    holds(rules::environment);
    fails(rules::environment, "facts.rs", "fn f() { std::env::var(home); }", "env::var");
}

#[test]
fn one_type_name_is_one_thing() {
    holds(rules::namesakes);
    fails(rules::namesakes, "name.rs", "pub struct Plan;", "Plan is name.rs and plan/");
}

#[test]
fn files_and_functions_are_small() {
    holds(rules::large);
    let long = format!("fn long() {{\n{}}}", "    f();\n".repeat(90));
    fails(rules::large, "name.rs", &long, "long has");
    fails(rules::large, "name.rs", "fn f(&self, a: A, b: B<C, D>, c: impl Fn(E) -> F, d: G, e: H) {}", "f takes 5");
    fails(rules::large, "name.rs", "fn f((a, b): (A, B)) {}", "tuple");
    fails(rules::large, "name.rs", &"f!();\n".repeat(600), "name.rs has");
}

#[test]
fn docs_begin_with_a_short_sentence() {
    holds(rules::long_docs);
    fails(rules::long_docs, "name.rs", &format!("/// {}", "word ".repeat(30)), "name.rs:");
}

#[test]
fn prose_names_things() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken: Vec<String> =
        HOUSE.text.iter().flat_map(|(file, text)| rules::vague(&format!("src/{file}"), text)).collect();
    let mut todo = vec![root.join("templates"), root.join("README.md")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else {
            broken.extend(rules::vague(&path.to_string_lossy(), &std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
    assert_eq!(rules::vague("x", "fine\nNobody says").len(), 1);
}

#[test]
fn no_test_file_is_forgotten() {
    let forgotten = forgotten_tests();
    assert!(forgotten.is_empty(), "no `mod` names {forgotten:?}");
}

/// Test files that are neither a program of Cargo.toml nor named by a `mod` of another file.
fn forgotten_tests() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let manifest = std::fs::read_to_string(root.with_file_name("Cargo.toml")).unwrap();
    let files = tree::sources("tests");
    let texts: Vec<(String, String)> =
        files.iter().map(|f| (f.to_string_lossy().into_owned(), std::fs::read_to_string(f).unwrap())).collect();
    let mut forgotten = Vec::new();
    for file in &files {
        let below = file.strip_prefix(&root).unwrap();
        let depth = below.components().count();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        // The programs that Cargo.toml names; the fuzz targets are a package of their own.
        let program = (depth == 1 && manifest.contains(&format!("[[test]]\nname = \"{stem}\"\n")))
            || manifest.contains(&format!("path = \"tests/{}\"", below.display()));
        if program || below.starts_with("fuzz/targets") {
            continue;
        }
        let name = if stem == "mod" {
            file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()
        } else {
            stem
        };
        let named = texts.iter().any(|(_, text)| {
            let code = tree::without_words(text);
            code.contains(&format!("mod {name};"))
                || text.contains(&format!("/{}\"", file.file_name().unwrap().to_string_lossy()))
        });
        if !named {
            forgotten.push(below.to_string_lossy().into_owned());
        }
    }
    forgotten
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    for file in tree::sources("src").into_iter().chain(tree::sources("tests")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//!`", file.display());
    }
}

#[test]
fn every_test_that_a_pitfall_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("tests/real/PITFALLS.md")).unwrap();
    let rows: Vec<&str> =
        table.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| #") && !l.starts_with("| -")).collect();
    assert_eq!(rows.len(), 26);
    let mut code = String::new();
    let mut dirs = vec![root.join("src"), root.join("tests")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                code.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for row in rows {
        let tests = row.split('`').skip(1).step_by(2).filter(|t| t.matches('_').count() > 2);
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test}");
        }
    }
}
