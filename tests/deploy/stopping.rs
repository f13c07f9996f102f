//! Signals, lost connections and dead servers while a release is fetched, downloaded or built.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::{Fault, Sample, WebKind, make_release};
use tokio::process::Child;

use crate::deploy::sources::{archive, commit, configure};
use crate::deploy::stack::{Ran, Stack};
use crate::hosts::{Repository, Web};

/// How servers come by a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Git,
    Archive,
}

/// Where they come by it, and who deploys it.
struct Site {
    stack: Stack,
    repository: Repository,
    web: Web,
    way: Way,
}

const WAYS: [Way; 2] = [Way::Git, Way::Archive];

impl Site {
    /// Two servers that hold nothing yet; whoever is interrupted leaves a line in `$HOME/hooks`.
    async fn new(way: Way) -> Self {
        let stack = Stack::empty(2, WebKind::Reload, "").await;
        let repository = Repository::new();
        let web = Web::start(repository.bare().parent().unwrap(), None);
        Self { stack, repository, web, way }
    }

    /// Makes a version, and the configuration that deploys it; `more` goes into `[source]`.
    fn version(&self, version: &str, more: &str) {
        let at = format!("http://127.0.0.1:{}", self.web.port);
        let source = match self.way {
            Way::Git => {
                let sha = commit(&self.repository, version);
                self.repository.git(&["-C", "shop.git", "update-server-info"]);
                format!("kind = 'git'\nrepo = '{at}/shop.git'\nref = '{sha}'")
            }
            Way::Archive => {
                let (bytes, sum) = archive(version, 100_000);
                std::fs::write(self.repository.bare().parent().unwrap().join(format!("{sum}.tar.gz")), bytes).unwrap();
                format!("kind = 'archive'\nurl = '{at}/{{sha256}}.tar.gz'\nsha256 = '{sum}'")
            }
        };
        let hook = "[[hooks]]\nat = 'on failure'\non = 'here'\nrun = 'echo told >> \"$HOME/hooks\"'";
        configure(&self.stack, &format!("{source}\n{more}"), hook);
    }

    fn on_servers(&self, version: &str) {
        self.version(version, if self.way == Way::Archive { "fetch = 'servers'" } else { "" });
    }

    fn script(&self) -> &'static str {
        if self.way == Way::Git { "fetch" } else { "download" }
    }

    /// Starts a deploy; whatever servers ask the web server for stops half-way.
    async fn stuck(&self) -> Child {
        let (slow, script) = (self.web.slow.clone(), self.script());
        self.stack.fleet.faults().clear();
        self.stack.fleet.faults().decide_with(move |point| {
            if point.label == script {
                slow.set(true);
            }
            None::<Fault>
        });
        let child = self.stack.start(&["deploy", "--json"]);
        self.held(2).await;
        child
    }

    async fn held(&self, count: usize) {
        eventually("answers to stop half-way", || self.web.slow.held() == count).await;
    }

    /// Nothing of what servers did is left: no process, no file but the mirror, no lock.
    async fn assert_nothing_left(&self) {
        let names = ["git", "curl", "pitcrew-"];
        let left = |index: usize| {
            let all = self.stack.fleet.processes(index).into_iter();
            all.filter(|p| names.iter().any(|n| p.command.contains(n)) && !p.is_app()).collect::<Vec<_>>()
        };
        for index in 0..2 {
            eventually("processes to end", || left(index).is_empty()).await;
            let own = self.stack.fleet.deploy_to(index).join(".pitcrew");
            let names = std::fs::read_dir(own).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let stray: Vec<String> = names
                .filter(|n| ["incoming", "archive", "git_hosts", "delta", "trash"].iter().any(|s| n.starts_with(s)))
                .collect();
            assert_eq!(stray, Vec::<String>::new(), "{:?}, server {index}", self.way);
            let packs = self.stack.fleet.deploy_to(index).join("repo/objects/pack");
            let half = std::fs::read_dir(packs).into_iter().flatten().flatten();
            let half: Vec<_> = half.filter(|e| e.file_name().to_string_lossy().starts_with("tmp_")).collect();
            assert!(half.is_empty(), "{half:?}");
        }
        self.stack.assert_unlocked();
    }

    /// The next deploy goes through, with what the interrupted one left.
    async fn assert_works_again(&self, version: &str) {
        self.stack.fleet.faults().clear();
        self.web.slow.set(false);
        let ran = self.stack.run(&["deploy"]).await.expect(0);
        assert!(!ran.printed().contains("cloned anew"), "{ran}");
        assert_eq!(self.stack.versions(), [version, version]);
        assert_eq!(self.stack.fleet.releases(0).len(), self.stack.fleet.releases(1).len());
    }

    /// How often a hook has told of a failure.
    fn told(&self) -> usize {
        std::fs::read_to_string(self.stack.home().join("hooks")).unwrap_or_default().lines().count()
    }
}

/// Waits, not for ever.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "waited for {what}");
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), signal).unwrap();
}

async fn end(child: Child) -> Ran {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    Ran::from(output.expect("it ends in time").unwrap())
}

/// `planned` is the first event and `finished` the last; it says what the process says.
#[track_caller]
fn assert_told(ran: &Ran, code: i32, outcome: &str) {
    assert_eq!(ran.code, code, "{ran}");
    let events = ran.events();
    assert_eq!(events[0]["event"], "planned", "{ran}");
    assert_eq!(events.iter().filter(|e| e["event"] == "finished").count(), 1, "{ran}");
    assert_eq!((&ran.finished()["exit_code"], &ran.finished()["outcome"]), (&code.into(), &outcome.into()), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_servers_fetch_leaves_nothing() {
    for way in WAYS {
        let site = Site::new(way).await;
        // With nothing there yet, and with a release and a mirror.
        for (number, before) in [(1, ""), (2, "1")] {
            site.on_servers(&number.to_string());
            let child = site.stuck().await;
            signal(&child, Signal::SIGINT);
            let ran = end(child).await;
            assert_told(&ran, 130, "interrupted");
            site.held(0).await;
            assert_eq!(site.stack.versions(), [before, before], "{way:?}");
            assert_eq!(site.told(), number, "{ran}");
            site.assert_nothing_left().await;
            assert_eq!(site.stack.fleet.releases(0).len(), number - 1);
            site.assert_works_again(&number.to_string()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_while_a_server_fetches_costs_no_release() {
    for way in WAYS {
        let site = Site::new(way).await;
        site.on_servers("1");
        let child = site.stuck().await;
        site.stack.fleet.servers()[0].cut();
        let since = site.stack.now();
        let asks = |r: &pitcrew::demo::Record| matches!(&r.kind, pitcrew::demo::log::Kind::Exec { step: Some(s), .. } if s == "ask");
        site.stack.wait(since, "the question what became of it", asks).await;
        site.web.slow.set(false);
        site.stack.fleet.faults().clear();
        let ran = end(child).await;
        assert_told(&ran, 0, "deployed");
        assert_eq!(site.stack.versions(), ["1", "1"], "{way:?}: {ran}");
        site.assert_nothing_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_it_fetches_is_recovered() {
    for way in WAYS {
        let site = Site::new(way).await;
        site.on_servers("1");
        site.stack.run(&["deploy"]).await.expect(0);
        site.on_servers("2");
        let child = site.stuck().await;
        let dead = &site.stack.fleet.servers()[0];
        dead.kill().await;
        // As when the machine goes: nobody gets a word out any more.
        for process in site.stack.fleet.processes(0).into_iter().filter(|p| !p.is_app()) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        site.held(1).await;
        site.web.slow.set(false);
        site.stack.fleet.faults().clear();
        let ran = end(child).await;
        assert_eq!(ran.finished()["exit_code"], ran.code, "{ran}");
        assert_eq!(ran.code, 3, "{ran}");
        dead.revive().await;
        site.stack.run(&["recover"]).await.expect(0);
        assert_eq!(site.stack.versions(), ["1", "1"], "{way:?}");
        site.assert_nothing_left().await;
        site.assert_works_again("2").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_this_machine_asks_or_downloads_ends_it_at_once() {
    for (way, more, reference) in [(Way::Git, "", Some("main")), (Way::Git, "", None), (Way::Archive, "", None)] {
        let site = Site::new(way).await;
        site.version("1", more);
        // `ls-remote`; a look into the commit; the download of the archive.
        site.web.slow.set(true);
        let mut args = vec!["deploy", "--json"];
        args.extend(reference);
        let child = site.stack.start(&args);
        site.held(1).await;
        signal(&child, Signal::SIGTERM);
        let ran = end(child).await;
        assert_told(&ran, 130, "interrupted");
        assert_eq!(site.told(), 1, "{ran}");
        // Whoever asked is gone.
        site.held(0).await;
        let steps: Vec<_> = ran.events().into_iter().filter(|e| e["event"] == "step_started").collect();
        assert!(steps.is_empty(), "{ran}");
        site.assert_works_again("1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_build_here_with_all_that_it_started() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    make_release(&stack.fleet.path().join("dist"), &Sample::good("1")).unwrap();
    let (alive, mark) = (stack.home().join("alive"), stack.home().join("hooks"));
    // One of them does not listen to TERM.
    let build = "build.on = 'here'\nbuild.run = ['''(trap \"\" TERM; while :; do touch \"$HOME/alive\"; sleep 0.05; done) & echo begun; wait''']\n\
                 [[hooks]]\nat = 'on failure'\non = 'here'\nrun = 'echo $PITCREW_STAGE >> \"$HOME/hooks\"'";
    configure(&stack, "kind = 'archive'\npath = 'dist'", build);
    for signals in [1, 2] {
        let child = stack.start(&["deploy", "--json"]);
        eventually("the build to begin", || alive.exists()).await;
        for _ in 0..signals {
            signal(&child, Signal::SIGINT);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ran = end(child).await;
        assert_eq!(ran.code, 130, "{ran}");
        assert_eq!(ran.finished()["exit_code"], 130);
        if signals == 1 {
            assert_told(&ran, 130, "interrupted");
            assert_eq!(std::fs::read_to_string(&mark).unwrap(), "finish\n", "{ran}");
        }
        // It is dead, and so stays away what it makes again and again.
        std::fs::remove_file(&alive).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!alive.exists(), "after {signals} signals");
    }
    stack.assert_unlocked();
    assert_eq!(stack.versions(), ["", ""]);
}

/// As `nohup` and a script's `&` start it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let stack = Stack::empty(2, WebKind::Reload, "").await;
    make_release(&stack.fleet.path().join("dist"), &Sample::good("1")).unwrap();
    let (begun, go) = (stack.home().join("begun"), stack.home().join("go"));
    let build =
        "build.on = 'here'\nbuild.run = ['touch \"$HOME/begun\"; while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done']";
    configure(&stack, "kind = 'archive'\npath = 'dist'", build);
    let plain = stack.command(&["deploy", "--json"]);
    let std = plain.as_std();
    let mut wrapped = tokio::process::Command::new("sh");
    wrapped.arg("-c").arg("trap '' HUP INT; exec \"$0\" \"$@\"").arg(std.get_program()).args(std.get_args());
    wrapped.env_clear();
    for (name, value) in std.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.current_dir(stack.fleet.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = wrapped.kill_on_drop(true).spawn().unwrap();
    eventually("the build to begin", || begun.exists()).await;
    signal(&child, Signal::SIGHUP);
    signal(&child, Signal::SIGINT);
    std::fs::write(&go, "").unwrap();
    let ran = end(child).await;
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(stack.versions(), ["1", "1"], "{ran}");
}

/// `timeout` makes a process group of its own, which a signal to the command's does not reach.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_or_a_limit_ends_a_command_that_runs_in_a_group_of_its_own() {
    // Nobody else's sleep lasts that long.
    let seconds = 90_000 + std::process::id() % 9000;
    let wanted = format!("sleep\0{seconds}\0");
    let lives = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.map(|e| e.path().join("cmdline"))
            .any(|line| std::fs::read(line).is_ok_and(|line| line.ends_with(wanted.as_bytes())))
    };
    let run = format!("'timeout 600 sleep {seconds}'");
    for (extra, is_signalled) in [
        (format!("migrate.run = {run}"), true),
        (format!("build.run = [{run}]"), true),
        (format!("migrate.run = {run}\ntimeouts.migrate = '3s'"), false),
    ] {
        let stack = Stack::empty(1, WebKind::Reload, &extra).await;
        let child = stack.start(&["deploy", "--json"]);
        eventually("the command to begin", &lives).await;
        if is_signalled {
            signal(&child, Signal::SIGINT);
        }
        let ran = end(child).await;
        assert_told(&ran, if is_signalled { 130 } else { 1 }, if is_signalled { "interrupted" } else { "reverted" });
        eventually("the command to end", || !lives()).await;
        stack.assert_unlocked();
    }
}
