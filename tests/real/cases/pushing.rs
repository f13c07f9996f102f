//! What a redeploy sends through real sshd, and what the servers make of it.

use std::collections::BTreeMap;

use super::{FILES, Row};
use crate::stack::{App, Stack};

pub const CASES: &[Row] = &[("pushing::one_file_of_many_is_little", FILES, one_file_of_many)];

/// Files that do not compress well, with names that are hard on shells.
fn files(changed: &str) -> BTreeMap<String, String> {
    let mut seed = 7_u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 20) as u8 % 90)
    };
    let mut all: BTreeMap<String, String> = (0..120)
        .map(|n| (format!("lib/it's {}/{n} \"file\".rb", n % 7), (0..4_000).map(|_| noise()).collect()))
        .collect();
    all.insert("lib/-changed".to_owned(), changed.to_owned());
    all
}

fn commit(stack: &Stack, files: &BTreeMap<String, String>) -> String {
    let listed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    stack.commit(&listed)
}

/// Bytes sent to each server, and of how many.
fn sent(stack: &Stack) -> Vec<(u64, u64)> {
    let ran = stack.pitcrew(&["--json", "deploy"]).run().expect(0);
    let done = |e: &serde_json::Value| e["event"] == "step_finished" && e["step"] == "transfer";
    let number = |e: &serde_json::Value, what: &str| e["sent"][what].as_u64().expect("a number");
    ran.events().iter().filter(|e| done(e)).map(|e| (number(e, "bytes"), number(e, "whole"))).collect()
}

#[track_caller]
fn assert_holds(stack: &Stack, files: &BTreeMap<String, String>) {
    for host in &stack.servers {
        for (path, text) in files {
            let found = std::fs::read_to_string(stack.seen(host, "current").join(path)).expect("the file is there");
            assert!(found == *text, "{path} on {}", host.name);
        }
    }
}

fn one_file_of_many() {
    let stack = Stack::new(App::Static);
    commit(&stack, &files("first"));
    stack.deploy_first();
    let second = files("second");
    let revision = commit(&stack, &second);
    let all = sent(&stack);
    assert_eq!(all.len(), stack.servers.len());
    assert!(all.iter().all(|(bytes, whole)| *bytes < 2_000 && *whole > 300_000), "{all:?}");
    assert_holds(&stack, &second);
    assert!(stack.revisions().iter().all(|r| *r == revision));
    // A cache that is no more what it was, and a machine that has sent nothing yet.
    let third = files("third");
    commit(&stack, &third);
    stack.servers[0].sh(&format!("cd {}/.pitcrew/cache/*/tree && echo x >>config.ru", stack.deploy_to));
    stack.servers[1].sh(&format!("rm -r {}/.pitcrew/cache", stack.deploy_to));
    std::fs::remove_dir_all(stack.dir().join("home/.cache")).expect("what was sent is known");
    let mut all = sent(&stack);
    all.sort_unstable();
    let whole = all[0].1;
    let bytes: Vec<u64> = all.iter().map(|(bytes, _)| *bytes).collect();
    assert!(bytes[0] < 2_000 && bytes[1] >= whole && bytes[2] >= whole, "{bytes:?} of {whole}");
    assert_holds(&stack, &third);
    stack.assert_no_lock();
}
