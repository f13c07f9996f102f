//! The remote scripts, run for real: under dash, busybox and bash, in a directory of their own, as a server would run them.
//!
//! Each situation runs under every shell that is installed. With `PITCREW_REQUIRE_REAL=1` a missing one fails the test.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and waits for processes that know nothing of tokio"
)]

#[path = "remote/pruning.rs"]
mod pruning;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use crate::server::{self, Server, everywhere, id, owner, packed, require, run, tarball};
use pitcrew::answer::Nonce;
use pitcrew::balancer::MemberFacts;
use pitcrew::config::Shared;
use pitcrew::event::TakenBy;
use pitcrew::facts::{ServerFacts, TakenOut};
use pitcrew::lease::LockFacts;
use pitcrew::lease::{self, Standing};
use pitcrew::name::{ReleaseId, Revision, RunId};
use pitcrew::release::ReleaseState;
use pitcrew::script::calls;
use pitcrew::script::calls::{AsPlanned, Behind, Dir, Mark};
use pitcrew::script::wire::COMMAND_LIMIT;
use pitcrew::script::{Call, Param, Script};

const A: &str = "20260101000000";
const B: &str = "20260102000000";
const C: &str = "20260103000000";

/// A new release goes all the way from nothing to `current`.
fn deploy(server: &Server, from: Option<&str>, to: &str) {
    let site = server.site();
    let (run, to) = (run(), id(to));
    let from = from.map(id);
    server.run(&calls::lock(&site, &owner())).ok();
    server.send(&calls::transfer(&site, &run, &to, &Revision("abc123".into())), &tarball("abc123")).ok();
    server.run(&calls::link(&site, &run, &to, &Shared::default())).ok();
    server.run(&calls::switch(&site, &run, from.as_ref(), Some(&to))).ok();
    let mark = Mark { state: Some((&to, ReleaseState::Good)), line: Some("one line"), behind: None };
    server.run(&calls::mark(&site, &run, &mark)).ok();
    server.run(&calls::unlock(&site, &run)).ok();
}

#[test]
fn a_first_deploy_and_the_next() {
    everywhere(|server| {
        let facts = server.probe(&[]);
        assert_eq!((facts.current, facts.releases.len(), facts.lock), (None, 0, None));
        assert!(!server.root().exists(), "the probe creates nothing");

        deploy(server, None, A);
        assert_eq!(fs::read_link(server.root().join("current")).unwrap().to_str(), Some(&*format!("releases/{A}")));
        deploy(server, Some(A), B);

        let facts = server.probe(&[".env".to_owned()]);
        assert_eq!(facts.current, Some(id(B)));
        assert_eq!(facts.previous, Some(id(A)));
        assert_eq!(facts.lock, None);
        assert_eq!(facts.missing_files, [".env"]);
        assert_eq!(facts.not_writable, None);
        assert_eq!(facts.missing_tools, Vec::<String>::new());
        assert!(facts.free_kb.is_some() && facts.time > 1_700_000_000);
        let seen: Vec<_> = facts.releases.iter().map(|r| (r.id.as_str().to_owned(), r.state)).collect();
        assert_eq!(seen, [(A.to_owned(), ReleaseState::Good), (B.to_owned(), ReleaseState::Good)]);
        assert!(facts.releases.iter().all(|r| r.revision == Some(Revision("abc123".into()))));
        assert_eq!(server.read("revisions.log"), "one line\none line\n");
        assert_eq!(server.stray(), Vec::<String>::new());
    });
}

#[test]
fn what_a_server_lacks_is_named_tool_by_tool() {
    let Some(mut server) = Server::new("dash") else { return };
    server.web.tools = vec!["no-such-tool".into(), "sh".into(), "none such".into()];
    assert_eq!(server.probe(&[]).missing_tools, ["no-such-tool", "none such"]);
}

#[test]
fn deploy_to_starts_at_home_unless_it_is_absolute() {
    everywhere(|server| {
        for (written, want) in [("~/x y", "x y"), ("x y/", "x y"), ("~", "")] {
            let mut site = server.site();
            site.deploy_to = written;
            let facts = ServerFacts::read(&server.run(&calls::probe(&site, &[])).ok().answers).unwrap();
            assert_eq!(facts.root, server.home().join(want).to_str().unwrap().trim_end_matches('/'), "{written}");
        }
        let mut site = server.site();
        site.deploy_to = "//";
        server.run(&calls::probe(&site, &[])).refused("bad_root");
    });
}

#[test]
fn a_capistrano_layout_is_taken_over_and_rolled_back_to() {
    everywhere(|server| {
        // Capistrano's link is absolute, and nothing says what state a release is in.
        server.release(A, Some("aaa"));
        server.release(B, Some("bbb"));
        fs::create_dir_all(server.root().join("releases/20260102000000.bak")).unwrap();
        fs::write(server.root().join("releases/notes"), "x").unwrap();
        symlink(server.root().join("releases").join(B), server.root().join("current")).unwrap();
        // One was killed half-way: it wrote no line when it was done.
        let killed = "20260101120000";
        server.release(killed, None);
        server.write("revisions.log", &format!("Branch main (at aaa) deployed as release {A} by deploy\n"));
        let facts = server.probe(&[]);
        assert_eq!(facts.current, Some(id(B)));
        assert_eq!(facts.unknown, 2);
        let states: Vec<_> = facts.releases.iter().map(|r| (r.id.as_str(), r.state)).collect();
        let foreign = ReleaseState::Foreign;
        assert_eq!(states, [(A, foreign), (killed, ReleaseState::Unfinished), (B, foreign)], "{}", server.shell);

        deploy(server, Some(B), C);
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.run(&calls::switch(&site, &run(), Some(&id(C)), Some(&id(B)))).ok();
        assert_eq!(server.probe(&[]).current, Some(id(B)));
        assert!(!server.root().join(".pitcrew/states").join(B).exists(), "it stays foreign");
        let prune = |keep| server.run(&calls::prune(&site, &run(), keep, &[])).ok();
        assert_eq!(prune(3).values("removed"), Vec::<String>::new(), "{}", server.shell);
        // It counts for nothing, and goes with what is older than those that are kept.
        assert_eq!(prune(2).values("removed"), [killed, A], "{}", server.shell);
    });
}

#[test]
fn a_lock_is_held_by_one_run() {
    everywhere(|server| {
        let site = server.site();
        let mut other = owner();
        other.run = RunId("other".into());
        other.command = "pitcrew deploy\nrun=mine it's".into();
        server.run(&calls::lock(&site, &other)).ok();
        assert_eq!(server.run(&calls::lock(&site, &other)).ok().value("taken"), Some("again"));

        let refused = server.run(&calls::lock(&site, &owner())).refused("locked");
        let held = LockFacts::read(&refused.answers);
        assert_eq!(held.owner["run"], "other");
        assert_eq!(held.owner["command"], "pitcrew deploy run=mine it's");
        assert!(held.age.is_some_and(|age| age < 60));
        assert_eq!(server.probe(&[]).lock.unwrap().owner["who"], "alice");

        server.run(&calls::unlock(&site, &run())).refused("not_ours");
        server.run(&calls::renew(&site, &run(), "")).refused("lock_lost");
        server.run(&calls::renew(&site, &other.run, "")).ok();
        server.run(&calls::unlock(&site, &other.run)).ok();
        server.run(&calls::unlock(&site, &other.run)).ok();
        server.run(&calls::renew(&site, &other.run, "")).refused("lock_lost");
        server.run(&calls::lock(&site, &owner())).ok();
    });
}

#[test]
fn of_many_who_ask_one_gets_the_lock() {
    everywhere(|server| {
        let site = server.site();
        let taken: usize = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..8)
                .map(|n| {
                    let mut owner = owner();
                    owner.run = RunId(format!("run{n}"));
                    scope.spawn(move || server.run(&calls::lock(&site, &owner)).status == 0)
                })
                .collect();
            asking.into_iter().map(|a| usize::from(a.join().unwrap())).sum()
        });
        assert_eq!(taken, 1);
    });
}

#[test]
fn of_many_who_recover_one_takes_the_lock_over() {
    everywhere(|server| {
        let site = server.site();
        for round in 0..4 {
            let mut dead = owner();
            dead.run = RunId(format!("dead{round}"));
            server.run(&calls::lock(&site, &dead).planning("the plan")).ok();
            server.write(".pitcrew/lock/journal", "1795423815 transfer x\n");
            server.write(".pitcrew/lock/stuck", "web2 is sick\n");
            let from = &dead.run;
            let winners: Vec<RunId> = std::thread::scope(|scope| {
                let asking: Vec<_> = (0..6)
                    .map(|n| {
                        let mut owner = owner();
                        owner.run = RunId(format!("recovery{n}"));
                        scope.spawn(move || {
                            (server.run(&calls::takeover(&site, &owner, from, from)).status == 0).then_some(owner.run)
                        })
                    })
                    .collect();
                asking.into_iter().filter_map(|a| a.join().unwrap()).collect()
            });
            assert_eq!(winners.len(), 1, "{winners:?}");
            let lock = server.probe(&[]).lock.unwrap();
            assert_eq!(lock.owner["run"], winners[0].0);
            assert_eq!((lock.plan.as_slice(), lock.stuck), (&["the plan".to_owned()][..], None));
            assert_eq!(server.probe(&[]).journal.len(), 1);
            server.run(&calls::renew(&site, from, "")).refused("lock_lost");
            server.run(&calls::unlock(&site, &winners[0])).ok();
            assert_eq!(server.run(&calls::takeover(&site, &owner(), from, from)).ok().value("lock"), Some("free"));
        }
    });
}

#[test]
fn what_a_dead_run_left_running_is_ended_before_its_lock_is_used() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        // One ends when it is asked to, the other does not.
        let stubborn = "trap '' TERM; n=0; while [ $n -lt 600 ]; do n=$((n + 1)); sleep 0.1; done";
        let commands = ["sleep 60", stubborn]
            .map(|run| calls::command(&site, Dir::Release(id(A)), run).under(&server::run(), "build"));
        // Waited for by threads, as sshd waits for them.
        let left = commands.map(|c| {
            let child = server.begin(&c, &Nonce::random());
            std::thread::spawn(move || child.wait_with_output().unwrap())
        });
        let begun = || {
            let names = fs::read_dir(server.root().join(".pitcrew/lock")).unwrap();
            names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("step.")).count()
        };
        while begun() < 2 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut other = owner();
        other.run = RunId("recovery".into());
        let taken = server.run(&calls::takeover(&site, &other, &server::run(), &server::run())).ok();
        assert_eq!(taken.value("taken"), Some("over"), "{taken:?}");
        for ended in left {
            let ended = ended.join().unwrap();
            assert!(!ended.status.success(), "{ended:?}");
        }
        server.run(&calls::unlock(&site, &other.run)).ok();
    });
}

/// `timeout` makes a process group of its own; what made a session of its own is a daemon, and stays.
#[test]
fn a_command_ends_with_all_of_its_session_whoever_ends_it() {
    // Nobody else's sleep lasts that long.
    let seconds = 70_000 + std::process::id() % 9000;
    let sleeping = |seconds: u32| -> Vec<i32> {
        let wanted = format!("sleep\0{seconds}\0");
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|e| fs::read(e.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect()
    };
    let eventually = |what: &str, so: &dyn Fn() -> bool| {
        let mut tries = 0;
        while !so() {
            tries += 1;
            assert!(tries < 2000, "waited for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        for is_recovery in [false, true] {
            let run = format!("setsid sleep {} >/dev/null 2>&1 & timeout 600 sleep {seconds}", seconds + 10_000);
            let call = calls::command(&site, Dir::Release(id(A)), &run).under(&server::run(), "build");
            let child = server.begin(&call, &Nonce::random());
            let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            let ended = std::thread::spawn(move || child.wait_with_output().unwrap());
            eventually("the command", &|| sleeping(seconds).len() == 1 && sleeping(seconds + 10_000).len() == 1);
            if is_recovery {
                let mut other = owner();
                other.run = RunId("recovery".into());
                server.run(&calls::takeover(&site, &other, &server::run(), &server::run())).ok();
                server.run(&calls::unlock(&site, &other.run)).ok();
            } else {
                nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM).unwrap();
            }
            eventually("its end", &|| sleeping(seconds).is_empty());
            assert!(!ended.join().unwrap().status.success());
            let daemons = sleeping(seconds + 10_000);
            assert_eq!(daemons.len(), 1, "{}", server.shell);
            for pid in daemons {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            eventually("the daemon's end", &|| sleeping(seconds + 10_000).is_empty());
        }
    });
}

#[test]
fn a_lock_tells_all_that_is_known_of_its_run() {
    everywhere(|server| {
        let site = server.site();
        let mut other = owner();
        other.run = RunId("other".into());
        let taken = calls::lock(&site, &other).planning("release 20260101000000\nserver \\ it's\n");
        assert_eq!(server.run(&taken).ok().value("taken"), Some("yes"));
        server.run(&calls::renew(&site, &other.run, "rollout\nbatch 2")).ok();
        server.write(".pitcrew/lock/journal", "1795423815 transfer x\n1795423816 switch a b\n");
        server.run(&calls::renew(&site, &other.run, "")).ok();

        let held = LockFacts::read(&server.run(&calls::lock(&site, &owner())).refused("locked").answers);
        assert_eq!(held.phase.as_deref(), Some("rollout batch 2"));
        assert_eq!(held.doing.as_deref(), Some("1795423816 switch a b"));
        assert_eq!((held.stuck.as_deref(), held.left, held.run()), (None, None, "other"));
        let looked = LockFacts::read(&server.run(&calls::look(&site)).ok().answers);
        assert_eq!(looked.owner, held.owner);
        assert_eq!(lease::judge(&looked), Standing::Renewed { age: looked.age.unwrap(), lease: 120 });

        server.run(&calls::keep(&site, &run(), "mine")).refused("lock_lost");
        server.run(&calls::keep(&site, &other.run, "web2: could not\nrestart")).ok();
        let probed = server.probe(&[]).lock.unwrap();
        assert_eq!(probed.plan, ["release 20260101000000", "server \\ it's"]);
        assert_eq!(lease::judge(&probed), Standing::Stuck { reason: "web2: could not restart".into() });
        server.run(&calls::unlock(&site, &other.run)).ok();
        assert_eq!(server.run(&calls::look(&site)).ok().value("lock"), Some("free"));
        assert_eq!(server.leftovers(), ["journal"]);
    });
}

#[test]
fn the_age_of_a_lock_is_that_of_its_last_sign_of_life() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        let beat = server.root().join(".pitcrew/lock/beat");
        let ago = |seconds| std::time::SystemTime::now() - Duration::from_secs(seconds);
        let age = || LockFacts::read(&server.run(&calls::look(&site)).ok().answers).age.unwrap();
        fs::File::options().write(true).open(&beat).unwrap().set_modified(ago(1000)).unwrap();
        assert!((1000..1100).contains(&age()), "{}", age());
        server.run(&calls::renew(&site, &run(), "")).ok();
        assert!(age() < 100, "{}", age());
        // Every step that needs the lock is a sign of life too.
        fs::File::options().write(true).open(&beat).unwrap().set_modified(ago(1000)).unwrap();
        server.run(&calls::mark(&site, &run(), &Mark::default())).ok();
        assert!(age() < 100, "{}", age());
    });
}

#[test]
fn half_a_lock_is_held_by_nobody_knows_whom_and_can_be_released() {
    everywhere(|server| {
        let site = server.site();
        fs::create_dir_all(server.root().join(".pitcrew/lock")).unwrap();
        let held = LockFacts::read(&server.run(&calls::lock(&site, &owner())).refused("locked").answers);
        assert!(held.owner.is_empty() && held.age.is_some_and(|age| age < 60), "{held:?}");
        server.run(&calls::unlock(&site, &RunId(String::new()))).ok();
        // Whoever died before its lock was one holds nobody up, and leaves nothing for long.
        fs::create_dir_all(server.root().join(".pitcrew/lock.new.4999999.dead")).unwrap();
        fs::create_dir_all(server.root().join(".pitcrew/released.4999999")).unwrap();
        server.run(&calls::lock(&site, &owner())).ok();
        server.run(&calls::unlock(&site, &run())).ok();
        assert!(server.leftovers().is_empty(), "{:?}", server.leftovers());
    });
}

#[test]
fn a_freeze_holds_for_its_time_by_the_servers_own_clock() {
    everywhere(|server| {
        let site = server.site();
        let mut ann = owner();
        ann.run = RunId("freeze-1".into());
        server.run(&calls::freeze(&site, &ann, "it's\nfair", Some(Duration::from_secs(3600)))).ok();
        let held = LockFacts::read(&server.run(&calls::lock(&site, &owner())).refused("locked").answers);
        assert!(held.left.is_some_and(|left| (3000..=3600).contains(&left)), "{held:?}");
        assert!(matches!(lease::judge(&held), Standing::Frozen { reason, .. } if reason == "it's fair"));
        server.run(&calls::freeze(&site, &owner(), "mine", None)).refused("locked");

        // Its time is over.
        let file = server.root().join(".pitcrew/lock/owner");
        let text = fs::read_to_string(&file).unwrap();
        let (before, _) = text.split_once("until=").unwrap();
        fs::write(&file, format!("{before}until=1000\n")).unwrap();
        assert_eq!(lease::judge(&server.probe(&[]).lock.unwrap()), Standing::Expired);
        assert_eq!(server.run(&calls::lock(&site, &owner()).planning("p")).ok().value("taken"), Some("thawed"));
        let ours = server.probe(&[]).lock.unwrap();
        assert_eq!((ours.run(), ours.left, ours.plan.as_slice()), ("run-1", None, &["p".to_owned()][..]));
        assert!(!ours.owner.contains_key("freeze"), "{ours:?}");
        server.run(&calls::unlock(&site, &run())).ok();
        assert!(server.leftovers().is_empty(), "{:?}", server.leftovers());

        server.run(&calls::freeze(&site, &ann, "for good", None)).ok();
        server.run(&calls::lock(&site, &owner())).refused("locked");
        server.run(&calls::unlock(&site, &ann.run)).ok();
    });
}

#[test]
fn of_many_who_find_an_expired_freeze_one_gets_the_lock() {
    everywhere(|server| {
        let site = server.site();
        for _ in 0..3 {
            server.write(".pitcrew/lock/owner", "run=old\nfreeze=yes\nuntil=1000\n");
            let taken: usize = std::thread::scope(|scope| {
                let ask = |n| {
                    let mut owner = owner();
                    owner.run = RunId(format!("run{n}"));
                    move || usize::from(server.run(&calls::lock(&site, &owner)).status == 0)
                };
                let asking: Vec<_> = (0..8).map(|n| scope.spawn(ask(n))).collect();
                asking.into_iter().map(|a| a.join().unwrap()).sum()
            });
            assert_eq!(taken, 1);
            let holder = RunId(server.probe(&[]).lock.unwrap().run().to_owned());
            server.run(&calls::unlock(&site, &holder)).ok();
            assert!(server.leftovers().is_empty(), "{:?}", server.leftovers());
        }
    });
}

#[test]
fn runs_that_come_and_go_never_hold_it_together_and_are_never_told_nonsense() {
    everywhere(|server| {
        let site = server.site();
        let marker = server.home().join("inside");
        let (marker, taken) = (&marker, std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..6 {
                let taken = &taken;
                scope.spawn(move || {
                    for round in 0..12 {
                        let mut owner = owner();
                        owner.run = RunId(format!("run{n}-{round}"));
                        let ran = server.run(&calls::lock(&site, &owner).planning("p"));
                        if ran.status != 0 {
                            ran.refused("locked");
                            continue;
                        }
                        fs::File::create_new(marker).unwrap();
                        assert_eq!(server.read(".pitcrew/lock/plan"), "p\n");
                        fs::remove_file(marker).unwrap();
                        server.run(&calls::unlock(&site, &owner.run)).ok();
                        taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(taken.load(std::sync::atomic::Ordering::Relaxed) > 6);
        assert!(server.leftovers().is_empty(), "{:?}", server.leftovers());
    });
}

#[test]
fn a_lock_is_not_kept_where_the_server_is_not_as_it_was() {
    everywhere(|server| {
        deploy(server, None, A);
        server.release(B, Some("bbb"));
        let site = server.site();
        let (a, b) = (id(A), id(B));
        let expect =
            |current, newest| calls::lock(&site, &owner()).expecting(AsPlanned { current, newest, adopts: None });
        server.run(&expect(None, Some(&b))).refused("stale_facts");
        server.run(&expect(Some(&b), Some(&b))).refused("stale_facts");
        server.run(&expect(Some(&a), Some(&a))).refused("stale_facts");
        assert_eq!(server.run(&calls::look(&site)).ok().value("lock"), Some("free"));
        server.run(&expect(Some(&a), Some(&b))).ok();
        // Whoever asks again keeps what it has.
        server.run(&expect(None, None)).refused("stale_facts");
        server.run(&calls::renew(&site, &run(), "")).ok();
        server.run(&calls::unlock(&site, &run())).ok();
        assert_eq!(server.leftovers(), ["journal", "states"]);
    });
}

#[test]
fn nothing_changes_without_the_lock() {
    everywhere(|server| {
        deploy(server, None, A);
        server.release(B, Some("bbb"));
        let site = server.site();
        let (a, b, run) = (id(A), id(B), run());
        let limit = Duration::from_secs(1);
        let before = server.tree();
        for call in [
            calls::transfer(&site, &run, &id(C), &Revision("x".into())),
            calls::link(&site, &run, &b, &Shared { dirs: vec!["log".into()], files: vec![] }),
            calls::switch(&site, &run, Some(&a), Some(&b)),
            calls::restart(&site, &run, &a, limit),
            calls::stop(&site, &run, limit),
            calls::mark(&site, &run, &Mark { line: Some("x"), ..Mark::default() }),
            calls::prune(&site, &run, 1, &[]),
            calls::remove(&site, &run, &b),
            calls::command(&site, Dir::Current, "touch made").under(&run, "build"),
        ] {
            server.run(&call).refused("lock_lost");
        }
        assert_eq!(server.tree(), before);
    });
}

#[test]
fn a_transfer_is_whole_or_nothing() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        let call = calls::transfer(&site, &run(), &id(A), &Revision("abc123".into()));
        let whole = tarball("abc123");
        for (what, payload) in [
            ("nothing", &b""[..]),
            ("half", &whole[..whole.len() / 2]),
            ("no gzip", b"hello, this is no archive"),
            ("another revision", &tarball("abc124")),
            // All else is there, REVISION too: only tar itself tells that one file is not, as on a disk that is full.
            ("a file that cannot be unpacked", &packed(&[("REVISION", "abc123\n"), ("a", ""), ("a/b", "")])),
        ] {
            let refused = server.send(&call, payload).refused("bad_payload");
            assert!(!refused.value("fail").unwrap().is_empty(), "{what}");
            assert!(!server.root().join("releases").join(A).exists(), "{what}");
            assert_eq!(server.stray(), Vec::<String>::new(), "{what}");
        }
        server.send(&call, &whole).ok();
        assert_eq!(server.read(&format!("releases/{A}/REVISION")), "abc123\n");
        assert_eq!(server.read(&format!("releases/{A}/app/odd 'name'\nhere")), "hello\n");
        // The answer was lost, and the same run asks again; another run is refused.
        assert_eq!(server.send(&call, &whole).ok().value("transferred"), Some("again"));
        server.run(&calls::unlock(&site, &run())).ok();
        server.run(&calls::lock(&site, &owner())).ok();
        server.send(&call, &whole).refused("release_exists");
    });
}

#[test]
fn shared_paths_become_relative_links() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        let release = server.root().join("releases").join(A);
        fs::create_dir_all(release.join("log")).unwrap();
        fs::write(release.join("log/.keep"), "").unwrap();
        let shared = Shared {
            dirs: vec!["log".into(), "./public//uploads/".into(), "a b/it's \"$x\"\n".into()],
            files: vec![".env".into(), "config/master.key".into()],
        };
        let refused = server.run(&calls::link(&site, &run(), &id(A), &shared)).refused("missing_files");
        let missing: Vec<_> = refused.values("missing_file");
        assert_eq!(missing, [".env", "config/master.key"]);
        assert!(release.join("log/.keep").exists(), "nothing was changed");

        fs::create_dir_all(server.root().join("shared/config")).unwrap();
        fs::write(server.root().join("shared/.env"), "x").unwrap();
        fs::write(server.root().join("shared/config/master.key"), "y").unwrap();
        for _ in 0..2 {
            server.run(&calls::link(&site, &run(), &id(A), &shared)).ok();
            let link = |path: &str| fs::read_link(release.join(path)).unwrap().to_str().unwrap().to_owned();
            assert_eq!(link("log"), "../../shared/log");
            assert_eq!(link("public/uploads"), "../../../shared/public/uploads");
            assert_eq!(link("a b/it's \"$x\"\n"), "../../../shared/a b/it's \"$x\"\n");
            assert_eq!(fs::read_to_string(release.join("config/master.key")).unwrap(), "y");
            assert!(server.root().join("shared/public/uploads").is_dir());
        }
        for bad in ["/etc", "../x", "a/../../x", ".", "REVISION", "log/deep"] {
            let shared = Shared { dirs: vec!["log".into(), bad.into()], files: vec![] };
            server.run(&calls::link(&site, &run(), &id(A), &shared)).refused("bad_path");
        }
        assert!(!server.root().join("shared/deep").exists());
    });
}

#[test]
fn a_switch_is_a_rename_between_what_is_expected() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        for (id, state) in [(A, "good"), (B, "prepared"), (C, "prepared")] {
            server.release(id, Some("rev"));
            server.write(&format!(".pitcrew/states/{id}"), &format!("{state}\n"));
        }
        let switch = |from: Option<&str>, to: Option<&str>| {
            let (from, to) = (from.map(id), to.map(id));
            server.run(&calls::switch(&site, &run(), from.as_ref(), to.as_ref()))
        };
        switch(Some(A), Some(B)).refused("current_changed");
        switch(None, Some(A)).ok();
        assert_eq!(switch(None, Some(A)).ok().value("switched"), Some("already"));
        // Killed between the two steps of an earlier switch: the link it left must not be followed or kept.
        symlink(format!("releases/{C}"), server.root().join(".current.pitcrew.1")).unwrap();
        switch(Some(A), Some(B)).ok();
        assert_eq!(server.stray(), Vec::<String>::new());
        assert!(
            fs::read_dir(server.root().join("releases").join(A))
                .unwrap()
                .all(|e| { !e.unwrap().file_name().to_string_lossy().contains("current") })
        );
        assert_eq!(server.read(&format!(".pitcrew/states/{B}")).trim_end(), "active");
        assert_eq!(server.probe(&[]).previous, Some(id(A)));

        // Back: what was good stays good, and what was before it is remembered again.
        switch(Some(B), Some(A)).ok();
        assert_eq!(server.read(&format!(".pitcrew/states/{A}")).trim_end(), "good");
        assert_eq!(server.probe(&[]).previous, None);

        fs::remove_file(server.root().join("releases").join(C).join("REVISION")).unwrap();
        switch(Some(A), Some(C)).refused("no_release");
        switch(Some(A), Some("20990101000000")).refused("no_release");
        switch(Some(A), None).ok();
        assert!(fs::symlink_metadata(server.root().join("current")).is_err());
        assert_eq!(switch(Some(A), None).ok().value("switched"), Some("already"));
    });
}

/// Deployer and Mina number their releases, Ansistrano writes a Z behind the time, others take the commit.
#[test]
fn a_directory_of_another_tool_becomes_a_release_before_anything_is_switched() {
    for (name, as_id) in [
        ("7", "00000000000007"),
        ("20260101120000Z", "20260101120000"),
        ("4e1243bd22c66e76c2ba9eddc1f91394e57f9f83", ""),
    ] {
        everywhere(|server| {
            let site = server.site();
            server.write(&format!("releases/{name}/app/code"), "old\n");
            server.write(&format!("releases/{name}/REVISION"), "abc\n");
            symlink(format!("releases/{name}"), server.root().join("current")).unwrap();
            let before = server.tree();
            let facts = server.probe(&[]);
            let adopted = facts.adopts.clone().unwrap();
            assert!(as_id.is_empty() || adopted.id.as_str() == as_id, "{adopted:?}");
            assert_eq!((facts.current.as_ref(), &facts.current_odd), (Some(&adopted.id), &None));
            assert_eq!(facts.releases[0].revision, Some(Revision("abc".into())));
            assert_eq!(server.tree(), before, "to look changes nothing");

            let planned = AsPlanned { current: Some(&adopted.id), newest: Some(&adopted.id), adopts: Some(&adopted) };
            server.run(&calls::lock(&site, &owner()).expecting(planned)).ok();
            let facts = server.probe(&[]);
            assert_eq!((facts.current.as_ref(), &facts.adopts), (Some(&adopted.id), &None));
            assert_eq!(server.read("current/app/code"), "old\n");
            assert_eq!(server.read(&format!("releases/{name}/app/code")), "old\n", "what runs there goes on");
            server.release(A, Some("aaa"));
            let switch =
                |from: &ReleaseId, to: &ReleaseId| server.run(&calls::switch(&site, &run(), Some(from), Some(to)));
            switch(&adopted.id, &id(A)).ok();
            // It is a release to go back to, for this run and later ones.
            let facts = server.probe(&[]);
            let old = facts.releases.iter().find(|r| r.id == adopted.id).unwrap();
            assert_eq!((old.state, facts.previous), (ReleaseState::Foreign, Some(adopted.id.clone())));
            switch(&id(A), &adopted.id).ok();
            assert_eq!(server.read("current/app/code"), "old\n");
        });
    }
    everywhere(|server| {
        // Where there is a release of that name already, nothing is guessed.
        server.write("releases/7/app/code", "old\n");
        server.release("00000000000007", Some("x"));
        symlink("releases/7", server.root().join("current")).unwrap();
        assert_eq!(server.probe(&[]).current_odd.as_deref(), Some("a link to releases/7"));
    });
}

#[test]
fn a_current_that_is_no_link_into_releases_is_left_alone() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        let current = server.root().join("current");
        let odd = || {
            let before = server.tree();
            let facts = server.probe(&[]);
            server.run(&calls::switch(&site, &run(), None, Some(&id(A)))).refused("current_odd");
            assert_eq!(server.tree(), before);
            assert_eq!(facts.current, None);
            facts.current_odd.unwrap()
        };
        fs::create_dir(&current).unwrap();
        fs::write(current.join("precious"), "x").unwrap();
        assert_eq!(odd(), "a directory");
        fs::remove_dir_all(&current).unwrap();
        symlink("/nowhere/at\nall", &current).unwrap();
        assert_eq!(odd(), "a link to /nowhere/at\nall");
        fs::remove_file(&current).unwrap();
        symlink(format!("releases/{B}"), &current).unwrap();
        assert_eq!(server.probe(&[]).current_gone, Some(format!("releases/{B}")));
        server.run(&calls::switch(&site, &run(), None, Some(&id(A)))).ok();
        assert_eq!(server.probe(&[]).current, Some(id(A)));
        fs::remove_file(&current).unwrap();
        // By another name of the same directory it is a release all the same.
        symlink(server.root().parent().unwrap(), server.home().join("alias")).unwrap();
        let alias = server.home().join("alias").join(server.root().file_name().unwrap());
        symlink(alias.join("releases").join(A), &current).unwrap();
        assert_eq!(server.probe(&[]).current, Some(id(A)));
    });
}

#[test]
fn commands_end_as_they_end() {
    everywhere(|server| {
        deploy(server, None, A);
        let env = [
            ("GREETING".to_owned(), "it's\n\"two\" lines!\\n".to_owned()),
            ("root".to_owned(), "/not/ours".to_owned()),
            ("PATH".to_owned(), "/nowhere".to_owned()),
        ];
        let mut site = server.site();
        site.env = &env;
        let ran = server.run(&calls::command(
            &site,
            Dir::Current,
            "printf '%s|' \"$GREETING\" \"$root\" \"$PITCREW_APP\"; cat REVISION; pwd; cat",
        ));
        assert_eq!(ran.status, 0, "{ran:?}");
        let release = server.root().join("current");
        assert_eq!(
            ran.output.trim_end(),
            format!("it's\n\"two\" lines!\\n|/not/ours|shop|abc123\n{}", release.display())
        );
        assert_eq!(ran.value("exit"), Some("0"));

        for (command, status, signal) in [
            ("exit 3", 3, None),
            ("kill -9 $$", 137, Some("KILL")),
            ("sh -c 'kill -TERM $$'; exit $?", 143, Some("TERM")),
            ("exit 255", 255, None),
            ("no-such-command-here", 127, None),
            ("if", 2, None),
        ] {
            let ran = server.run(&calls::command(&server.site(), Dir::Release(id(A)), command));
            assert_eq!(ran.status & 0xff, status, "{command}: {ran:?}");
            assert_eq!(ran.value("exit"), Some(&*status.to_string()), "{command}");
            assert_eq!(ran.value("signal"), signal, "{command}");
        }
        server.run(&calls::command(&site, Dir::Release(id(B)), "true")).refused("no_release");
    });
}

#[test]
fn a_variable_that_cannot_be_exported_fails_the_command() {
    everywhere(|server| {
        deploy(server, None, A);
        for name in ["A-B", "", "X; touch /tmp/pwned; Y"] {
            let env = [(name.to_owned(), "x".to_owned())];
            let mut site = server.site();
            site.env = &env;
            let ran = server.run(&calls::command(&site, Dir::Current, "touch ran"));
            assert_ne!(ran.status, 0);
            assert!(!server.root().join("current/ran").exists());
        }
        let env = [("A".to_owned(), "x\0y".to_owned())];
        let mut site = server.site();
        site.env = &env;
        assert_ne!(server.run(&calls::command(&site, Dir::Current, "true")).status, 0);
    });
}

#[test]
fn nothing_runs_without_its_whole_input() {
    everywhere(|server| {
        deploy(server, None, A);
        let env = [("A".to_owned(), "x".repeat(5000))];
        let mut site = server.site();
        site.env = &env;
        let call = calls::command(&site, Dir::Current, "touch ran");
        let nonce = Nonce::random();
        let head = call.head(&nonce);
        let ran = server.named(&call, &head[..head.len() - 1], &nonce);
        ran.refused("no_input");
        assert!(!server.root().join("current/ran").exists());
    });
}

#[test]
fn pruning_keeps_what_is_good_or_used() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        for (n, state) in
            ["foreign", "good", "failed", "good", "good", "prepared", "good", "good", "reverted", "prepared"]
                .iter()
                .enumerate()
        {
            let id = format!("202601{:02}000000", n + 1);
            server.release(&id, Some("rev"));
            if *state == "foreign" {
                server.write("revisions.log", &format!("Branch main (at rev) deployed as release {id} by deploy\n"));
            } else {
                server.write(&format!(".pitcrew/states/{id}"), state);
            }
        }
        let ids = |days: &[u32]| days.iter().map(|d| format!("202601{d:02}000000")).collect::<Vec<_>>();
        for odd in ["notes", "20260105000000.bak", "2026010500000"] {
            fs::create_dir_all(server.root().join("releases").join(odd)).unwrap();
        }
        // Good are 1, 2, 4, 5, 7, 8. Current is 2, previous 4, and a process runs in 1.
        symlink(format!("releases/{}", ids(&[2])[0]), server.root().join("current")).unwrap();
        server.write(".pitcrew/previous", &format!("{}\n", ids(&[4])[0]));
        server.write(&format!(".pitcrew/states/{C}99"), "good\n");
        fs::create_dir_all(server.root().join(format!(".pitcrew/incoming.{C}"))).unwrap();
        let release = server.root().join("releases").join(&ids(&[1])[0]);
        let mut user = std::process::Command::new("sleep").arg("600").current_dir(release).spawn().unwrap();
        let locked = server.root().join("releases").join(&ids(&[3])[0]).join("vendor");
        fs::create_dir_all(&locked).unwrap();
        fs::write(locked.join("x"), "").unwrap();
        fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();

        let ran = server.run(&calls::prune(&site, &run(), 2, &[]));
        user.kill().unwrap();
        user.wait().unwrap();
        let ran = ran.ok();
        let mut removed = ran.values("removed");
        removed.sort_unstable();
        // 9 and 10 are newer than the newest good one: somebody may still want to look at them.
        assert_eq!(removed, ids(&[3, 5, 6]));
        for odd in ["notes", "20260105000000.bak", "2026010500000"] {
            assert!(server.root().join("releases").join(odd).exists(), "{odd}");
        }
        assert_eq!(server.stray(), Vec::<String>::new());
        assert!(!server.root().join(".pitcrew/states").join(&ids(&[3])[0]).exists());
        // Nobody runs in 1 now.
        let ran = server.run(&calls::prune(&site, &run(), 2, &[id(&ids(&[1])[0])])).ok();
        assert_eq!(ran.values("removed"), Vec::<String>::new());
        let ran = server.run(&calls::prune(&site, &run(), 2, &[])).ok();
        assert_eq!(ran.values("removed"), ids(&[1]));
    });
}

#[test]
fn a_release_that_is_needed_is_not_removed() {
    everywhere(|server| {
        deploy(server, None, A);
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.run(&calls::remove(&site, &run(), &id(A))).refused("in_use");
        server.release(C, Some("foreign"));
        server.run(&calls::remove(&site, &run(), &id(C))).refused("in_use");
        server.send(&calls::transfer(&site, &run(), &id(B), &Revision("abc123".into())), &tarball("abc123")).ok();
        server.run(&calls::remove(&site, &run(), &id(B))).ok();
        assert_eq!(server.run(&calls::remove(&site, &run(), &id(B))).ok().value("removed"), Some("already"));
        assert!(!server.root().join("releases").join(B).exists());
        assert_eq!(server.stray(), Vec::<String>::new());
    });
}

#[test]
fn what_is_marked_is_found_again() {
    everywhere(|server| {
        deploy(server, None, A);
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        let a = id(A);
        let behind = RunId("run-7".into());
        let mark = Mark { state: Some((&a, ReleaseState::Failed)), line: None, behind: Some(Behind::By(&behind)) };
        server.run(&calls::mark(&site, &run(), &mark)).ok();
        let facts = server.probe(&[]);
        assert_eq!(facts.behind.as_deref(), Some("run-7"));
        assert_eq!(facts.releases[0].state, ReleaseState::Failed);
        assert!(facts.journal.iter().any(|l| l.contains(" mark ")), "{:?}", facts.journal);
        // A recover takes it back.
        let reverted = Mark { state: Some((&a, ReleaseState::Reverted)), ..mark };
        server.run(&calls::mark(&site, &run(), &reverted)).ok();
        assert_eq!(server.probe(&[]).releases[0].state, ReleaseState::Failed);
        server.run(&calls::mark(&site, &run(), &Mark { behind: Some(Behind::No), ..Mark::default() })).ok();
        assert_eq!(server.probe(&[]).behind, None);
    });
}

#[test]
fn the_probe_says_why_nothing_can_be_written() {
    everywhere(|server| {
        fs::create_dir_all(server.root().parent().unwrap()).unwrap();
        fs::write(server.root(), "a file").unwrap();
        assert!(server.probe(&[]).not_writable.unwrap().contains("not a directory"));
        fs::remove_file(server.root()).unwrap();
        // What links to it, and what finds it again, counts on it being there.
        let aside = server.home().join("disk");
        fs::create_dir_all(&aside).unwrap();
        fs::create_dir_all(server.root()).unwrap();
        symlink(&aside, server.root().join("releases")).unwrap();
        let why = server.probe(&[]).not_writable.unwrap();
        assert!(why.contains("releases is a symbolic link") && why.contains("bind mount"), "{why}");
        fs::remove_dir_all(server.root()).unwrap();
        let mut site = server.site();
        // Not even root can write there.
        site.deploy_to = "/dev/null/x";
        let ran = server.run(&calls::probe(&site, &[])).ok();
        assert!(ran.value("not_writable").is_some(), "{ran:?}");
        server.run(&calls::lock(&site, &owner())).refused("not_writable");
    });
}

#[test]
fn a_full_disk_is_called_by_its_name() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    everywhere(|server| {
        deploy(server, None, A);
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        // Everything that is appended here fails as a full disk makes it fail.
        let journal = server.root().join(".pitcrew/lock/journal");
        let _ = fs::remove_file(&journal);
        symlink("/dev/full", &journal).unwrap();
        let b = id(B);
        server
            .send(&calls::transfer(&site, &run(), &b, &Revision("abc123".into())), &tarball("abc123"))
            .refused("no_space");
        server.release(B, Some("rev"));
        server.write(&format!(".pitcrew/states/{B}"), "prepared\n");
        server.run(&calls::switch(&site, &run(), Some(&id(A)), Some(&b))).refused("no_space");
        assert_eq!(server.probe(&[]).current, Some(id(A)));
        // Going back must be possible all the same.
        server.write(&format!(".pitcrew/states/{B}"), "good\n");
        server.run(&calls::switch(&site, &run(), Some(&id(A)), Some(&b))).ok();
        server.run(&calls::unlock(&site, &run())).ok();
    });
}

#[test]
fn half_a_line_in_the_journal_takes_no_other_with_it() {
    let Some(dash) = server::require("dash") else { return };
    for shell in server::SHELLS {
        let Some(mut server) = Server::new(shell) else { continue };
        deploy(&server, None, A);
        server.run(&calls::lock(&server.site(), &owner())).ok();
        // Room for a part of a line only: a write beyond this limit is cut off as one on a full disk is.
        let (room, journal) = (4096, server.root().join(".pitcrew/lock/journal"));
        let line = |length: usize| format!("1 {}\n", "x".repeat(length - 3));
        std::fs::write(&journal, line(room - 5)).unwrap();
        server.tool("login", &format!("#!{}\ntrap '' XFSZ\nulimit -f 8\nexec sh \"$@\"\n", dash.display()));
        server.login = Some(server.home().join("../bin/login"));
        server.run(&calls::note(&server.site(), &run(), "drain {}")).refused("not_writable");
        assert!(std::fs::read_to_string(&journal).unwrap() == line(room - 5), "{shell}: more or less than before");
        std::fs::write(&journal, line(100)).unwrap();
        server.run(&calls::note(&server.site(), &run(), "drain {}")).ok();
        assert!(std::fs::read_to_string(&journal).unwrap().ends_with(" drain {}\n"), "{shell}");
    }
}

#[test]
fn who_takes_a_server_out_by_hand_is_noted_and_forgotten_again() {
    everywhere(|server| {
        let site = server.site();
        let by = TakenBy {
            who: "it's \\ann\"".into(),
            host: "laptop".into(),
            since: "2026-11-26T18:00:00Z".into(),
            reason: Some("two\nlines".into()),
        };
        let found = vec![MemberFacts { at: "unix:///a".into(), member: "web1".into(), ..MemberFacts::default() }];
        let taken = TakenOut { by, found };
        server.run(&calls::aside(&site, &taken.line())).refused("no_site");
        assert!(!server.root().exists(), "nothing is created where nothing was deployed");

        deploy(server, None, A);
        server.write(".pitcrew/behind", "run-0 drained\n");
        let ran = server.run(&calls::aside(&site, &taken.line())).ok();
        assert_eq!(ran.value("lock"), None);
        let facts = server.probe(&[]);
        assert_eq!(facts.taken_out.as_ref(), Some(&taken), "{}", server.shell);
        assert_eq!(facts.behind.as_deref(), Some("run-0"), "it still has to catch up, and is no run's to put back");

        // A run that finds it out leaves the note, and one that finds it in its balancer does not.
        server.run(&calls::lock(&site, &owner())).ok();
        let held = server.run(&calls::aside(&site, &taken.line())).ok();
        assert_eq!(LockFacts::read(&held.answers).run(), "run-1", "whoever notes it hears of the run");
        server.run(&calls::note(&site, &run(), "drain {}")).ok();
        assert_eq!(server.probe(&[]).taken_out.as_ref(), Some(&taken));
        server.run(&calls::note(&site, &run(), "drain {}").found_in()).ok();
        assert_eq!(server.probe(&[]).taken_out, None);

        server.run(&calls::aside(&site, &taken.line())).ok();
        server.run(&calls::aside(&site, "")).ok();
        server.run(&calls::aside(&site, "")).ok();
        assert_eq!(server.probe(&[]).taken_out, None);
        server.write(".pitcrew/drained", "rubbish\n");
        assert_eq!(server.probe(&[]).taken_out, None, "what cannot be read is nobody");
    });
}

/// What lies in these directories runs as the login.
#[test]
fn directories_that_others_may_write_are_told() {
    use pitcrew::event::Writers;
    use pitcrew::facts::Exposed;
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        assert_eq!(server.probe(&[]).exposed, [], "{}: as pitcrew makes them", server.shell);
        let scripts = server.root().join(".pitcrew/scripts");
        fs::create_dir_all(&scripts).unwrap();
        let places = [".", "releases", "shared", ".pitcrew", ".pitcrew/scripts"];
        for place in places {
            let dir = server.root().join(place);
            let mode = fs::metadata(&dir).unwrap().permissions();
            // For the group, and for everyone where each may remove what is theirs alone.
            for (bits, told) in [(0o777, true), (0o773, true), (0o2777, true), (0o775, false), (0o1777, false)] {
                fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
                let one = Exposed { path: place.to_owned(), to: Writers::Everyone };
                assert_eq!(server.probe(&[]).exposed, told.then_some(one).into_iter().collect::<Vec<_>>(), "{bits:o}");
            }
            fs::set_permissions(&dir, mode).unwrap();
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::chown(&dir, Some(4242), None).unwrap();
                let one = Exposed { path: place.to_owned(), to: Writers::Owner(4242) };
                assert_eq!(server.probe(&[]).exposed, [one], "{}", server.shell);
                std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
            }
        }
    });
}

#[test]
fn a_history_that_is_no_file_holds_nothing_up() {
    everywhere(|server| {
        deploy(server, None, A);
        let log = server.root().join("revisions.log");
        fs::remove_file(&log).unwrap();
        nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(server.probe(&[]).current, Some(id(A)));
        assert_eq!(server.run(&calls::history(&server.site())).ok().value("line"), None);
        server.run(&calls::lock(&server.site(), &owner())).ok();
        let mark = Mark { state: None, line: Some("one line"), behind: None };
        let ran = server.run(&calls::prune(&server.site(), &run(), 2, &[]).marking(&mark)).refused("not_writable");
        assert!(ran.value("fail").is_some_and(|why| why.contains("revisions.log is no file")), "{ran:#?}");
    });
}

/// By their names alone, and only where the directories above let others in.
#[test]
fn secret_files_that_every_user_may_read_are_told() {
    let mode = |path: &Path, bits| {
        fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
    };
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        let files = [".env", "config/master.key", "config/database.yml", "robots.txt", "config/token's file"];
        for file in files {
            server.write(&format!("shared/{file}"), "x\n");
            mode(&server.root().join("shared").join(file), 0o644);
        }
        mode(&server.root().join("shared/config/master.key"), 0o640);
        let told = || server.probe(&files.map(str::to_owned)).readable;
        let root = server.root();
        let above = root.ancestors().skip(1).any(|dir| fs::metadata(dir).unwrap().permissions().mode() & 1 == 0);
        mode(root, 0o750);
        assert_eq!(told(), [""; 0], "{}: no other user comes so far", server.shell);
        mode(root, 0o751);
        if above {
            return;
        }
        let open = ["shared/.env", "shared/config/database.yml", "shared/config/token's file"];
        assert_eq!(told(), open, "{}", server.shell);
        mode(&server.root().join("shared/config"), 0o750);
        assert_eq!(told(), [open[0]], "{}", server.shell);
    });
}

#[test]
fn a_noisy_profile_changes_no_answer() {
    everywhere(|server| {
        deploy(server, None, A);
        let call = calls::probe(&server.site(), &[]);
        let nonce = Nonce::random();
        let noisy = format!("printf 'NOISE @pitcrew:0 done'; {}", call.command(&nonce));
        let ran = server.exec(&noisy, &call.head(&nonce), &nonce);
        assert_eq!(ServerFacts::read(&ran.ok().answers).unwrap().current, Some(id(A)));
    });
}

/// What the user's commands make is as open as what the login makes; what pitcrew makes is its own affair.
#[test]
fn commands_have_the_logins_umask_and_a_locale() {
    for shell in ["dash", "bash", "busybox"] {
        let Some(mut server) = Server::new(shell) else { continue };
        server.release(A, Some("aaa"));
        let login = server.home().join("login");
        fs::write(&login, "#!/bin/sh\numask 027\nexec sh \"$@\"\n").unwrap();
        fs::set_permissions(&login, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        server.login = Some(login);
        let says = "umask; echo \"LANG=$LANG LC_ALL=${LC_ALL-}\"";
        let call = calls::command(&server.site(), Dir::Release(id(A)), says);
        let ran = server.run(&call).ok();
        assert_eq!(ran.output.lines().collect::<Vec<_>>(), ["0027", "LANG=C.UTF-8 LC_ALL="], "{shell}");
        // What is named stays.
        let env = vec![("LC_CTYPE".to_owned(), "POSIX".to_owned())];
        let ran = server.run(&Call { env, ..call }).ok();
        assert_eq!(ran.output.lines().last(), Some("LANG= LC_ALL="), "{shell}");
        server.run(&calls::lock(&server.site(), &owner())).ok();
        let mode = fs::metadata(server.root().join(".pitcrew")).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700, "{shell}");
    }
}

/// A directory that several people deploy to has its group's bit set.
#[test]
fn what_a_group_shares_is_the_groups() {
    use std::os::unix::fs::PermissionsExt as _;
    everywhere(|server| {
        fs::create_dir_all(server.root()).unwrap();
        fs::set_permissions(server.root(), fs::Permissions::from_mode(0o2775)).unwrap();
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        server.run(&calls::switch(&site, &run(), None, Some(&id(A)))).ok();
        server
            .run(&calls::mark(
                &site,
                &run(),
                &Mark { state: Some((&id(A), ReleaseState::Good)), line: None, behind: None },
            ))
            .ok();
        let mode = |path: &str| fs::metadata(server.root().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(".pitcrew"), 0o2770);
        assert_eq!(mode(".pitcrew/states"), 0o2775);
        assert_eq!(mode(&format!(".pitcrew/states/{A}")), 0o664);
    });
}

#[test]
fn every_command_line_is_short_and_says_its_step() {
    let server = Server::new("dash").or_else(|| Server::new("bash")).unwrap();
    let long = "it's a \"long\" word\n".repeat(20_000);
    for script in Script::ALL {
        let call = Call {
            script,
            params: vec![("root", Param::Text("/x".into())), ("files", Param::List(vec![long.clone(); 3]))],
            snippets: vec![("web_start", long.clone())],
            web: vec![("x".into(), long.clone())],
            env: vec![("SECRET".into(), "hunter2-hunter2".into())],
        };
        let command = call.command(&Nonce::random());
        assert!(command.len() <= COMMAND_LIMIT, "{}: {}", script.name(), command.len());
        assert!(command.contains(&format!(" pitcrew-{} ", script.name())));
        assert!(!command.contains("hunter2") && !call.text().contains("hunter2"));
        assert!(call.text().contains("SECRET"));
    }
    let usual = calls::restart(&server.site(), &run(), &id(A), Duration::from_secs(60)).head(&Nonce::random()).len();
    assert!(usual < 30 * 1024, "{usual}");
}

#[test]
fn long_parameters_travel_on_standard_input() {
    everywhere(|server| {
        deploy(server, None, A);
        let long = format!("# {}\nprintf '%s' \"$GREETING\"; exit 4", "it's! ".repeat(40_000));
        let env = [("GREETING".to_owned(), "hello\nthere".to_owned())];
        let mut site = server.site();
        site.env = &env;
        let ran = server.run(&calls::command(&site, Dir::Current, &long));
        assert_eq!((ran.status, ran.output.trim_end()), (4, "hello\nthere"));
    });
}

#[test]
fn any_login_shell_will_do() {
    let mut asked = 0;
    for shell in ["tcsh", "csh", "fish", "zsh", "ksh", "mksh", "bash", "dash"] {
        let Some(path) = server::on_path(shell) else { continue };
        asked += 1;
        let mut server = Server::new("dash").or_else(|| Server::new("bash")).unwrap();
        deploy(&server, None, A);
        server.login = Some(path);
        let command = "printf '%s\\n' \"it's !! $HOME \\\\ ~ \\`x\\` %d\" 'a!b' é";
        let env = [("GREETING".to_owned(), "it's !!\n".to_owned())];
        let mut site = server.site();
        site.env = &env;
        let command = format!("{command} \"$GREETING\"");
        let call = calls::command(&site, Dir::Current, &command);
        let ran = server.run(&call);
        let home = server.home().display().to_string();
        assert_eq!(ran.output.trim_end(), format!("it's !! {home} \\ ~ `x` %d\na!b\né\nit's !!"), "{shell}: {ran:?}");
        assert_eq!(server.probe(&["it's!".to_owned()]).missing_files, ["it's!"], "{shell}");
        server.run(&calls::lock(&site, &owner())).ok();
        let long = format!("# {}\nexit 5", "x".repeat(70_000));
        assert_eq!(server.run(&calls::command(&site, Dir::Current, &long)).status, 5, "{shell}");
    }
    assert!(asked > 0);
}

/// The connection is lost while a step is at work: it goes on, and leaves word of its end although nobody hears its answers.
#[test]
fn an_answer_that_nobody_hears_does_not_end_a_step() {
    everywhere(|server| {
        server.run(&calls::lock(&server.site(), &owner())).ok();
        let call = calls::transfer(&server.site(), &run(), &id(A), &Revision("one".into()));
        let nonce = Nonce::random();
        let mut child = server.start(&call.command(&nonce));
        drop((child.stdout.take(), child.stderr.take()));
        let mut input = child.stdin.take().unwrap();
        input.write_all(&[&call.head(&nonce)[..], &tarball("one")].concat()).unwrap();
        drop(input);
        child.wait().unwrap();
        assert_eq!(server.read(&format!(".pitcrew/lock/step.{}", nonce.mark())), "done\n", "{}", server.shell);
        assert_eq!(server.read(&format!("releases/{A}/REVISION")), "one\n");
    });
}

#[test]
fn a_step_leaves_word_of_how_it_ended() {
    everywhere(|server| {
        let site = server.site();
        server.run(&calls::lock(&site, &owner())).ok();
        server.release(A, Some("aaa"));
        let limit = Duration::from_secs(20);
        let asked = |call: &Call, nonce: &Nonce| server.run(&calls::ask(call, nonce, limit));
        let switch = calls::switch(&site, &run(), None, Some(&id(A)));
        let nonce = Nonce::random();
        assert_eq!(asked(&switch, &nonce).ok().value("became"), Some("never"));
        server.named(&switch, &switch.head(&nonce), &nonce).ok();
        assert_eq!(asked(&switch, &nonce).ok().value("became"), Some("done"));

        let (refused, nonce) = (calls::switch(&site, &run(), None, Some(&id(B))), Nonce::random());
        server.named(&refused, &refused.head(&nonce), &nonce).refused("current_changed");
        let word = asked(&refused, &nonce).ok();
        assert!(word.value("became").unwrap().starts_with("fail current_changed current is"), "{word:?}");

        // One that runs is waited for; one that was cut off in the middle has begun and no more.
        let command = calls::command(&site, Dir::Current, "sleep 2; exit 3").under(&run(), "build");
        let nonce = Nonce::random();
        std::thread::scope(|scope| {
            scope.spawn(|| server.named(&command, &command.head(&nonce), &nonce));
            while !server.root().join(".pitcrew/lock/step.".to_owned() + &nonce.mark()).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(asked(&command, &nonce).ok().value("became"), Some("exit 3"));
        });
        // Its parent is a shell in between.
        let kill = "read -r stat </proc/$PPID/stat; set -- ${stat##*) }; kill -9 $2";
        let (killed, nonce) = (calls::command(&site, Dir::Current, kill).under(&run(), "build"), Nonce::random());
        assert_ne!(server.named(&killed, &killed.head(&nonce), &nonce).status, 0);
        assert_eq!(asked(&killed, &nonce).ok().value("became"), Some("begun"));

        // A transfer whose sender is gone is not waited for.
        let (transfer, nonce) = (calls::transfer(&site, &run(), &id(B), &Revision("x".into())), Nonce::random());
        let mut cut = server.begin(&transfer, &nonce);
        while !server.root().join(".pitcrew/lock/step.".to_owned() + &nonce.mark()).exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(asked(&transfer, &nonce).ok().value("became"), Some("begun"));
        assert!(!cut.wait().unwrap().success());

        server.run(&calls::unlock(&site, &run())).ok();
        asked(&switch, &nonce).refused("lock_lost");
    });
}

/// The login shells that are installed here.
fn login_shells() -> Vec<std::path::PathBuf> {
    for needed in ["zsh", "tcsh"] {
        require(needed);
    }
    ["tcsh", "csh", "fish", "zsh", "ksh", "mksh", "bash", "dash"].iter().filter_map(|s| server::on_path(s)).collect()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 6, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
    })]

    /// Through the command line, the login shell, standard input, a parameter, a list and an environment variable.
    #[test]
    fn any_string_survives_the_whole_way(
        value in "\\PC*|[\\x01-\\x7f]{0,200}|(?s:.){0,40}",
        word in "[\\x01-\\x7f]{0,60}|\\PC{0,60}",
        files in proptest::collection::vec("[ -.0-~é日\\\\]{1,24}", 1..4),
    ) {
        proptest::prop_assume!(!value.contains('\0') && !word.contains('\0'));
        let env = [("VALUE".to_owned(), value.clone())];
        let quoted = pitcrew::script::quote::word(&word).unwrap();
        let run = format!("printf %s \"$VALUE\" >value; printf %s {quoted} >word");
        everywhere(|server| {
            let mut site = server.site();
            site.env = &env;
            fs::create_dir_all(server.root()).unwrap();
            assert_eq!(server.run(&calls::command(&site, Dir::Root, &run)).status, 0);
            assert_eq!((server.read("value"), server.read("word")), (value.clone(), word.clone()), "{}", server.shell);
            // A name of dots is there.
            let lacking: Vec<_> = files.iter().filter(|f| !matches!(f.as_str(), "." | "..")).cloned().collect();
            assert_eq!(server.probe(&lacking).missing_files, lacking, "{}", server.shell);
        });
        let mut server = Server::new("dash").or_else(|| Server::new("bash")).unwrap();
        fs::create_dir_all(server.root()).unwrap();
        for login in login_shells() {
            server.login = Some(login.clone());
            let mut site = server.site();
            site.env = &env;
            assert_eq!(server.run(&calls::command(&site, Dir::Root, &run)).status, 0, "{login:?}");
            assert_eq!((server.read("value"), server.read("word")), (value.clone(), word.clone()), "{login:?}");
        }
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let Some(shellcheck) = require("shellcheck") else { return };
    let server = Server::new("dash").or_else(|| Server::new("bash")).unwrap();
    let site = server.site();
    let limit = Duration::from_secs(60);
    let (a, run) = (id(A), run());
    let shared = Shared { dirs: vec!["log".into()], files: vec![".env".into()] };
    let fetched = calls::Mirrored { url: "u", origin: "", login: None, deploy_key: "", host_keys: &[], lent: false };
    let linked = calls::Linked { url: "u", sha256: "x", secret: true };
    let calls = [
        calls::probe(&site, &[".env".into()]),
        calls::lock(&site, &owner()),
        calls::unlock(&site, &run),
        calls::transfer(&site, &run, &a, &Revision("x".into())),
        calls::fetch(&site, &run, calls::Fresh { id: &a, revision: &Revision("x".into()) }, &fetched),
        calls::download(&site, &run, calls::Fresh { id: &a, revision: &Revision("x".into()) }, &linked),
        calls::listing(&site, "0"),
        calls::link(&site, &run, &a, &shared),
        calls::command(&site, Dir::Current, "true"),
        calls::check(&site, "true"),
        calls::switch(&site, &run, None, Some(&a)),
        calls::restart(&site, &run, &a, limit),
        calls::prove(&site, &run, &a),
        calls::stop(&site, &run, limit),
        calls::log(&site),
        calls::mark(&site, &run, &Mark::default()),
        calls::prune(&site, &run, 5, std::slice::from_ref(&a)),
        calls::remove(&site, &run, &a),
        calls::history(&site),
        calls::ask(&calls::remove(&site, &run, &a), &Nonce("0123456789abcdef".into()), limit),
        calls::note(&site, &run, "drain {}"),
        calls::aside(&site, ""),
        calls::takeover(&site, &owner(), &run, &run),
        calls::identity("http://127.0.0.1:1", "/nonexistent", limit),
    ];
    let mut checked: Vec<_> = calls.iter().map(|c| c.script).collect();
    checked.dedup();
    assert_eq!(checked, Script::ALL, "every script is checked");
    for call in &calls {
        // What is sent, with its comments back in: they carry the exceptions.
        let text = format!("#!/bin/sh\n{}", server::readable(call));
        server::shellcheck(&shellcheck, call.script.name(), &text);
    }
}

#[test]
fn ids_and_runs_reach_the_script_as_they_are() {
    let server = Server::new("dash").or_else(|| Server::new("bash")).unwrap();
    let call = calls::switch(&server.site(), &RunId("it's; $x".into()), None, ReleaseId::parse(A).as_ref());
    let text = call.text();
    assert!(text.contains("p_token='it'\\''s; $x'\n"), "{text}");
    assert!(text.contains(&format!("p_to='{A}'\n")));
}

#[test]
fn a_cloud_machine_tells_who_it_is_in_its_firmware_or_through_its_metadata_service() {
    use std::io::{Read as _, Write as _};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    // Gives a token for a PUT that asks for one, and the id for that token alone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let meta = format!("http://{}/latest", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let has = |header: &str| request.lines().any(|l| l.eq_ignore_ascii_case(header));
            let body =
                if request.starts_with("PUT /latest/api/token ") && has("X-aws-ec2-metadata-token-ttl-seconds: 60") {
                    Some("TOKEN")
                } else if request.starts_with("GET /latest/meta-data/instance-id ")
                    && has("X-aws-ec2-metadata-token: TOKEN")
                {
                    Some("i-0abc")
                } else {
                    None
                };
            heard.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
            let status = if body.is_some() { "200 OK" } else { "401 Unauthorized" };
            let body = body.unwrap_or("no");
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let nobody = "http://127.0.0.1:1/latest";
    everywhere(|server| {
        let tag = server.home().join("board_asset_tag");
        let tag = tag.to_str().unwrap();
        let ask = |meta: &str| server.run(&calls::identity(meta, tag, Duration::from_secs(3))).ok();
        // Not that of an instance: some hosts' firmware says this.
        std::fs::write(tag, "Not Specified\n").unwrap();
        let told = ask(&meta);
        assert_eq!(told.value("instance"), Some("i-0abc"), "{}: {told:?}", server.shell);
        assert_eq!(asked.lock().unwrap().drain(..).count(), 2);
        let told = ask(nobody);
        assert_eq!(told.value("instance"), None);
        assert_eq!(told.value("why"), Some("its metadata service does not tell an instance id"), "{told:?}");
        std::fs::write(tag, "i-0fff\n").unwrap();
        let told = ask(&meta);
        assert_eq!(told.value("instance"), Some("i-0fff"), "{}: {told:?}", server.shell);
        assert!(asked.lock().unwrap().is_empty(), "nothing is asked that the firmware tells");
    });
}
