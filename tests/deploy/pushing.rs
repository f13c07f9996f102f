//! `kind = "push"`: a redeploy sends what differs, and the release is exactly right whatever became of the servers' caches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pitcrew::demo::log::{Kind, Record};
use pitcrew::demo::{Fault, WebKind};
use serde_json::Value;

use super::stack::{Ran, Stack};

const PUSH: &str = "source.kind = \"push\"\n";

/// Adds so many files of 10 kB to what the next release is made of; they compress as source code does.
fn fill(at: &Path, files: usize) {
    let mut seed = 7u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 16
    };
    for n in 0..files {
        let directory = at.join(format!("d{}", n % 25));
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut text = String::new();
        while text.len() < 10_500 {
            text.push_str(&format!(
                "{}word_{} = call_{}(:key_{})\n",
                " ".repeat(next() as usize % 4),
                next() % 900,
                next() % 900,
                next() % 97
            ));
        }
        std::fs::write(directory.join(format!("f{n}.rb")), text).expect("a file");
    }
}

/// A stack whose servers keep their first release of so many files.
async fn pushing(servers: usize, files: usize) -> Stack {
    let stack = Stack::empty(servers, WebKind::Reload, PUSH).await;
    fill(&stack.fleet.release_directory(), files);
    stack.settle_with(PUSH).await;
    stack
}

/// What each server was sent, by the events of a run.
fn sent(ran: &Ran) -> BTreeMap<String, Value> {
    let transfers = ran.events().into_iter().filter(|e| e["event"] == "step_finished" && e["step"] == "transfer");
    transfers.map(|e| (e["server"].as_str().unwrap_or_default().to_owned(), e["sent"].clone())).collect()
}

/// All below a directory that a release must have: path, permissions, content or target.
fn tree(at: &Path) -> Vec<String> {
    let said = std::process::Command::new("sh")
        .args(["-c", "cd \"$0\" && find . ! -name . ! -name REVISION | sort | while IFS= read -r f; do stat -c '%n %F %a' \"$f\"; done; find . -type f ! -name REVISION | sort | xargs sha256sum"])
        .arg(at)
        .output()
        .expect("sh runs");
    assert!(said.status.success());
    String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()
}

fn edit(stack: &Stack, file: &str, text: &str) {
    std::fs::write(stack.fleet.release_directory().join(file), text).expect("a file");
}

#[track_caller]
fn exactly_right(stack: &Stack) {
    let wanted = tree(&stack.fleet.release_directory());
    for server in stack.fleet.servers() {
        let release = server.home().join("app/current/");
        // What the stack links into a release is none of the source's.
        assert_eq!(tree(&release), wanted, "{}", server.name());
    }
}

/// Deploys, and sees to it that everybody has exactly what is wanted; what each server was sent, in their order.
async fn deploy(stack: &Stack) -> Vec<Value> {
    let ran = stack.run(&["deploy", "--parallel", "--json"]).await.expect(0);
    exactly_right(stack);
    let sent = sent(&ran);
    stack.fleet.servers().iter().map(|server| sent[&server.ip().to_string()].clone()).collect()
}

/// How many times servers were asked what they keep.
fn asked(stack: &Stack, since: u64) -> usize {
    let asking = |r: &&Record| matches!(&r.kind, Kind::Exec { step: Some(step), .. } if step == "listing");
    stack.fleet.log().since(since).iter().filter(asking).count()
}

/// The tree that a server keeps.
fn cache(stack: &Stack, server: usize) -> PathBuf {
    let all = stack.fleet.servers()[server].home().join("app/.pitcrew/cache");
    let mut found = std::fs::read_dir(all).expect("a cache").map(|entry| entry.expect("an entry").path());
    let (one, more) = (found.next().expect("a tree"), found.next());
    assert_eq!(more, None);
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_five_hundred_is_little() {
    let stack = pushing(2, 500).await;
    exactly_right(&stack);
    edit(&stack, "d3/f3.rb", "changed\n");
    let dry = stack.run(&["deploy", "--dry-run"]).await.expect(0);
    let said = dry.stdout.lines().find(|line| line.contains("would be sent")).unwrap_or_else(|| panic!("{dry}"));
    assert!(said.contains(": 1 file, 1") && said.ends_with(" B of 1.2 MB to 2 servers"), "{said}");
    let (since, before) = (stack.now(), stack.fleet.servers().iter().map(|s| s.received()).collect::<Vec<_>>());
    for (n, sent) in deploy(&stack).await.iter().enumerate() {
        assert_eq!((sent["files"].as_u64(), sent["removed"].as_u64()), (Some(1), Some(0)), "{sent}");
        let (bytes, whole) = (sent["bytes"].as_u64().unwrap(), sent["whole"].as_u64().unwrap());
        assert!(bytes < 1_000 && whole > 1_000_000, "{sent}");
        // With everything that a run says to a server: the scripts are there already.
        let all = stack.fleet.servers()[n].received() - before[n];
        assert!(all < 15_000, "{all} bytes");
    }
    assert_eq!(asked(&stack, since), 0, "this machine knows what it has sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_gets_what_differs_from_its_own_tree() {
    let stack = pushing(3, 40).await;
    edit(&stack, "d1/f1.rb", "second\n");
    let ran =
        stack.run(&["deploy", "--parallel", "--only", &stack.fleet.servers()[0].ip().to_string(), "--json"]).await;
    ran.expect(0);
    edit(&stack, "d2/f2.rb", "third\n");
    std::fs::remove_file(stack.fleet.release_directory().join("d3/f3.rb")).unwrap();
    // Another machine: it does not know what they have, and asks one server for each tree.
    std::fs::remove_dir_all(stack.home().join(".cache")).unwrap();
    let since = stack.now();
    let sent = deploy(&stack).await;
    let files: Vec<_> = sent.iter().map(|sent| (sent["files"].as_u64(), sent["removed"].as_u64())).collect();
    assert_eq!(files, [(Some(1), Some(1)), (Some(2), Some(1)), (Some(2), Some(1))]);
    assert_eq!(asked(&stack, since), 2);
    // Nothing differs: nothing is sent.
    let sent = deploy(&stack).await;
    assert!(sent.iter().all(|sent| sent["bytes"].as_u64() == Some(0)), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_costs_a_transfer_and_nothing_else() {
    let stack = pushing(4, 40).await;
    edit(&stack, "d1/f1.rb", "second\n");
    std::fs::remove_dir_all(cache(&stack, 0)).unwrap();
    std::fs::write(cache(&stack, 1).join("tree/d2/f2.rb"), "altered\n").unwrap();
    std::fs::write(cache(&stack, 2).join("names"), "").unwrap();
    let sent = deploy(&stack).await;
    let whole = sent[3]["whole"].as_u64().unwrap();
    let bytes: Vec<u64> = sent.iter().map(|sent| sent["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes[0], whole);
    assert!(bytes[1] > whole && bytes[2] > whole && bytes[3] < whole / 10, "{bytes:?} of {whole}");
    // All of it is mended.
    edit(&stack, "d1/f1.rb", "third\n");
    for sent in deploy(&stack).await {
        assert!(sent["bytes"].as_u64().unwrap() < whole / 10, "{sent}");
    }
}

/// Also what is made of a cache is asked about, when the connection goes: done, refused, or never begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for() {
    let stack = pushing(2, 40).await;
    for (n, fault) in [Fault::CutAfter, Fault::CutBefore].into_iter().enumerate() {
        for damaged in [false, true] {
            edit(&stack, "d1/f1.rb", &format!("{n} {damaged}\n"));
            if damaged {
                std::fs::write(cache(&stack, 1).join("tree/d2/f2.rb"), "altered\n").unwrap();
            }
            stack.fleet.faults().clear();
            stack.fleet.faults().at_step("s2", "transfer", 0, fault.clone());
            let ran = stack.run(&["deploy", "--parallel"]).await.expect(0);
            assert!(ran.stderr.contains("asking the server what became of it"), "{ran}");
            assert_eq!(ran.stderr.contains("the whole release is sent"), damaged, "{ran}");
            exactly_right(&stack);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_pushes_no_more_keeps_no_tree() {
    let stack = pushing(1, 3).await;
    assert!(cache(&stack, 0).join("tree/VERSION").exists());
    stack.fleet.write_config("source.kind = \"archive\"\n").unwrap();
    deploy(&stack).await;
    assert!(!stack.fleet.servers()[0].home().join("app/.pitcrew/cache").exists());
}
