//! The lock as a lease: of many who start at once one wins, who waits is served, who died is named, a freeze holds.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pitcrew::demo::log::Kind;
use pitcrew::demo::{Flaw, Sample, WebKind};
use pitcrew::machine;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::deploy::stack::{Ran, Stack};

/// A stack whose builds wait until the test opens a gate.
struct Gated {
    stack: Stack,
}

impl Gated {
    async fn serving(servers: usize, extra: &str) -> Self {
        let mut stack = Stack::serving(servers, WebKind::Reload, "").await;
        let gate = stack.fleet.path().join("gate").display().to_string();
        // Bounded, so that nothing is left of a test that failed.
        let wait = format!(
            "touch {gate}.$PITCREW_SERVER; n=0; while [ ! -e {gate} ] && [ $n -lt 2000 ]; do sleep 0.05; n=$((n + 1)); done"
        );
        stack.extra = format!("{}\nbuild.run = ['''{wait}''']\n{extra}", stack.extra);
        stack.fleet.write_config(&stack.extra).unwrap();
        Self { stack }
    }

    fn gate(&self) -> PathBuf {
        self.stack.fleet.path().join("gate")
    }

    fn open(&self) {
        std::fs::write(self.gate(), "").unwrap();
    }

    fn shut(&self) {
        let _ = std::fs::remove_file(self.gate());
    }

    /// Starts a deploy and waits until it builds on every server.
    async fn at_work(&self) -> Child {
        let child = self.stack.start(&["deploy"]);
        let building = async {
            for server in self.stack.fleet.servers() {
                let marker = self.stack.fleet.path().join(format!("gate.{}", server.ip()));
                while !marker.exists() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), building).await.is_ok(), "nobody builds");
        child
    }

    fn names(&self) -> Vec<String> {
        (1..=self.stack.fleet.servers().len()).map(|n| format!("s{n}")).collect()
    }
}

async fn end(child: Child) -> Ran {
    let output = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await;
    Ran::from(output.expect("pitcrew ends in time").expect("pitcrew runs"))
}

/// Reads standard error until a line holds `text`; the rest of it is drained by a task, and returned by it.
async fn said(child: &mut Child, text: &str) -> tokio::task::JoinHandle<String> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut all = String::new();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            all.push_str(&line);
            all.push('\n');
            if line.contains(text) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    assert_eq!(found, Ok(true), "{text:?} was never said:\n{all}");
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            all.push_str(&line);
            all.push('\n');
        }
        all
    })
}

/// Fails when anything of a lock, or of an attempt to take one, is left on a server.
#[track_caller]
fn assert_no_half_lock(stack: &Stack) {
    for index in 0..stack.fleet.servers().len() {
        let names: Vec<String> = std::fs::read_dir(stack.fleet.deploy_to(index).join(".pitcrew"))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|n| n.starts_with("lock") || n.starts_with("released"))
            .collect();
        assert!(names.is_empty(), "server {index}: {names:?}");
    }
}

/// Lays a lock on a server, as a run would have left it.
fn leave_lock(stack: &Stack, index: usize, owner: &str, more: &[(&str, &str)]) {
    let lock = stack.fleet.deploy_to(index).join(".pitcrew/lock");
    std::fs::create_dir_all(&lock).unwrap();
    std::fs::write(lock.join("owner"), format!("run=20260101T000000Z-dead\nwho=ann\n{owner}")).unwrap();
    for (file, text) in more {
        std::fs::write(lock.join(file), text).unwrap();
    }
}

/// A process of this machine that has ended.
fn dead_process() -> String {
    let mut me = machine::this_process().expect("a /proc");
    me.start += 1;
    format!("host={}\npid={}\nprocess={me}\n", machine::host(), me.pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_start_at_once_always_exactly_one_wins() {
    let gated = Gated::serving(3, "").await;
    for round in 1..=20 {
        gated.stack.release(&Sample::good(round.to_string()));
        gated.shut();
        let (mut one, mut other) = (gated.stack.start(&["deploy"]), gated.stack.start(&["deploy"]));
        // While the winner builds, the loser ends: that both have been at the lock is certain then.
        let first = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                status = one.wait() => { status.unwrap(); true },
                status = other.wait() => { status.unwrap(); false },
            }
        });
        let first_is_one = first.await.expect("one of them ends: no deadlock");
        let (loser, winner) = if first_is_one { (one, other) } else { (other, one) };
        gated.open();
        let (loser, winner) = (end(loser).await, end(winner).await);
        assert_eq!((loser.code, winner.code), (4, 0), "round {round}\n{loser}\n{winner}");
        gated.stack.assert_all(&round.to_string());
        assert_no_half_lock(&gated.stack);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_lock_gets_it_and_plans_anew() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let first = gated.at_work().await;
    let mut waiting = gated.stack.start(&["deploy", "--wait-lock", "90s", "--json"]);
    let told = said(&mut waiting, "waiting up to").await;
    let mut other = gated.stack.start(&["rollback", "--wait-lock", "90s", "--json"]);
    said(&mut other, "waiting up to").await;
    gated.open();
    let first = end(first).await.expect(0);
    let (waiting, other) = (end(waiting).await.expect(0), end(other).await.expect(0));
    let told = told.await.unwrap();
    // One line for each holder: the first run, and the other who waits, if that was faster.
    assert_eq!(told.matches("running `pitcrew deploy`").count(), 1, "{told}");
    assert!(told.matches("waiting up to").count() <= 2, "{told}");
    for ran in [&waiting, &other] {
        let planned = &ran.events()[0];
        assert_eq!(planned["event"], "planned", "{ran}");
        assert!(planned["notices"].as_array().unwrap().iter().any(|n| n["warning"] == "waited"), "{ran}");
    }
    // What the first run made is where the second one began.
    let previous = |ran: &Ran| ran.events()[0]["previous"].to_string();
    assert!(!first.stderr.is_empty() && previous(&waiting).contains("20"), "{waiting}");
    let made = gated.stack.fleet.releases(0);
    assert!(made.len() >= 2, "{made:?}");
    gated.stack.assert_unlocked();
    assert_no_half_lock(&gated.stack);
}

/// Steps of the lock that a server was asked for since a record of the log.
fn locking_since(stack: &Stack, server: &str, since: u64) -> usize {
    let is_lock = |k: &Kind| matches!(k, Kind::Exec { step: Some(step), .. } if step == "lock");
    stack.fleet.log().since(since).iter().filter(|r| r.server == server && is_lock(&r.kind)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_that_were_waited_for_are_renewed_while_the_servers_are_asked() {
    let gated = Gated::serving(2, "timeouts.lease = '5s'\ntimeouts.step = '4s'").await;
    gated.stack.release(&Sample::good("1"));
    let first = gated.at_work().await;
    let mut waiting = gated.stack.start(&["deploy", "--wait-lock", "90s"]);
    said(&mut waiting, "waiting up to").await;
    // Asked again, the second server says nothing for most of a lease.
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let (log, at) = (gated.stack.fleet.log().clone(), asked.clone());
    gated.stack.fleet.faults().decide_with(move |point| {
        (point.server == "s2" && point.label == "probe").then(|| {
            at.store(log.mark(), std::sync::atomic::Ordering::SeqCst);
            pitcrew::demo::Fault::Hang
        })
    });
    gated.open();
    end(first).await.expect(0);
    let ran = end(waiting).await.expect(5);
    let renewals = locking_since(&gated.stack, "s1", asked.load(std::sync::atomic::Ordering::SeqCst));
    assert!(renewals >= 2, "{renewals} renewals\n{ran}");
    gated.stack.assert_unlocked();
    assert_no_half_lock(&gated.stack);
}

/// Two networks: who cannot see the first server begins with the second, and meets the other half way.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_see_different_first_servers_one_wins_and_nothing_is_left() {
    let mut stack = Stack::serving(3, WebKind::Reload, "").await;
    stack.extra = format!("{}\nssh.connect_timeout = '2s'\n", stack.extra);
    let seen = stack.fleet.write_config(&stack.extra).unwrap();
    // The same stack, and a wrong port for its first server.
    let port = stack.fleet.servers()[0].at().port();
    let text = std::fs::read_to_string(&seen).unwrap();
    let first = format!("host = \"{}\"", stack.fleet.servers()[0].ip());
    assert!(text.contains(&first), "{text}");
    let blind = stack.fleet.path().join("blind.toml");
    let wrong = format!("{}:{}\"", first.trim_end_matches('"'), port.wrapping_add(1));
    std::fs::write(&blind, text.replace(&first, &wrong)).unwrap();
    for round in 0..6 {
        stack.release(&Sample::good(format!("{round}")));
        let one = stack.start(&["deploy", "--skip-unreachable", "--no-migrate"]);
        let other = stack.start(&["-c", "blind.toml", "deploy", "--skip-unreachable", "--no-migrate"]);
        let (one, other) = (end(one).await, end(other).await);
        match (one.code, other.code) {
            // One after the other: slow enough for both.
            (0, 4) | (4, 3) | (0, 3) => {}
            // A plan that the faster one has overtaken is refused before anything is changed.
            (1, 3) | (0, 1) => assert!(one.printed().contains("current was") || other.printed().contains("was")),
            _ => panic!("round {round}\n{one}\n{other}"),
        }
        stack.assert_unlocked();
        assert_no_half_lock(&stack);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_its_time_and_touches_nothing() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let first = gated.at_work().await;
    let ran = gated.stack.run(&["deploy", "--wait-lock", "1s"]).await.expect(4);
    assert!(ran.stderr.contains("waiting up to 1s for the lock"), "{ran}");
    assert!(ran.stderr.contains("that process is alive on this machine"), "{ran}");
    // Whoever does not say how long does not wait; who says nonsense is told.
    gated.stack.run(&["deploy"]).await.expect(4);
    gated.stack.run(&["deploy", "--wait-lock", "soon"]).await.expect(2);
    gated.open();
    end(first).await.expect(0);
    gated.stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_wait_and_the_other_run_does_not_notice() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let first = gated.at_work().await;
    let mut waiting = gated.stack.start(&["deploy", "--wait-lock", "90s"]);
    let told = said(&mut waiting, "waiting up to").await;
    kill(Pid::from_raw(waiting.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ran = end(waiting).await.expect(130);
    assert!(ran.stdout.contains("nothing was changed"), "{ran}");
    assert!(told.await.unwrap().contains("interrupted (INT)"));
    gated.open();
    end(first).await.expect(0);
    gated.stack.assert_all("1");
    assert_no_half_lock(&gated.stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_dead_or_stuck_run() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    leave_lock(&stack, 1, &dead_process(), &[("journal", "1795423816 switch a b\n")]);
    let ran = stack.run(&["deploy", "--wait-lock", "90s"]).await.expect(4);
    for told in ["ann@", "has ended and left it behind", "pitcrew recover", "in switch"] {
        assert!(ran.stderr.contains(told), "{told}\n{ran}");
    }
    assert!(!ran.stderr.contains("waiting up to"), "{ran}");
    // It changed something, which a mere unlock would leave as it is.
    let kept = stack.run(&["unlock"]).await.expect(4);
    assert!(kept.stderr.contains("pitcrew recover"), "{kept}");

    leave_lock(&stack, 1, &dead_process(), &[("stuck", "s2: could not restart\n")]);
    let ran = stack.run(&["deploy", "--wait-lock", "90s"]).await.expect(4);
    assert!(ran.stderr.contains("keeps it: s2: could not restart"), "{ran}");
    stack.run(&["unlock"]).await.expect(0);
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_known_to_be_dead_on_its_own_machine() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let mut first = gated.at_work().await;
    first.kill().await.unwrap();
    let ran = gated.stack.run(&["deploy"]).await.expect(4);
    for told in ["that process has ended and left it behind", "pitcrew recover"] {
        assert!(ran.stderr.contains(told), "{told}\n{ran}");
    }
    gated.open();
    // It had only prepared: there is nothing to take back.
    gated.stack.run(&["unlock"]).await.expect(0);
    gated.stack.run(&["deploy"]).await.expect(0);
    gated.stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_has_run_out_is_told_and_not_taken() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    leave_lock(&stack, 0, "host=elsewhere\npid=7\nlease=60\n", &[("beat", "")]);
    let beat = stack.fleet.deploy_to(0).join(".pitcrew/lock/beat");
    let ran = stack.run(&["deploy"]).await.expect(4);
    assert!(ran.stderr.contains("last sign of life") && ran.stderr.contains("--wait-lock"), "{ran}");
    let kept = stack.run(&["unlock"]).await.expect(4);
    assert!(kept.stderr.contains("--force"), "{kept}");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3700);
    std::fs::File::options().write(true).open(&beat).unwrap().set_modified(long_ago).unwrap();
    let ran = stack.run(&["deploy", "--wait-lock", "90s"]).await.expect(4);
    for told in ["no sign of life for 1h 01m", "its lease is 1m 00s", "ps -p 7", "on elsewhere"] {
        assert!(ran.stderr.contains(told), "{told}\n{ran}");
    }
    stack.run(&["unlock"]).await.expect(0);
    stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_renewed_while_a_run_lives() {
    let gated = Gated::serving(2, "timeouts.lease = '5s'").await;
    gated.stack.release(&Sample::good("1"));
    let since = gated.stack.now();
    let first = gated.at_work().await;
    for server in gated.names() {
        // Taking it was the first.
        let renewed = |log: &[pitcrew::demo::log::Record]| {
            let locks = |r: &&pitcrew::demo::log::Record| {
                r.server == server && matches!(&r.kind, Kind::ExecEnd { step: Some(s), .. } if s == "lock")
            };
            log.iter().filter(locks).count() > 3
        };
        let twice = async {
            while !renewed(&gated.stack.fleet.log().since(since)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), twice).await.is_ok(), "{server} is not renewed");
    }
    let phase = std::fs::read_to_string(gated.stack.fleet.deploy_to(1).join(".pitcrew/lock/phase")).unwrap();
    assert_eq!(phase, "prepare\n");
    let refused = gated.stack.run(&["deploy"]).await.expect(4);
    assert!(refused.stderr.contains("in prepare"), "{refused}");
    gated.open();
    end(first).await.expect(0);
    gated.stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_loses_its_lock_does_nothing_more_there() {
    let gated = Gated::serving(2, "timeouts.lease = '5s'").await;
    gated.stack.release(&Sample::good("1"));
    let mut first = gated.at_work().await;
    gated.stack.run(&["unlock", "--force", "--only", &gated.stack.fleet.servers()[1].ip().to_string()]).await.expect(0);
    let told = said(&mut first, "the lock is gone").await;
    gated.open();
    let ran = end(first).await;
    let told = told.await.unwrap();
    assert_ne!(ran.code, 0, "{told}");
    assert_eq!(gated.stack.versions(), ["0", "0"], "nobody was switched\n{told}");
    gated.stack.assert_unlocked();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plan_took_for_granted_is_looked_at_under_the_lock() {
    let mut stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    stack.run(&["deploy"]).await.expect(0);
    let old = stack.fleet.releases(1)[0].clone();
    let current = stack.fleet.deploy_to(1).join("current").display().to_string();
    // Between the questions and the lock somebody else goes back.
    stack.extra.push_str(&format!(
        "\n[[hooks]]\nat = \"before lock\"\nrun = \"ln -sfn releases/{old} {current}\"\non = \"here\"\n"
    ));
    stack.fleet.write_config(&stack.extra).unwrap();
    stack.release(&Sample::good("2"));
    let ran = stack.run(&["deploy", "--json"]).await.expect(1);
    let codes = ran.events().iter().any(|e| e["failure"]["code"] == "stale_facts");
    assert!(codes, "{ran}");
    assert_eq!(stack.versions(), ["1", "0"]);
    stack.assert_unlocked();
    // Told again, it goes from there.
    stack.run(&["deploy"]).await.expect(0);
    assert_eq!(stack.versions(), ["2", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_run_says_in_its_lock_why_it_keeps_it() {
    let stack = Stack::serving(2, WebKind::Restart, "").await;
    stack.release(&Sample::flawed("1", Flaw::Sick));
    stack.run(&["deploy", "--on-failure", "hold"]).await.expect(3);
    let ip = stack.fleet.servers()[0].ip();
    let ran = stack.run(&["deploy"]).await.expect(4);
    assert!(ran.stderr.contains(&format!("keeps it: {ip}: held as it failed")), "{ran}");
    assert!(ran.stderr.contains("pitcrew unlock"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_deploys_and_says_why() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    let ran = stack.run(&["lock", "--reason", "the fair"]).await.expect(0);
    assert!(ran.stdout.contains("frozen until `pitcrew unlock`: the fair"), "{ran}");
    let ran = stack.run(&["deploy"]).await.expect(4);
    for told in ["frozen by", "the fair", "`pitcrew unlock` ends the freeze", "deploys are frozen; nothing was changed"]
    {
        assert!(ran.printed().contains(told), "{told}\n{ran}");
    }
    assert_eq!(ran.stderr.matches("frozen by").count(), 3, "each server's step, and the reason once\n{ran}");
    let quiet = stack.run(&["deploy", "-q"]).await.expect(4);
    assert_eq!(quiet.printed(), "", "cron hears nothing");
    // Waiting for something that nobody says will end helps nobody.
    stack.run(&["deploy", "--wait-lock", "90s"]).await.expect(4);
    let twice = stack.run(&["lock", "--reason", "mine"]).await.expect(4);
    assert!(twice.stderr.contains("the fair"), "{twice}");
    stack.run(&["rollback"]).await.expect(4);
    assert_eq!(stack.versions(), ["0", "0"]);
    stack.run(&["unlock"]).await.expect(0);
    stack.run(&["deploy"]).await.expect(0);
    stack.assert_all("1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_ends_by_itself_and_who_waits_goes_on() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    stack.run(&["lock", "--reason", "short", "--until", "2s"]).await.expect(0);
    let ran = stack.run(&["deploy", "--wait-lock", "60s"]).await.expect(0);
    assert!(ran.stderr.contains("frozen by"), "{ran}");
    stack.assert_all("1");
    assert_no_half_lock(&stack);
    stack.run(&["lock", "--reason", "short", "--until", "yesterday"]).await.expect(2);
    stack.run(&["lock"]).await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_waits_for_the_run_that_is_at_work() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let first = gated.at_work().await;
    let ran = gated.stack.run(&["lock", "--reason", "fair"]).await.expect(4);
    assert!(ran.stderr.contains("pitcrew deploy"), "{ran}");
    let mut freezing = gated.stack.start(&["lock", "--reason", "fair", "--wait-lock", "90s"]);
    said(&mut freezing, "waiting up to").await;
    gated.open();
    end(first).await.expect(0);
    end(freezing).await.expect(0);
    gated.stack.assert_in_service();
    gated.stack.run(&["deploy"]).await.expect(4);
    gated.stack.run(&["unlock"]).await.expect(0);
}

/// Of two that begin at once on a free stack one waits for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_are_ready_to_wait_both_deploy() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.release(&Sample::good("1"));
    for _ in 0..3 {
        let both = [0, 1].map(|_| stack.start(&["deploy", "--wait-lock", "90s"]));
        for run in both {
            end(run).await.expect(0);
        }
    }
    stack.assert_all("1");
    stack.assert_unlocked();
}

/// Two people who are woken at once: one recovers, and the other is told so.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_recoveries_at_once_one_works_and_nobody_is_needed() {
    let gated = Gated::serving(2, "").await;
    gated.stack.release(&Sample::good("1"));
    let mut first = gated.at_work().await;
    first.kill().await.unwrap();
    first.wait().await.unwrap();
    gated.open();
    let both = [0, 1].map(|_| gated.stack.start(&["recover"]));
    let mut codes = Vec::new();
    for run in both {
        codes.push(end(run).await.code);
    }
    codes.sort_unstable();
    // The second may come when all is done.
    assert!(codes == [0, 4] || codes == [0, 0], "{codes:?}");
    gated.stack.assert_unlocked();
}

/// Pasted, a hint must not reach another stack.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_run_tells_to_run_next_picks_the_same_stack() {
    let stack = Stack::serving(2, WebKind::Reload, "").await;
    stack.fleet.write_config(&format!("{}\nprofiles.staging.app.keep_releases = 3\n", stack.extra)).unwrap();
    stack.run(&["-p", "staging", "lock", "--reason", "a test"]).await.expect(0);
    stack.release(&Sample::good("1"));
    for args in [&["-p", "staging", "deploy"][..], &["-p", "staging", "rollback"], &["-p", "staging", "check"]] {
        let ran = stack.run(args).await.expect(4);
        assert!(ran.printed().contains("staging unlock` ends the freeze"), "{ran}");
        assert!(!ran.printed().contains("`pitcrew unlock`"), "{ran}");
    }
}
