//! How the house is built, held by a test: what decides stays pure, and every file says what it owns.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

fn sources(below: &str) -> Vec<PathBuf> {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    let mut files = Vec::new();
    while let Some(path) = todo.pop() {
        // What the fuzz targets are built into lies below the tests.
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "{below} is empty");
    files.sort();
    files
}

/// The file's code without its unit tests.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

#[test]
fn what_decides_names_no_network_clock_environment_or_file() {
    let pure = ["src/plan", "src/config", "src/facts.rs", "src/lease.rs", "src/web.rs", "src/name.rs", "src/event"];
    let pure = pure.iter().chain(&["src/balancer/haproxy/protocol.rs", "src/remote/quote.rs", "src/remote/calls.rs"]);
    let pure = pure.chain(&["src/ssh/address.rs", "src/ssh/hop.rs", "src/ssh/options.rs"]);
    let forbidden = [
        "tokio",
        "russh",
        "std::fs",
        "std::env",
        "TcpStream",
        "UdpSocket",
        "std::process",
        "Instant::now",
        "Timestamp::now",
        "SystemTime",
        "crate::engine",
        "crate::verbs",
        "crate::report",
        "crate::ssh",
        "println!",
    ];
    for file in pure.flat_map(|p| sources(p)) {
        let code = code(&file);
        for word in forbidden {
            // Grammar and values of `[ssh]` lie on the ground floor; the list below holds them as pure as the rest.
            let ground = ["crate::ssh::address", "crate::ssh::options"];
            let is_ground = |l: &str| word == "crate::ssh" && ground.iter().any(|g| l.contains(g));
            let is_code = |l: &str| !l.trim_start().starts_with("//");
            let found = code.lines().find(|l| l.contains(word) && is_code(l) && !is_ground(l));
            assert!(found.is_none(), "{} names {word}: {found:?}", file.display());
        }
    }
}

#[test]
fn engine_and_reporters_meet_only_in_events() {
    for file in sources("src/report") {
        let code = code(&file);
        for word in ["crate::engine", "crate::ssh", "crate::verbs"] {
            assert!(!code.contains(word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    for file in sources("src").into_iter().chain(sources("tests")) {
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
