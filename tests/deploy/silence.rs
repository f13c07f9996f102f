//! No secret value in any log, event, report, error, process list or file, but where it was asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pitcrew::demo::{Sample, WebKind, make_release};

use crate::deploy::sources::configure;
use crate::deploy::stack::{Ran, Stack};
use crate::hosts::{Repository, Web};

const SECRETS: [&str; 3] = ["correct-horse-battery", "hunter-twenty-two", "line-two-of-a-key"];

#[expect(clippy::disallowed_methods, reason = "a thread of its own: the runtime is busy with servers")]
fn nap() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Looks at the command lines of all processes until it is dropped; every one that held a secret is kept.
struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<(BTreeSet<String>, usize)>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new((BTreeSet::new(), 0))));
        let (stop, found) = (over.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    if !entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
                        continue;
                    }
                    let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
                    let line = String::from_utf8_lossy(&line).replace('\0', " ");
                    let mut found = found.lock().unwrap();
                    found.1 += usize::from(line.contains("pitcrew-"));
                    if SECRETS.iter().any(|secret| line.contains(secret)) {
                        found.0.insert(line);
                    }
                }
                nap();
            }
        });
        Self { over, seen, thread: Some(thread) }
    }

    /// The command lines with a secret; and how often a script was seen, without which that says nothing.
    fn end(mut self) -> (BTreeSet<String>, usize) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Fails when a file below holds a secret, in whatever bytes around it.
#[track_caller]
fn assert_no_file_of(root: &Path, asked_for: &[&str]) -> usize {
    let mut todo = vec![root.to_path_buf()];
    let mut looked_at = 0;
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_file() && !asked_for.iter().any(|name| path.ends_with(name)) {
                let bytes = std::fs::read(&path).unwrap_or_default();
                looked_at += 1;
                for secret in SECRETS {
                    let holds = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                    assert!(!holds, "{} holds {secret}", path.display());
                }
            }
        }
    }
    looked_at
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_but_where_it_was_asked_for() {
    let repository = Repository::new();
    make_release(&repository.work(), &Sample::good("1")).unwrap();
    repository.commit(&[]);
    repository.git(&["-C", "shop.git", "update-server-info"]);
    // "ci:hunter-twenty-two"
    let web = Web::start(repository.bare().parent().unwrap(), Some("Y2k6aHVudGVyLXR3ZW50eS10d28="));
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    let source =
        format!("kind = 'git'\nrepo = 'http://ci:hunter-twenty-two@127.0.0.1:{}/shop.git'\nref = 'main'", web.port);
    let extra = |status: u32| {
        format!(
            "secrets.TOKEN = {{ file = 'token' }}\nsecrets.KEY = {{ command = 'cat key' }}\nenv.STATUS = '{status}'\n\
             build.run = ['echo \"$TOKEN $KEY\"; echo \"$TOKEN\" >&2; sleep 0.2; printf %s \"$TOKEN\" > ../../asked', \
             'set -x; : \"$TOKEN\"; exit $STATUS']\n\
             [[hooks]]\nat = 'before switch'\nrun = 'echo hook $TOKEN'\non = 'each'\n\
             [[hooks]]\nat = 'on failure'\nrun = 'echo failed $TOKEN; exit 9'\non = 'each'\n"
        )
    };
    std::fs::write(stack.fleet.path().join("token"), format!("{}\n", SECRETS[0])).unwrap();
    std::fs::write(stack.fleet.path().join("key"), format!("-----\n{}\n-----\n", SECRETS[2])).unwrap();
    let asked_for = ["token", "key", "pitcrew.toml", "asked"];
    for (status, code) in [(0, 0), (6, 1)] {
        configure(&stack, &source, &extra(status));
        for flags in [
            &["deploy", "-v"][..],
            &["deploy", "--json"],
            &["deploy", "-q"],
            &["check", "-v"],
            &["deploy", "--dry-run", "-v"],
        ] {
            let watch = Watch::start();
            let ran: Ran = stack.run(flags).await;
            let (lines, scripts) = watch.end();
            let tried = flags.len() == 2 && flags[0] == "deploy";
            assert_eq!(ran.code, if tried { code } else { 0 }, "{flags:?}\n{ran}");
            assert_eq!(lines, BTreeSet::new(), "{flags:?}: process list");
            assert!(!tried || scripts > 0, "the watch saw nothing of the run");
            for secret in SECRETS {
                assert!(!ran.printed().contains(secret), "{flags:?} prints {secret}\n{ran}");
            }
            if tried {
                let root = stack.fleet.deploy_to(0);
                assert_eq!(std::fs::read_to_string(root.join("asked")).unwrap(), SECRETS[0], "it reaches the command");
            }
        }
    }
    for record in stack.fleet.log().records() {
        assert!(!SECRETS.iter().any(|secret| format!("{record:?}").contains(secret)), "{record:?}");
    }
    // The servers' homes with all that is deployed, the operator's with all logs.
    assert!(assert_no_file_of(stack.fleet.path(), &asked_for) > 20);
    assert!(assert_no_file_of(stack.home(), &[]) > 5);
    assert!(web.asked().iter().any(|a| a.contains("Basic")), "{:?}", web.asked());
}
