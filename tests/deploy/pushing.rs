//! `kind = "push"`: a redeploy sends what differs, and the release is exactly right whatever became of the servers' caches.

use std::path::Path;

use pitcrew::demo::WebKind;
use serde_json::Value;

use super::stack::{Ran, Stack};

const FILES: usize = 500;

/// Adds a release's worth of files to what the next release is made of: 5 MB that compress as source code does.
fn fill(at: &Path) {
    let mut seed = 7u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 16
    };
    for n in 0..FILES {
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

async fn pushing(servers: usize) -> Stack {
    let stack = Stack::empty(servers, WebKind::Reload, "source.kind = \"push\"\n").await;
    fill(&stack.fleet.release_directory());
    stack.settle_with("source.kind = \"push\"\n").await;
    stack
}

/// What each server was sent, by the events of a run.
fn sent(ran: &Ran) -> Vec<(String, Value)> {
    let transfers = ran.events().into_iter().filter(|e| e["event"] == "step_finished" && e["step"] == "transfer");
    let mut all: Vec<_> =
        transfers.map(|e| (e["server"].as_str().unwrap_or_default().to_owned(), e["sent"].clone())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
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

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_five_hundred_is_little() {
    let stack = pushing(2).await;
    exactly_right(&stack);
    edit(&stack, "d3/f3.rb", "changed\n");
    let before: Vec<u64> = stack.fleet.servers().iter().map(|s| s.received()).collect();
    let ran = stack.run(&["deploy", "--parallel", "--json"]).await.expect(0);
    exactly_right(&stack);
    for (server, before) in stack.fleet.servers().iter().zip(before) {
        eprintln!("{} received {} bytes", server.name(), server.received() - before);
    }
    for (server, sent) in sent(&ran) {
        eprintln!("{server}: {sent}");
    }
}
